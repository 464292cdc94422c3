//! The installation against a full disk, and against being killed at any moment.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use cni_plugin::configuration::Agent;
use cni_plugin::install::list::List;
use cni_plugin::install::{Entry, FileError, InstallError, Installed, ProgramError};
use cni_plugin::install::{install, install_program, uninstall};
use testkit::kernel::{Case, Outcome, test};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        test("installing::a_full_disk_leaves_the_old", a_full_disk)
            .needs_program("mount")
            .needs_program("umount"),
        test("installing::killed_at_any_moment_it_leaves_the_old_or_the_new", killed),
    ]
}

/// With this variable, this program installs and uninstalls in the folder it names until it is killed.
pub(crate) const FOLDER: &str = "INPOD_TEST_INSTALL_IN";

const LIST: &str = "{\n  \"cniVersion\": \"1.0.0\",\n  \"name\": \"pods\",\n  \"plugins\": [\n    {\"type\": \"a\"}\n  ]\n}\n";

fn entry() -> Entry {
    Entry::new(&Agent::default())
}

fn a_full_disk() -> Outcome {
    let place = tempfile::tempdir()?;
    // Two pages: one for the list, one for what fills it up.
    mount("mount", &["-t", "tmpfs", "-o", "size=8k", "none"], place.path())?;
    let tested = on_a_full_disk(place.path());
    mount("umount", &[], place.path())?;
    tested
}

fn on_a_full_disk(folder: &Path) -> Outcome {
    let (file, filler, program) =
        (folder.join("a.conflist"), folder.join("filler"), folder.join("inpod-cni"));
    fs::write(&file, LIST)?;
    fs::write(&filler, [0; 4096])?;
    let full = install(folder, &entry());
    assert!(matches!(full, Err(InstallError::File(FileError::Write { .. }))), "{full:?}");
    let full = install_program(&file, folder);
    assert!(matches!(full, Err(ProgramError::File(FileError::Write { .. }))), "{full:?}");
    assert_eq!(fs::read_to_string(&file)?, LIST);
    assert!(!program.exists());
    assert_eq!(fs::read_dir(folder)?.count(), 2, "nothing else is left");
    fs::remove_file(&filler)?;
    assert_eq!(install(folder, &entry())?, Installed::Now(file));
    Ok(())
}

fn mount(program: &str, arguments: &[&str], place: &Path) -> Outcome {
    let mounted = Command::new(program).args(arguments).arg(place).output()?;
    assert!(mounted.status.success(), "{mounted:?}");
    Ok(())
}

/// How often it is killed. Each time it has done some hundred installations.
const KILLS: u32 = 60;

fn killed() -> Outcome {
    let place = tempfile::tempdir()?;
    let file = place.path().join("a.conflist");
    fs::write(&file, LIST)?;
    let installed = List::parse(LIST)?.with(&entry())?;
    let (mut old, mut new) = (0, 0);
    for round in 0..KILLS {
        let mut child = Command::new(std::env::current_exe()?);
        let mut child = child.env(FOLDER, place.path()).stdout(Stdio::null()).spawn()?;
        // Not to wait for something: to kill it at another moment each time.
        thread::sleep(Duration::from_micros(u64::from(2000 + 137 * round)));
        child.kill()?;
        child.wait()?;
        let left = fs::read_to_string(&file)?;
        assert!(left == LIST || left == installed, "round {round}: {left}");
        *(if left == LIST { &mut old } else { &mut new }) += 1;
    }
    assert!(old > 0 && new > 0, "killed only before or only after: {old}, {new}");
    // What a killed one left does not stand in the way.
    install(place.path(), &entry())?;
    assert_eq!(fs::read_to_string(&file)?, installed);
    assert_eq!(fs::read_dir(place.path())?.count(), 1);
    Ok(())
}

/// What is killed.
pub(crate) fn for_ever(folder: &Path) -> ExitCode {
    while install(folder, &entry()).is_ok() && uninstall(folder).is_ok() {}
    ExitCode::FAILURE
}
