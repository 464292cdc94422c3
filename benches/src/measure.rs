//! What a process has used, as /proc tells it (proc_pid_stat(5), proc_pid_status(5)).

use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::unistd::{SysconfVar, sysconf};

/// A process to look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    pub(crate) id: u32,
}

impl Process {
    /// User and system time of all its threads, also those that have ended. It counts in ticks, mostly of 10 ms.
    pub(crate) fn cpu(self) -> Result<Duration> {
        let ticks =
            cpu_ticks(&self.read("stat")?).with_context(|| format!("process {}: no CPU time", self.id))?;
        let per_second = sysconf(SysconfVar::CLK_TCK)?.context("no clock ticks")?;
        Ok(Duration::from_secs(ticks) / u32::try_from(per_second).context("clock ticks a second")?)
    }

    /// Resident memory, KiB.
    pub(crate) fn resident(self) -> Result<u64> {
        resident_kib(&self.read("status")?)
            .with_context(|| format!("process {}: no resident memory", self.id))
    }

    fn read(self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.id);
        std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))
    }
}

/// Fields 14 and 15 of `stat`. The second field is a name that may hold anything, so we count from its end.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(14 - 3);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(ticks()? + ticks()?)
}

fn resident_kib(status: &str) -> Option<u64> {
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?
        .trim()
        .strip_suffix("kB")?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_found_after_the_strangest_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 5 6 20 0 3 0 99";
        assert_eq!(cpu_ticks(stat), Some(200));
        assert_eq!(cpu_ticks("7 (short) S 1"), None);
        assert_eq!(cpu_ticks(""), None);
    }

    #[test]
    fn resident_memory_is_a_line_of_status() {
        assert_eq!(resident_kib("VmHWM:\t  9 kB\nVmRSS:\t    1234 kB\nThreads:\t1\n"), Some(1234));
        assert_eq!(resident_kib("Threads:\t1\n"), None);
    }

    #[test]
    fn this_process_uses_memory_and_time() {
        let this = Process { id: std::process::id() };
        assert!(this.resident().unwrap() > 0);
        let before = this.cpu().unwrap();
        while this.cpu().unwrap() == before {
            std::hint::spin_loop();
        }
    }
}
