//! What is wrong with what the program is given is said in one line, which names the thing and the cause.

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use testkit::kernel::{Case, Outcome, test};

use crate::mesh::{Files, LIMIT, Result, new_root};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        test("broken_yaml_is_named_with_its_line", broken_yaml_is_named_with_its_line),
        test("a_workload_that_cannot_be_is_named", a_workload_that_cannot_be_is_named),
        test("a_file_that_is_not_there_is_named", a_file_that_is_not_there_is_named),
        test("a_ca_that_is_not_pem_is_named", a_ca_that_is_not_pem_is_named),
        test("a_key_of_another_ca_is_refused", a_key_of_another_ca_is_refused),
        test("a_trust_domain_that_cannot_be_is_named", a_trust_domain_that_cannot_be_is_named),
        test("trust_that_cannot_be_is_named", trust_that_cannot_be_is_named),
        test("a_port_in_use_is_named", a_port_in_use_is_named),
        test("a_missing_capability_is_named", a_missing_capability_is_named).needs_program("setpriv"),
    ]
}

/// Runs it to its end, which must be a failure, and gives the one line that it says.
fn refusal(command: &mut Command) -> Result<String> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let end = Instant::now() + LIMIT;
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if Instant::now() > end => {
                child.kill()?;
                child.wait()?;
                return Err("it runs".into());
            }
            None => sleep(Duration::from_millis(5)),
        }
    };
    let (mut out, mut said) = (String::new(), String::new());
    child.stdout.take().ok_or("no stdout")?.read_to_string(&mut out)?;
    child.stderr.take().ok_or("no stderr")?.read_to_string(&mut said)?;
    assert!(status.code().is_some_and(|code| code != 0), "{status}: {said}");
    assert_eq!(out, "");
    let line = said.strip_suffix('\n').ok_or_else(|| format!("no line: {said:?}"))?;
    assert!(!line.contains('\n'), "more than one line: {said}");
    Ok(line.to_owned())
}

/// The line names all of this.
fn names(line: &str, all: &[&str]) {
    for part in all {
        assert!(line.contains(part), "no {part:?} in: {line}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

fn broken_yaml_is_named_with_its_line() -> Outcome {
    let files = Files::new(&[])?;
    for (yaml, part) in [
        ("workloads:\n- name: x\n  namespace: [\n", "line"),
        ("workloads:\n- name: x\n  namespace: y\n  workloadIps: []\n  colour: red\n", "colour"),
        ("workloads:\n- name: x\n  namespace: y\n  workloadIps: [\"10.0.0\"]\n", "line 4"),
    ] {
        fs::write(files.workloads(), yaml)?;
        let line = refusal(&mut files.command())?;
        names(&line, &[text(&files.workloads()), "line", part]);
    }
    Ok(())
}

fn a_workload_that_cannot_be_is_named() -> Outcome {
    let files = Files::new(&[])?;
    let yaml = "workloads:\n- {name: x, namespace: y, serviceAccount: \"a b\", workloadIps: []}\n";
    fs::write(files.workloads(), yaml)?;
    names(&refusal(&mut files.command())?, &[text(&files.workloads()), "y/x", "service account"]);
    Ok(())
}

fn a_file_that_is_not_there_is_named() -> Outcome {
    for pick in [Files::workloads, Files::ca_cert, Files::ca_key] {
        let files = Files::new(&[])?;
        let path = pick(&files);
        fs::remove_file(&path)?;
        names(&refusal(&mut files.command())?, &[text(&path), "No such file"]);
    }
    Ok(())
}

fn a_ca_that_is_not_pem_is_named() -> Outcome {
    for pick in [Files::ca_cert, Files::ca_key] {
        for content in ["", "not PEM at all", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n"]
        {
            let files = Files::new(&[])?;
            fs::write(pick(&files), content)?;
            names(&refusal(&mut files.command())?, &[text(&pick(&files)), "PEM"]);
        }
    }
    Ok(())
}

fn a_key_of_another_ca_is_refused() -> Outcome {
    let files = Files::new(&[])?;
    let (_, other) = new_root()?;
    fs::write(files.ca_key(), other)?;
    let line = refusal(&mut files.command())?;
    names(&line, &[text(&files.ca_cert()), text(&files.ca_key()), "does not match"]);
    Ok(())
}

fn a_trust_domain_that_cannot_be_is_named() -> Outcome {
    let files = Files::new(&[])?;
    for domain in ["", "Upper.example", "spiffe://cluster.local", "a b"] {
        let line = refusal(files.command().args(["--trust-domain", domain]))?;
        names(&line, &["--trust-domain", &format!("{domain:?}")]);
    }
    Ok(())
}

fn trust_that_cannot_be_is_named() -> Outcome {
    let files = Files::new(&[])?;
    let (garbage, absent) = (files.path().join("garbage"), files.path().join("absent"));
    fs::write(&garbage, "not PEM at all")?;
    let (garbage, absent, root) = (text(&garbage), text(&absent), files.ca_cert());
    let bundle = |domain: &str, file: &str| format!("{domain}={file}");
    let document = files.path().join("document");
    fs::write(&document, "{\"keys\": 1}")?;
    for (flag, value, parts) in [
        ("--trust-bundle", "example.org".to_owned(), ["--trust-bundle", "\"example.org\"", "'='"]),
        ("--trust-bundle", bundle("Upper", text(&root)), ["--trust-bundle", "Upper", "trust domain"]),
        ("--trust-bundle", bundle("example.org", absent), ["example.org", absent, "No such file"]),
        ("--trust-bundle", bundle("example.org", garbage), ["example.org", garbage, "PEM"]),
        (
            "--trust-bundle",
            bundle("example.org", text(&document)),
            ["example.org", text(&document), "document"],
        ),
        ("--trust-domain-alias", "Upper".to_owned(), ["--trust-domain-alias", "Upper", "trust domain"]),
        (
            "--trust-domain-alias",
            "cluster.local".to_owned(),
            ["--trust-domain-alias", "cluster.local", "bundle"],
        ),
        ("--crl", absent.to_owned(), ["--crl", absent, "No such file"]),
        ("--crl", garbage.to_owned(), ["--crl", garbage, "PEM"]),
    ] {
        names(&refusal(files.command().args([flag, &value]))?, &parts);
    }
    let twice = bundle("example.org", text(&root));
    let line = refusal(files.command().args(["--trust-bundle", &twice, "--trust-bundle", &twice]))?;
    names(&line, &["--trust-bundle", "example.org", "another"]);
    Ok(())
}

fn a_port_in_use_is_named() -> Outcome {
    let files = Files::new(&[])?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    for flag in ["--ready", "--stats", "--admin"] {
        let line = refusal(files.command().args([flag, &address]))?;
        names(&line, &[flag, &address, "in use"]);
    }
    Ok(())
}

fn a_missing_capability_is_named() -> Outcome {
    let files = Files::new(&[])?;
    let proxy = files.command();
    // Marks and foreign addresses are allowed by either of two capabilities.
    for (without, named) in [("-sys_admin", "CAP_SYS_ADMIN"), ("-net_admin,-net_raw", "CAP_NET_ADMIN")] {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set", without, "--inh-caps", without, "--"]);
        command.arg(proxy.get_program()).args(proxy.get_args());
        names(&refusal(&mut command)?, &[named]);
    }
    Ok(())
}
