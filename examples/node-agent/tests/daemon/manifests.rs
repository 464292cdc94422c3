//! The manifests in `examples/kubernetes` name what there is: flags, folders, rights.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use testkit::kernel::{Case, Outcome};

use crate::mesh::{Result, program, with_programs};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        with_programs("command_lines_in_manifests_are_taken", command_lines_in_manifests_are_taken),
        with_programs("paths_in_manifests_are_mounted", paths_in_manifests_are_mounted),
        with_programs("rights_in_manifests_are_the_least", rights_in_manifests_are_the_least),
    ]
}

/// Each manifest's name, and its objects.
fn manifests() -> Result<Vec<(String, Vec<Value>)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kubernetes");
    let mut manifests = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let text = std::fs::read_to_string(&path)?;
        // A document ends with a line of three dashes (YAML 1.2 §9.2).
        let objects = text.split("\n---\n").map(yaml_serde::from_str::<Value>);
        manifests.push((path.display().to_string(), objects.collect::<Result<_, _>>()?));
    }
    assert_eq!(manifests.len(), 2);
    Ok(manifests)
}

/// All containers, with their manifest's and their own name.
fn containers() -> Result<Vec<(String, Value)>> {
    let mut found = Vec::new();
    for (manifest, objects) in manifests()? {
        for set in objects.iter().filter(|object| object.get("kind") == Some(&json!("DaemonSet"))) {
            for kind in ["initContainers", "containers"] {
                let all = set.pointer(&format!("/spec/template/spec/{kind}")).and_then(Value::as_array);
                for container in all.into_iter().flatten() {
                    found.push((format!("{manifest} {}", text(container, "name")), container.clone()));
                }
            }
        }
    }
    assert!(found.len() >= 6, "{found:?}");
    Ok(found)
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// The command lines of a container, with what Kubernetes puts in for what it is told of the pod.
fn commands(container: &Value) -> Vec<Vec<String>> {
    let env = container.get("env").and_then(Value::as_array).cloned().unwrap_or_default();
    let put_in = |word: &str| {
        env.iter().fold(word.to_owned(), |word, variable| {
            word.replace(&format!("$({})", text(variable, "name")), "x")
        })
    };
    let places = ["/command", "/readinessProbe/exec/command"];
    let found = places.iter().filter_map(|place| container.pointer(place)?.as_array());
    found.map(|words| words.iter().filter_map(Value::as_str).map(put_in).collect()).collect()
}

/// The parser of each program, told to go no further by `--help`.
fn command_lines_in_manifests_are_taken() -> Outcome {
    let mut seen = BTreeSet::new();
    for (container, value) in containers()? {
        for command in commands(&value) {
            let Some((path, words)) = command.split_first() else { return Err(container.into()) };
            assert!(command.iter().all(|word| !word.contains("$(")), "{container}: {command:?}");
            let Some(name) = path.strip_prefix("/usr/local/bin/") else { continue };
            let output = Command::new(program(name)).args(words).arg("--help").output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{container}: {command:?}: {said}");
            seen.insert(name.to_owned());
        }
    }
    assert_eq!(seen, ["node-agent".to_owned(), "node-proxy".to_owned()].into());
    // So is what there is not.
    let output = Command::new(program("node-agent")).args(["run", "--kubernets", "--help"]).output()?;
    assert!(!output.status.success());
    Ok(())
}

fn paths_in_manifests_are_mounted() -> Outcome {
    for (container, value) in containers()? {
        let mounts = value.get("volumeMounts").and_then(Value::as_array).cloned().unwrap_or_default();
        let mounts: Vec<PathBuf> = mounts.iter().map(|mount| text(mount, "mountPath").into()).collect();
        for word in commands(&value).concat() {
            let path = word.split_once('=').map_or(word.as_str(), |(_, path)| path);
            let is_path = path.starts_with('/') && !path.starts_with("/usr/local/bin/");
            // It only writes it down: the plugin runs outside.
            let is_said = container.ends_with("install-cni") && word.starts_with("--cni=");
            if is_path && !is_said {
                assert!(mounts.iter().any(|mount| Path::new(path).starts_with(mount)), "{container}: {word}");
            }
        }
    }
    for (manifest, objects) in manifests()? {
        for set in objects.iter().filter(|object| object.get("kind") == Some(&json!("DaemonSet"))) {
            let spec = set.pointer("/spec/template/spec").ok_or("no pod")?;
            let volumes = spec.get("volumes").and_then(Value::as_array).ok_or("no volumes")?;
            let volumes: BTreeSet<&str> = volumes.iter().map(|volume| text(volume, "name")).collect();
            let mounted = spec.to_string();
            assert!(
                volumes.iter().all(|name| mounted.matches(&format!("\"name\":\"{name}\"")).count() > 1),
                "{manifest}"
            );
            let all = ["initContainers", "containers"]
                .iter()
                .filter_map(|kind| spec.get(*kind)?.as_array())
                .flatten();
            for mount in all.filter_map(|container| container.get("volumeMounts")?.as_array()).flatten() {
                assert!(volumes.contains(text(mount, "name")), "{manifest}: {mount}");
            }
        }
    }
    Ok(())
}

fn rights_in_manifests_are_the_least() -> Outcome {
    let get = json!(["get", "list", "watch"]);
    let rule =
        |resource: &str, verbs: &Value| json!({"apiGroups": [""], "resources": [resource], "verbs": verbs});
    let wanted =
        json!([rule("pods", &get), rule("namespaces", &get), rule("pods/status", &json!(["patch"]))]);
    for (manifest, objects) in manifests()? {
        let role = objects.iter().find(|object| object.get("kind") == Some(&json!("ClusterRole")));
        assert_eq!(role.and_then(|role| role.get("rules")), Some(&wanted), "{manifest}");
    }
    for (container, value) in containers()? {
        let context = value.get("securityContext").ok_or("no context")?;
        assert_eq!(context.get("privileged"), None, "{container}");
        assert_eq!(context.pointer("/capabilities/drop"), Some(&json!(["ALL"])), "{container}");
    }
    Ok(())
}
