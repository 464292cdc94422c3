use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::thread;

use tempfile::TempDir;

use super::*;
use crate::configuration::Agent;

const LIST: &str = r#"{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [
    {"type": "bridge"}
  ]
}
"#;

fn entry() -> Entry {
    Entry::new(&Agent::default())
}

struct Place {
    folder: TempDir,
}

impl Place {
    fn new(files: &[(&str, &str)]) -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        for (name, text) in files {
            fs::write(place.path(name), text).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn install(&self) -> Result<Installed, InstallError> {
        install(self.folder.path(), &entry())
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn in_and_out_again() {
    let place = Place::new(&[("10-a.conflist", LIST), ("20-b.conflist", LIST), ("00.txt", LIST)]);
    let file = place.path("10-a.conflist");
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    assert_eq!(place.install().unwrap(), Installed::Now(file.clone()));
    assert!(place.read("10-a.conflist").contains("inpod-cni"));
    assert_eq!((place.read("20-b.conflist"), place.read("00.txt")), (LIST.to_owned(), LIST.to_owned()));
    let before = fs::metadata(&file).unwrap();
    assert_eq!(before.mode() & 0o777, 0o640);
    assert_eq!(place.install().unwrap(), Installed::Already(file.clone()));
    assert_eq!(fs::metadata(&file).unwrap().ino(), before.ino(), "nothing was written");
    assert_eq!(uninstall(place.folder.path()).unwrap(), [file]);
    assert_eq!(place.read("10-a.conflist"), LIST);
    assert!(uninstall(place.folder.path()).unwrap().is_empty());
    assert_eq!(place.names(), ["00.txt", "10-a.conflist", "20-b.conflist"]);
}

#[test]
fn what_runtimes_pass_over_is_passed_over() {
    let place = Place::new(&[
        ("00-a.conflist", "{"),
        ("01-a.conflist", r#"{"cniVersion":"1.0.0","name":"n","plugins":[]}"#),
        ("02-a.conf", r#"{"name":"n"}"#),
        ("03-a.conflist", "\u{0}"),
        ("05-a.conflist", LIST),
    ]);
    fs::create_dir(place.path("04-a.conflist")).unwrap();
    fs::write(place.path("03-b.conflist"), b"\xff").unwrap();
    assert_eq!(place.install().unwrap(), Installed::Now(place.path("05-a.conflist")));
    assert_eq!(Place::new(&[("a.conflist", "{")]).install().unwrap(), Installed::NoNetwork);
}

/// A runtime would use it, so another one would be the wrong one.
#[test]
fn a_network_that_we_cannot_be_chained_to_is_an_error() {
    let old = LIST.replace("1.0.0", "0.2.0");
    let place = Place::new(&[("00-a.conflist", &old), ("10-b.conflist", LIST)]);
    assert!(matches!(place.install(), Err(InstallError::List { .. })));
    assert_eq!((place.read("00-a.conflist"), place.read("10-b.conflist")), (old, LIST.to_owned()));
}

#[test]
fn links_are_refused() {
    let place = Place::new(&[("real", LIST), ("10-b.conflist", LIST)]);
    symlink(place.path("real"), place.path("00-a.conflist")).unwrap();
    assert!(matches!(place.install(), Err(InstallError::File(FileError::Link { .. }))));
    assert_eq!((place.read("real"), place.read("10-b.conflist")), (LIST.to_owned(), LIST.to_owned()));
    let link = place.path("link");
    symlink(place.folder.path(), &link).unwrap();
    assert!(matches!(install(&link, &entry()), Err(InstallError::File(FileError::Folder { .. }))));
    let nowhere = install(&place.path("nowhere"), &entry());
    assert!(matches!(nowhere, Err(InstallError::File(FileError::Folder { .. }))));
}

#[test]
fn a_single_plugin_is_converted_once() {
    let single = r#"{"cniVersion":"0.4.0","name":"mynet","type":"bridge"}"#;
    let place = Place::new(&[("10-a.conf", single)]);
    assert_eq!(place.install().unwrap(), Installed::Now(place.path("10-a.conflist")));
    assert_eq!(place.names(), ["10-a.conflist"]);
    let list = place.read("10-a.conflist");
    assert!(list.contains(single) && list.contains("inpod-cni"), "{list}");
    assert_eq!(place.install().unwrap(), Installed::Already(place.path("10-a.conflist")));
    // One of us was killed between the two steps.
    fs::write(place.path("10-a.conf"), single).unwrap();
    assert_eq!(place.install().unwrap(), Installed::Now(place.path("10-a.conflist")));
    assert_eq!((place.names(), place.read("10-a.conflist")), (vec!["10-a.conflist".to_owned()], list));
    // Another network has the name.
    fs::write(place.path("10-a.conf"), single.replace("mynet", "other")).unwrap();
    assert!(matches!(place.install(), Err(InstallError::Occupied { .. })));
    assert_eq!(place.names(), ["10-a.conf", "10-a.conflist"]);
}

#[test]
fn a_long_file_is_refused() {
    let long = format!("{LIST}{}", " ".repeat(1 << 20));
    let place = Place::new(&[("a.conflist", &long)]);
    assert!(matches!(place.install(), Err(InstallError::File(FileError::TooLong { .. }))));
    assert_eq!(place.read("a.conflist"), long);
}

#[test]
fn what_one_of_us_left_is_cleared_away() {
    let place = Place::new(&[("a.conflist", LIST), (".inpod-cni.tmp", "half")]);
    place.install().unwrap();
    assert_eq!(place.names(), ["a.conflist"]);
}

/// Another program replaces the file all the time, as atomically as we do. Whatever it wrote last is what is there, with us.
#[test]
fn nothing_that_others_write_is_lost() {
    let place = Place::new(&[("a.conflist", LIST)]);
    let file = place.path("a.conflist");
    let version = |number: usize| LIST.replace("pods", &format!("pods{number}"));
    const LAST: usize = 2000;
    thread::scope(|scope| {
        let writer = scope.spawn(|| -> io::Result<()> {
            for number in 1..=LAST {
                let draft = place.path("theirs");
                fs::write(&draft, version(number))?;
                fs::rename(&draft, place.path("a.conflist"))?;
            }
            Ok(())
        });
        while !writer.is_finished() {
            match place.install() {
                Ok(Installed::Now(_) | Installed::Already(_)) | Err(InstallError::Restless { .. }) => {}
                other => panic!("{other:?}"),
            }
            let seen = fs::read_to_string(&file).unwrap();
            assert!(list::List::parse(&seen).is_ok(), "{seen}");
        }
        writer.join().unwrap().unwrap();
    });
    place.install().unwrap();
    let bare = list::List::parse(&place.read("a.conflist")).unwrap().without();
    assert_eq!(bare, version(LAST));
    assert!(place.read("a.conflist").contains("inpod-cni"));
    assert_eq!(place.names(), ["a.conflist"]);
}

#[tokio::test]
async fn it_is_kept_when_others_write() {
    let place = Place::new(&[]);
    let (stop, file) = (tokio_util::sync::CancellationToken::new(), place.path("a.conflist"));
    // Only what the kernel tells can make it look in time for this test.
    let pace =
        Pace { longest: std::time::Duration::from_secs(3600), shortest: std::time::Duration::from_millis(1) };
    let (send, mut told) = tokio::sync::mpsc::unbounded_channel();
    let folder = place.folder.path().to_owned();
    let keeping = tokio::spawn({
        let stop = stop.clone();
        async move { keep(&folder, &entry(), pace, &stop, |installed| drop(send.send(installed))).await }
    });
    let mut until = async |wanted: fn(&Installed) -> bool| {
        while !wanted(&told.recv().await.unwrap().unwrap()) {}
    };
    until(|installed| *installed == Installed::NoNetwork).await;
    for _ in 0..3 {
        fs::write(place.path("theirs"), LIST).unwrap();
        fs::rename(place.path("theirs"), &file).unwrap();
        until(|installed| matches!(installed, Installed::Now(_))).await;
        assert!(place.read("a.conflist").contains("inpod-cni"));
    }
    // A network that sorts before it is the one to be in.
    fs::write(place.path("0.conflist"), LIST).unwrap();
    until(|installed| matches!(installed, Installed::Now(file) if file.ends_with("0.conflist"))).await;
    stop.cancel();
    keeping.await.unwrap();
}

#[test]
fn the_program_is_copied_once() {
    let (place, bin) = (Place::new(&[("built", "program")]), tempfile::tempdir().unwrap());
    let program = install_program(&place.path("built"), bin.path()).unwrap();
    assert_eq!(program, bin.path().join("inpod-cni"));
    let before = fs::metadata(&program).unwrap();
    assert_eq!(before.mode() & 0o777, 0o755);
    install_program(&place.path("built"), bin.path()).unwrap();
    assert_eq!(fs::metadata(&program).unwrap().ino(), before.ino(), "nothing was written");
    fs::write(place.path("built"), "newer").unwrap();
    install_program(&place.path("built"), bin.path()).unwrap();
    assert_eq!(fs::read_to_string(&program).unwrap(), "newer");
    assert!(matches!(install_program(Path::new("/nowhere"), bin.path()), Err(ProgramError::Source { .. })));
    uninstall_program(bin.path()).unwrap();
    uninstall_program(bin.path()).unwrap();
    assert!(fs::read_dir(bin.path()).unwrap().next().is_none());
}
