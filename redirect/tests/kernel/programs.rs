//! Programs: what tests ask of `iptables`, `nft` and `ip`.

use std::error::Error;
use std::io::Write as _;
use std::process::{Command, Stdio};

use testkit::kernel::Case;

/// The case needs both variants of iptables.
pub(crate) fn needing(case: Case) -> Case {
    let programs = ["iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"];
    let names = programs.iter().flat_map(|name| ["restore", "save"].map(|what| format!("{name}-{what}")));
    names.fold(case, Case::needs_program)
}

/// Runs a command line in the calling thread's namespace, with this to read; what it says.
pub(crate) fn feed(line: &str, text: &str) -> Result<String, Box<dyn Error>> {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().ok_or("no program")?);
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    child.stdin.take().ok_or("no stdin")?.write_all(text.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(format!("{line}: {}\n{text}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The rules, and the chains that somebody has made, of both variants and families, each with its table, and those tables of
/// nf_tables that are neither iptables' nor a plan's.
pub(crate) fn lines() -> Result<Vec<String>, Box<dyn Error>> {
    let mut found = Vec::new();
    for program in ["iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"] {
        let mut table = String::new();
        for line in feed(&format!("{program}-save"), "")?.lines() {
            if let Some(name) = line.strip_prefix('*') {
                table = name.to_owned();
            }
            let is_made = line.starts_with(':') && line.contains(" - [");
            if line.starts_with("-A ") || is_made {
                let line = line.split(" [").next().unwrap_or(line);
                found.push(format!("{program} {table} {line}"));
            }
        }
    }
    let tables = feed("nft list tables", "")?;
    found.extend(
        tables.lines().filter(|line| line.contains("inet ") && *line != "table inet inpod").map(Into::into),
    );
    Ok(found)
}
