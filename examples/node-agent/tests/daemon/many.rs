//! Many pods: what they cost is bounded, and nothing of those that are gone stays.

use std::fs;

use netns::Namespace;
use testkit::child::Child;
use testkit::kernel::{Case, Outcome};
use testkit::lab::loopback_up;
use testkit::listening;

use crate::mesh::{Member, Result, Site, is_captured, wait_for, with_programs};

pub(crate) fn cases() -> Vec<Case> {
    vec![with_programs("ten_thousand_pods_come_and_go_and_leave_nothing", ten_thousand_come_and_go).serial()]
}

/// How many are there at once, and how often they come and go.
const PODS: usize = 200;
const TIMES: usize = 50;
/// What comes first fills what is kept for later: threads, the folder's names, and pages of the allocator, which grow ever more slowly.
const WARM: usize = 30;

/// Half a KiB for each pod that was there after that.
const MORE_MEMORY: u64 = 2 << 20;

/// What a program holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holding {
    pub(crate) descriptors: usize,
    /// Resident, in bytes.
    pub(crate) memory: u64,
}

impl Holding {
    pub(crate) fn of(program: &Child) -> Result<Self> {
        let folder = format!("/proc/{}", program.id());
        let descriptors = fs::read_dir(format!("{folder}/fd"))?.count();
        let status = fs::read_to_string(format!("{folder}/status"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        let memory = resident.trim().trim_end_matches(" kB").parse::<u64>()? << 10;
        Ok(Self { descriptors, memory })
    }
}

/// Pods without a network, which is not needed to be captured.
pub(crate) fn pods(count: usize) -> Result<Vec<Member>> {
    let pod = |number: usize| {
        let namespace = Namespace::create()?;
        loopback_up(&namespace)?;
        Ok(Member { name: format!("pod-{number}"), namespace, addresses: Vec::new() })
    };
    (0..count).map(pod).collect()
}

fn ten_thousand_come_and_go() -> Outcome {
    let node = Namespace::create()?;
    loopback_up(&node)?;
    let pods = pods(PODS)?;
    let site = Site::new(&node, &[])?;
    let (agent, proxy) = (site.agent()?, site.proxy()?);
    let come_and_go = || -> Outcome {
        for pod in &pods {
            site.files.write_pod(pod, "")?;
        }
        site.wait_for_enrolled(PODS).map_err(|error| agent.with_log(error))?;
        for pod in &pods {
            fs::remove_file(site.files.pod(&pod.name))?;
        }
        site.wait_for_enrolled(0).map_err(|error| agent.with_log(error))?;
        wait_for("the proxy has left all", || Ok(site.served()? == 0))
    };
    for _ in 0..WARM {
        come_and_go()?;
    }
    let programs = [("the agent", &agent), ("the proxy", &proxy)];
    let before = programs.map(|(_, program)| Holding::of(program));
    for _ in WARM..TIMES {
        come_and_go()?;
    }
    for ((name, program), before) in programs.into_iter().zip(before) {
        let before = before?;
        wait_for(&format!("{name} holds what it held"), || {
            Ok(Holding::of(program)?.descriptors <= before.descriptors)
        })?;
        let after = Holding::of(program)?;
        println!("{name}: {before:?}, then {after:?}");
        assert!(after.memory <= before.memory + MORE_MEMORY, "{name}: {before:?}, then {after:?}");
    }
    for pod in &pods {
        assert!(!is_captured(&pod.namespace)? && listening(&pod.namespace, 15008)? == 0, "{}", pod.name);
    }
    Ok(())
}
