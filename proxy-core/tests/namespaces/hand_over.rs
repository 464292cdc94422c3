//! A new proxy takes over from an old one, in the same pods at the same time.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use inpod_proxy_core::{Node, Shared};
use testkit::http;
use testkit::kernel::{Case, Outcome, test};

use crate::mesh::{APPLICATION, LIMIT, Mesh, listening, pair, runtime, workers};

pub(crate) fn cases() -> Vec<Case> {
    vec![test("no_connection_fails_while_one_proxy_follows_another", no_connection_fails_while_one_follows)]
}

/// Connections that are made before, during and after the change all get their answer, and one that the old proxy
/// carries goes on for as long as it may.
fn no_connection_fails_while_one_follows() -> Outcome {
    let (mesh, old, [client, server]) = Mesh::running(["client", "server"])?;
    let _application = http::Server::start(server.namespace(), APPLICATION)?;
    let address = SocketAddr::from((server.v4(), APPLICATION));
    let (mut near, mut far) = pair(&client, &server, (server.v4(), 8081))?;
    near.write_all(b"before")?;
    far.read_exact(&mut [0; 6])?;

    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let ask = || {
            let mut answered = 0;
            while !done.load(Ordering::Relaxed) {
                http::request(client.namespace(), address, "/", b"hello").map_err(|error| {
                    format!("request {answered}: {error}: {:?}", std::error::Error::source(&error))
                })?;
                answered += 1;
            }
            Ok::<_, String>(answered)
        };
        let asking = [scope.spawn(ask), scope.spawn(ask), scope.spawn(ask)];
        let changed = (|| {
            let _done = StoresOnDrop(&done);
            let mut new = Node::new(Shared { workers: workers()?, ..mesh.shared.clone() })?;
            mesh.serve(&mut new)?;
            assert_eq!(listening(&server, 15008)?, 2);
            let draining = scope.spawn(|| -> Result<(), String> {
                runtime().map_err(|error| error.to_string())?.block_on(old.drain(LIMIT));
                Ok(())
            });
            for _ in 0..200 {
                http::request(client.namespace(), address, "/", b"hello")?;
            }
            assert!(!draining.is_finished(), "the old proxy waits for what it carries");
            near.write_all(b"during")?;
            far.read_exact(&mut [0; 6])?;
            drop((near, far));
            draining.join().unwrap()?;
            assert_eq!(listening(&server, 15008)?, 1);
            for _ in 0..20 {
                http::request(client.namespace(), address, "/", b"hello")?;
            }
            Ok(new)
        })();
        for asked in asking {
            assert!(asked.join().unwrap()? > 0);
        }
        changed.map(drop)
    })
}

/// Sets it also when a check fails, so that nobody waits for threads that go on.
struct StoresOnDrop<'a>(&'a AtomicBool);

impl Drop for StoresOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
