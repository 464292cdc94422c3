//! Entering and coming back, in the kernel.
#![expect(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod alone;
mod find;
mod names;
mod sockets;
mod sources;
mod stress;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use inpod_netns::{Home, Namespace, NamespaceId, OpenError, SocketOptions};
use testkit::kernel::{Outcome, run, test};
use testkit::leaks::Baseline;

fn main() -> ExitCode {
    if let Some(role) = alone::role() {
        return role.play();
    }
    // Panics on purpose would fill the output.
    std::panic::set_hook(Box::new(|panic| {
        if !panic.payload().is::<OnPurpose>() {
            eprintln!("{panic}");
        }
    }));
    let mut cases = vec![
        test("comes_back_after_success", comes_back_after_success),
        test("comes_back_after_an_error", comes_back_after_an_error),
        test("comes_back_after_a_panic", comes_back_after_a_panic),
        test("comes_back_after_the_closure_moved_the_thread", comes_back_after_the_closure_moved_the_thread),
        test("goes_home_from_wherever_it_was", goes_home_from_wherever_it_was),
        test("goes_home_after_a_panic", goes_home_after_a_panic),
        test("nests", nests),
        test("the_same_namespace_is_not_switched", the_same_namespace_is_not_switched),
        test("a_new_namespace_is_empty", a_new_namespace_is_empty),
        test("two_handles_have_one_id", two_handles_have_one_id),
        test("a_namespace_made_again_has_another_id", a_namespace_made_again_has_another_id),
        test("a_missing_path_is_named", a_missing_path_is_named),
        test("a_path_to_something_else_is_refused", a_path_to_something_else_is_refused),
        test("a_pipe_by_path_does_not_hold_us_up", a_pipe_by_path_does_not_hold_us_up),
        test("descriptors_of_other_things_are_refused_and_closed", descriptors_of_other_things_are_refused),
        test("namespaces_of_other_kinds_are_refused", namespaces_of_other_kinds_are_refused),
        test("a_received_namespace_is_taken", a_received_namespace_is_taken),
        test("the_namespace_of_a_child", the_namespace_of_a_child),
        test("the_namespace_of_no_process", the_namespace_of_no_process),
        test("no_descriptor_is_inherited", no_descriptor_is_inherited).serial(),
        test("nothing_is_left_open", nothing_is_left_open).serial(),
    ];
    cases.extend(alone::cases());
    cases.extend(find::cases());
    cases.extend(names::cases());
    cases.extend(sockets::cases());
    cases.extend(sources::cases());
    cases.extend(stress::cases());
    run(cases)
}

/// What the panics carry that are part of a test.
struct OnPurpose;

/// The calling thread's namespace as the kernel tells it.
fn here() -> io::Result<PathBuf> {
    fs::read_link("/proc/thread-self/ns/net")
}

fn link_of(id: NamespaceId) -> PathBuf {
    format!("net:[{}]", id.inode()).into()
}

fn comes_back_after_success() -> Outcome {
    let before = here()?;
    let other = Namespace::create()?;
    let inside = other.run(here)??;
    assert_eq!(inside, link_of(other.id()));
    assert_ne!(inside, before);
    assert_eq!(here()?, before);
    Ok(())
}

fn comes_back_after_an_error() -> Outcome {
    let before = here()?;
    let failed = Namespace::create()?.run(|| Err::<(), _>(io::Error::other("no")))?;
    assert!(failed.is_err());
    assert_eq!(here()?, before);
    Ok(())
}

fn comes_back_after_a_panic() -> Outcome {
    let before = here()?;
    let other = Namespace::create()?;
    let mut inside = None;
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        other.run(|| {
            inside = Some(here());
            panic_any(OnPurpose);
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(inside.ok_or("the closure did not run")??, link_of(other.id()));
    assert_eq!(here()?, before);
    Ok(())
}

fn comes_back_after_the_closure_moved_the_thread() -> Outcome {
    let before = here()?;
    let (first, second) = (Namespace::create()?, Namespace::create()?);
    first.run(|| nix::sched::setns(second.as_fd(), nix::sched::CloneFlags::CLONE_NEWNET))??;
    assert_eq!(here()?, before);
    Ok(())
}

fn goes_home_from_wherever_it_was() -> Outcome {
    let before = here()?;
    let home = Home::of_this_thread()?;
    let (elsewhere, other) = (Namespace::create()?, Namespace::create()?);
    assert_eq!(home.visit(&other, here)??, link_of(other.id()));
    assert_eq!(here()?, before);
    let after_a_visit = elsewhere.run(|| {
        let inside = home.visit(&other, here);
        (inside, here())
    })?;
    assert_eq!(after_a_visit.0??, link_of(other.id()));
    assert_eq!(after_a_visit.1?, before, "it is at home, not where it was");
    assert_eq!(here()?, before);
    let socket = other.tcp_socket(IpAddr::from([0; 4]), &SocketOptions::default().from_home(home.clone()))?;
    assert!(socket.is_listener().is_ok_and(|listens| !listens));
    assert_eq!(here()?, before);
    Ok(())
}

fn goes_home_after_a_panic() -> Outcome {
    let before = here()?;
    let home = Home::of_this_thread()?;
    let other = Namespace::create()?;
    let panicked = catch_unwind(AssertUnwindSafe(|| home.visit(&other, || panic_any(OnPurpose))));
    assert!(panicked.is_err());
    assert_eq!(here()?, before);
    Ok(())
}

fn nests() -> Outcome {
    let before = here()?;
    let (outer, inner) = (Namespace::create()?, Namespace::create()?);
    let seen = outer.run(|| -> Result<_, Box<dyn std::error::Error>> {
        let first = here()?;
        let second = inner.run(here)??;
        let panicked = catch_unwind(AssertUnwindSafe(|| inner.run(|| panic_any(OnPurpose))));
        assert!(panicked.is_err());
        Ok([first, second, here()?])
    })??;
    assert_eq!(seen, [link_of(outer.id()), link_of(inner.id()), link_of(outer.id())]);
    assert_eq!(here()?, before);
    Ok(())
}

fn the_same_namespace_is_not_switched() -> Outcome {
    let before = here()?;
    let current = Namespace::current()?;
    // Had it switched, it would switch back.
    let other = Namespace::create()?;
    current.run(|| nix::sched::setns(other.as_fd(), nix::sched::CloneFlags::CLONE_NEWNET))??;
    assert_eq!(here()?, link_of(other.id()));
    nix::sched::setns(current.as_fd(), nix::sched::CloneFlags::CLONE_NEWNET)?;
    assert_eq!(here()?, before);
    Ok(())
}

fn a_new_namespace_is_empty() -> Outcome {
    let table = Namespace::create()?.run(|| fs::read_to_string("/proc/thread-self/net/dev"))??;
    let names: Vec<_> =
        table.lines().skip(2).filter_map(|line| line.split(':').next()).map(str::trim).collect();
    assert_eq!(names, ["lo"]);
    Ok(())
}

fn two_handles_have_one_id() -> Outcome {
    let made = Namespace::create()?;
    let by_path = Namespace::open(format!("/proc/self/fd/{}", made.as_fd().as_raw_fd()))?;
    let by_thread = made.run(Namespace::current)??;
    let by_number = made.run(|| Namespace::of_process(std::process::id()))??;
    assert_eq!(by_path.id(), made.id());
    assert_eq!(by_thread.id(), made.id());
    assert_eq!(made.clone().id(), made.id());
    assert_ne!(by_number.id(), made.id(), "a process is where its first thread is");
    assert_eq!(by_number.id(), Namespace::current()?.id());
    Ok(())
}

/// Whether or not the kernel reuses the inode at once, the id differs.
fn a_namespace_made_again_has_another_id() -> Outcome {
    let mut seen = BTreeSet::new();
    for _ in 0..50 {
        let id = Namespace::create()?.id();
        assert!(id.cookie().is_some_and(|cookie| cookie != 0));
        assert!(seen.insert(id), "{id} came twice");
    }
    Ok(())
}

fn a_missing_path_is_named() -> Outcome {
    let error = Namespace::open("/run/netns/none-such").err().ok_or("opened")?;
    assert_eq!(error.to_string(), "cannot open /run/netns/none-such");
    assert!(matches!(&error, OpenError::Open { source, .. } if source.kind() == io::ErrorKind::NotFound));
    assert!(!error.is_permission());
    Ok(())
}

fn a_path_to_something_else_is_refused() -> Outcome {
    let error = Namespace::open("/proc/self/status").err().ok_or("opened")?;
    assert_eq!(error.to_string(), "/proc/self/status is not a namespace");
    assert!(matches!(Namespace::open("/proc/self/ns/mnt"), Err(OpenError::NotNetwork { .. })));
    assert!(matches!(Namespace::open("/"), Err(OpenError::NotNamespace { .. })));
    Ok(())
}

fn a_pipe_by_path_does_not_hold_us_up() -> Outcome {
    let pipe = std::env::temp_dir().join(format!("inpod-netns-{}", std::process::id()));
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU)?;
    let opened = Namespace::open(&pipe);
    fs::remove_file(&pipe)?;
    assert!(matches!(opened, Err(OpenError::NotNamespace { .. })));
    Ok(())
}

fn descriptors_of_other_things_are_refused() -> Outcome {
    let (pipe, _writer) = io::pipe()?;
    let (socket, mut peer) = UnixStream::pair()?;
    let others: [(&str, OwnedFd); 4] = [
        ("file", File::open("/proc/self/status")?.into()),
        ("folder", File::open("/")?.into()),
        ("pipe", pipe.into()),
        ("socket", socket.into()),
    ];
    for (what, descriptor) in others {
        assert!(matches!(Namespace::from_fd(descriptor), Err(OpenError::NotNamespace { .. })), "{what}");
    }
    assert_eq!(peer.read(&mut [0])?, 0, "the refused socket is closed");
    Ok(())
}

fn namespaces_of_other_kinds_are_refused() -> Outcome {
    for kind in ["mnt", "user", "pid", "uts", "ipc", "cgroup"] {
        let descriptor = File::open(format!("/proc/self/ns/{kind}"))?.into();
        assert!(matches!(Namespace::from_fd(descriptor), Err(OpenError::NotNetwork { .. })), "{kind}");
    }
    Ok(())
}

fn a_received_namespace_is_taken() -> Outcome {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    let made = Namespace::create()?;
    let descriptor = nix::unistd::dup(made.as_fd())?;
    assert_eq!(fcntl(&descriptor, FcntlArg::F_GETFD)?, 0, "the received descriptor would be inherited");
    let taken = Namespace::from_fd(descriptor)?;
    assert_eq!(taken.id(), made.id());
    assert_eq!(fcntl(&taken, FcntlArg::F_GETFD)?, FdFlag::FD_CLOEXEC.bits());
    drop(made);
    assert_eq!(taken.run(here)??, link_of(taken.id()));
    Ok(())
}

fn the_namespace_of_a_child() -> Outcome {
    let made = Namespace::create()?;
    let mut child =
        made.run(|| Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn())??;
    let found = Namespace::of_process(child.id());
    drop(child.stdin.take());
    child.wait()?;
    assert_eq!(found?.id(), made.id());
    Ok(())
}

fn the_namespace_of_no_process() -> Outcome {
    // More than any process's number (PID_MAX_LIMIT in the kernel is 2^22).
    let error = Namespace::of_process(u32::MAX).err().ok_or("found")?;
    assert_eq!(error.to_string(), "cannot open the network namespace of process 4294967295");
    Ok(())
}

fn no_descriptor_is_inherited() -> Outcome {
    let before = descriptors()?;
    let namespace = Namespace::create()?;
    let any = SocketAddr::from(([0, 0, 0, 0], 0));
    let listener = namespace.tcp_listener(any, &SocketOptions::default())?;
    let socket = namespace.tcp_socket(any, &SocketOptions::default())?;
    let udp = namespace.udp_socket(any, &SocketOptions::default())?;
    // Inside, so that the way back is among them.
    let new: Vec<_> = namespace.run(descriptors)??.difference(&before).copied().collect();
    assert!(new.len() >= 5, "the namespace, the way back and three sockets: {new:?}");
    for descriptor in new {
        // Octal; proc_pid_fdinfo(5).
        let Ok(status) = fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")) else { continue };
        let flags = status.lines().find_map(|line| line.strip_prefix("flags:")).ok_or("no flags")?;
        let flags = i32::from_str_radix(flags.trim(), 8)?;
        assert_ne!(flags & libc::O_CLOEXEC, 0, "{descriptor} would be inherited");
    }
    drop((listener, socket, udp));
    Ok(())
}

fn nothing_is_left_open() -> Outcome {
    let before = Baseline::take()?;
    for _ in 0..100 {
        let namespace = Namespace::create()?;
        namespace.run(|| namespace.run(|| ()))??;
        let panicked = catch_unwind(AssertUnwindSafe(|| namespace.run(|| panic_any(OnPurpose))));
        assert!(panicked.is_err());
        let refused = namespace.tcp_listener("[2001:db8::1]:1".parse()?, &SocketOptions::default());
        assert!(refused.is_err());
        drop(Namespace::of_process(std::process::id())?);
        assert!(Namespace::open("/proc/self/ns/mnt").is_err());
        assert!(Namespace::from_fd(File::open("/proc/self/ns/user")?.into()).is_err());
    }
    before.compare()?;
    Ok(())
}

fn descriptors() -> io::Result<BTreeSet<u32>> {
    let folder = fs::read_dir("/proc/self/fd")?;
    let number =
        |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name().to_str()?.parse().ok());
    // The folder itself is open while it is read, so its number is among them; it is closed again by the look below.
    let seen: BTreeSet<u32> =
        folder.filter_map(|entry| number(entry).transpose()).collect::<io::Result<_>>()?;
    Ok(seen.into_iter().filter(|number| fs::read_link(format!("/proc/self/fd/{number}")).is_ok()).collect())
}
