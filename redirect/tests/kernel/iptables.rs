//! The backend of iptables in a kernel, by both variants of its programs.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};

use inpod_redirect::iptables::{self, IptablesError, ProgramError, Programs, Variant};
use inpod_redirect::{Difference, DnsCapture, Families, Family, Intent, Piece, Plan, Port, Verdict};
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::{Lab, Pod};

use crate::backend::Backend;
use crate::cases;
use crate::escapes::run;
use crate::scene::{SOME, Scene, accept, connect, talk, unmarked};

/// Its name, and what happens.
type Test = (&'static str, fn(Variant) -> Outcome);

pub(crate) fn tests() -> Vec<Case> {
    let tests: [Test; 8] = [
        ("apply_then_verify_is_same_for_every_case", every_case),
        ("applying_twice_is_applying_once", twice),
        ("remove_leaves_what_was_there", removed),
        ("what_is_tampered_with_is_named_and_mended", tampered),
        ("a_captured_connection_survives_another_plan", survives),
        ("without_rights_it_is_the_program_that_says_why", no_rights),
        ("rules_that_are_there_decide_on_the_variant", chosen),
        ("without_ip6tables_only_ipv4_is_put_in_place", v4_only),
    ];
    let mut cases = Vec::new();
    for (name, body) in tests {
        for variant in [Variant::Legacy, Variant::Nft] {
            let case = test(format!("iptables::{variant}_{name}"), move || body(variant));
            cases.push(case.needs_program("iptables").needs_program("setpriv"));
        }
    }
    // The lock is one for all who use this variant here.
    let locked = test("iptables::legacy_the_lock_of_xtables_is_waited_for_and_not_for_ever", locked);
    cases.push(locked.needs_program("iptables").needs_program("flock").serial());
    cases.push(
        test("iptables::what_a_kernel_without_a_table_says_is_passed_on", no_table).needs_program("sh"),
    );
    cases
}

/// Somebody who holds the lock of xtables until he is told to let go.
struct Holder(Child);

impl Holder {
    fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let mut holder = Command::new("flock");
        holder.args(["/run/xtables.lock", "sh", "-c", "echo held; read _"]);
        let mut child = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut held = [0; 5];
        child.stdout.as_mut().ok_or("no stdout")?.read_exact(&mut held)?;
        Ok(Self(child))
    }

    fn let_go(mut self) -> Outcome {
        drop(self.0.stdin.take());
        self.0.wait()?;
        Ok(())
    }
}

fn locked() -> Outcome {
    let (_lab, pod) = pod()?;
    let programs = Programs::of(Variant::Legacy)?;
    let plan = Plan::new(&Intent::ambient());
    let holder = Holder::new()?;
    let refused = pod.run(|| iptables::apply(&plan, &programs))?.unwrap_err();
    let is_locked = matches!(
        &refused,
        IptablesError::Program { family: Family::V4, source: ProgramError::Locked { program, seconds: 10 } }
            if program == "iptables-legacy-restore"
    );
    assert!(is_locked, "{refused:?}");
    assert!(!saved(&pod, Variant::Legacy)?.contains("INPOD"), "no rule was changed");

    let waiting = std::thread::spawn({
        let namespace = pod.namespace().clone();
        move || namespace.run(|| iptables::apply(&plan, &programs).is_ok())
    });
    // It has asked for the lock by then, or asks later; it is the same to it.
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(!waiting.is_finished(), "it waits");
    holder.let_go()?;
    assert!(matches!(waiting.join(), Ok(Ok(true))), "and goes on");
    Ok(())
}

/// Programs that know no table nat, as on a kernel that was built without it.
fn no_table() -> Outcome {
    let (_lab, pod) = pod()?;
    let folder = tempfile::tempdir()?;
    let says = "iptables-restore: unable to initialize table 'nat'\n\nError occurred at line: ";
    for family in ["iptables", "ip6tables"] {
        let line = "grep -n '^\\*nat' | cut -d: -f1";
        let restore = format!("#!/bin/sh\nprintf \"{says}\" >&2\n{line} >&2\nexit 1\n");
        for (what, script) in [("save", "#!/bin/sh\n"), ("restore", &restore)] {
            let path = folder.path().join(format!("{family}-legacy-{what}"));
            fs::write(&path, script)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
    }
    let programs = Programs::at(Variant::Legacy, folder.path())?;
    let plan = Plan::new(&Intent::ambient());
    let refused = pod.run(|| iptables::apply(&plan, &programs))?.unwrap_err();
    let IptablesError::Program { source: ProgramError::Refused { said, .. }, .. } = &refused else {
        panic!("{refused:?}")
    };
    assert!(said.contains("unable to initialize table 'nat'"), "{said}");
    Ok(())
}

fn sayable() -> impl Iterator<Item = (&'static str, Intent)> {
    // user_namespaces(7): every number is its own outside of any user namespace.
    let is_root = fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]));
    let backend = Backend::Iptables(Variant::Nft);
    cases::all()
        .into_iter()
        .filter(move |(name, _)| backend.can_say(name) && (is_root || !backend.needs_root(name)))
}

fn pod() -> Result<(Lab, Pod), Box<dyn std::error::Error>> {
    let lab = Lab::new()?;
    let pod = lab.pod("app")?;
    Ok((lab, pod))
}

/// What the programs of a variant say of both families, without counts.
fn saved(pod: &Pod, variant: Variant) -> Result<String, Box<dyn std::error::Error>> {
    let mut text = String::new();
    for program in ["iptables", "ip6tables"] {
        let output = pod.run(|| Command::new(format!("{program}-{variant}-save")).output())??;
        let said = String::from_utf8(output.stdout)?;
        for line in said.lines().filter(|line| !line.starts_with('#')) {
            text.push_str(line.split(" [").next().unwrap_or_default());
            text.push('\n');
        }
    }
    Ok(text)
}

fn every_case(variant: Variant) -> Outcome {
    let (_lab, pod) = pod()?;
    let backend = Backend::Iptables(variant);
    for (name, intent) in sayable() {
        let plan = Plan::new(&intent);
        assert_ne!(backend.verify(&pod, &plan)?, Verdict::Same, "{name}");
        backend.apply(&pod, &plan)?;
        assert_eq!(backend.verify(&pod, &plan)?, Verdict::Same, "{name}");
    }
    Ok(())
}

fn twice(variant: Variant) -> Outcome {
    let (_lab, pod) = pod()?;
    let plan = Plan::new(&Intent::ambient().with_dns(DnsCapture::To(Port::new(15053)?))?);
    Backend::Iptables(variant).apply(&pod, &plan)?;
    let once = saved(&pod, variant)?;
    assert!(once.contains("-A PREROUTING -j INPOD_PREROUTING\n"), "{once}");
    Backend::Iptables(variant).apply(&pod, &plan)?;
    assert_eq!(saved(&pod, variant)?, once);
    Ok(())
}

fn removed(variant: Variant) -> Outcome {
    let (_lab, pod) = pod()?;
    for (program, address) in [("iptables", "192.0.2.1"), ("ip6tables", "2001:db8::1")] {
        for (table, chain) in [
            ("nat", "OUTPUT"),
            ("filter", "INPUT"),
            ("mangle", "PREROUTING"),
            ("raw", "OUTPUT"),
            ("mangle", "POSTROUTING"),
            ("filter", "FORWARD"),
            ("filter", "OUTPUT"),
            ("nat", "PREROUTING"),
        ] {
            let direction = if chain == "INPUT" || chain == "PREROUTING" { "-s" } else { "-d" };
            run(&pod, &format!("{program}-{variant} -t {table} -A {chain} {direction} {address} -j ACCEPT"))?;
        }
    }
    let before = saved(&pod, variant)?;
    let backend = Backend::Iptables(variant);
    // One of them is routed by another table, which is its own to remove.
    for (_, intent) in sayable().filter(|(name, _)| *name != "everything_else") {
        backend.apply(&pod, &Plan::new(&intent))?;
    }
    for line in before.lines() {
        assert!(
            saved(&pod, variant)?.contains(&format!("{line}\n")),
            "what is others' is there all the time: {line}"
        );
    }
    let plan = Plan::new(&Intent::ambient());
    backend.apply(&pod, &plan)?;
    backend.remove(&pod, &plan)?;
    let missing = |text: &str| -> Vec<String> {
        // A table that has been looked at once stays, with nothing in it.
        text.lines()
            .filter(|line| line.starts_with("-A") || line.contains("INPOD"))
            .map(String::from)
            .collect()
    };
    assert_eq!(missing(&saved(&pod, variant)?), missing(&before));
    let rules = pod.run(|| Command::new("ip").args(["rule", "show"]).output())??;
    assert!(!String::from_utf8(rules.stdout)?.contains("fwmark"));
    let Verdict::Differs(differences) = backend.verify(&pod, &plan)? else { panic!("it is still there") };
    let timeouts = |difference: &&Difference| matches!(difference, Difference::Missing(Piece::Timeouts(_)));
    assert_eq!(differences.iter().filter(timeouts).count(), 2, "of each family: {differences:?}");
    backend.remove(&pod, &plan)
}

fn tampered(variant: Variant) -> Outcome {
    let (_lab, pod) = pod()?;
    let (backend, plan) = (Backend::Iptables(variant), Plan::new(&Intent::ambient()));
    backend.apply(&pod, &plan)?;
    for (harm, named) in [
        ("iptables-V -t nat -D INPOD_OUTPUT 1", "missing: rule"),
        ("ip6tables-V -t filter -A INPOD_INPUT -p tcp --dport 22 -j ACCEPT", "extra: "),
        ("iptables-V -t nat -I OUTPUT 1 -p tcp -j ACCEPT", "chain nat-output is not at"),
        ("iptables-V -t mangle -D PREROUTING -j INPOD_PREROUTING", "chain mangle-prerouting is not at"),
        ("iptables-V -t filter -N INPOD_MINE", "extra: chain INPOD_MINE of table filter"),
        ("iptables-V -t nat -F", "missing: rule"),
        ("ip rule del pref 32764", "missing: policy rule"),
    ] {
        run(&pod, &harm.replace("-V ", &format!("-{variant} ")))?;
        let Verdict::Differs(differences) = backend.verify(&pod, &plan)? else { panic!("{harm}: the same") };
        let text: Vec<String> = differences.iter().map(ToString::to_string).collect();
        assert!(text.iter().any(|line| line.contains(named)), "{harm}: {text:?}");
        backend.apply(&pod, &plan)?;
        assert_eq!(backend.verify(&pod, &plan)?, Verdict::Same, "{harm}");
    }
    Ok(())
}

fn survives(variant: Variant) -> Outcome {
    let scene = Scene::bare(Intent::ambient(), Family::V4)?;
    let backend = Backend::Iptables(variant);
    backend.apply(&scene.app, &scene.plan)?;
    let client = connect(&scene.app, (scene.peer_ip(), SOME).into(), unmarked)?;
    let captured = accept(&scene.outbound)?;
    let coming = connect(&scene.peer, (scene.app_ip(), SOME).into(), unmarked)?;
    let inbound = accept(&scene.plaintext)?;
    for (_, intent) in sayable() {
        backend.apply(&scene.app, &Plan::new(&intent))?;
    }
    backend.apply(&scene.app, &scene.plan)?;
    talk(&client, &captured)?;
    talk(&coming, &inbound)
}

fn no_rights(variant: Variant) -> Outcome {
    let (_lab, pod) = pod()?;
    let plan = Plan::new(&Intent::ambient());
    // The kernel takes the routes of this thread, and the program is another's.
    let programs = Programs::of(variant)?;
    Backend::Iptables(variant).apply(&pod, &plan)?;
    // Somebody else's rule that no program can restore over: a chain that is called from elsewhere.
    run(&pod, &format!("iptables-{variant} -t filter -N THEIRS"))?;
    run(&pod, &format!("iptables-{variant} -t filter -N INPOD_STALE"))?;
    run(&pod, &format!("iptables-{variant} -t filter -A THEIRS -p udp -j INPOD_STALE"))?;
    let refused = pod.run(|| iptables::apply(&plan, &programs))?.unwrap_err();
    let IptablesError::Program { family: Family::V4, source: ProgramError::Refused { said, .. } } = &refused
    else {
        panic!("{refused:?}");
    };
    assert!(!said.is_empty() && said.len() <= 4096);
    // The tables before that were restored, and what captures is still there.
    assert!(saved(&pod, variant)?.contains("-A OUTPUT -j INPOD_OUTPUT\n"));
    Ok(())
}

fn chosen(variant: Variant) -> Outcome {
    let (_lab, pod) = pod()?;
    assert_eq!(pod.run(Programs::choose)??.variant(), Variant::Nft);
    run(&pod, &format!("iptables-{variant} -t nat -A OUTPUT -d 192.0.2.1 -j ACCEPT"))?;
    assert_eq!(pod.run(Programs::choose)??.variant(), variant);
    Ok(())
}

fn v4_only(variant: Variant) -> Outcome {
    let folder = std::env::temp_dir().join(format!("inpod-v4-{variant}-{}", std::process::id()));
    assert!(Programs::at(variant, &folder).is_err());
    fs::create_dir(&folder)?;
    let outcome = (|| -> Outcome {
        for what in ["save", "restore"] {
            let name = format!("iptables-{variant}-{what}");
            std::os::unix::fs::symlink(which(&name)?, folder.join(name))?;
        }
        let programs = Programs::at(variant, &folder)?;
        let (_lab, pod) = pod()?;
        let both = Plan::new(&Intent::ambient());
        for outcome in [
            pod.run(|| iptables::apply(&both, &programs).map(drop))?,
            pod.run(|| iptables::verify(&both, &programs).map(drop))?,
        ] {
            let Err(IptablesError::NoProgram(missing)) = outcome else { panic!("{outcome:?}") };
            assert_eq!(
                missing.looked_for,
                ["restore", "save"].map(|what| format!("ip6tables-{variant}-{what}"))
            );
        }
        assert!(!saved(&pod, variant)?.contains("INPOD"), "nothing is changed");
        let plan = Plan::new(&Intent::ambient().with_families(Families::V4));
        pod.run(|| iptables::apply(&plan, &programs))??;
        assert_eq!(pod.run(|| iptables::verify(&plan, &programs))??, Verdict::Same);
        pod.run(|| iptables::remove(&plan, &programs))??;
        assert!(!saved(&pod, variant)?.contains("INPOD"));
        Ok(())
    })();
    fs::remove_dir_all(&folder)?;
    outcome
}

/// Where in `PATH` a program is.
fn which(name: &str) -> Result<std::path::PathBuf, Box<dyn std::error::Error>> {
    let path = std::env::var_os("PATH").ok_or("no PATH")?;
    let mut places = std::env::split_paths(&path).map(|folder| folder.join(name));
    places.find(|place| place.is_file()).ok_or_else(|| format!("no {name}").into())
}
