//! Whom the proxy believes, by its command line and its files.

use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use identity::{Bundle, BundleDocument, Ca, Expected, SpiffeId, TrustDomain};
use netns::Namespace;
use nix::sys::signal::Signal;
use testkit::http;
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::{Lab, loopback_up};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::life::{converse, pair};
use crate::mesh::{
    APPLICATION, Family, Files, LIMIT, Member, Mesh, Result, new_root, pods, revocation_list, wait_for,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        test("pods_of_two_trust_domains_reach_each_other", pods_of_two_trust_domains_reach_each_other),
        test("sighup_reads_bundles_again", sighup_reads_bundles_again),
        test("sighup_reads_revocation_lists_again", sighup_reads_revocation_lists_again),
    ]
}

fn bundle(files: &Files, trust_domain: &str) -> Result<Bundle> {
    Ok(Bundle::from_pem(trust_domain.parse()?, &fs::read(files.ca_cert())?)?)
}

/// `--trust-bundle`'s value.
fn named(trust_domain: &str, file: &Path) -> String {
    format!("{trust_domain}={}", file.display())
}

/// Each has a node's proxy of its own; one is told of the other's roots in PEM, the other by a bundle document.
fn pods_of_two_trust_domains_reach_each_other() -> Outcome {
    let lab = Lab::new()?;
    let [ours, theirs] = pods(&lab, ["ours", "theirs"])?;
    let theirs = theirs.of("example.org");
    let (files, foreign) = (Files::new(&[&ours, &theirs])?, Files::new(&[&ours, &theirs])?);
    let document = foreign.path().join("cluster.local.json");
    fs::write(&document, BundleDocument::new(&bundle(&files, "cluster.local")?).to_json()?)?;
    let mut command = files.command();
    command.args(["--trust-bundle", &named("example.org", &foreign.ca_cert())]);
    let mut mesh = Mesh::start_as(lab.node(), files, command)?;
    mesh.enrol(&[&ours])?;
    let mut command = foreign.command();
    command.args(["--trust-domain", "example.org"]);
    command.args(["--trust-bundle", &named("cluster.local", &document)]);
    let other_node = Namespace::create()?;
    loopback_up(&other_node)?;
    let mut foreign = Mesh::start_as(&other_node, foreign, command)?;
    foreign.enrol(&[&theirs])?;
    mesh.capture(&[&ours, &theirs])?;
    for (client, server) in [(&ours, &theirs), (&theirs, &ours)] {
        let _application = http::Server::start(&server.namespace, APPLICATION)?;
        let asked = http::request(&client.namespace, server.at(Family::V4, APPLICATION), "/", b"hello");
        let answer = asked.map_err(|error| mesh.proxy.with_log(foreign.proxy.with_log(error.into())))?;
        assert_eq!(answer.echo(), Some(&b"hello"[..]));
    }
    // Each has told who the other is.
    wait_for("the peer in the log", || {
        Ok(mesh.proxy.log()?.contains("peer=spiffe://example.org/ns/test/sa/theirs")
            && foreign.proxy.log()?.contains("peer=spiffe://cluster.local/ns/test/sa/ours"))
    })
}

/// A proxy with these pods, and `flags`.
fn mesh_with(
    lab: &Lab,
    members: &[&Member],
    flags: impl FnOnce(&Files) -> Result<Vec<String>>,
) -> Result<Mesh> {
    let files = Files::new(members)?;
    let mut command = files.command();
    command.args(flags(&files)?);
    let mut mesh = Mesh::start_as(lab.node(), files, command)?;
    mesh.enrol(members)?;
    mesh.capture(members)?;
    Ok(mesh)
}

fn is_cut(mut stream: &TcpStream) -> bool {
    stream.read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
}

fn sighup_reads_bundles_again() -> Outcome {
    let lab = Lab::new()?;
    let [client, server] = pods(&lab, ["client", "server"])?;
    let own = |files: &Files| files.path().join("bundle.pem");
    let mesh = mesh_with(&lab, &[&client, &server], |files| {
        fs::copy(files.ca_cert(), own(files))?;
        Ok(vec!["--trust-bundle".into(), named("cluster.local", &own(files))])
    })?;
    let again = |content: &str, said: &str| -> Outcome {
        fs::write(own(&mesh.files), content)?;
        let before = mesh.proxy.log()?.matches(said).count();
        mesh.proxy.signal(Signal::SIGHUP)?;
        wait_for(said, || Ok(mesh.proxy.log()?.matches(said).count() > before))
    };
    let (near, far) = pair(&client, &server)?;
    converse(&near, &far)?;
    let ours = fs::read_to_string(mesh.files.ca_cert())?;
    again("not PEM", "trust bundle kept as it was")?;
    converse(&near, &far)?;
    let (other, _) = new_root()?;
    again(&(ours.clone() + &other), "trust replaced")?;
    converse(&near, &far)?;
    again(&other, "trust replaced")?;
    assert!(is_cut(&near) && is_cut(&far));
    wait_for("the reason in the log", || {
        Ok(mesh.proxy.log()?.contains("the peer is not believed any more"))
    })?;
    again(&ours, "trust replaced")?;
    let (near, far) = pair(&client, &server)?;
    converse(&near, &far)
}

fn sighup_reads_revocation_lists_again() -> Outcome {
    let lab = Lab::new()?;
    let [client, server, prober] = pods(&lab, ["client", "server", "prober"])?;
    let crl = |files: &Files| files.path().join("crl.pem");
    let list = |files: &Files, serials: &[Vec<u8>]| -> Result<String> {
        revocation_list(&fs::read_to_string(files.ca_key())?, serials)
    };
    let mesh = mesh_with(&lab, &[&client, &server], |files| {
        fs::write(crl(files), list(files, &[])?)?;
        Ok(vec!["--crl".into(), crl(files).display().to_string()])
    })?;
    let (near, far) = pair(&client, &server)?;
    converse(&near, &far)?;

    fs::write(crl(&mesh.files), "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")?;
    mesh.files.write_workloads("policies: []")?;
    mesh.proxy.signal(Signal::SIGHUP)?;
    wait_for("both in the log", || {
        let log = mesh.proxy.log()?;
        Ok(log.contains("revocation lists kept as they were") && log.contains("facts replaced"))
    })?;
    assert!(mesh.proxy.log()?.contains(&crl(&mesh.files).display().to_string()), "it says which file");
    converse(&near, &far)?;

    let serial = serial_shown(&mesh.files, &prober, &server)?;
    fs::write(crl(&mesh.files), list(&mesh.files, &[serial])?)?;
    mesh.proxy.signal(Signal::SIGHUP)?;
    assert!(is_cut(&near) && is_cut(&far));
    wait_for("the reason in the log", || Ok(mesh.proxy.log()?.contains("is revoked")))
}

/// The serial number of the certificate that `server` shows to `client`.
fn serial_shown(files: &Files, client: &Member, server: &Member) -> Result<Vec<u8>> {
    let domain: TrustDomain = "cluster.local".parse()?;
    let ca = Ca::from_pem(domain.clone(), &fs::read(files.ca_cert())?, &fs::read(files.ca_key())?)?;
    let id: SpiffeId = "spiffe://cluster.local/ns/test/sa/prober".parse()?;
    let svid = ca.issue(&id, Duration::from_secs(600), SystemTime::now())?;
    let anyone = Arc::new(Expected::in_trust_domain(domain));
    let provider = identity::tls::aws_lc_rs();
    let mut config = identity::tls::client_config(&provider, &svid, ca.bundle(), anyone)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let address = server.at(Family::V4, 15008);
    let mut stream = client.namespace.run(|| TcpStream::connect_timeout(&address, LIMIT))??;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut session = rustls::ClientConnection::new(Arc::new(config), identity::tls::unnamed())?;
    while session.is_handshaking() {
        session.complete_io(&mut stream)?;
    }
    let leaf = session.peer_certificates().and_then(<[_]>::first).ok_or("no certificate")?;
    let (_, leaf) = X509Certificate::from_der(leaf)?;
    Ok(leaf.raw_serial().to_vec())
}
