//! What ends the process, or changes it for good, happens in a process of its own: this program again, in a role.

use std::env;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode, Output};

use inpod_netns::{EnterError, Namespace};
use nix::sched::{CloneFlags, unshare};
use testkit::kernel::{Case, Outcome, test};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        test("a_thread_without_a_way_back_does_not_leave", a_thread_without_a_way_back_does_not_leave),
        test(
            "a_thread_that_cannot_come_back_ends_the_process",
            a_thread_that_cannot_come_back_ends_the_process,
        ),
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

/// A part that this program plays in a process of its own.
pub(crate) enum Role {
    /// Root of a new user namespace that has stayed in its parent's network.
    WithoutReturn,
    /// Gives its rights away while it is inside.
    LosesReturn,
}

const ROLE: &str = "INPOD_TEST_ROLE";

/// The part that this process was started for, if it was.
pub(crate) fn role() -> Option<Role> {
    match env::var(ROLE).ok()?.as_str() {
        "without-return" => Some(Role::WithoutReturn),
        "loses-return" => Some(Role::LosesReturn),
        _ => None,
    }
}

impl Role {
    fn run(&self) -> std::io::Result<Output> {
        let name = match self {
            Self::WithoutReturn => "without-return",
            Self::LosesReturn => "loses-return",
        };
        Command::new(env::current_exe()?).env(ROLE, name).output()
    }

    pub(crate) fn play(&self) -> ExitCode {
        let played = match self {
            Self::WithoutReturn => without_return(),
            Self::LosesReturn => loses_return(),
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
        unshare(CloneFlags::CLONE_NEWUSER)
    })??;
    println!("went on");
    Ok(())
}
