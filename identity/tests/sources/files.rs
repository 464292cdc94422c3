//! Files, written as others write them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use inpod_identity::source::{Clock, Files, FilesError, Layout, MaterialError, Source, SourceError, Watch};
use inpod_identity::{BundleError, Ca, KeyError, Svid, SvidError, VerifyError};
use rcgen::{KeyPair, PKCS_ED25519};

use crate::lab::{Authority, HOUR, domain, id, now, pem, provider, silent_pkcs8};
use crate::virtual_time::{clock, pass};

const SECOND: Duration = Duration::from_secs(1);

/// Chain, key and roots, in PEM.
#[derive(Clone)]
struct Set([String; 3]);

const NAMES: [&str; 3] = ["tls.crt", "tls.key", "ca.crt"];

impl Set {
    fn issue(ca: &Ca) -> Self {
        let svid = ca.issue(&id("/ns/shop/sa/cart"), 10 * HOUR, now()).unwrap();
        Self([certificates(&svid), key(&svid), ca.bundle().to_pem()])
    }

    fn write(&self, folder: &Path) {
        for (name, text) in NAMES.iter().zip(&self.0) {
            fs::write(folder.join(name), text).unwrap();
        }
    }
}

fn certificates(svid: &Svid) -> String {
    svid.chain().iter().map(|certificate| pem("CERTIFICATE", certificate)).collect()
}

fn key(svid: &Svid) -> String {
    pem("PRIVATE KEY", svid.key().secret_der())
}

fn ca() -> Ca {
    Ca::generate_at(domain(), now() - HOUR).unwrap()
}

/// A running source of `folder`.
fn open(folder: &Path, clock: Clock) -> Watch {
    let (files, driver) = Files::with_clock(Layout::cert_manager(folder), provider(), clock);
    tokio::spawn(driver.run());
    files.watch()
}

/// What is given out now, as the PEM of its chain.
fn given(watch: &Watch, clock: &Clock) -> String {
    certificates(watch.at(clock.now()).unwrap().svid())
}

/// What is in the way, if it is of the files.
fn with_trouble<T>(watch: &Watch, look: impl FnOnce(&FilesError) -> T) -> T {
    match &*watch.trouble().expect("it should be told") {
        SourceError::Files(error) => look(error),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn files_that_are_written_one_by_one_are_used_when_all_are_there() {
    let (folder, ca, clock) = (tempfile::tempdir().unwrap(), ca(), clock());
    let watch = open(folder.path(), clock.clone());
    pass(SECOND).await;
    with_trouble(&watch, |error| {
        assert!(matches!(error, FilesError::Read { path, .. } if path.ends_with("tls.crt")));
    });
    let old = Set::issue(&ca);
    old.write(folder.path());
    pass(2 * SECOND).await;
    assert_eq!(given(&watch, &clock), old.0[0]);
    assert!(watch.trouble().is_none());

    let new = Set::issue(&ca);
    fs::write(folder.path().join("tls.crt"), &new.0[0]).unwrap();
    pass(100 * SECOND).await;
    assert_eq!(given(&watch, &clock), old.0[0], "the last good one stays");
    with_trouble(&watch, |error| {
        assert!(matches!(error, FilesError::Svid(SvidError::Key(KeyError::Mismatch))), "{error:?}");
    });
    fs::write(folder.path().join("tls.key"), &new.0[1]).unwrap();
    pass(2 * SECOND).await;
    assert_eq!(given(&watch, &clock), new.0[0]);
    assert!(watch.trouble().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_bad_set_of_any_kind_keeps_the_last_good_one_and_says_so() {
    let (ca, other) = (ca(), ca());
    let good = Set::issue(&ca);
    let with = |at: usize, text: &str| {
        let mut set = good.clone();
        set.0[at] = text.to_owned();
        set
    };
    let foreign = Ca::generate_at("other.local".parse().unwrap(), now() - HOUR).unwrap();
    let foreign_id = inpod_identity::SpiffeId::new(&"other.local".parse().unwrap(), "/x").unwrap();
    let strange = foreign.issue(&foreign_id, HOUR, now()).unwrap();
    let past = ca.issue(&id("/x"), 60 * SECOND, now() - HOUR / 2).unwrap();
    let later = ca.issue(&id("/x"), 3 * HOUR, now() + 2 * HOUR).unwrap();
    type Check = fn(&FilesError) -> bool;
    let cases: Vec<(Set, Check)> = vec![
        (with(0, ""), |error| matches!(error, FilesError::Svid(SvidError::ChainPem(_)))),
        (with(0, &good.0[0][..good.0[0].len() / 2]), |error| {
            matches!(error, FilesError::Svid(SvidError::ChainPem(_)))
        }),
        (with(0, &good.0[2]), |error| matches!(error, FilesError::Svid(SvidError::Leaf(_)))),
        (with(1, ""), |error| matches!(error, FilesError::Svid(SvidError::KeyPem(_)))),
        (with(1, &good.0[1][..good.0[1].len() / 2]), |error| {
            matches!(error, FilesError::Svid(SvidError::KeyPem(_)))
        }),
        (with(1, &Set::issue(&ca).0[1]), |error| matches!(error, FilesError::Svid(SvidError::Key(_)))),
        (with(2, ""), |error| matches!(error, FilesError::Bundle(BundleError::Pem(_)))),
        (with(2, &good.0[0]), |error| matches!(error, FilesError::Bundle(BundleError::Root { .. }))),
        (with(2, &other.bundle().to_pem()), |error| {
            matches!(error, FilesError::Material(MaterialError::Verify(VerifyError::Path(_))))
        }),
        (Set([certificates(&strange), key(&strange), good.0[2].clone()]), |error| {
            matches!(error, FilesError::Material(MaterialError::Verify(_)))
        }),
        (Set([certificates(&past), key(&past), good.0[2].clone()]), |error| {
            matches!(error, FilesError::Material(MaterialError::Expired { .. }))
        }),
        (Set([certificates(&later), key(&later), good.0[2].clone()]), |error| {
            matches!(error, FilesError::Material(MaterialError::NotYetValid { .. }))
        }),
        (with(0, &"x".repeat(1024 * 1024 + 1)), |error| matches!(error, FilesError::TooLarge { .. })),
    ];
    for (number, (bad, is_named)) in cases.into_iter().enumerate() {
        let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
        let watch = open(folder.path(), clock.clone());
        good.write(folder.path());
        pass(2 * SECOND).await;
        bad.write(folder.path());
        pass(2 * SECOND).await;
        assert_eq!(given(&watch, &clock), good.0[0], "case {number}");
        with_trouble(&watch, |error| assert!(is_named(error), "case {number}: {error:?}"));
        good.write(folder.path());
        pass(2 * SECOND).await;
        assert_eq!(given(&watch, &clock), good.0[0], "case {number}");
        assert!(watch.trouble().is_none(), "case {number}: what was told is over");
    }
}

#[tokio::test(start_paused = true)]
async fn a_path_that_leads_to_no_file_is_named_and_not_waited_for() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    Set::issue(&ca()).write(folder.path());
    fs::remove_file(folder.path().join("tls.key")).unwrap();
    fs::create_dir(folder.path().join("tls.key")).unwrap();
    let watch = open(folder.path(), clock);
    pass(SECOND).await;
    with_trouble(&watch, |error| {
        assert!(matches!(error, FilesError::NotFile { path } if path.ends_with("tls.key")));
    });
}

#[tokio::test(start_paused = true)]
async fn roots_that_are_half_written_for_a_moment_are_never_used() {
    let (ca, other, clock) = (ca(), ca(), clock());
    let folder = tempfile::tempdir().unwrap();
    let set = Set::issue(&ca);
    set.write(folder.path());
    let watch = open(folder.path(), clock.clone());
    pass(2 * SECOND).await;
    let roots = || watch.at(clock.now()).unwrap().bundle().roots().len();
    // The first root alone reads as a bundle; it is there for one look.
    let both = ca.bundle().to_pem() + &other.bundle().to_pem();
    fs::write(folder.path().join("ca.crt"), &both).unwrap();
    pass(2 * SECOND).await;
    assert_eq!(roots(), 2);
    for _ in 0..20 {
        fs::write(folder.path().join("ca.crt"), &set.0[2]).unwrap();
        pass(SECOND / 2).await;
        assert_eq!(roots(), 2);
        fs::write(folder.path().join("ca.crt"), &both).unwrap();
        pass(SECOND / 2).await;
        assert_eq!(roots(), 2);
    }
}

/// A key file need not say its public half; then only a signature tells whose it is.
#[tokio::test(start_paused = true)]
async fn a_key_that_keeps_silent_is_found_out() {
    let root = Authority::root("root");
    let [mine, other] = [(); 2].map(|()| KeyPair::generate_for(&PKCS_ED25519).unwrap());
    let chain = pem("CERTIFICATE", &root.leaf_of(&mine));
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    let silent = |pair: &KeyPair| pem("PRIVATE KEY", &silent_pkcs8(pair));
    Set([chain.clone(), silent(&other), root.bundle().to_pem()]).write(folder.path());
    let watch = open(folder.path(), clock.clone());
    pass(2 * SECOND).await;
    watch.at(clock.now()).unwrap_err();
    with_trouble(&watch, |error| {
        assert!(matches!(error, FilesError::Material(MaterialError::Key(_))), "{error:?}");
    });
    fs::write(folder.path().join("tls.key"), silent(&mine)).unwrap();
    pass(2 * SECOND).await;
    assert_eq!(given(&watch, &clock), chain);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_early_is_used_when_its_time_comes() {
    let (folder, ca, clock) = (tempfile::tempdir().unwrap(), ca(), clock());
    let svid = ca.issue(&id("/x"), 3 * HOUR, now() + HOUR).unwrap();
    Set([certificates(&svid), key(&svid), ca.bundle().to_pem()]).write(folder.path());
    let mut watch = open(folder.path(), clock.clone());
    pass(2 * SECOND).await;
    watch.at(clock.now()).unwrap_err();
    let mut changes = 0;
    while watch.at(clock.now()).is_err() {
        watch.changed().await.unwrap();
        changes += 1;
    }
    assert_eq!(changes, 2, "it was told once, and not at every look");
    assert!(clock.now() >= svid.not_before());
}

/// Makes `set` the contents of a volume, as the kubelet does: a new folder, and a link that is replaced.
fn swap(volume: &Path, generation: usize, set: &Set) {
    let name = format!("..{generation}");
    fs::create_dir(volume.join(&name)).unwrap();
    set.write(&volume.join(&name));
    let old = fs::read_link(volume.join("..data")).ok();
    symlink(&name, volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    for file in NAMES {
        let _ = symlink(Path::new("..data").join(file), volume.join(file));
    }
    if let Some(old) = old {
        fs::remove_dir_all(volume.join(old)).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_volume_is_used_as_soon_as_it_is_swapped() {
    let (volume, clock) = (tempfile::tempdir().unwrap(), clock());
    let mut watch = open(volume.path(), clock.clone());
    for generation in 0..20 {
        // Each with a root of its own, so that nothing of two sets fits together.
        let set = Set::issue(&ca());
        swap(volume.path(), generation, &set);
        pass(SECOND).await;
        assert_eq!(given(&watch, &clock), set.0[0]);
        assert!(watch.trouble().is_none());
    }
    assert!(watch.first().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_is_swapped_while_it_is_read_gives_no_mixture() {
    let (volume, clock) = (tempfile::tempdir().unwrap(), clock());
    let sets: Arc<Vec<Set>> = Arc::new((0..4).map(|_| Set::issue(&ca())).collect());
    swap(volume.path(), 0, &sets[0]);
    let mut watch = open(volume.path(), clock.clone());
    watch.first().await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (path, sets, done) = (volume.path().to_owned(), Arc::clone(&sets), Arc::clone(&done));
        move || {
            for generation in 1.. {
                if done.load(Ordering::Relaxed) {
                    return generation;
                }
                swap(&path, generation, &sets[generation % sets.len()]);
            }
            0
        }
    });
    let mut seen = 0;
    for _ in 0..200 {
        watch.changed().await.unwrap();
        assert!(watch.trouble().is_none(), "{:?}", watch.trouble());
        let material = watch.at(clock.now()).unwrap();
        assert!(sets.iter().any(|set| {
            set.0 == [certificates(material.svid()), key(material.svid()), material.bundle().to_pem()]
        }));
        seen += 1;
    }
    done.store(true, Ordering::Relaxed);
    let generations = writer.join().unwrap();
    assert!(seen == 200 && generations > 100, "{generations}");
}

#[tokio::test(start_paused = true)]
async fn one_file_may_be_chain_and_key() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), ca());
    let set = Set::issue(&ca);
    fs::write(folder.path().join("credentials.pem"), set.0[1].clone() + &set.0[0]).unwrap();
    let elsewhere = tempfile::NamedTempFile::new().unwrap();
    fs::write(elsewhere.path(), &set.0[2]).unwrap();
    let layout = Layout::new(folder.path(), "credentials.pem", "credentials.pem", elsewhere.path());
    let (files, driver) = Files::with_clock(layout, provider(), Clock::new(now));
    let driver = tokio::spawn(driver.run());
    let mut watch = files.watch();
    assert_eq!(certificates(watch.first().await.unwrap().svid()), set.0[0]);
    drop((files, watch));
    driver.await.unwrap();
}
