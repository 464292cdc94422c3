//! Agents that break the protocol, or hand over what is no pod: each is told or left, nothing of theirs is kept open, and
//! pods that were added before are served on.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use inpod_proxy_core::Node;
use inpod_proxy_core::zds::{Hello, MAX_MESSAGE, Request, Response};
use tempfile::TempDir;
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::Pod;
use testkit::leaks::Baseline;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_seqpacket::ancillary::AncillaryMessageWriter;
use tokio_seqpacket::{UnixSeqpacket, UnixSeqpacketListener};

use crate::mesh::{
    APPLICATION, Following, LIMIT, LISTENERS, Mesh, Result, listening, pair, pod_name, runtime,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        test("messages_that_are_none_end_the_connection", messages_that_are_none_end_the_connection).serial(),
        test("what_breaks_the_protocol_ends_the_connection", what_breaks_the_protocol_ends_the_connection)
            .serial(),
        test("descriptors_that_are_no_pod_are_refused", descriptors_that_are_no_pod_are_refused).serial(),
        test("too_many_descriptors_end_the_connection", too_many_descriptors_end_the_connection).serial(),
    ]
}

/// An agent that sends whatever it likes, to a proxy that serves two pods with a live connection between them.
struct Scene {
    mesh: Mesh,
    runtime: Runtime,
    listener: UnixSeqpacketListener,
    agent: Option<UnixSeqpacket>,
    live: Option<(TcpStream, TcpStream)>,
    pods: [Pod; 2],
    following: Following,
    _folder: TempDir,
}

/// What the proxy did about a packet.
#[derive(Debug)]
enum Reaction {
    Acknowledged,
    /// It said why, and the connection goes on.
    Refused(String),
    /// It may have said why, and closed.
    Closed(Option<String>),
}

impl Scene {
    fn new() -> Result<Self> {
        let (mesh, pods) = Mesh::of(["client", "server"])?;
        let (runtime, folder) = (runtime()?, TempDir::new()?);
        let path = folder.path().join("zds.sock");
        let listener = {
            let _context = runtime.enter();
            UnixSeqpacketListener::bind(&path)?
        };
        let following = Following::start(Node::new(mesh.shared.clone())?, &path)?;
        let mut scene =
            Self { mesh, runtime, listener, agent: None, live: None, pods, following, _folder: folder };
        scene.meet()?;
        for pod in scene.pods.clone() {
            let add = Request::Add { uid: pod.name().into(), name: pod_name(&pod) };
            let reaction = scene.say(&add.encode(), &[pod.namespace().as_fd()])?;
            assert!(matches!(reaction, Reaction::Acknowledged), "{reaction:?}");
        }
        scene.finish_snapshot()?;
        scene.mesh.capture()?;
        let [client, server] = &scene.pods;
        scene.live = Some(pair(client, server, (server.v4(), APPLICATION))?);
        scene.pods_are_served()?;
        Ok(scene)
    }

    /// Waits for the proxy, and takes its hello.
    fn meet(&mut self) -> Outcome {
        self.agent = None;
        let agent = self.runtime.block_on(async { timeout(LIMIT, self.listener.accept()).await })??;
        self.agent = Some(agent);
        let hello = self.hear()?.ok_or("no hello")?;
        assert_eq!(Hello::decode(&hello)?, Hello::V1);
        Ok(())
    }

    /// [`meet`](Self::meet), and the snapshot of both pods.
    fn meet_again(&mut self) -> Outcome {
        self.meet()?;
        for uid in ["client", "server"] {
            let reaction = self.say(&Request::Keep { uid: uid.into() }.encode(), &[])?;
            assert!(matches!(reaction, Reaction::Acknowledged), "{reaction:?}");
        }
        self.finish_snapshot()
    }

    fn finish_snapshot(&mut self) -> Outcome {
        let reaction = self.say(&Request::SnapshotSent.encode(), &[])?;
        assert!(matches!(reaction, Reaction::Acknowledged), "{reaction:?}");
        self.following.wait_for(|status| status.is_ready() && status.serving == 2)
    }

    /// Sends one packet; what the proxy does about it. After a refusal, whether it still answers is tried.
    fn say(&mut self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<Reaction> {
        self.send(bytes, descriptors)?;
        let said = match self.hear()? {
            None => return Ok(Reaction::Closed(None)),
            Some(answer) => Response::decode(&answer)?,
        };
        let Response::Nack(reason) = said else { return Ok(Reaction::Acknowledged) };
        // A del of nobody is acknowledged, if there is anybody to do it.
        let went_on =
            self.send(&Request::Del { uid: "nobody".into() }.encode(), &[]).is_ok() && self.hear()?.is_some();
        Ok(if went_on { Reaction::Refused(reason) } else { Reaction::Closed(Some(reason)) })
    }

    fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let agent = self.agent.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let mut control = [0; 256];
        let mut ancillary = AncillaryMessageWriter::new(&mut control);
        if !descriptors.is_empty() {
            ancillary.add_fds(descriptors).map_err(|_| io::ErrorKind::InvalidInput)?;
        }
        let data = [IoSlice::new(bytes)];
        let sending = agent.send_vectored_with_ancillary(&data, &mut ancillary);
        self.runtime.block_on(async { timeout(LIMIT, sending).await })??;
        Ok(())
    }

    /// The next packet; `None` when the proxy has closed.
    fn hear(&self) -> Result<Option<Vec<u8>>> {
        let agent = self.agent.as_ref().ok_or("no proxy")?;
        let mut bytes = vec![0; MAX_MESSAGE];
        let mut data = [IoSliceMut::new(&mut bytes)];
        let heard = self.runtime.block_on(async { timeout(LIMIT, agent.recv_vectored(&mut data)).await })?;
        match heard {
            Ok(info) if info.bytes_read() == 0 => Ok(None),
            Ok(info) => {
                bytes.truncate(info.bytes_read());
                Ok(Some(bytes))
            }
            // It closed with something of ours unread.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The live connection still is, and each port is listened on by one proxy.
    fn pods_are_served(&mut self) -> Outcome {
        let (near, far) = self.live.as_mut().ok_or("no live connection")?;
        near.write_all(b"still there?")?;
        let mut heard = [0; 12];
        far.read_exact(&mut heard)?;
        assert_eq!(&heard, b"still there?");
        for pod in &self.pods {
            for (port, sockets) in LISTENERS {
                assert_eq!(listening(pod, port)?, sockets, "{} {port}", pod.name());
            }
        }
        Ok(())
    }

    /// Sends each packet to a proxy that has its snapshot, and that must then leave.
    fn each_ends_the_connection(&mut self, packets: Vec<Bad<'_>>) -> Outcome {
        let baseline = Baseline::take()?;
        for Bad { what, bytes, descriptors, reason } in packets {
            let reaction = self.say(&bytes, &descriptors)?;
            let Reaction::Closed(said) = reaction else { return Err(format!("{what}: {reaction:?}").into()) };
            assert!(said.as_deref().unwrap_or_default().contains(reason), "{what}: {said:?}");
            self.pods_are_served()?;
            self.meet_again()?;
            self.pods_are_served()?;
        }
        descriptors_settle(&baseline)
    }
}

/// A packet, and a part of the reason that must be given for refusing it.
struct Bad<'a> {
    what: &'static str,
    bytes: Vec<u8>,
    descriptors: Vec<BorrowedFd<'a>>,
    reason: &'static str,
}

fn descriptors_settle(baseline: &Baseline) -> Outcome {
    Ok(baseline.settled(Duration::from_secs(5))?)
}

fn messages_that_are_none_end_the_connection() -> Outcome {
    let mut scene = Scene::new()?;
    let bad = |what, bytes, reason| Bad { what, bytes, descriptors: Vec::new(), reason };
    scene.each_ends_the_connection(vec![
        bad("garbage", vec![0xff; 64], "protobuf"),
        bad("a request of a kind that nobody knows", vec![0x3a, 0x00], "payload"),
        bad("an add without workload", vec![0x0a, 0x03, 0x0a, 0x01, b'u'], "workload_info"),
        bad("a request without uid", vec![0x12, 0x00], "uid"),
        bad("more than a message may be", vec![0x0a; 2048], "1024"),
        // It cannot be told from the end of the stream.
        bad("nothing", Vec::new(), ""),
    ])
}

fn what_breaks_the_protocol_ends_the_connection() -> Outcome {
    let mut scene = Scene::new()?;
    let [client, _] = scene.pods.clone();
    let add = Request::Add { uid: "new".into(), name: pod_name(&client) }.encode();
    let bad = |what, bytes, reason| Bad { what, bytes, descriptors: Vec::new(), reason };
    let keep = Request::Keep { uid: "client".into() }.encode();
    let mut stray =
        bad("a del with a descriptor", Request::Del { uid: "client".into() }.encode(), "descriptor");
    stray.descriptors = vec![client.namespace().as_fd()];
    scene.each_ends_the_connection(vec![
        bad("an add without a descriptor", add, "without a descriptor"),
        bad("a keep after the snapshot", keep, "after the snapshot"),
        bad("a second snapshot", Request::SnapshotSent.encode(), "twice"),
        stray,
    ])
}

fn too_many_descriptors_end_the_connection() -> Outcome {
    let mut scene = Scene::new()?;
    let new = scene.mesh.lab.pod("new")?;
    let add = Request::Add { uid: "new".into(), name: pod_name(&new) }.encode();
    let bad = |what, count| Bad {
        what,
        bytes: add.clone(),
        descriptors: vec![new.namespace().as_fd(); count],
        reason: "more than one descriptor",
    };
    scene.each_ends_the_connection(vec![bad("two", 2), bad("five", 5), bad("forty", 40)])?;
    assert_eq!(listening(&new, 15008)?, 0);
    Ok(())
}

/// The add is refused; the agent may go on and name others.
fn descriptors_that_are_no_pod_are_refused() -> Outcome {
    let mut scene = Scene::new()?;
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
