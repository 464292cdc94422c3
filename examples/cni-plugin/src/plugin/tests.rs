use std::cell::RefCell;
use std::io;

use super::*;

const PREVIOUS: &str = r#"{ "cniVersion": "1.1.0","ips":[ {"address":"10.0.0.2/24"}],  "x":1e999 }"#;

fn configuration(version: &str) -> String {
    let previous = PREVIOUS.replace("1.1.0", version);
    format!(
        r#"{{"cniVersion":"{version}","name":"pods","type":"inpod-cni","prevResult":{previous},
        "cni.dev/valid-attachments":[{{"containerID":"c9","ifname":"eth0"}}]}}"#
    )
}

/// What the agent does.
type Agents = fn() -> Result<Answer, AskError>;

struct Ran {
    said: Result<Said, Failure>,
    asked: Option<(Request, bool)>,
}

fn run_with(command: &str, configuration: &str, agent: Agents) -> Ran {
    let asked = RefCell::new(None);
    let variable = |name: &str| {
        let value = match name {
            "CNI_COMMAND" => command,
            "CNI_CONTAINERID" => "c1",
            "CNI_IFNAME" => "eth0",
            "CNI_NETNS" => "/run/netns/a",
            "CNI_ARGS" => "IgnoreUnknown=1;K8S_POD_NAME=web;K8S_POD_NAMESPACE=shop",
            _ => return None,
        };
        Some(value.into())
    };
    let said = run(variable, configuration.as_bytes(), |_, request, path| {
        *asked.borrow_mut() = Some((request.clone(), path.is_some()));
        agent()
    });
    Ran { said, asked: asked.into_inner() }
}

fn code(command: &str, agent: Agents) -> Result<String, u32> {
    let ran = run_with(command, &configuration("1.1.0"), agent);
    ran.said.map(|said| said.output).map_err(|failure| failure.code().number())
}

fn gone() -> io::Error {
    io::ErrorKind::ConnectionRefused.into()
}

/// What can become of asking, with the numbers for ADD, CHECK and GC.
const OUTCOMES: [(Agents, Option<u32>); 9] = [
    (|| Ok(Answer::Done), None),
    (|| Ok(Answer::NotOurs), None),
    (|| Ok(Answer::refused("no")), Some(103)),
    (|| Ok(Answer::try_again("later")), Some(11)),
    (|| Err(AskError::Unreachable { socket: "/a".into(), source: gone() }), Some(100)),
    (|| Err(AskError::Stranger { uid: 7 }), Some(100)),
    (|| Err(AskError::TimedOut { limit: std::time::Duration::from_secs(1) }), Some(101)),
    (|| Err(AskError::Closed), Some(101)),
    (|| Err(AskError::Garbled(Answer::decode(b"x").unwrap_err())), Some(102)),
];

#[test]
fn the_table() {
    for (agent, failing) in OUTCOMES {
        let outcome = |output: &str| failing.map_or_else(|| Ok(output.to_owned()), Err);
        assert_eq!(code("ADD", agent), outcome(PREVIOUS));
        assert_eq!(code("CHECK", agent), outcome(""));
        assert_eq!(code("GC", agent), outcome(""));
        assert_eq!(code("STATUS", agent), failing.map_or_else(|| Ok(String::new()), |_| Err(50)));
        assert_eq!(code("DEL", agent), Ok(String::new()));
    }
}

#[test]
fn a_del_that_left_something_says_so() {
    let ran = run_with("DEL", &configuration("1.1.0"), || Ok(Answer::try_again("starting")));
    let warning = ran.said.unwrap().warning.unwrap();
    assert_eq!(warning.to_string(), "the node agent cannot now: starting");
}

/// The result of an ADD is the previous one in the words of the configuration's version.
#[test]
fn the_result_is_the_previous_one() {
    for version in Version::ALL {
        let ran = run_with("ADD", &configuration(version.as_str()), || Ok(Answer::Done));
        assert_eq!(ran.said.unwrap().output, PREVIOUS.replace("1.1.0", version.as_str()));
    }
}

#[test]
fn the_agent_is_told_who_it_is() {
    let done = || Ok(Answer::Done);
    let Some((Request::Add(placed), true)) = run_with("ADD", &configuration("0.4.0"), done).asked else {
        panic!("no ADD with a namespace")
    };
    assert_eq!(placed.attachment.to_string(), "eth0 of c1");
    assert_eq!(placed.pod.unwrap().to_string(), "shop/web");
    assert_eq!(placed.addresses, ["10.0.0.2".parse::<std::net::IpAddr>().unwrap()]);
    let check = run_with("CHECK", &configuration("1.0.0"), done).asked;
    assert!(matches!(check, Some((Request::Check(_), true))), "{check:?}");
    let del = run_with("DEL", r#"{"cniVersion":"0.3.1","name":"pods"}"#, done).asked;
    assert!(matches!(del, Some((Request::Del(_), false))), "{del:?}");
    let Some((Request::Gc(valid), false)) = run_with("GC", &configuration("1.1.0"), done).asked else {
        panic!("no GC")
    };
    assert_eq!(valid.attachments[0].to_string(), "eth0 of c9");
}

#[test]
fn what_cannot_be_asked_fails_without_asking() {
    let bare = r#"{"cniVersion":"1.1.0","name":"pods"}"#;
    for (command, configuration, expected) in [
        ("ADD", bare, 7),
        ("CHECK", bare, 7),
        ("GC", bare, 7),
        ("ADD", "", 6),
        ("DEL", "{", 6),
        ("ADD", r#"{"cniVersion":"2.0.0","name":"pods"}"#, 1),
        ("CHECK", r#"{"cniVersion":"0.3.1","name":"pods"}"#, 1),
        ("GC", r#"{"cniVersion":"1.0.0","name":"pods"}"#, 1),
        ("STATUS", r#"{"cniVersion":"1.0.0","name":"pods"}"#, 1),
        ("ADD", r#"{"cniVersion":"1.0.0","name":"pods","prevResult":{"cniVersion":"0.4.0"}}"#, 7),
        ("UPDATE", bare, 4),
    ] {
        let ran = run_with(command, configuration, || Ok(Answer::Done));
        let failure = ran.said.unwrap_err();
        assert_eq!((failure.code().number(), ran.asked), (expected, None), "{command} {configuration}");
    }
}

#[test]
fn versions_are_told_in_the_asker_s() {
    for (configuration, version) in
        [(r#"{"cniVersion":"0.4.0"}"#, "0.4.0"), (r#"{"cniVersion":"7"}"#, "1.1.0"), ("", "1.1.0")]
    {
        let said = run_with("VERSION", configuration, || Ok(Answer::Done)).said.unwrap();
        let expected =
            format!(r#"{{"cniVersion":"{version}","supportedVersions":["0.3.1","0.4.0","1.0.0","1.1.0"]}}"#);
        assert_eq!(said.output, expected);
    }
}

/// Errors are told in the configuration's version, if it is one.
#[test]
fn an_error_object() {
    let absent: Agents = || Err(AskError::Unreachable { socket: "/a".into(), source: gone() });
    let failure = run_with("ADD", &configuration("0.4.0"), absent).said.unwrap_err();
    let expected = r#"{"cniVersion":"0.4.0","code":100,"msg":"cannot reach the node agent at /a","details":"connection refused"}"#;
    assert_eq!(failure.to_json(), expected);
}
