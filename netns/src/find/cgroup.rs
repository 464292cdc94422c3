//! What the cgroups of a process tell about its container.
//!
//! | who made the cgroup | its path ends in |
//! |---|---|
//! | kubelet with systemd | `kubepods[-QOS]-podUID.slice/RUNTIME-ID.scope`, the UID with `_` for `-` |
//! | kubelet without | `kubepods/[QOS/]podUID/ID`, or `.../crio-ID` |
//! | kubelet with, runtime without systemd | `kubepods[-QOS]-podUID.slice:RUNTIME:ID` |
//! | Docker alone | `docker-ID.scope`, `docker/ID` |
//! | CRI-O outside of a pod's cgroup | `crio-ID.scope`, `crio-ID` |
//!
//! QOS is `besteffort` or `burstable`, and missing for guaranteed pods; RUNTIME is `cri-containerd`, `crio` or `docker`.

use super::container::{Container, ContainerId, PodUid, Runtime};

/// Why the cgroups of a process do not tell its container.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CgroupError {
    /// A line is not `NUMBER:CONTROLLERS:PATH`, as cgroups(7) has it.
    #[error("line {line} is not of the form NUMBER:CONTROLLERS:PATH")]
    Line {
        /// Which line, counted from 1.
        line: usize,
    },
    /// Two hierarchies of cgroups name different containers.
    #[error("the process is in two containers, {} and {}", first.id, second.id)]
    Ambiguous {
        /// One of them.
        first: Container,
        /// Another.
        second: Container,
    },
}

impl Container {
    /// The container of a process, from its `/proc/PID/cgroup`; `None` if the process is in none that is known here.
    ///
    /// All hierarchies of version 1 and the one of version 2 are read, and must not contradict each other. In each, the
    /// *outermost* container counts: whoever has the rights to make cgroups below its own could give them any name, so
    /// what is further in proves nothing.
    ///
    /// # Errors
    ///
    /// [`CgroupError`] if the text is not what the kernel writes, or names two containers.
    pub fn from_cgroups(text: &str) -> Result<Option<Self>, CgroupError> {
        let mut found = None;
        for (line, number) in text.lines().zip(1..) {
            let path = path_in(line).ok_or(CgroupError::Line { line: number })?;
            match (&found, Self::from_cgroup_path(path)) {
                (_, None) => {}
                (None, outermost) => found = outermost,
                (Some(first), Some(second)) if *first == second => {}
                (Some(first), Some(second)) => {
                    return Err(CgroupError::Ambiguous { first: first.clone(), second });
                }
            }
        }
        Ok(found)
    }

    /// The outermost container in one path of a cgroup, such as `/kubepods/burstable/podUID/ID`.
    #[must_use]
    pub fn from_cgroup_path(path: &str) -> Option<Self> {
        let mut above = Above::default();
        for component in path.split('/') {
            if let Some(container) = container(component, &above) {
                return Some(container);
            }
            above = Above { grandparent: above.parent, parent: component };
        }
        None
    }
}

/// The two components before the one that is looked at.
#[derive(Default)]
struct Above<'path> {
    parent: &'path str,
    grandparent: &'path str,
}

/// The third field: a path may have colons itself.
fn path_in(line: &str) -> Option<&str> {
    let (number, rest) = line.split_once(':')?;
    let (_controllers, path) = rest.split_once(':')?;
    (number.bytes().all(|byte| byte.is_ascii_digit()) && path.starts_with('/')).then_some(path)
}

fn container(component: &str, above: &Above<'_>) -> Option<Container> {
    if let Some((slice, scope)) = component.split_once(':') {
        let (runtime, id) = scope.split_once(':')?;
        return Some(Container {
            pod: pod_of_slice(slice),
            id: id.parse().ok()?,
            runtime: Some(by_prefix(runtime)?),
        });
    }
    let pod = pod_of_slice(above.parent).or_else(|| pod_of_folder(above));
    let (id, runtime) = match component.strip_suffix(".scope").unwrap_or(component).rsplit_once('-') {
        Some((prefix, id)) => (id.parse::<ContainerId>().ok()?, Some(by_prefix(prefix)?)),
        None => {
            let id = component.parse::<ContainerId>().ok()?;
            let runtime = (above.parent == "docker").then_some(Runtime::Docker);
            // Anything may be called like this; what is above must tell that it is a container.
            if pod.is_none() && runtime.is_none() {
                return None;
            }
            (id, runtime)
        }
    };
    Some(Container { pod, id, runtime })
}

fn by_prefix(prefix: &str) -> Option<Runtime> {
    match prefix {
        "cri-containerd" => Some(Runtime::Containerd),
        "crio" => Some(Runtime::CriO),
        "docker" => Some(Runtime::Docker),
        _ => None,
    }
}

/// `[PREFIX-]kubepods[-QOS]-podUID.slice`; kubelet's `--cgroup-root` gives the prefix. A slice is named by the slices that
/// it is in, joined by `-` (systemd.slice(5)), so a `-` of the UID is written `_`.
fn pod_of_slice(component: &str) -> Option<PodUid> {
    let (slices, uid) = component.strip_suffix(".slice")?.rsplit_once("-pod")?;
    let kubepods =
        slices.strip_suffix("-besteffort").or_else(|| slices.strip_suffix("-burstable")).unwrap_or(slices);
    let ours = kubepods == "kubepods" || kubepods.ends_with("-kubepods");
    if ours && !uid.contains('-') { uid.replace('_', "-").parse().ok() } else { None }
}

/// `kubepods/podUID` or `QOS/podUID`.
fn pod_of_folder(above: &Above<'_>) -> Option<PodUid> {
    match above.grandparent {
        "kubepods" | "besteffort" | "burstable" => above.parent.strip_prefix("pod")?.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UID: &str = "8e3e9e3a-7c1f-4a4c-9a55-0b5b0a3c9f11";
    const UID_IN_SLICE: &str = "8e3e9e3a_7c1f_4a4c_9a55_0b5b0a3c9f11";
    const ID: &str = "3c1f0b2a4d5e6f708192a3b4c5d6e7f83c1f0b2a4d5e6f708192a3b4c5d6e7f8";
    const OTHER_ID: &str = "0000000000000000000000000000000000000000000000000000000000000001";

    fn of(pod: Option<&str>, id: &str, runtime: Option<Runtime>) -> Container {
        Container { pod: pod.map(|uid| uid.parse().unwrap()), id: id.parse().unwrap(), runtime }
    }

    /// Stand-ins are written out: UID, SLICEUID, ID, OTHER.
    fn path(pattern: &str) -> String {
        let pattern = pattern.replace("SLICEUID", UID_IN_SLICE).replace("OTHER", OTHER_ID);
        pattern.replace("UID", UID).replace("ID", ID)
    }

    #[test]
    fn containers_of_pods() {
        use Runtime::{Containerd, CriO, Docker};
        let slice = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podSLICEUID.slice";
        for (pattern, runtime) in [
            (format!("{slice}/cri-containerd-ID.scope"), Some(Containerd)),
            (format!("{slice}/crio-ID.scope"), Some(CriO)),
            (format!("{slice}/docker-ID.scope"), Some(Docker)),
            // crun's own cgroup below; systemd inside; a container in a container.
            (format!("{slice}/crio-ID.scope/container"), Some(CriO)),
            (format!("{slice}/cri-containerd-ID.scope/init.scope"), Some(Containerd)),
            (format!("{slice}/cri-containerd-ID.scope/docker/OTHER"), Some(Containerd)),
            (
                "/kubepods.slice/kubepods-podSLICEUID.slice/cri-containerd-ID.scope".to_owned(),
                Some(Containerd),
            ),
            (
                "/kubelet.slice/kubelet-kubepods-besteffort-podSLICEUID.slice/crio-ID.scope".to_owned(),
                Some(CriO),
            ),
            // As seen from another cgroup namespace.
            ("/../../kubepods-besteffort-podSLICEUID.slice/crio-ID.scope".to_owned(), Some(CriO)),
            ("/kubepods/burstable/podUID/ID".to_owned(), None),
            ("/kubepods/besteffort/podUID/ID".to_owned(), None),
            ("/kubepods/podUID/ID".to_owned(), None),
            ("/kubelet/kubepods/podUID/ID".to_owned(), None),
            ("/kubepods/burstable/podUID/crio-ID".to_owned(), Some(CriO)),
            (
                "/system.slice/containerd.service/kubepods-burstable-podSLICEUID.slice:cri-containerd:ID"
                    .to_owned(),
                Some(Containerd),
            ),
        ] {
            let path = path(&pattern);
            assert_eq!(Container::from_cgroup_path(&path), Some(of(Some(UID), ID, runtime)), "{path}");
        }
    }

    #[test]
    fn containers_of_no_pod() {
        for (pattern, runtime) in [
            ("/docker/ID", Runtime::Docker),
            ("/system.slice/docker-ID.scope", Runtime::Docker),
            ("/machine.slice/crio-ID.scope", Runtime::CriO),
            // A pod of a cluster that runs inside one container is not told by who is inside.
            ("/docker/ID/kubepods/burstable/podUID/OTHER", Runtime::Docker),
        ] {
            let path = path(pattern);
            assert_eq!(Container::from_cgroup_path(&path), Some(of(None, ID, Some(runtime))), "{path}");
        }
    }

    #[test]
    fn no_containers() {
        for pattern in [
            "/",
            "/init.scope",
            "/user.slice/user-1000.slice/session-2.scope",
            "/kubepods.slice/kubepods-burstable.slice",
            "/kubepods/burstable/podUID",
            "/ID",
            "/a/ID",
            // Those who watch over a container are in the node's network.
            "/kubepods.slice/kubepods-podSLICEUID.slice/crio-conmon-ID.scope",
            "/kubepods.slice/kubepods-podSLICEUID.slice/cri-containerd-ID.scope (deleted)",
            "/mykubepods/podUID/ID",
            "/burstable/podUID/ID/..",
            "/besteffort/pod/ID",
            "/kubepods-burstable-podSLICEUID.slice:runc:ID",
            "/kubepods/podUID/IDf",
            "",
        ] {
            let path = path(pattern);
            let found = Container::from_cgroup_path(&path);
            // Kubelet's folder for a class may be the root of what we see.
            let expected = pattern.starts_with("/burstable/").then(|| of(Some(UID), ID, None));
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn hierarchies_agree_or_are_refused() {
        let v1 =
            path("12:pids:/kubepods/podUID/ID\n11:cpu,cpuacct:/kubepods/podUID/ID\n1:name=systemd:/\n0::/\n");
        assert_eq!(Container::from_cgroups(&v1), Ok(Some(of(Some(UID), ID, None))));
        let v2 = path("0::/kubepods.slice/kubepods-podSLICEUID.slice/cri-containerd-ID.scope\n");
        assert_eq!(Container::from_cgroups(&v2), Ok(Some(of(Some(UID), ID, Some(Runtime::Containerd)))));
        assert_eq!(Container::from_cgroups("0::/\n"), Ok(None));
        assert_eq!(Container::from_cgroups(""), Ok(None));

        let both = path("2:pids:/kubepods/podUID/ID\n0::/kubepods/podUID/OTHER\n");
        let error = Container::from_cgroups(&both).unwrap_err();
        assert_eq!(error.to_string(), format!("the process is in two containers, {ID} and {OTHER_ID}"));
        let pods = path("2:pids:/kubepods/podUID/ID\n0::/kubepods/podanother/ID\n");
        assert!(matches!(Container::from_cgroups(&pods), Err(CgroupError::Ambiguous { .. })));

        for text in ["0:/", "x::/", "\n", "0::kubepods", "0::/\n\n"] {
            assert!(matches!(Container::from_cgroups(text), Err(CgroupError::Line { .. })), "{text:?}");
        }
    }

    prop_compose! {
        /// A path as kubelets and runtimes make it, and what it says.
        fn paths()(
            uid in "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}",
            id in "[0-9a-f]{64}",
            root in "(/kubelet)?",
            class in prop::sample::select(vec!["", "besteffort", "burstable"]),
            (name, runtime) in prop::sample::select(vec![
                ("cri-containerd", Runtime::Containerd), ("crio", Runtime::CriO), ("docker", Runtime::Docker)]),
            driver in 0..3,
            below in "(/[a-z.]{1,8}){0,2}",
        ) -> (String, Container) {
            let class_of_slice = if class.is_empty() { String::new() } else { format!("-{class}") };
            let class_folder = if class.is_empty() { String::new() } else { format!("/{class}") };
            let slice = format!("kubepods{class_of_slice}-pod{}.slice", uid.replace('-', "_"));
            let (path, runtime) = match driver {
                0 => (format!("{root}/kubepods.slice/{slice}/{name}-{id}.scope{below}"), Some(runtime)),
                1 => (format!("{root}/{slice}:{name}:{id}{below}"), Some(runtime)),
                _ => (format!("{root}/kubepods{class_folder}/pod{uid}/{id}{below}"), None),
            };
            (path, Container { pod: Some(uid.parse().unwrap()), id: id.parse().unwrap(), runtime })
        }
    }

    proptest! {
        #[test]
        fn what_runtimes_write_is_read((path, container) in paths(), version in "0:|[1-9]:(cpu,cpuacct|name=systemd)") {
            prop_assert_eq!(Container::from_cgroups(&format!("{version}:{path}\n")), Ok(Some(container)));
        }

        /// Whatever its owner makes below a container, it stays that container.
        #[test]
        fn what_is_below_changes_nothing((outer, container) in paths(), (inner, _) in paths()) {
            prop_assert_eq!(Container::from_cgroup_path(&format!("{outer}{inner}")), Some(container));
        }

        #[test]
        fn nothing_makes_it_panic(text in r"([0-9]:)?[:/a-z.\n-]{0,80}|.{0,200}") {
            let _ = Container::from_cgroups(&text);
        }

        /// A path with something changed is another container or none, but never one that is not written there.
        #[test]
        fn a_container_is_written_in_its_path(
            (path, _) in paths(), at in any::<prop::sample::Index>(), put in "[/:._a-f0-9-]{0,3}",
        ) {
            let at = at.index(path.len());
            let changed = format!("{}{put}{}", &path[..at], &path[at + 1..]);
            if let Some(container) = Container::from_cgroup_path(&changed) {
                prop_assert!(changed.contains(container.id.as_str()));
                if let Some(pod) = container.pod {
                    prop_assert!(changed.replace('_', "-").contains(pod.as_str()));
                }
            }
        }
    }
}
