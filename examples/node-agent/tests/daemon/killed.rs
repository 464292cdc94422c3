//! Killed at any moment: whoever is started again finds the way, and the agent, the kernel and the proxy agree.

use std::collections::BTreeSet;
use std::fs;
use std::thread::sleep;
use std::time::Instant;

use netns::Namespace;
use nix::sys::signal::Signal;
use serde_json::Value;
use testkit::child::Child;
use testkit::kernel::{Case, Outcome};
use testkit::lab::loopback_up;
use testkit::listening;

use crate::many::{Holding, pods};
use crate::mesh::{Member, Result, Site, is_captured, wait_for, with_programs};

pub(crate) fn cases() -> Vec<Case> {
    vec![with_programs("an_agent_that_is_killed_among_a_thousand_adds", among_a_thousand_adds).serial()]
}

/// How many pods come at once.
const PODS: usize = 1000;

/// What they may cost, in bytes of resident memory.
const MOST_OF_AGENT: u64 = 64 << 20;
const MOST_OF_PROXY: u64 = 256 << 20;

/// How often the agent is killed while it adds them.
const KILLS: u32 = 4;

/// The pods that the agent says are enrolled.
fn agents(site: &Site) -> Result<BTreeSet<String>> {
    let status = site.status()?;
    let pods = status.get("pods").and_then(Value::as_array).ok_or("no pods")?;
    let enrolled = pods.iter().filter(|pod| pod.get("enrolled") == Some(&Value::Bool(true)));
    Ok(enrolled.filter_map(|pod| Some(pod.get("name")?.as_str()?.to_owned())).collect())
}

/// Those that a test of their namespaces is true for.
fn those(pods: &[Member], is_one: impl Fn(&Namespace) -> Result<bool>) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for pod in pods {
        if is_one(&pod.namespace)? {
            names.insert(pod.name.clone());
        }
    }
    Ok(names)
}

fn assert_all_agree(site: &Site, pods: &[Member]) -> Result<()> {
    let wanted: BTreeSet<String> = pods.iter().map(|pod| pod.name.clone()).collect();
    assert_eq!(agents(site)?, wanted, "the agent");
    assert_eq!(those(pods, is_captured)?, wanted, "the kernel");
    assert_eq!(those(pods, |namespace| Ok(listening(namespace, 15008)? > 0))?, wanted, "the proxy");
    assert_eq!(site.served()?, wanted.len(), "the proxy");
    Ok(())
}

fn kill(agent: &mut Child) -> Result<()> {
    agent.signal(Signal::SIGKILL)?;
    agent.wait()?;
    Ok(())
}

fn among_a_thousand_adds() -> Outcome {
    let node = Namespace::create()?;
    loopback_up(&node)?;
    let pods = pods(PODS)?;
    let site = Site::new(&node, &[])?;
    let proxy = site.proxy()?;
    for pod in &pods {
        site.files.write_pod(pod, "")?;
    }
    // How long it takes undisturbed tells when to disturb.
    let start = Instant::now();
    let mut agent = site.agent()?;
    site.wait_for_enrolled(PODS).map_err(|error| agent.with_log(error))?;
    let whole = start.elapsed();
    println!("{PODS} pods enrolled in {whole:?}");
    for (name, program, most) in [("agent", &agent, MOST_OF_AGENT), ("proxy", &proxy, MOST_OF_PROXY)] {
        let holding = Holding::of(program)?;
        println!("the {name} holds {holding:?}");
        assert!(holding.memory <= most, "the {name}: {holding:?}");
    }
    assert_all_agree(&site, &pods)?;
    for kills in 1..=KILLS {
        kill(&mut agent)?;
        // Each time some pods lose their rules, as if they were new.
        let plan = proxy_core::capture::plan(&proxy_core::Config::default())?;
        for pod in pods.iter().skip(usize::try_from(kills)?).step_by(8) {
            proxy_core::capture::release(&pod.namespace, &plan)?;
        }
        agent = site.agent()?;
        sleep(whole * kills / (KILLS + 2));
    }
    kill(&mut agent)?;
    // Others go while nobody looks.
    let (gone, stay) = pods.split_at(PODS / 10);
    for pod in gone {
        fs::remove_file(site.files.pod(&pod.name))?;
    }
    let agent = site.agent()?;
    site.wait_for_enrolled(stay.len()).map_err(|error| agent.with_log(error))?;
    wait_for("the proxy has left them", || Ok(site.served()? == stay.len()))?;
    assert_all_agree(&site, stay)?;
    Ok(())
}
