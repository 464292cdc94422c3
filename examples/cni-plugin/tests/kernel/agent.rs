//! Agent: the agent's side with a handler that remembers what it was asked, and answers as it is told to.

use std::collections::VecDeque;
use std::error::Error;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use cni_plugin::message::{Answer, Leaving, Valid};
use cni_plugin::server::{Handler, Limits, Present, Server};
use proxy_core::local_socket;
use tempfile::TempDir;
use testkit::netns::Namespace;
use tokio_util::sync::CancellationToken;

/// What a handler was asked.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    Add(Present),
    Check(Present),
    Del(Leaving),
    Gc(Valid),
    Status,
}

/// What a handler does.
#[derive(Clone, Debug)]
pub(crate) enum Does {
    Answers(Answer),
    Panics,
    NeverAnswers,
}

struct Remembers {
    asked: Mutex<VecDeque<Asked>>,
    does: Does,
}

impl Remembers {
    async fn answer(&self, asked: Asked) -> Answer {
        lock(&self.asked).push_back(asked);
        match &self.does {
            Does::Answers(answer) => answer.clone(),
            Does::Panics => std::panic::resume_unwind(Box::new("as the test wants")),
            Does::NeverAnswers => std::future::pending().await,
        }
    }
}

impl Handler for Remembers {
    async fn add(&self, present: Present) -> Answer {
        self.answer(Asked::Add(present)).await
    }

    async fn check(&self, present: Present) -> Answer {
        self.answer(Asked::Check(present)).await
    }

    async fn del(&self, leaving: Leaving) -> Answer {
        self.answer(Asked::Del(leaving)).await
    }

    async fn gc(&self, valid: Valid) -> Answer {
        self.answer(Asked::Gc(valid)).await
    }

    async fn status(&self) -> Answer {
        self.answer(Asked::Status).await
    }
}

/// It serves until it is dropped.
pub(crate) struct Agent {
    place: TempDir,
    handler: Arc<Remembers>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    /// An agent that is in the namespace `node`.
    pub(crate) fn start(node: &Namespace, does: Does, limits: Limits) -> Result<Self, Box<dyn Error>> {
        let place = tempfile::tempdir()?;
        let handler = Arc::new(Remembers { asked: Mutex::default(), does });
        let stop = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let socket = socket_in(place.path());
        let listener = local_socket::bind(&socket, |draft| UnixListener::bind(draft))?;
        let server = node.run(|| runtime.block_on(async { Server::new(listener, limits) }))??;
        let (serving, stopped) = (Arc::clone(&handler), stop.clone());
        let thread = std::thread::spawn(move || runtime.block_on(server.serve(serving, &stopped)));
        Ok(Self { place, handler, stop, thread: Some(thread) })
    }

    pub(crate) fn done(node: &Namespace) -> Result<Self, Box<dyn Error>> {
        Self::start(node, Does::Answers(Answer::Done), Limits::default())
    }

    pub(crate) fn socket(&self) -> PathBuf {
        socket_in(self.place.path())
    }

    /// What it was asked first of what has not been taken.
    pub(crate) fn asked(&self) -> Option<Asked> {
        lock(&self.handler.asked).pop_front()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.cancel();
        // A panic in it is the test's own.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn socket_in(place: &Path) -> PathBuf {
    place.join("cni/agent.sock")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
