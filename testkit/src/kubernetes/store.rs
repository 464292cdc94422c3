//! Store: objects, and what has changed of them, by version. No sockets.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Pods or namespaces, as in paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Pods,
    Namespaces,
}

/// An object's kind and place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) kind: Kind,
    /// Empty for namespaces.
    pub(super) namespace: String,
    pub(super) name: String,
}

/// A change.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) version: u64,
    pub(super) kind: Kind,
    pub(super) verb: &'static str,
    pub(super) object: Value,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Store {
    objects: BTreeMap<Key, Value>,
    events: Vec<Event>,
    version: u64,
    /// Changes before this one are forgotten.
    oldest: u64,
}

/// Changes since that version are forgotten.
#[derive(Debug)]
pub(super) struct Expired;

impl Store {
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key)
    }

    pub(super) fn put(&mut self, key: Key, mut object: Value) {
        self.version += 1;
        stamp(&mut object, self.version);
        let verb =
            if self.objects.insert(key.clone(), object.clone()).is_some() { "MODIFIED" } else { "ADDED" };
        self.events.push(Event { version: self.version, kind: key.kind, verb, object });
    }

    pub(super) fn delete(&mut self, key: &Key) {
        let Some(mut object) = self.objects.remove(key) else { return };
        self.version += 1;
        stamp(&mut object, self.version);
        self.events.push(Event { version: self.version, kind: key.kind, verb: "DELETED", object });
    }

    pub(super) fn list(&self, kind: Kind, node: Option<&str>) -> Value {
        let of_kind = self.objects.iter().filter(|(key, _)| key.kind == kind).map(|(_, object)| object);
        let items: Vec<&Value> = of_kind.filter(|object| is_on(object, node)).collect();
        let named = if kind == Kind::Pods { "PodList" } else { "NamespaceList" };
        let metadata = json!({ "resourceVersion": self.version.to_string() });
        json!({ "kind": named, "apiVersion": "v1", "metadata": metadata, "items": items })
    }

    /// What has changed since a version.
    pub(super) fn since(&self, kind: Kind, version: u64, node: Option<&str>) -> Result<Vec<Event>, Expired> {
        if version < self.oldest {
            return Err(Expired);
        }
        let is_new =
            |event: &&Event| event.version > version && event.kind == kind && is_on(&event.object, node);
        Ok(self.events.iter().filter(is_new).cloned().collect())
    }

    /// Forgets all changes up to now, and counts on, as if much had happened.
    pub(super) fn forget_changes(&mut self) {
        self.version += 100;
        self.oldest = self.version;
        self.events.clear();
    }
}

fn stamp(object: &mut Value, version: u64) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".into(), json!(version.to_string()));
    }
}

fn is_on(object: &Value, node: Option<&str>) -> bool {
    node.is_none_or(|node| object.pointer("/spec/nodeName").and_then(Value::as_str) == Some(node))
}

/// Changes a value by a merge patch, as RFC 7396 §2 says.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Some(changes) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Some(fields) = target.as_object_mut() else { return };
    for (name, change) in changes {
        if change.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name.clone()).or_insert(Value::Null), change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str) -> (Key, Value) {
        let key = Key { kind: Kind::Pods, namespace: "shop".into(), name: name.into() };
        (key, json!({ "metadata": { "name": name }, "spec": { "nodeName": "n1" } }))
    }

    #[test]
    fn changes_are_told_from_a_version_on() {
        let mut store = Store::default();
        let ((a, a_object), (b, b_object)) = (pod("a"), pod("b"));
        store.put(a.clone(), a_object.clone());
        let version = store.version();
        store.put(b, b_object);
        store.put(a.clone(), a_object);
        store.delete(&a);
        let since = |store: &Store| {
            let events = store.since(Kind::Pods, version, Some("n1")).map_err(|_| "expired")?;
            Ok::<_, &str>(events.iter().map(|event| event.verb).collect::<Vec<_>>())
        };
        assert_eq!(since(&store), Ok(vec!["ADDED", "MODIFIED", "DELETED"]));
        assert!(store.since(Kind::Pods, version, Some("n2")).unwrap().is_empty());
        store.forget_changes();
        assert_eq!(since(&store), Err("expired"));
        assert_eq!(store.list(Kind::Pods, None).pointer("/items/0/metadata/name"), Some(&json!("b")));
    }

    /// The example of RFC 7396 §3.
    #[test]
    fn a_merge_patch_adds_changes_and_removes() {
        let mut target = json!({"title": "Goodbye!", "author": {"givenName": "John", "familyName": "Doe"}, "tags": ["a", "b"], "content": "c"});
        let patch = json!({"title": "Hello!", "phone": "1", "author": {"familyName": null}, "tags": ["a"]});
        merge(&mut target, &patch);
        let wanted = json!({"title": "Hello!", "author": {"givenName": "John"}, "tags": ["a"], "content": "c", "phone": "1"});
        assert_eq!(target, wanted);
    }
}
