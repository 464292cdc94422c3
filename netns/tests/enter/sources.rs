//! Namespaces of processes and threads, by number and by pidfd; and what makes them the same.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use inpod_netns::{Names, Namespace, OpenError};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use testkit::kernel::{Case, Outcome, test};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        test("the_namespace_behind_a_pidfd", the_namespace_behind_a_pidfd),
        test("a_pidfd_of_a_process_that_ended", a_pidfd_of_a_process_that_ended),
        test("the_namespace_of_a_thread", the_namespace_of_a_thread),
        test("the_namespace_of_no_thread", the_namespace_of_no_thread),
        test("a_pod_made_again_is_another_namespace", a_pod_made_again_is_another_namespace),
    ]
}

/// A process that lives until its stdin is closed.
pub(crate) struct Alive(Child);

impl Alive {
    pub(crate) fn start() -> std::io::Result<Self> {
        Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().map(Self)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

fn pidfd(pid: u32) -> Result<OwnedFd, Box<dyn std::error::Error>> {
    let pid = Pid::from_raw(pid.try_into()?).ok_or("no process has this number")?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

fn the_namespace_behind_a_pidfd() -> Outcome {
    let made = Namespace::create()?;
    let child = made.run(Alive::start)??;
    assert_eq!(Namespace::of_pidfd(pidfd(child.pid())?)?.id(), made.id());
    assert_eq!(Namespace::of_pidfd(pidfd(std::process::id())?)?.id(), Namespace::current()?.id());
    let file = File::open("/proc/thread-self/ns/net")?;
    assert!(matches!(Namespace::of_pidfd(&file), Err(OpenError::NotProcess)));
    Ok(())
}

fn a_pidfd_of_a_process_that_ended() -> Outcome {
    let child = Alive::start()?;
    let process = pidfd(child.pid())?;
    drop(child);
    let error = Namespace::of_pidfd(&process).err().ok_or("found")?;
    assert_eq!(error.to_string(), "cannot open the network namespace of the given pidfd");
    assert!(!error.is_permission());
    Ok(())
}

fn the_namespace_of_a_thread() -> Outcome {
    let made = Namespace::create()?;
    let (tell, told) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let made = &made;
        scope.spawn(move || {
            made.run(|| {
                tell.send(nix::unistd::gettid()).unwrap();
                // Until the other end is dropped.
                let _ = ended.recv();
            })
        });
        let tid = u32::try_from(told.recv()?.as_raw())?;
        assert_eq!(Namespace::of_thread(tid)?.id(), made.id());
        assert_ne!(Namespace::of_process(std::process::id())?.id(), made.id(), "only that thread is inside");
        drop(end);
        Ok(())
    })
}

fn the_namespace_of_no_thread() -> Outcome {
    let error = Namespace::of_thread(u32::MAX).err().ok_or("found")?;
    assert_eq!(error.to_string(), "cannot open the network namespace of thread 4294967295");
    Ok(())
}

/// The kernel gives an inode away again soon; whoever knew a pod by its name and inode would take the new pod for the
/// old one.
fn a_pod_made_again_is_another_namespace() -> Outcome {
    // Enough for the kernel to have ended some in the background.
    const PODS: usize = 10_000;
    let folder = tempfile::tempdir()?;
    let (names, name) = (Names::at(folder.path()), "pod".parse()?);
    let mut known = BTreeMap::new();
    for _ in 0..PODS {
        names.make(&name)?;
        let id = names.open(&name)?.id();
        names.delete(&name)?;
        if let Some(before) = known.insert((id.device(), id.inode()), id) {
            assert_ne!(before, id, "same name, same inode, another namespace");
            return Ok(());
        }
    }
    Err("the kernel used no inode again, so this shows nothing".into())
}
