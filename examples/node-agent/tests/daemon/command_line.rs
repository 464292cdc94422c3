//! What is wrong with what the program is given is said in one line, which names the thing and the cause.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::process::Command;

use testkit::kernel::{Case, Outcome, test};

use crate::mesh::{Files, Result, program};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        test("a_folder_that_is_not_there_is_named", a_folder_that_is_not_there_is_named),
        test("a_socket_that_others_could_replace_is_refused", a_socket_that_others_could_replace_is_refused),
        test("a_ledger_that_is_none_is_named", a_ledger_that_is_none_is_named),
        test("a_missing_capability_is_named", a_missing_capability_is_named).needs_program("setpriv"),
        test("an_agent_that_does_not_run_is_said_so", an_agent_that_does_not_run_is_said_so),
    ]
}

/// The one line that it says before it ends.
fn refusal(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(said.lines().count(), 1, "{said}");
    Ok(said)
}

fn a_folder_that_is_not_there_is_named() -> Outcome {
    let files = Files::new(&[])?;
    fs::remove_dir(files.path("pods"))?;
    let said = refusal(&mut files.agent())?;
    assert!(said.contains("--pods") && said.contains("No such file"), "{said}");
    Ok(())
}

fn a_socket_that_others_could_replace_is_refused() -> Outcome {
    for (folder, flag) in [("zds", "--zds"), ("control", "--control"), ("cni", "--cni")] {
        let files = Files::new(&[])?;
        fs::create_dir(files.path(folder))?;
        fs::set_permissions(files.path(folder), Permissions::from_mode(0o755))?;
        let output = files.agent().output()?;
        let said = String::from_utf8(output.stderr)?;
        assert!(!output.status.success());
        assert!(said.contains(flag) && said.contains("mode 755, not ours alone (0700)"), "{said}");
    }
    Ok(())
}

fn a_ledger_that_is_none_is_named() -> Outcome {
    let files = Files::new(&[])?;
    fs::write(files.path("ledger.json"), "[{")?;
    let said = refusal(&mut files.agent())?;
    assert!(said.contains("--ledger") && said.contains("not a ledger"), "{said}");
    Ok(())
}

fn a_missing_capability_is_named() -> Outcome {
    let files = Files::new(&[])?;
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-sys_admin", "--inh-caps=-sys_admin", "--"]).arg(program("node-agent"));
    command.args(files.agent().get_args());
    let said = refusal(&mut command)?;
    assert!(said.contains("CAP_SYS_ADMIN"), "{said}");
    Ok(())
}

fn an_agent_that_does_not_run_is_said_so() -> Outcome {
    let files = Files::new(&[])?;
    let mut status = Command::new(program("node-agent"));
    status.arg("status").arg("--control").arg(files.control());
    let said = refusal(&mut status)?;
    assert!(said.contains("asking the agent at") && said.contains("No such file"), "{said}");
    // One that was killed has left its socket.
    fs::create_dir(files.path("control"))?;
    drop(UnixListener::bind(files.control())?);
    let said = refusal(&mut status)?;
    assert!(said.contains("Connection refused"), "{said}");
    Ok(())
}
