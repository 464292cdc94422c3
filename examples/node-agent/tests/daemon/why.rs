//! `node-agent why`, beside what really becomes of connections.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::process::{Command, Output};
use std::thread::{Builder, JoinHandle};

use netns::Namespace;
use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, shutdown, socket,
};
use proxy_core::zds::{Hello, MAX_MESSAGE, Response};
use serde_json::{Value, json};
use testkit::child::Child;
use testkit::http;
use testkit::kernel::{Case, Outcome};
use testkit::lab::Lab;

use crate::mesh::{APPLICATION, LIMIT, Member, Result, Site, program, wait_for, with_programs};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        with_programs("why::a_tunnel_is_explained", a_tunnel_is_explained),
        with_programs(
            "why::what_goes_directly_or_nowhere_is_explained",
            what_goes_directly_or_nowhere_is_explained,
        ),
        with_programs("why::the_policy_that_decides_is_named", the_policy_that_decides_is_named),
        with_programs("why::facts_that_are_not_the_pods_are_named", facts_that_are_not_the_pods_are_named),
        with_programs("why::rules_that_somebody_removed_are_named", rules_that_somebody_removed_are_named)
            .needs_program("nft"),
        with_programs("why::a_proxy_that_is_not_there_is_said_so", a_proxy_that_is_not_there_is_said_so),
        with_programs("why::another_proxy_does_not_tell", another_proxy_does_not_tell),
        with_programs(
            "why::who_else_listens_is_told_from_the_proxy",
            who_else_listens_is_told_from_the_proxy,
        ),
        with_programs("why::what_is_no_question_is_refused", what_is_no_question_is_refused),
    ]
}

/// The pods, and beside them one that is not in the mesh.
struct Scene {
    site: Site,
    client: Member,
    server: Member,
    foe: Member,
    stranger: Member,
    _lab: Lab,
}

/// The services and policies that there are besides the pods.
const MORE: &str = r#"services:
- {name: empty, namespace: test, hostname: empty.test, vips: ["/10.99.0.1"], ports: {80: 8080}}
policies:
- {name: strict, namespace: test, scope: Namespace, action: Deny, rules: [[[{notPrincipals: [Presence: []]}]]]}
- {name: no-foe, namespace: test, scope: Namespace, action: Deny, rules: [[[{principals: [Exact: cluster.local/ns/test/sa/foe]}]]]}
- {name: tried, namespace: test, scope: Namespace, action: Deny, dryRun: true, rules: [[[{principals: [Exact: cluster.local/ns/test/sa/client], destinationPorts: [81]}]]]}
"#;

impl Scene {
    fn new() -> Result<Self> {
        let lab = Lab::new()?;
        let member = |name: &str| lab.pod(name).map(|pod| Member::from(&pod));
        let (client, server, foe) = (member("client")?, member("server")?, member("foe")?);
        let stranger = member("stranger")?;
        let site = Site::new(lab.node(), &[&client, &server, &foe])?;
        let workloads = site.files.path("workloads.yaml");
        fs::write(&workloads, fs::read_to_string(&workloads)? + MORE)?;
        for pod in [&client, &server, &foe] {
            site.files.write_pod(pod, "")?;
        }
        Ok(Self { site, client, server, foe, stranger, _lab: lab })
    }

    /// With the agent and the proxy, and all pods enrolled.
    fn running() -> Result<(Self, Child, Child)> {
        let scene = Self::new()?;
        let (agent, proxy) = (scene.site.agent()?, scene.site.proxy()?);
        scene.site.wait_for_enrolled(3).map_err(|error| agent.with_log(error))?;
        Ok((scene, agent, proxy))
    }

    fn why(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(program("node-agent"));
        command.arg("why").arg("--control").arg(self.site.files.control()).args(arguments);
        Ok(command.output()?)
    }

    /// The text and the code that it ends with.
    fn text(&self, arguments: &[&str]) -> Result<(String, Option<i32>)> {
        let output = self.why(arguments)?;
        Ok((String::from_utf8(output.stdout)?, output.status.code()))
    }

    /// The same as JSON.
    fn json(&self, arguments: &[&str]) -> Result<(Value, Option<i32>)> {
        let output = self.why(&[arguments, &["--json"]].concat())?;
        let json = serde_json::from_slice(&output.stdout);
        let said = || String::from_utf8_lossy(&output.stderr).into_owned();
        Ok((json.map_err(|error| format!("{error}: {}", said()))?, output.status.code()))
    }
}

fn at(value: &Value, pointer: &str) -> Value {
    value.pointer(pointer).cloned().unwrap_or_default()
}

/// What differs, as `what: how`.
fn differs(value: &Value) -> Vec<String> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let all = value.get("differs").and_then(Value::as_array).into_iter().flatten();
    all.map(|one| format!("{}: {}", text(one.get("what")), text(one.get("how")))).collect()
}

fn to(address: IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}

fn status(from: &Namespace, to: IpAddr) -> Option<u16> {
    http::request(from, SocketAddr::new(to, APPLICATION), "/", b"").ok().map(|answer| answer.status())
}

fn a_tunnel_is_explained() -> Outcome {
    let (scene, _agent, _proxy) = Scene::running()?;
    let _application = http::Server::start(&scene.server.namespace, APPLICATION)?;
    for address in scene.server.addresses.clone() {
        let destination = to(address, APPLICATION);
        let ask = || scene.json(&["test/client", &destination]);
        let (before, code) = ask()?;
        assert_eq!((differs(&before), code), (vec![], Some(0)), "{before:#}");
        assert_eq!(at(&before, "/packets/0/end"), json!({"to": "proxy", "port": 15001}));
        let tunnel =
            |value: &Value, name: &str| at(value, &format!("/proxy/told/outbound/route/tunnel/{name}"));
        assert_eq!(tunnel(&before, "target"), json!(destination));
        assert_eq!(tunnel(&before, "expected"), json!(["spiffe://cluster.local/ns/test/sa/server"]));
        assert_eq!(tunnel(&before, "connections"), json!([]));
        assert_eq!(status(&scene.client.namespace, address), Some(200));
        let (after, _) = ask()?;
        assert_eq!(tunnel(&after, "connections/0/open"), json!(1), "{after:#}");
        assert!(at(&after, "/proxy/told/expires").is_u64());
        // The rule by which it went has counted it.
        let counted = |value: &Value| {
            let met = at(value, "/packets/0/met");
            let redirects =
                |rule: &&Value| at(rule, "/rule").as_str().is_some_and(|rule| rule.contains("redirect"));
            let rule = met.as_array().and_then(|met| met.iter().find(redirects).cloned());
            rule.and_then(|rule| at(&rule, "/packets").as_u64())
        };
        assert!(counted(&after) > counted(&before), "{after:#}");
    }
    let (text, _) = scene.text(&["client", &to(first(&scene.server)?, APPLICATION)])?;
    assert!(text.contains("=> captured, and goes by a tunnel to test/server"), "{text}");
    assert!(text.ends_with("Nothing differs from what is intended.\n"), "{text}");
    // To an address of its own the pod speaks past the proxy.
    let (text, code) = scene.text(&["client", &to(first(&scene.client)?, APPLICATION)])?;
    assert!(text.contains("from the pod past the proxy") && code == Some(0), "{text}");
    Ok(())
}

fn facts_that_are_not_the_pods_are_named() -> Outcome {
    let (scene, _agent, proxy) = Scene::running()?;
    let workloads = scene.site.files.path("workloads.yaml");
    let (client, foe) = (first(&scene.client)?, first(&scene.foe)?);
    let facts = fs::read_to_string(&workloads)?;
    let facts = facts.replace(
        "name: client, namespace: test, serviceAccount: client",
        "name: client, namespace: test, serviceAccount: other",
    );
    fs::write(&workloads, facts.replace(&foe.to_string(), "10.66.0.1"))?;
    proxy.signal(Signal::SIGHUP)?;
    let lost = || scene.json(&["client", "192.0.2.1:80"]);
    wait_for("other facts", || Ok(at(&lost()?.0, "/proxy/told/facts") == Value::Null))?;
    let (told, code) = lost()?;
    let wanted = [
        "facts: the proxy has no facts about the pod: it refuses all its connections",
        "identity: the facts' test/client is spiffe://cluster.local/ns/test/sa/other, the pod ns/test/sa/client",
    ];
    assert_eq!((differs(&told), code), (wanted.map(Into::into).to_vec(), Some(3)), "{client}");
    let (told, code) = scene.json(&["foe", "192.0.2.1:80"])?;
    let wanted = [
        format!("facts: {foe}, an address of the pod, is not one of test/foe"),
        "facts: 10.66.0.1 of test/foe is no address of the pod".into(),
    ];
    assert_eq!((differs(&told), code), (wanted.to_vec(), Some(3)));
    Ok(())
}

fn first(member: &Member) -> Result<IpAddr> {
    Ok(*member.addresses.first().ok_or("no address")?)
}

fn what_goes_directly_or_nowhere_is_explained() -> Outcome {
    let (scene, _agent, _proxy) = Scene::running()?;
    let _application = http::Server::start(&scene.stranger.namespace, APPLICATION)?;
    let (direct, code) = scene.json(&["client", &to(first(&scene.stranger)?, APPLICATION)])?;
    assert_eq!((differs(&direct), code), (vec![], Some(0)), "{direct:#}");
    assert_eq!(at(&direct, "/proxy/told/outbound/route/tunnel"), Value::Null);
    assert_eq!(
        at(&direct, "/proxy/told/outbound/route/hop"),
        json!(to(first(&scene.stranger)?, APPLICATION))
    );
    assert_eq!(status(&scene.client.namespace, first(&scene.stranger)?), Some(200));
    let (refused, code) = scene.json(&["client", "10.99.0.1:80"])?;
    let reason = "service test/empty.test has no healthy endpoint for port 80";
    assert_eq!((differs(&refused), code), (vec![format!("facts: {reason}")], Some(3)), "{refused:#}");
    assert_eq!(at(&refused, "/verdict"), json!(format!("captured, and refused by the proxy: {reason}")));
    Ok(())
}

fn the_policy_that_decides_is_named() -> Outcome {
    let (scene, _agent, _proxy) = Scene::running()?;
    let (unheard, code) = scene.json(&["server", &first(&scene.client)?.to_string(), ":8080"])?;
    let nobody = format!("application: nobody listens at {} in the pod", to(first(&scene.server)?, 8080));
    assert_eq!((differs(&unheard), code), (vec![nobody], Some(3)));
    let _application = http::Server::start(&scene.server.namespace, APPLICATION)?;
    let ask = |from: &Member| -> Result<(Value, [Value; 2])> {
        let (told, code) = scene.json(&["server", &first(from)?.to_string(), ":8080"])?;
        assert_eq!((differs(&told), code), (vec![], Some(0)), "{told:#}");
        let way = |name: &str| at(&told, &format!("/proxy/told/inbound/{name}"));
        let (tunnel, plaintext) = (way("tunnel"), way("plaintext"));
        Ok((told, [tunnel, plaintext]))
    };
    let by = |policy: &str| json!({"reason": format!("denied by policy test/{policy}"), "intended": true});
    let (told, [tunnel, plaintext]) = ask(&scene.client)?;
    assert_eq!((at(&tunnel, "/permitted"), at(&tunnel, "/policy")), (json!(true), Value::Null));
    assert_eq!(at(&tunnel, "/peer"), json!("spiffe://cluster.local/ns/test/sa/client"));
    assert_eq!(at(&plaintext, "/refused"), by("strict"));
    assert_eq!(at(&told, "/packets/0/end/port"), json!(15008));
    assert_eq!(at(&told, "/packets/1/end/port"), json!(15006));
    let (_, [tunnel, _]) = ask(&scene.foe)?;
    assert_eq!(at(&tunnel, "/refused"), by("no-foe"));
    let (_, [tunnel, plaintext]) = ask(&scene.stranger)?;
    assert_eq!((tunnel, at(&plaintext, "/refused")), (Value::Null, by("strict")));
    // And so it is.
    assert_eq!(status(&scene.client.namespace, first(&scene.server)?), Some(200));
    assert_eq!(status(&scene.foe.namespace, first(&scene.server)?), None);
    assert_eq!(status(&scene.stranger.namespace, first(&scene.server)?), None);
    // What is only tried is said, where it matters.
    let _other = http::Server::start(&scene.server.namespace, 81)?;
    let (tried, code) = scene.json(&["server", &first(&scene.client)?.to_string(), ":81"])?;
    let would = "policy: test/tried is in dry run: its rule 1 would deny it by a tunnel";
    assert_eq!((differs(&tried), code), (vec![would.to_owned()], Some(3)));
    Ok(())
}

fn rules_that_somebody_removed_are_named() -> Outcome {
    let (scene, _agent, _proxy) = Scene::running()?;
    let destination = to(first(&scene.server)?, APPLICATION);
    let flush = || Command::new("nft").args(["flush", "chain", "inet", "inpod", "nat-output"]).output();
    let flushed = scene.client.namespace.run(flush)??;
    assert!(flushed.status.success(), "{}", String::from_utf8_lossy(&flushed.stderr));
    let (told, code) = scene.json(&["client", &destination])?;
    let differs = differs(&told);
    assert_eq!((at(&told, "/rules/same"), code), (json!(false), Some(3)));
    assert!(
        !differs.is_empty() && differs.iter().all(|one| one.starts_with("rules: missing")),
        "{differs:#?}"
    );
    assert!(differs.iter().any(|one| one.contains("redirect to :15001")), "{differs:#?}");
    let verdict = at(&told, "/verdict").as_str().unwrap_or_default().to_owned();
    assert!(
        verdict.starts_with("if the rules were as intended: captured, and goes by a tunnel"),
        "{verdict}"
    );
    // Counters of other rules are none of these.
    assert_eq!(at(&told, "/packets/0/met/0/packets"), Value::Null);
    let (text, code) = scene.text(&["client", &destination])?;
    assert!(text.contains("RULES (intended; the kernel's differ)") && code == Some(3), "{text}");
    let (_, other) = scene.text(&["foe", &destination])?;
    assert_eq!(other, Some(0), "another pod's are in place");
    Ok(())
}

fn a_proxy_that_is_not_there_is_said_so() -> Outcome {
    let (scene, _agent, mut proxy) = Scene::running()?;
    proxy.signal(Signal::SIGKILL)?;
    proxy.wait()?;
    wait_for("no proxy", || Ok(scene.site.proxies()? == 0))?;
    let (told, code) = scene.json(&["client", &to(first(&scene.server)?, APPLICATION)])?;
    assert_eq!((at(&told, "/rules/same"), code), (json!(true), Some(3)));
    assert_eq!(at(&told, "/proxy/silent/error"), json!("no proxy is connected"));
    let found = differs(&told);
    assert!(found.contains(&"proxy: no proxy is connected".into()), "{found:?}");
    assert!(found.contains(&"proxy: it does not serve the pod: none".into()), "{found:?}");
    assert!(
        at(&told, "/verdict").as_str().is_some_and(|verdict| verdict.contains("goes nowhere")),
        "{told:#}"
    );
    // One that comes back tells again.
    let proxy = scene.site.proxy()?;
    scene.site.wait_for_enrolled(3).map_err(|error| proxy.with_log(error))?;
    assert_eq!(scene.json(&["client", &to(first(&scene.server)?, APPLICATION)])?.1, Some(0));
    Ok(())
}

/// A proxy of version 1, which agrees to everything, and counts what it did not understand.
struct Version1 {
    socket: std::sync::Arc<std::os::fd::OwnedFd>,
    thread: JoinHandle<Result<(), String>>,
}

impl Version1 {
    fn start(site: &Site) -> Result<Self> {
        use std::os::fd::AsRawFd as _;
        let path = site.files.path("zds/agent.sock");
        let end = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        connect(end.as_raw_fd(), &UnixAddr::new(&path)?)?;
        send(end.as_raw_fd(), &Hello::V1.encode(), MsgFlags::empty())?;
        let socket = std::sync::Arc::new(end);
        let own = std::sync::Arc::clone(&socket);
        let thread = Builder::new().name("version-1".into()).spawn(move || {
            loop {
                let mut bytes = [0; MAX_MESSAGE];
                let length =
                    recv(own.as_raw_fd(), &mut bytes, MsgFlags::empty()).map_err(|e| e.to_string())?;
                let Some(tag) = bytes.get(..length).and_then(|bytes| bytes.first()) else { return Ok(()) };
                // Fields of one byte's number: 1000 has two.
                if *tag >= 0x80 {
                    return Err("it was asked what it does not understand".into());
                }
                send(own.as_raw_fd(), &Response::Ack.encode(), MsgFlags::empty())
                    .map_err(|e| e.to_string())?;
            }
        })?;
        Ok(Self { socket, thread })
    }

    fn end(self) -> Result<()> {
        use std::os::fd::AsRawFd as _;
        shutdown(self.socket.as_raw_fd(), nix::sys::socket::Shutdown::Both)?;
        Ok(self.thread.join().map_err(|_| "it panicked")??)
    }
}

fn another_proxy_does_not_tell() -> Outcome {
    let scene = Scene::new()?;
    let agent = scene.site.agent()?;
    let before = || scene.site.status().is_ok();
    wait_for("the agent answers", || Ok(before()))?;
    let proxy = Version1::start(&scene.site)?;
    scene.site.wait_for_enrolled(3).map_err(|error| agent.with_log(error))?;
    let destination = to(first(&scene.server)?, APPLICATION);
    let (told, _) = scene.json(&["client", &destination])?;
    assert_eq!(at(&told, "/proxy"), json!("doesNotTell"), "{told:#}");
    assert_eq!(at(&told, "/rules/same"), json!(true));
    assert_eq!(at(&told, "/packets/0/end/port"), json!(15001));
    assert!(differs(&told).iter().all(|one| one.starts_with("socket:")), "{:?}", differs(&told));
    let (text, _) = scene.text(&["client", &destination])?;
    assert!(text.contains("PROXY\ndoes not tell\n"), "{text}");
    proxy.end()
}

fn who_else_listens_is_told_from_the_proxy() -> Outcome {
    let scene = Scene::new()?;
    let agent = scene.site.agent()?;
    wait_for("the agent answers", || Ok(scene.site.status().is_ok()))?;
    // A program in the pod has the port, and a proxy of version 1 does not mind.
    let bind = || TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], 15001)));
    let _other = scene.client.namespace.run(bind)??;
    let proxy = Version1::start(&scene.site)?;
    scene.site.wait_for_enrolled(3).map_err(|error| agent.with_log(error))?;
    let (told, code) = scene.json(&["client", &to(first(&scene.server)?, APPLICATION)])?;
    let found = differs(&told);
    let wanted = "socket: who listens at 0.0.0.0:15001 has not the proxy's mark: user 0";
    assert!(found.contains(&wanted.into()) && code == Some(3), "{found:?}");
    proxy.end()
}

fn what_is_no_question_is_refused() -> Outcome {
    let (scene, _agent, _proxy) = Scene::running()?;
    let refused = |arguments: &[&str]| -> Result<String> {
        let output = scene.why(arguments)?;
        let said = String::from_utf8(output.stderr)?;
        assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
        Ok(said)
    };
    assert!(refused(&["nobody", "10.0.0.1:80"])?.contains("no pod \"nobody\" is known"));
    assert!(refused(&["client", ":80"])?.contains("its destination needs an address"));
    let (from, other) = (first(&scene.stranger)?.to_string(), to(first(&scene.server)?, 80));
    assert!(refused(&["client", &from, &other])?.contains("is none of the pod's addresses"));
    assert_eq!(scene.why(&["client", "10.0.0.1"])?.status.code(), Some(2), "no port");
    let ask = |bytes: &[u8]| -> Result<String> {
        let mut stream = UnixStream::connect(scene.site.files.control())?;
        stream.set_read_timeout(Some(LIMIT))?;
        // It may have had enough.
        let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        Ok(String::from_utf8(answer)?)
    };
    for hostile in [
        &b"{"[..],
        b"\xff",
        br#"{"why": {"pod": "client", "source": null, "destination": "localhost:80"}}"#,
        br#"{"why": {"pod": "client", "source": "10.0.0.1:", "destination": ":80"}}"#,
        br#"{"why": {"pod": 7}}"#,
    ] {
        let answer: Value = serde_json::from_str(&ask(hostile)?)?;
        assert_eq!(at(&answer, "/refused/kind"), json!("noQuestion"), "{answer}");
    }
    // Longer than any question is; whatever comes of it, the agent goes on.
    let long =
        format!(r#"{{"why": {{"pod": "{}", "source": null, "destination": ":80"}}}}"#, "x".repeat(20_000));
    assert!(!ask(long.as_bytes())?.contains("\"why\""));
    assert_eq!(scene.json(&["client", "192.0.2.1:80"])?.1, Some(0));
    Ok(())
}
