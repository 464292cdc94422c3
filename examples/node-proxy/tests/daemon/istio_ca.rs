//! SVIDs from Istio's CA: given, renewed, refused, and late.

use std::fs;

use testkit::http;
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::Lab;

use crate::life::{converse, pair};
use crate::mesh::{APPLICATION, Family, Files, Istiod, Member, Mesh, Result, pods, wait_for};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        test("istio_ca_svids_are_renewed_and_nothing_is_cut", svids_are_renewed_and_nothing_is_cut),
        test("istio_ca_refuses_one_and_the_others_go_on", one_is_refused_and_the_others_go_on),
        test("istio_ca_that_is_not_there_issues_nothing", one_that_is_not_there_issues_nothing),
    ]
}

/// A proxy of Istio's CA at `address`.
fn mesh(lab: &Lab, files: Files, address: &str, members: &[&Member]) -> Result<Mesh> {
    write_token(&files, "first")?;
    let mut command = files.command_without_ca();
    command.args(["--ca-address", address]).arg("--ca-roots").arg(files.ca_cert());
    command.arg("--ca-token").arg(files.path().join("token"));
    let mut mesh = Mesh::start_as(lab.node(), files, command)?;
    mesh.enrol(members)?;
    mesh.capture(members)?;
    Ok(mesh)
}

fn write_token(files: &Files, token: &str) -> Result<()> {
    Ok(fs::write(files.path().join("token"), token)?)
}

fn id(member: &Member) -> String {
    format!("spiffe://cluster.local/ns/test/sa/{}", member.name)
}

fn ask(mesh: &Mesh, client: &Member, server: &Member) -> Result<()> {
    let asked = http::request(&client.namespace, server.at(Family::V4, APPLICATION), "/", b"hello");
    let answer = asked.map_err(|error| mesh.proxy.with_log(error.into()))?;
    assert_eq!(answer.echo(), Some(&b"hello"[..]));
    Ok(())
}

fn svids_are_renewed_and_nothing_is_cut() -> Outcome {
    let lab = Lab::new()?;
    let [client, server] = pods(&lab, ["client", "server"])?;
    let files = Files::new(&[&client, &server])?;
    let istiod = Istiod::start(lab.node(), &files)?;
    let mesh = mesh(&lab, files, &istiod.address().to_string(), &[&client, &server])?;
    let (near, far) = pair(&client, &server)?;
    converse(&near, &far)?;
    let times = |token: &str, whom: &Member| {
        let authorization = format!("Bearer {token}");
        let asked = istiod.asked();
        asked.iter().filter(|one| one.whom == id(whom) && one.authorization == authorization).count()
    };
    wait_for("renewals", || Ok(times("first", &client) >= 3 && times("first", &server) >= 3))?;
    write_token(&mesh.files, "second")?;
    wait_for("the new token", || Ok(times("second", &client) >= 2 && times("second", &server) >= 2))?;
    // By now the first ones have expired.
    converse(&near, &far)?;
    let _application = http::Server::start(&server.namespace, APPLICATION)?;
    ask(&mesh, &client, &server)?;
    assert!(istiod.asked().iter().all(|one| [id(&client), id(&server)].contains(&one.whom)));
    Ok(())
}

fn one_is_refused_and_the_others_go_on() -> Outcome {
    let lab = Lab::new()?;
    let [client, server, refused] = pods(&lab, ["client", "server", "refused"])?;
    let files = Files::new(&[&client, &server, &refused])?;
    let istiod = Istiod::start(lab.node(), &files)?;
    istiod.refuse(Some(&id(&refused)));
    let mesh = mesh(&lab, files, &istiod.address().to_string(), &[&client, &server, &refused])?;
    let _application = http::Server::start(&server.namespace, APPLICATION)?;
    ask(&mesh, &client, &server)?;
    let to = server.at(Family::V4, APPLICATION);
    assert!(http::request(&refused.namespace, to, "/", b"hello").is_err());
    wait_for("the reason in the log", || Ok(mesh.proxy.log()?.contains("Istio CA issues no SVID")))
        .map_err(|error| mesh.proxy.with_log(error))?;
    ask(&mesh, &client, &server)?;
    istiod.refuse(None);
    wait_for("its SVID", || Ok(ask(&mesh, &refused, &server).is_ok()))
}

fn one_that_is_not_there_issues_nothing() -> Outcome {
    let lab = Lab::new()?;
    let [client, server] = pods(&lab, ["client", "server"])?;
    let files = Files::new(&[&client, &server])?;
    // Nobody listens there.
    let mesh = mesh(&lab, files, "127.0.0.1:9", &[&client, &server])?;
    assert!(http::request(&client.namespace, server.at(Family::V4, APPLICATION), "/", b"hello").is_err());
    wait_for("the reason in the log", || Ok(mesh.proxy.log()?.contains("Istio CA issues no SVID")))
}
