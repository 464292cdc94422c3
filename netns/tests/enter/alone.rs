//! What ends the process, or changes it for good, happens in a process of its own: this program again, in a role.

use std::env;
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use inpod_netns::{EnterError, NamedError, Names, Namespace, OpenError};
use nix::sched::{CloneFlags, unshare};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use testkit::kernel::{Case, Outcome, test};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        test("a_thread_without_a_way_back_does_not_leave", a_thread_without_a_way_back_does_not_leave),
        test(
            "a_thread_that_cannot_come_back_ends_the_process",
            a_thread_that_cannot_come_back_ends_the_process,
        ),
        test("nothing_holds_up_the_end", nothing_holds_up_the_end),
        test("a_program_started_inside_inherits_nothing", a_program_started_inside_inherits_nothing),
        test("ten_thousand_namespaces_leave_nothing", ten_thousand_namespaces_leave_nothing),
    ]
}

fn a_thread_without_a_way_back_does_not_leave() -> Outcome {
    let output = Role::WithoutReturn.run()?;
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "refused\n");
    Ok(())
}

fn a_thread_that_cannot_come_back_ends_the_process() -> Outcome {
    let output = Role::LosesReturn.run()?;
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("a thread cannot leave a network namespace, aborting: "), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "inside\n");
    Ok(())
}

/// Neither a thread that holds the lock on stderr, nor a stderr that nobody reads.
fn nothing_holds_up_the_end() -> Outcome {
    for role in [Role::LosesReturnWhileStderrIsLocked, Role::LosesReturnWhileStderrIsFull] {
        let mut child = role.command()?.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let ended = ended_by_itself(&mut child)?;
        assert_eq!(ended.signal(), Some(libc::SIGABRT), "{}: {ended}", role.name());
    }
    Ok(())
}

/// Ends with `SIGKILL` a child that has not ended by itself for long.
fn ended_by_itself(child: &mut Child) -> io::Result<ExitStatus> {
    // Some hundred times what the end takes.
    let limit = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() > limit {
            child.kill()?;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn a_program_started_inside_inherits_nothing() -> Outcome {
    let output = Role::HoldsMuch.run()?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = String::from_utf8(output.stdout)?;
    let (before, inside) = said.split_once("and\n").ok_or("said nothing")?;
    assert_eq!(inside, before, "more than 0, 1, 2 and what whoever started the tests hands on");
    assert!(before.starts_with("0\n1\n"), "{before}");
    Ok(())
}

fn ten_thousand_namespaces_leave_nothing() -> Outcome {
    let output = Role::MakesMany.run()?;
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "all free again\n");
    Ok(())
}

/// A part that this program plays in a process of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    /// Root of a new user namespace that has stayed in its parent's network.
    WithoutReturn,
    /// Gives its rights away while it is inside.
    LosesReturn,
    /// The same, while another thread holds the lock on stderr.
    LosesReturnWhileStderrIsLocked,
    /// The same, while stderr is a pipe that is full.
    LosesReturnWhileStderrIsFull,
    /// Makes a name in the folder that it is given, where nothing may be mounted.
    CannotMount,
    /// Starts `ls` inside a namespace while it holds all that this crate makes.
    HoldsMuch,
    /// Makes many namespaces where only few may exist.
    MakesMany,
}

const ROLE: &str = "INPOD_TEST_ROLE";
const FOLDER: &str = "INPOD_TEST_FOLDER";

const ROLES: [Role; 7] = [
    Role::WithoutReturn,
    Role::LosesReturn,
    Role::LosesReturnWhileStderrIsLocked,
    Role::LosesReturnWhileStderrIsFull,
    Role::CannotMount,
    Role::HoldsMuch,
    Role::MakesMany,
];

/// The part that this process was started for, if it was.
pub(crate) fn role() -> Option<Role> {
    let name = env::var(ROLE).ok()?;
    ROLES.into_iter().find(|role| role.name() == name)
}

impl Role {
    fn name(self) -> String {
        format!("{self:?}")
    }

    fn command(self) -> io::Result<Command> {
        let mut command = Command::new(env::current_exe()?);
        command.env(ROLE, self.name());
        Ok(command)
    }

    fn run(self) -> io::Result<Output> {
        self.command()?.output()
    }

    /// What it says on stdout when it plays in a folder.
    pub(crate) fn said(self, folder: &Path) -> Result<String, Box<dyn std::error::Error>> {
        let output = self.command()?.env(FOLDER, folder).output()?;
        if output.status.success() {
            Ok(String::from_utf8(output.stdout)?)
        } else {
            Err(format!("{output:?}").into())
        }
    }

    pub(crate) fn play(self) -> ExitCode {
        let played = match self {
            Self::WithoutReturn => without_return(),
            Self::LosesReturn => loses_return(),
            Self::LosesReturnWhileStderrIsLocked => loses_return_while_stderr_is_locked(),
            Self::LosesReturnWhileStderrIsFull => loses_return_while_stderr_is_full(),
            Self::CannotMount => cannot_mount(),
            Self::HoldsMuch => holds_much(),
            Self::MakesMany => makes_many(),
        };
        match played {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        }
    }
}

fn without_return() -> Outcome {
    // All rights in the new one, none over the namespace that the network belongs to.
    unshare(CloneFlags::CLONE_NEWUSER)?;
    let namespace = Namespace::create()?;
    match namespace.run(|| ()) {
        Err(error @ EnterError::Return { .. }) if error.is_permission() => println!("refused"),
        other => println!("{other:?}"),
    }
    Ok(())
}

fn loses_return() -> Outcome {
    let namespace = Namespace::create()?;
    namespace.run(|| {
        println!("inside");
        give_rights_away()
    })??;
    println!("went on");
    Ok(())
}

/// What a thread of a process with several threads may do, too: unshare(2) refuses a new user namespace there.
fn give_rights_away() -> io::Result<()> {
    if std::fs::read_dir("/proc/self/task")?.count() == 1 {
        return Ok(unshare(CloneFlags::CLONE_NEWUSER)?);
    }
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    Ok(set_capabilities(None, sets)?)
}

fn loses_return_while_stderr_is_locked() -> Outcome {
    let namespace = Namespace::create()?;
    let (locked, wait) = mpsc::channel();
    thread::spawn(move || {
        let _stderr = io::stderr().lock();
        locked.send(()).unwrap();
        loop {
            thread::park();
        }
    });
    wait.recv()?;
    namespace.run(give_rights_away)??;
    Ok(())
}

fn loses_return_while_stderr_is_full() -> Outcome {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let namespace = Namespace::create()?;
    fcntl(io::stderr(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    while io::stderr().write_all(&[b'x'; 4096]).is_ok() {}
    fcntl(io::stderr(), FcntlArg::F_SETFL(OFlag::empty()))?;
    namespace.run(give_rights_away)??;
    Ok(())
}

fn cannot_mount() -> Outcome {
    let folder = env::var(FOLDER)?;
    // A mount namespace that is of a parent's user namespace: nothing can be mounted in it.
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;
    match Names::at(Path::new(&folder).join("names")).make(&"a".parse()?) {
        Err(error @ NamedError::Mount { .. }) if error.is_permission() => println!("refused"),
        other => println!("{other:?}"),
    }
    Ok(())
}

fn holds_much() -> Outcome {
    use inpod_netns::{Home, SocketOptions};
    unshare(CloneFlags::CLONE_NEWNS)?;
    let list = || Command::new("ls").arg("/proc/self/fd").status();
    list()?;
    println!("and");
    let folder = tempfile::tempdir()?;
    let names = Names::at(folder.path());
    let named = names.make(&"a".parse()?)?;
    let held = (
        names.open(&"a".parse()?)?,
        Namespace::current()?,
        Namespace::of_process(std::process::id())?,
        Namespace::of_thread(std::process::id())?,
        Namespace::from_fd(nix::unistd::dup(std::os::fd::AsFd::as_fd(&named))?)?,
        Home::of_this_thread()?,
        named.tcp_listener("[::]:0".parse()?, &SocketOptions::default())?,
        named.udp_socket("0.0.0.0:0".parse()?, &SocketOptions::default())?,
    );
    let status = named.run(list)??;
    drop(held);
    names.delete(&"a".parse()?)?;
    if status.success() { Ok(()) } else { Err("ls".into()) }
}

/// The kernel counts the namespaces of a user namespace and refuses more than its limit, so that one which stayed would be
/// missing at the end.
fn makes_many() -> Outcome {
    const MANY: usize = 10_000;
    const LIMIT: usize = 512;
    const FILE: &str = "/proc/sys/user/max_net_namespaces";
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)?;
    std::fs::write(FILE, LIMIT.to_string())?;
    let look = || -> io::Result<_> {
        let mut mounts = String::new();
        std::fs::File::open("/proc/self/mountinfo")?.read_to_string(&mut mounts)?;
        Ok((std::fs::read_dir("/proc/self/fd")?.count(), mounts.lines().count()))
    };
    let before = look()?;
    for _ in 0..MANY {
        drop(made_in_time()?);
    }
    assert_eq!(look()?, before);
    // One of them is the one that this process is in.
    let all = (1..LIMIT).map(|_| made_in_time()).collect::<Result<Vec<_>, _>>()?;
    let more = Namespace::create().err().ok_or("the kernel does not count them")?;
    assert!(matches!(&more, OpenError::Open { source, .. } if is_limit(source)), "{more:?}");
    drop(all);
    println!("all free again");
    Ok(())
}

/// The kernel ends namespaces in the background; while it is late, there is no room for another one.
fn made_in_time() -> Result<Namespace, OpenError> {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        match Namespace::create() {
            Err(OpenError::Open { source, .. }) if is_limit(&source) && Instant::now() < end => {
                thread::sleep(Duration::from_millis(1));
            }
            made => return made,
        }
    }
}

/// unshare(2): a limit in `/proc/sys/user` is reached.
fn is_limit(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOSPC)
}
