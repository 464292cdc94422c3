//! The finder in folders made up like `/proc`.

use std::os::unix::fs::symlink;

use super::*;

const UID: &str = "8e3e9e3a-7c1f-4a4c-9a55-0b5b0a3c9f11";
const OTHER: &str = "00000000-7c1f-4a4c-9a55-0b5b0a3c9f11";
const OWN: &str = "/proc/self/ns/net";

fn process(proc: &Path, pid: u32, pod: &str, digit: char, namespace: &str) {
    let folder = proc.join(pid.to_string());
    fs::create_dir_all(folder.join("ns")).unwrap();
    fs::create_dir_all(folder.join("net")).unwrap();
    let id = digit.to_string().repeat(64);
    fs::write(folder.join("cgroup"), format!("0::/kubepods/burstable/pod{pod}/{id}\n")).unwrap();
    fs::write(folder.join("net/fib_trie"), "  |-- 10.0.0.5\n     /32 host LOCAL\n").unwrap();
    fs::write(folder.join("net/if_inet6"), "20010db8000000000000000000000005 04 40 00 80 eth0\n").unwrap();
    symlink(namespace, folder.join("ns/net")).unwrap();
}

#[test]
fn a_pod_is_found_by_its_lowest_process_and_each_container_once() {
    let proc = tempfile::tempdir().unwrap();
    process(proc.path(), 30, UID, 'a', OWN);
    process(proc.path(), 4, UID, 'a', OWN);
    process(proc.path(), 100, UID, 'b', OWN);
    process(proc.path(), 5, OTHER, 'c', OWN);
    fs::create_dir(proc.path().join("sys")).unwrap();
    fs::create_dir(proc.path().join("7")).unwrap();
    let finder = Finder::new(proc.path(), Cgroups);
    let pids: Vec<u32> = finder.all().unwrap().iter().map(|found| found.pid).collect();
    assert_eq!(pids, [4, 5, 100]);
    let found = finder.by_pod_uid(&UID.parse().unwrap()).unwrap().unwrap();
    assert_eq!((found.pid, found.namespace.id()), (4, Namespace::current().unwrap().id()));
    assert!(finder.by_pod_uid(&"unknown".parse().unwrap()).unwrap().is_none());
}

#[test]
fn an_address_is_found_where_it_is_local() {
    let proc = tempfile::tempdir().unwrap();
    process(proc.path(), 4, UID, 'a', OWN);
    let finder = Finder::new(proc.path(), Cgroups);
    for address in ["10.0.0.5", "::ffff:10.0.0.5", "2001:db8::5"] {
        assert_eq!(finder.by_address(address.parse().unwrap()).unwrap().unwrap().pid, 4, "{address}");
    }
    for address in ["10.0.0.6", "2001:db8::6"] {
        assert!(finder.by_address(address.parse().unwrap()).unwrap().is_none(), "{address}");
    }
}

#[test]
fn a_process_that_has_ended_is_passed_over() {
    let proc = tempfile::tempdir().unwrap();
    process(proc.path(), 4, UID, 'a', "/no/such/process");
    process(proc.path(), 5, UID, 'a', OWN);
    let found = Finder::new(proc.path(), Cgroups).by_pod_uid(&UID.parse().unwrap()).unwrap();
    assert_eq!(found.unwrap().pid, 5);
}

/// Its number is another process's by the time that it is looked at again.
#[test]
fn a_process_that_changes_meanwhile_is_none() {
    struct OnlyOnce(std::cell::Cell<bool>);
    impl Recognise for OnlyOnce {
        fn recognise(&self, process: &Path) -> Option<Container> {
            if self.0.replace(true) { None } else { Cgroups.recognise(process) }
        }
    }
    let proc = tempfile::tempdir().unwrap();
    process(proc.path(), 4, UID, 'a', OWN);
    let finder = Finder::new(proc.path(), OnlyOnce(false.into()));
    assert!(finder.by_pod_uid(&UID.parse().unwrap()).unwrap().is_none());
}

#[test]
fn no_folder_is_an_error() {
    let error = Finder::new("/no/such/proc", Cgroups).all().unwrap_err();
    assert_eq!(error.to_string(), "cannot list the processes in /no/such/proc");
}
