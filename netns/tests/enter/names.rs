//! Namespaces by name: made, opened, listed, deleted; and what is left when that does not work.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::process::Command;

use inpod_netns::{Name, NamedError, Names, Namespace, OpenError};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;
use testkit::kernel::{Case, Outcome, test};

use crate::sources::Alive;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        test("a_named_namespace_outlives_its_handle", a_named_namespace_outlives_its_handle),
        test("a_namespace_outlives_its_name", a_namespace_outlives_its_name),
        test("a_taken_name_is_not_touched", a_taken_name_is_not_touched),
        test("a_name_that_cannot_be_given_leaves_no_file", a_name_that_cannot_be_given_leaves_no_file),
        test("only_namespaces_are_deleted", only_namespaces_are_deleted),
        test("mounts_on_top_of_each_other_are_all_taken_off", mounts_on_top_of_each_other),
        test("only_namespaces_are_listed", only_namespaces_are_listed),
        test("ip_netns_sees_the_same_names", ip_netns_sees_the_same_names).needs_program("ip").serial(),
    ]
}

fn folder() -> Result<(TempDir, Names), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let names = Names::at(folder.path().join("names"));
    Ok((folder, names))
}

fn named(names: &[&str]) -> Result<Vec<Name>, inpod_netns::NameError> {
    names.iter().map(|name| name.parse()).collect()
}

/// What is mounted in a folder, as the kernel tells.
fn mounted_in(folder: &TempDir) -> io::Result<usize> {
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo")?;
    let path = folder.path().display().to_string();
    Ok(mounts.lines().filter(|line| line.contains(&path)).count())
}

fn a_named_namespace_outlives_its_handle() -> Outcome {
    let (folder, names) = folder()?;
    assert_eq!(names.list()?, []);
    let name = "a".parse()?;
    let id = names.make(&name)?.id();
    assert_eq!(names.open(&name)?.id(), id);
    assert_eq!(names.list()?, std::slice::from_ref(&name));
    assert_eq!(mounted_in(&folder)?, 1);
    names.delete(&name)?;
    assert!(matches!(names.open(&name), Err(OpenError::Open { .. })));
    assert_eq!(names.list()?, []);
    assert_eq!(mounted_in(&folder)?, 0);
    assert_eq!(fs::read_dir(folder.path().join("names"))?.count(), 0);
    Ok(())
}

fn a_namespace_outlives_its_name() -> Outcome {
    let (_folder, names) = folder()?;
    let name = "a".parse()?;
    let namespace = names.make(&name)?;
    let inside = namespace.run(Alive::start)??;
    names.delete(&name)?;
    assert_eq!(Namespace::of_process(inside.pid())?.id(), namespace.id());
    names.give(&"b".parse()?, &namespace)?;
    assert_eq!(names.open(&"b".parse()?)?.id(), namespace.id());
    names.delete(&"b".parse()?)?;
    Ok(())
}

fn a_taken_name_is_not_touched() -> Outcome {
    let (folder, names) = folder()?;
    let name = "a".parse()?;
    let id = names.make(&name)?.id();
    assert!(matches!(names.make(&name), Err(NamedError::Exists { .. })));
    assert_eq!(names.open(&name)?.id(), id);
    names.delete(&name)?;

    // A link that leads out of the folder is not followed.
    let outside = folder.path().join("outside");
    symlink(&outside, names.path(&name))?;
    let error = names.make(&name).err().ok_or("made")?;
    assert_eq!(error.to_string(), format!("{} exists already", names.path(&name).display()));
    assert!(!outside.exists());
    Ok(())
}

fn a_name_that_cannot_be_given_leaves_no_file() -> Outcome {
    let (folder, names) = folder()?;
    fs::create_dir(folder.path().join("names"))?;
    mount(Some("none"), &folder.path().join("names"), Some("tmpfs"), MsFlags::MS_RDONLY, None::<&str>)?;
    let made = names.make(&"a".parse()?);
    umount2(&folder.path().join("names"), MntFlags::MNT_DETACH)?;
    assert!(matches!(made, Err(NamedError::File { .. })), "{made:?}");

    let file = folder.path().join("file");
    File::create(&file)?;
    let made = Names::at(file.join("below")).make(&"a".parse()?);
    assert!(matches!(made, Err(NamedError::Folder { .. })), "{made:?}");

    assert_eq!(crate::alone::Role::CannotMount.said(folder.path())?, "refused\n");
    assert_eq!(fs::read_dir(folder.path().join("names"))?.count(), 0);
    assert_eq!(mounted_in(&folder)?, 0);
    Ok(())
}

fn only_namespaces_are_deleted() -> Outcome {
    let (folder, names) = folder()?;
    fs::create_dir_all(folder.path().join("names/folder"))?;
    fs::write(names.path(&"text".parse()?), "precious")?;
    fs::write(names.path(&"empty".parse()?), "")?;
    symlink("/proc/self/ns/net", names.path(&"link".parse()?))?;
    for name in named(&["text", "folder"])? {
        let error = names.delete(&name).err().ok_or("deleted")?;
        assert!(matches!(error, NamedError::Namespace(OpenError::NotNamespace { .. })), "{error:?}");
    }
    assert!(matches!(names.delete(&"link".parse()?), Err(NamedError::Mount { .. })));
    assert!(matches!(names.delete(&"none".parse()?), Err(NamedError::Namespace(OpenError::Open { .. }))));
    // What a maker that was killed leaves behind.
    names.delete(&"empty".parse()?)?;
    let left: BTreeSet<_> = fs::read_dir(folder.path().join("names"))?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<io::Result<_>>()?;
    assert_eq!(left, ["folder", "link", "text"].map(Into::into).into());
    Ok(())
}

fn mounts_on_top_of_each_other() -> Outcome {
    let (folder, names) = folder()?;
    let name = "a".parse()?;
    names.make(&name)?;
    for _ in 0..3 {
        let path = names.path(&name);
        mount(Some("/proc/self/ns/net"), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    }
    assert_eq!(mounted_in(&folder)?, 4);
    names.delete(&name)?;
    assert_eq!(mounted_in(&folder)?, 0);
    Ok(())
}

fn only_namespaces_are_listed() -> Outcome {
    let (folder, names) = folder()?;
    names.make(&"b".parse()?)?;
    names.make(&"a".parse()?)?;
    fs::write(names.path(&"empty".parse()?), "")?;
    let of_mounts = names.path(&"of-mounts".parse()?);
    symlink("/proc/self/ns/mnt", of_mounts)?;
    nix::unistd::mkfifo(&names.path(&"pipe".parse()?), nix::sys::stat::Mode::S_IRWXU)?;
    let not_text: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"\xff");
    fs::write(folder.path().join("names").join(not_text), "")?;
    assert_eq!(names.list()?, named(&["a", "b"])?);
    for name in names.list()? {
        names.delete(&name)?;
    }
    Ok(())
}

fn ip_netns_sees_the_same_names() -> Outcome {
    let ip = |arguments: &[&str]| -> Result<String, Box<dyn std::error::Error>> {
        let output = Command::new("ip").args(arguments).output()?;
        let said = String::from_utf8(output.stdout)?;
        if output.status.success() { Ok(said) } else { Err(String::from_utf8(output.stderr)?.into()) }
    };
    // Its own, so that nothing stays on the machine's.
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    let (ours, theirs) =
        (format!("inpod-{}-o", std::process::id()), format!("inpod-{}-t", std::process::id()));
    let names = Names::default();
    let made = names.make(&ours.parse()?)?;
    ip(&["netns", "add", &theirs])?;
    let listed = ip(&["netns", "list"])?;
    let of_ours = ip(&["netns", "exec", &ours, "readlink", "/proc/self/ns/net"])?;
    let both = names.list()?;
    let opened = names.open(&theirs.parse()?)?;
    ip(&["netns", "delete", &ours])?;
    names.delete(&theirs.parse()?)?;
    assert!(listed.lines().any(|line| line.starts_with(&ours)), "{listed}");
    assert_eq!(of_ours.trim(), format!("net:[{}]", made.id().inode()));
    assert!(both.contains(&ours.parse()?) && both.contains(&theirs.parse()?), "{both:?}");
    assert_ne!(opened.id(), made.id());
    assert!(!names.list()?.iter().any(|name| [&ours, &theirs].contains(&&name.to_string())));
    Ok(())
}
