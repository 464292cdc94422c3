//! Answer: what a request is answered, on what is stored.

use std::collections::BTreeMap;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::store::{Key, Kind, Store, merge};

/// What is asked.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

/// What is answered.
#[derive(Debug)]
pub(super) enum Answer {
    Whole(StatusCode, Value),
    /// What changes of these, from this version on.
    Watch {
        kind: Kind,
        node: Option<String>,
        from: u64,
    },
}

impl Question {
    pub(super) fn is_patch(&self) -> bool {
        self.method == Method::PATCH
    }

    /// As it is asked on the wire.
    pub(super) fn line(&self) -> String {
        let query: Vec<String> = self.query.iter().map(|(key, value)| format!("{key}={value}")).collect();
        format!("{} {}?{}", self.method, self.path, query.join("&"))
    }
}

/// Answers from the store, and changes it.
pub(super) fn answer(store: &mut Store, question: &Question) -> Answer {
    let segments: Vec<&str> = question.path.trim_matches('/').split('/').collect();
    let Some(segments) = segments.strip_prefix(&["api", "v1"]) else { return not_found(&question.path) };
    let key =
        |kind, namespace: &str, name: &str| Key { kind, namespace: namespace.into(), name: name.into() };
    match (&question.method, segments) {
        (&Method::GET, ["pods"]) => collection(store, Kind::Pods, question),
        (&Method::GET, ["namespaces"]) => collection(store, Kind::Namespaces, question),
        (&Method::GET, ["namespaces", name]) => get(store, &key(Kind::Namespaces, "", name)),
        (&Method::GET, ["namespaces", namespace, "pods", name]) => {
            get(store, &key(Kind::Pods, namespace, name))
        }
        (&Method::PATCH, ["namespaces", namespace, "pods", name, "status"]) => {
            patch(store, key(Kind::Pods, namespace, name), &question.body)
        }
        _ => not_found(&question.path),
    }
}

fn collection(store: &Store, kind: Kind, question: &Question) -> Answer {
    let node =
        question.query.get("fieldSelector").and_then(|selector| selector.strip_prefix("spec.nodeName="));
    if question.query.get("watch").map(String::as_str) != Some("true") {
        return Answer::Whole(StatusCode::OK, store.list(kind, node));
    }
    let version = question.query.get("resourceVersion").and_then(|version| version.parse().ok());
    Answer::Watch { kind, node: node.map(str::to_owned), from: version.unwrap_or(0) }
}

fn get(store: &Store, key: &Key) -> Answer {
    match store.get(key) {
        Some(object) => Answer::Whole(StatusCode::OK, object.clone()),
        None => not_found(&key.name),
    }
}

fn patch(store: &mut Store, key: Key, body: &[u8]) -> Answer {
    let Some(mut object) = store.get(&key).cloned() else { return not_found(&key.name) };
    let Ok(patch) = serde_json::from_slice::<Value>(body) else {
        return status(StatusCode::BAD_REQUEST, "no JSON");
    };
    let uid = |value: &Value| value.pointer("/metadata/uid").cloned();
    if uid(&patch).is_some_and(|wanted| Some(wanted) != uid(&object)) {
        return status(StatusCode::CONFLICT, "the uid is another one");
    }
    merge(&mut object, &patch);
    // What changes nothing makes no version.
    if store.get(&key) != Some(&object) {
        store.put(key.clone(), object);
    }
    get(store, &key)
}

fn not_found(what: &str) -> Answer {
    status(StatusCode::NOT_FOUND, &format!("{what} not found"))
}

pub(super) fn status(code: StatusCode, message: &str) -> Answer {
    Answer::Whole(code, status_object(code, message))
}

/// The API's own `Status`.
pub(super) fn status_object(code: StatusCode, message: &str) -> Value {
    let reason = code.canonical_reason().unwrap_or_default().replace(' ', "");
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code.as_u16(),
    })
}
