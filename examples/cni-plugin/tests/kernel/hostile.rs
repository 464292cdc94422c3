//! Callers that do not keep to the protocol: each is told why it is refused, and no handler hears of it.

use std::fs::File;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use cni_plugin::message::Answer;
use cni_plugin::server::Limits;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use testkit::kernel::{Case, Outcome, test};
use testkit::leaks::Baseline;
use testkit::netns::Namespace;

use crate::agent::{Agent, Asked, Does};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        test("hostile::ten_megabytes_are_refused", ten_megabytes),
        test("hostile::a_dribble_is_cut_off", a_dribble),
        test("hostile::who_says_nothing_holds_up_no_other_for_long", who_says_nothing),
        test("hostile::nonsense_is_refused", nonsense),
        test("hostile::what_is_no_pods_namespace_is_refused", no_namespace),
        test("hostile::too_many_descriptors_are_refused_and_closed", too_many).serial(),
        test("hostile::another_user_is_refused", another_user).needs_root(),
    ]
}

/// An ADD, of which only the descriptor is missing.
const ADD: &[u8] = br#"{"version":1,"message":{"add":{"attachment":{"container":"c1","interface":"eth0"},"path":"/n","addresses":[]}}}"#;
const STATUS: &[u8] = br#"{"version":1,"message":"status"}"#;

fn send(stream: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    assert!(descriptors.is_empty() || beside.push(SendAncillaryMessage::ScmRights(descriptors)));
    let sent = sendmsg(stream, &[IoSlice::new(bytes)], &mut beside, SendFlags::NOSIGNAL)?;
    assert_eq!(sent, bytes.len());
    stream.shutdown(Shutdown::Write)
}

fn hear(mut stream: &UnixStream) -> Result<Answer, Box<dyn std::error::Error>> {
    let mut bytes = Vec::new();
    // After the answer, the kernel tells that not all we said was heard.
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
    Ok(Answer::decode(&bytes)?)
}

/// What is answered to this.
fn answer(
    agent: &Agent,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> Result<Answer, Box<dyn std::error::Error>> {
    let stream = UnixStream::connect(agent.socket())?;
    send(&stream, bytes, descriptors)?;
    hear(&stream)
}

fn assert_refused(answer: &Answer, expected: &str) {
    assert!(matches!(answer, Answer::Refused(reason) if reason.to_string().contains(expected)), "{answer:?}");
}

fn ten_megabytes() -> Outcome {
    let agent = Agent::done(&Namespace::create()?)?;
    let stream = UnixStream::connect(agent.socket())?;
    let broken = (&stream).write_all(&vec![b' '; 10 << 20]).err().ok_or("all was taken")?;
    assert_eq!(broken.kind(), io::ErrorKind::BrokenPipe);
    assert_refused(&hear(&stream)?, "more than 262144 bytes");
    assert!(agent.asked().is_none());
    Ok(())
}

fn short() -> Limits {
    Limits { exchange: Duration::from_millis(100), ..Limits::default() }
}

fn a_dribble() -> Outcome {
    let agent = Agent::start(&Namespace::create()?, Does::Answers(Answer::Done), short())?;
    let stream = UnixStream::connect(agent.socket())?;
    // A byte at a time, for ever: it ends because the other side ends it.
    while (&stream).write_all(b" ").is_ok() {
        thread::sleep(Duration::from_millis(1));
    }
    let cut = hear(&stream)?;
    assert!(matches!(&cut, Answer::TryAgain(reason) if reason.to_string().contains("in time")), "{cut:?}");
    assert!(agent.asked().is_none());
    Ok(())
}

fn who_says_nothing() -> Outcome {
    let limits = Limits { concurrent: NonZeroUsize::MIN, ..short() };
    let agent = Agent::start(&Namespace::create()?, Does::Answers(Answer::Done), limits)?;
    let silent: Vec<_> = (0..3).map(|_| UnixStream::connect(agent.socket())).collect::<Result<_, _>>()?;
    assert_eq!(answer(&agent, STATUS, &[])?, Answer::Done);
    drop(silent);
    Ok(())
}

fn nonsense() -> Outcome {
    let agent = Agent::done(&Namespace::create()?)?;
    let pod = Namespace::create()?;
    for (bytes, expected) in [
        (&b""[..], "a message that is none"),
        (b"GET / HTTP/1.1\r\n\r\n", "a message that is none"),
        (br#"{"version":7,"message":"status"}"#, "version 7"),
        (br#"{"version":1,"message":"reboot"}"#, "unknown variant `reboot`"),
        (
            br#"{"version":1,"message":{"del":{"attachment":{"container":"../../x","interface":"eth0"}}}}"#,
            "the container id has '.'",
        ),
        (br#"{"version":1,"message":"status"}{"#, "trailing characters"),
    ] {
        let stream = UnixStream::connect(agent.socket())?;
        if bytes.is_empty() {
            stream.shutdown(Shutdown::Write)?;
        } else {
            send(&stream, bytes, &[])?;
        }
        assert_refused(&hear(&stream)?, expected);
    }
    assert_refused(&answer(&agent, ADD.split_last().ok_or("empty")?.1, &[pod.as_fd()])?, "EOF");
    assert!(agent.asked().is_none());
    Ok(())
}

fn no_namespace() -> Outcome {
    let (node, pod) = (Namespace::create()?, Namespace::create()?);
    let agent = Agent::done(&node)?;
    let (null, mounts) = (File::open("/dev/null")?, File::open("/proc/thread-self/ns/mnt")?);
    let (pipe, _writer) = io::pipe()?;
    assert_refused(&answer(&agent, ADD, &[])?, "no namespace came");
    assert_refused(&answer(&agent, ADD, &[node.as_fd()])?, "the node's own");
    for wrong in [null.as_fd(), mounts.as_fd(), pipe.as_fd()] {
        assert_refused(&answer(&agent, ADD, &[wrong])?, "what came with the request");
    }
    assert_refused(&answer(&agent, STATUS, &[pod.as_fd()])?, "no use for it");
    assert!(agent.asked().is_none());
    // And the right one is right.
    assert_eq!(answer(&agent, ADD, &[pod.as_fd()])?, Answer::Done);
    assert!(matches!(agent.asked(), Some(Asked::Add(present)) if present.namespace.id() == pod.id()));
    Ok(())
}

fn too_many() -> Outcome {
    let pod = Namespace::create()?;
    let agent = Agent::done(&Namespace::create()?)?;
    let baseline = Baseline::take()?;
    for count in [2, 3, 8] {
        assert_refused(&answer(&agent, ADD, &vec![pod.as_fd(); count])?, "more than one descriptor");
    }
    // One with each of two pieces.
    let stream = UnixStream::connect(agent.socket())?;
    let (first, rest) = ADD.split_at(10);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    let one = [pod.as_fd()];
    assert!(beside.push(SendAncillaryMessage::ScmRights(&one)));
    sendmsg(&stream, &[IoSlice::new(first)], &mut beside, SendFlags::NOSIGNAL)?;
    send(&stream, rest, &[pod.as_fd()])?;
    assert_refused(&hear(&stream)?, "more than one descriptor");
    drop(stream);
    assert!(agent.asked().is_none());
    baseline.settled(Duration::from_secs(10))?;
    Ok(())
}

/// Even where the way to the socket is open to it.
fn another_user() -> Outcome {
    let agent = Agent::done(&Namespace::create()?)?;
    let socket = agent.socket();
    for opened in socket.ancestors().take(3) {
        fs::set_permissions(opened, fs::Permissions::from_mode(0o777))?;
    }
    let program = socket.with_file_name("inpod-cni");
    fs::copy(env!("CARGO_BIN_EXE_inpod-cni"), &program)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let mut command = Command::new(&program);
    command.env_clear().env("CNI_COMMAND", "STATUS").uid(65534).gid(65534);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let configuration = serde_json::json!({ "cniVersion": "1.1.0", "name": "pods", "agentSocket": socket });
    child.stdin.take().ok_or("no stdin")?.write_all(configuration.to_string().as_bytes())?;
    let said = String::from_utf8(child.wait_with_output()?.stdout)?;
    assert!(said.contains("the node agent refuses: user 65534 may not ask"), "{said}");
    assert!(agent.asked().is_none());
    Ok(())
}
