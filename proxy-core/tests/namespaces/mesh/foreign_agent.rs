//! Foreign agent: one that says whatever it likes.

use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use inpod_proxy_core::Node;
use inpod_proxy_core::zds::{Hello, MAX_MESSAGE, Request, Response};
use tempfile::TempDir;
use testkit::kernel::Outcome;
use testkit::lab::Pod;
use testkit::leaks::Baseline;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_seqpacket::ancillary::AncillaryMessageWriter;
use tokio_seqpacket::{UnixSeqpacket, UnixSeqpacketListener};

use super::{APPLICATION, Following, LIMIT, LISTENERS, Mesh, Result, listening, pair, pod_name, runtime};

/// An agent that sends whatever it likes, to a proxy that serves two pods with a live connection between them.
pub(crate) struct ForeignAgent {
    pub(crate) mesh: Mesh,
    runtime: Runtime,
    listener: UnixSeqpacketListener,
    agent: Option<UnixSeqpacket>,
    live: Option<(TcpStream, TcpStream)>,
    pub(crate) pods: [Pod; 2],
    following: Following,
    _folder: TempDir,
}

/// What the proxy did about a packet.
#[derive(Debug)]
pub(crate) enum Reaction {
    Acknowledged,
    /// It said why, and the connection goes on.
    Refused(String),
    /// It may have said why, and closed.
    Closed(Option<String>),
}

impl ForeignAgent {
    pub(crate) fn new() -> Result<Self> {
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
        assert_eq!(Hello::decode(&hello)?.version, 1);
        Ok(())
    }

    /// [`meet`](Self::meet), and the snapshot of both pods.
    pub(crate) fn meet_again(&mut self) -> Outcome {
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
    pub(crate) fn say(&mut self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<Reaction> {
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
    pub(crate) fn pods_are_served(&mut self) -> Outcome {
        self.live_connection_lives()?;
        for pod in &self.pods {
            for (port, sockets) in LISTENERS {
                assert_eq!(listening(pod, port)?, sockets, "{} {port}", pod.name());
            }
        }
        Ok(())
    }

    pub(crate) fn live_connection_lives(&mut self) -> Outcome {
        let (near, far) = self.live.as_mut().ok_or("no live connection")?;
        near.write_all(b"still there?")?;
        let mut heard = [0; 12];
        far.read_exact(&mut heard)?;
        assert_eq!(&heard, b"still there?");
        Ok(())
    }
}

pub(crate) fn descriptors_settle(baseline: &Baseline) -> Outcome {
    Ok(baseline.settled(Duration::from_secs(5))?)
}
