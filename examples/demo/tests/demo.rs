//! The demo from outside, as a person runs it: what it prints, and what it ends with.
//!
//! It runs in a sandbox within the tests' own, so this also shows that sandboxes nest.

use std::process::{Command, ExitCode, Output};

use testkit::kernel::{Outcome, run, test};

const DEMO: &str = env!("CARGO_BIN_EXE_demo");

fn main() -> ExitCode {
    run(vec![
        test("the_story_holds", the_story_holds),
        test("a_command_in_the_client_reaches_the_server_as_itself", a_command_reaches_the_server),
        test("curl_works_as_it_is", curl_works).needs_program("curl"),
        test("the_exit_code_of_a_command_is_passed_on", the_exit_code_is_passed_on),
        test("the_outsider_has_no_proxy", the_outsider_has_no_proxy),
        test("a_command_that_is_not_there_is_named", a_missing_command_is_named),
        test("an_unknown_pod_is_answered_with_those_there_are", an_unknown_pod),
        test("a_server_that_does_not_answer_is_said", fetching_from_nobody),
    ])
}

fn the_story_holds() -> Outcome {
    let output = demo(&[])?;
    let text = succeeded(&output)?;
    for line in [
        "1  Three pods on a bridge",
        "listening on 15001, 15006, 15008",
        "read back: the same",
        "they are not on the wire",
        "frames, to port 15008",
        "spiffe://cluster.local/ns/demo/sa/client",
        "spiffe://cluster.local/ns/demo/sa/server",
        "32 MiB from server to client",
        "denied by policy demo/strict",
        "9  All of it is removed",
    ] {
        contains(&text, line)?;
    }
    if text.contains('\x1b') {
        return Err("colour, though this is no terminal".into());
    }
    contains(text.lines().last().unwrap_or_default(), "facts checked")
}

fn a_command_reaches_the_server() -> Outcome {
    for url in ["http://10.77.0.3:8080/there", "http://[fd77::3]:8080/there"] {
        let text = succeeded(&demo(&["shell", "client", "--", DEMO, "fetch", url])?)?;
        let client = if url.contains("10.77") { "10.77.0.2" } else { "fd77::2" };
        same(&text, &format!("hello {client}, you asked for /there\n"))?;
    }
    Ok(())
}

fn curl_works() -> Outcome {
    let url = "http://10.77.0.3:8080/curl";
    let text = succeeded(&demo(&[
        "shell",
        "client",
        "--",
        "curl",
        "--silent",
        "--show-error",
        "--max-time",
        "9",
        url,
    ])?)?;
    same(&text, "hello 10.77.0.2, you asked for /curl\n")
}

fn the_exit_code_is_passed_on() -> Outcome {
    same(&succeeded(&demo(&["shell", "server", "--", "true"])?)?, "")?;
    for (script, code) in [("exit 7", 7), ("kill -TERM $$", 143)] {
        let output = demo(&["shell", "server", "--", "sh", "-c", script])?;
        if output.status.code() != Some(code) {
            return Err(format!("{script}: expected {code}, got {output:?}").into());
        }
    }
    Ok(())
}

fn the_outsider_has_no_proxy() -> Outcome {
    // The columns of proc_net_tcp.rst: a listening socket's state is 0A. The client has some, so the command can see them.
    let script =
        "awk '$4 == \"0A\" { sub(/.*:/, \"\", $2); print $2 }' /proc/self/net/tcp6 | sort -u | wc -l";
    same(succeeded(&demo(&["shell", "outsider", "--", "sh", "-c", script])?)?.trim(), "0")?;
    same(succeeded(&demo(&["shell", "client", "--", "sh", "-c", script])?)?.trim(), "3")
}

fn a_missing_command_is_named() -> Outcome {
    let output = demo(&["shell", "client", "--", "/no/such/program"])?;
    contains(&failed(&output)?, "demo: running /no/such/program in pod client: ")
}

fn an_unknown_pod() -> Outcome {
    let said = failed(&demo(&["shell", "nobody"])?)?;
    contains(&said, "nobody")?;
    ["client", "server", "outsider"].iter().try_for_each(|pod| contains(&said, pod))
}

fn fetching_from_nobody() -> Outcome {
    contains(&failed(&demo(&["fetch", "http://127.0.0.1:1/"])?)?, "demo: connecting to 127.0.0.1:1: ")
}

fn demo(arguments: &[&str]) -> std::io::Result<Output> {
    Command::new(DEMO).args(arguments).output()
}

fn succeeded(output: &Output) -> Result<String, String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(text) } else { Err(format!("expected success, got {output:?}")) }
}

fn failed(output: &Output) -> Result<String, String> {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Err(format!("expected failure, got {output:?}")) } else { Ok(text) }
}

fn contains(text: &str, part: &str) -> Outcome {
    if text.contains(part) { Ok(()) } else { Err(format!("no {part:?} in:\n{text}").into()) }
}

fn same(got: &str, expected: &str) -> Outcome {
    if got == expected { Ok(()) } else { Err(format!("expected {expected:?}, got {got:?}").into()) }
}
