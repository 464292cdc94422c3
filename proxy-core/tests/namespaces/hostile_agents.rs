//! Agents that break the protocol, or hand over what is no pod: each is told or left, nothing of theirs is kept open, and
//! pods that were added before are served on.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use inpod_proxy_core::explain::{Query, Way};
use inpod_proxy_core::zds::Request;
use inpod_proxy_core::{ClientAddr, OriginalDst};
use tempfile::TempDir;
use testkit::kernel::{Case, Outcome, test};
use testkit::leaks::Baseline;

use crate::mesh::foreign_agent::{ForeignAgent, Reaction, descriptors_settle};
use crate::mesh::{listening, pod_name};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        test("messages_that_are_none_end_the_connection", messages_that_are_none_end_the_connection).serial(),
        test("what_breaks_the_protocol_ends_the_connection", what_breaks_the_protocol_ends_the_connection)
            .serial(),
        test("descriptors_that_are_no_pod_are_refused", descriptors_that_are_no_pod_are_refused).serial(),
        test("questions_about_others_are_refused", questions_about_others_are_refused).serial(),
        test("too_many_descriptors_end_the_connection", too_many_descriptors_end_the_connection).serial(),
    ]
}

/// A packet, and a part of the reason that must be given for refusing it.
struct Bad<'a> {
    what: &'static str,
    bytes: Vec<u8>,
    descriptors: Vec<BorrowedFd<'a>>,
    reason: &'static str,
}

/// Sends each packet to a proxy that has its snapshot, and that must then leave.
fn each_ends_the_connection(scene: &mut ForeignAgent, packets: Vec<Bad<'_>>) -> Outcome {
    let baseline = Baseline::take()?;
    for Bad { what, bytes, descriptors, reason } in packets {
        let reaction = scene.say(&bytes, &descriptors)?;
        let Reaction::Closed(said) = reaction else { return Err(format!("{what}: {reaction:?}").into()) };
        assert!(said.as_deref().unwrap_or_default().contains(reason), "{what}: {said:?}");
        scene.pods_are_served()?;
        scene.meet_again()?;
        scene.pods_are_served()?;
    }
    descriptors_settle(&baseline)
}

fn messages_that_are_none_end_the_connection() -> Outcome {
    let mut scene = ForeignAgent::new()?;
    let bad = |what, bytes, reason| Bad { what, bytes, descriptors: Vec::new(), reason };
    each_ends_the_connection(
        &mut scene,
        vec![
            bad("garbage", vec![0xff; 64], "protobuf"),
            bad("a request of a kind that nobody knows", vec![0x3a, 0x00], "payload"),
            bad("an add without workload", vec![0x0a, 0x03, 0x0a, 0x01, b'u'], "workload_info"),
            bad("a request without uid", vec![0x12, 0x00], "uid"),
            bad("a question that is not complete", vec![0xc2, 0x3e, 0x00], "bad way"),
            bad("more than a message may be", vec![0x0a; 2048], "1024"),
            // It cannot be told from the end of the stream.
            bad("nothing", Vec::new(), ""),
        ],
    )
}

fn what_breaks_the_protocol_ends_the_connection() -> Outcome {
    let mut scene = ForeignAgent::new()?;
    let [client, _] = scene.pods.clone();
    let add = Request::Add { uid: "new".into(), name: pod_name(&client) }.encode();
    let bad = |what, bytes, reason| Bad { what, bytes, descriptors: Vec::new(), reason };
    let keep = Request::Keep { uid: "client".into() }.encode();
    let mut stray =
        bad("a del with a descriptor", Request::Del { uid: "client".into() }.encode(), "descriptor");
    stray.descriptors = vec![client.namespace().as_fd()];
    each_ends_the_connection(
        &mut scene,
        vec![
            bad("an add without a descriptor", add, "without a descriptor"),
            bad("a keep after the snapshot", keep, "after the snapshot"),
            bad("a second snapshot", Request::SnapshotSent.encode(), "twice"),
            stray,
        ],
    )
}

/// A pod that is not there is not explained, and the connection goes on.
fn questions_about_others_are_refused() -> Outcome {
    let mut scene = ForeignAgent::new()?;
    let (client, destination) = ("10.0.0.1:1".parse()?, "192.0.2.1:1".parse()?);
    let query = |uid: &str| Query {
        uid: uid.into(),
        way: Way::Out,
        client: ClientAddr::new(client),
        destination: OriginalDst::new(destination),
    };
    let reaction = scene.say(&Request::Explain(query("nobody")).encode(), &[])?;
    assert!(matches!(&reaction, Reaction::Refused(why) if why == "the pod is not served"), "{reaction:?}");
    let reaction = scene.say(&Request::Explain(query("client")).encode(), &[])?;
    assert!(matches!(reaction, Reaction::Acknowledged), "{reaction:?}");
    scene.pods_are_served()
}

fn too_many_descriptors_end_the_connection() -> Outcome {
    let mut scene = ForeignAgent::new()?;
    let new = scene.mesh.lab.pod("new")?;
    let add = Request::Add { uid: "new".into(), name: pod_name(&new) }.encode();
    let bad = |what, count| Bad {
        what,
        bytes: add.clone(),
        descriptors: vec![new.namespace().as_fd(); count],
        reason: "more than 18 descriptors",
    };
    each_ends_the_connection(&mut scene, vec![bad("one too many", 19), bad("forty", 40)])?;
    assert_eq!(listening(&new, 15008)?, 0);
    Ok(())
}

/// The add is refused; the agent may go on and name others.
fn descriptors_that_are_no_pod_are_refused() -> Outcome {
    let mut scene = ForeignAgent::new()?;
    let (new, folder) = (scene.mesh.lab.pod("new")?, TempDir::new()?);
    let open = |path: &str| File::open(path).map(OwnedFd::from);
    let baseline = Baseline::take()?;
    let (reader, writer) = io::pipe()?;
    let file = File::create(folder.path().join("file"))?;
    let wrong: Vec<(&str, OwnedFd)> = vec![
        ("a file", file.into()),
        ("a folder", open("/")?),
        ("a pipe", reader.into()),
        ("a socket", std::net::UdpSocket::bind("127.0.0.1:0")?.into()),
        ("a mount namespace", open("/proc/self/ns/mnt")?),
        ("a user namespace", open("/proc/self/ns/user")?),
        ("a process's folder", open("/proc/self")?),
        ("the proxy's own network", open("/proc/self/ns/net")?),
    ];
    let add = Request::Add { uid: "new".into(), name: pod_name(&new) }.encode();
    for (what, descriptor) in &wrong {
        let reaction = scene.say(&add, &[descriptor.as_fd()])?;
        assert!(matches!(&reaction, Reaction::Refused(reason) if !reason.is_empty()), "{what}: {reaction:?}");
        scene.pods_are_served()?;
    }
    let mut nameless = pod_name(&new);
    nameless.service_account = "not a name".into();
    let nameless = Request::Add { uid: "new".into(), name: nameless }.encode();
    let reaction = scene.say(&nameless, &[new.namespace().as_fd()])?;
    assert!(matches!(&reaction, Reaction::Refused(reason) if reason.contains("identity")), "{reaction:?}");
    drop((wrong, writer));
    descriptors_settle(&baseline)?;
    let reaction = scene.say(&add, &[new.namespace().as_fd()])?;
    assert!(matches!(reaction, Reaction::Acknowledged), "{reaction:?}");
    assert_eq!(listening(&new, 15008)?, 1);
    scene.pods_are_served()
}
