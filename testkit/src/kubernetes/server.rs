//! The server: one thread, on the loopback of a namespace, until it is dropped.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use futures_util::stream::{self, Stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use netns::Namespace;
use serde_json::{Value, json};
use tokio::sync::watch::{Receiver, Sender, channel};
use tokio::task::JoinSet;

use super::answer::{Answer, Question, answer, status, status_object};
use super::store::{Key, Kind, Store};

/// An API server, until it is dropped.
#[derive(Debug)]
pub struct Api {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// How it fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// It does not.
    #[default]
    None,
    /// Nobody listens, and all connections are cut.
    Away,
    /// Requests are heard and not answered.
    Silent,
    /// Every request is answered with this status, and watches end.
    Refusing(u16),
    /// Patches alone are answered with this status.
    RefusingPatches(u16),
    /// Watches tell nothing.
    Behind,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    store: Store,
    fault: Fault,
    /// Watches from before this many cuts end.
    cuts: u64,
    /// An old version is refused by status, and not by an event.
    refuses_old: bool,
    asked: Vec<String>,
    ends: bool,
}

impl Api {
    /// Starts a server in a namespace whose loopback is up. Connections are accepted once this returns.
    ///
    /// # Errors
    ///
    /// When the namespace cannot be entered, or no thread can be started.
    pub fn start(namespace: &Namespace) -> io::Result<Self> {
        let namespace = namespace.clone();
        let listener = bind(&namespace, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { state: Mutex::default(), changed: channel(()).0 });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let served = Arc::clone(&shared);
        let serve = move || runtime.block_on(serve(&namespace, listener, address, &served));
        let thread = thread::Builder::new().name("kube-api".into()).spawn(serve)?;
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A kubeconfig by which it is reached.
    #[must_use]
    pub fn kubeconfig(&self) -> String {
        let cluster = json!({ "name": "lab", "cluster": { "server": format!("http://{}", self.address) } });
        let context = json!({ "name": "lab", "context": { "cluster": "lab", "user": "agent" } });
        let user = json!({ "name": "agent", "user": { "token": "secret" } });
        let config = json!({
            "kind": "Config", "apiVersion": "v1", "current-context": "lab",
            "clusters": [cluster], "contexts": [context], "users": [user],
        });
        config.to_string()
    }

    /// Creates a namespace with these labels, or changes them.
    pub fn put_namespace(&self, name: &str, labels: &Value) {
        let key = Key { kind: Kind::Namespaces, namespace: String::new(), name: name.into() };
        let metadata = json!({ "name": name, "labels": labels });
        self.change(|state| {
            state.store.put(key, json!({ "kind": "Namespace", "apiVersion": "v1", "metadata": metadata }));
        });
    }

    /// Creates a pod, or changes it; its namespace and name are in its metadata.
    pub fn put_pod(&self, pod: &Value) {
        let field = |name: &str| pod.pointer(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let key =
            Key { kind: Kind::Pods, namespace: field("/metadata/namespace"), name: field("/metadata/name") };
        self.change(|state| state.store.put(key, pod.clone()));
    }

    /// A pod as it is now.
    #[must_use]
    pub fn pod(&self, namespace: &str, name: &str) -> Option<Value> {
        self.shared.lock().store.get(&pod_key(namespace, name)).cloned()
    }

    /// Deletes a pod at once.
    pub fn delete_pod(&self, namespace: &str, name: &str) {
        self.change(|state| state.store.delete(&pod_key(namespace, name)));
    }

    /// Fails like this from now on.
    pub fn fail(&self, fault: Fault) {
        self.change(|state| state.fault = fault);
    }

    /// Ends all watches, as a server that is restarted does.
    pub fn cut_watches(&self) {
        self.change(|state| state.cuts += 1);
    }

    /// Forgets all changes up to now and ends all watches: who goes on from an older version is told that it is gone, by an event, or by
    /// the status of the answer.
    pub fn expire(&self, by_status: bool) {
        self.change(|state| {
            state.store.forget_changes();
            state.refuses_old = by_status;
            state.cuts += 1;
        });
    }

    /// The requests it has had, by method, path and query, whose line contains this.
    #[must_use]
    pub fn asked(&self, part: &str) -> usize {
        self.shared.lock().asked.iter().filter(|line| line.contains(part)).count()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.lock());
        self.shared.changed.send_replace(());
    }
}

/// Ends its connections and waits for its thread.
impl Drop for Api {
    fn drop(&mut self) {
        self.change(|state| state.ends = true);
        if let Some(thread) = self.thread.take() {
            // What it has seen is of no more use, so neither is that it panicked.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pod_key(namespace: &str, name: &str) -> Key {
    Key { kind: Kind::Pods, namespace: namespace.into(), name: name.into() }
}

fn bind(namespace: &Namespace, address: SocketAddr) -> io::Result<TcpListener> {
    let listener = namespace.run(|| TcpListener::bind(address)).map_err(io::Error::other)??;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn serve(namespace: &Namespace, listener: TcpListener, address: SocketAddr, shared: &Arc<Shared>) {
    let mut changed = shared.changed.subscribe();
    let mut listener = tokio::net::TcpListener::from_std(listener).ok();
    let mut connections = JoinSet::new();
    loop {
        changed.borrow_and_update();
        let (ends, away) = {
            let state = shared.lock();
            (state.ends, state.fault == Fault::Away)
        };
        if ends {
            return;
        }
        if away {
            listener = None;
            connections.shutdown().await;
        } else if listener.is_none() {
            let bound = bind(namespace, address).and_then(tokio::net::TcpListener::from_std);
            listener = bound.ok();
        }
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await.ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // The server's handle holds the sender.
            _ = changed.changed() => {}
            accepted = accepted => if let Some((stream, _)) = accepted {
                let shared = Arc::clone(shared);
                let service = service_fn(move |request| respond(request, Arc::clone(&shared)));
                // A connection ends with its first error; the client sees that.
                connections.spawn(async move { http1::Builder::new().serve_connection(TokioIo::new(stream), service).await });
            },
            _ = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

async fn respond(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Body>, Infallible> {
    let query = request.uri().query().unwrap_or_default().split('&');
    let query =
        query.filter_map(|pair| pair.split_once('=')).map(|(key, value)| (key.to_owned(), decode(value)));
    let mut question = Question {
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        query: query.collect::<BTreeMap<_, _>>(),
        body: Vec::new(),
    };
    let collected = request.into_body().collect().await;
    question.body = collected.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
    shared.lock().asked.push(question.line());
    let mut changed = shared.changed.subscribe();
    while shared.lock().fault == Fault::Silent {
        if changed.changed().await.is_err() {
            break;
        }
    }
    let mut state = shared.lock();
    let answered = match state.fault {
        Fault::Refusing(code) => refusal(code),
        Fault::RefusingPatches(code) if question.is_patch() => refusal(code),
        _ => answer(&mut state.store, &question),
    };
    let cuts = state.cuts;
    let is_old =
        |state: &State, kind, from| state.refuses_old && state.store.since(kind, from, None).is_err();
    let (code, body) = match answered {
        Answer::Whole(code, value) => (code, whole(&value)),
        Answer::Watch { kind, from, .. } if is_old(&state, kind, from) => {
            (StatusCode::GONE, whole(&status_object(StatusCode::GONE, "too old resource version")))
        }
        Answer::Watch { kind, node, from } => {
            let watch = Watch { shared: Arc::clone(&shared), changed, kind, node, from, cuts };
            (StatusCode::OK, StreamBody::new(lines(watch)).boxed_unsync())
        }
    };
    drop(state);
    shared.changed.send_replace(());
    let mut response = Response::new(body);
    *response.status_mut() = code;
    Ok(response)
}

fn refusal(code: u16) -> Answer {
    status(StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), "told to fail")
}

fn whole(value: &Value) -> Body {
    Full::new(Bytes::from(value.to_string())).map_err(|never| match never {}).boxed_unsync()
}

/// What is left of the encoding of a query (RFC 3986 §2.1) in those that are asked here.
fn decode(value: &str) -> String {
    value.replace("%3D", "=").replace("%2F", "/")
}

/// A watch that goes on.
struct Watch {
    shared: Arc<Shared>,
    changed: Receiver<()>,
    kind: Kind,
    node: Option<String>,
    from: u64,
    cuts: u64,
}

/// Its events, a line each.
fn lines(watch: Watch) -> impl Stream<Item = io::Result<Frame<Bytes>>> {
    stream::unfold(Some(watch), |watch| async move {
        let mut watch = watch?;
        loop {
            watch.changed.borrow_and_update();
            match watch.news() {
                News::Nothing => watch.changed.changed().await.ok()?,
                News::End => return None,
                News::Last(text) => return Some((Ok(Frame::data(Bytes::from(text))), None)),
                News::Some(text) => return Some((Ok(Frame::data(Bytes::from(text))), Some(watch))),
            }
        }
    })
}

enum News {
    Nothing,
    Some(String),
    Last(String),
    End,
}

impl Watch {
    fn news(&mut self) -> News {
        let state = self.shared.lock();
        if state.ends || state.cuts != self.cuts || matches!(state.fault, Fault::Refusing(_)) {
            return News::End;
        }
        if state.fault == Fault::Behind {
            return News::Nothing;
        }
        let Ok(events) = state.store.since(self.kind, self.from, self.node.as_deref()) else {
            let gone = status_object(StatusCode::GONE, "too old resource version");
            return News::Last(line("ERROR", &gone));
        };
        let mut text: String = events.iter().map(|event| line(event.verb, &event.object)).collect();
        let version = state.store.version();
        if version == self.from {
            return News::Nothing;
        }
        // Nobody has to be told all versions: a bookmark says that there is nothing more up to here.
        let kind = if self.kind == Kind::Pods { "Pod" } else { "Namespace" };
        let metadata = json!({ "resourceVersion": version.to_string() });
        text.push_str(&line("BOOKMARK", &json!({ "kind": kind, "apiVersion": "v1", "metadata": metadata })));
        self.from = version;
        News::Some(text)
    }
}

fn line(verb: &str, object: &Value) -> String {
    format!("{}\n", json!({ "type": verb, "object": object }))
}
