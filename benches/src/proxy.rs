//! A contender's proxy, running: started in the node's namespace, handed both pods over ZDS, the pods captured.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use proxy_core::{Config, capture, zds};
use tokio::process::{Child, Command};
use tokio::time::sleep;

use crate::contender::{Contender, Files};
use crate::measure::Process;
use crate::pods::{self, Pods};

/// A proxy in a process of its own, which ends with this.
#[derive(Debug)]
pub(crate) struct Proxy {
    child: Child,
    process: Process,
    /// The proxy would look for another agent without it.
    _agent: zds::agent::Connection,
}

/// Far more than either proxy takes to connect on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(20);

impl Proxy {
    /// `None` when the contender has no proxy; then nothing is captured either.
    pub(crate) async fn start(contender: &Contender, pods: &Pods, folder: &Path) -> Result<Option<Self>> {
        let files = files(pods, folder)?;
        let Some(mut command) = contender.command(&files) else { return Ok(None) };
        let log = folder.join("log");
        let output = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).kill_on_drop(true);
        match serve(command, pods, &files).await {
            Ok(proxy) => Ok(Some(proxy)),
            Err(error) => {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                Err(error.context(format!("starting {}, which says {:?}", contender.name(), said.trim_end())))
            }
        }
    }

    pub(crate) fn process(&self) -> Process {
        self.process
    }

    /// Ends it. Its pods go with it, so there is nothing to drain.
    pub(crate) async fn stop(mut self) -> Result<()> {
        ensure!(self.child.try_wait()?.is_none(), "the proxy has ended before its time");
        self.child.kill().await.context("ending the proxy")
    }
}

async fn serve(mut command: Command, pods: &Pods, files: &Files) -> Result<Proxy> {
    let mut listener = zds::agent::Listener::bind(&files.zds).context("listening for the proxy")?;
    let mut child = pods.lab().node().run(|| command.spawn())??;
    let mut agent = tokio::select! {
        agent = listener.accept() => agent.context("its hello")?,
        ended = child.wait() => bail!("it has ended at once: {}", ended?),
        () = sleep(START_LIMIT) => bail!("it has not connected within {} s", START_LIMIT.as_secs()),
    };
    for pod in pods.each() {
        let added = agent.add(&pods::uid(pod), &pods::name(pod), pod.namespace()).await;
        added.with_context(|| format!("handing it the pod {}", pod.name()))?;
    }
    agent.snapshot_sent().await.context("telling it that these are all pods")?;
    let plan = capture::plan(&Config::default())?;
    for pod in pods.each() {
        capture::capture(pod.namespace(), &plan)
            .with_context(|| format!("capturing the pod {}", pod.name()))?;
    }
    let process = Process { id: child.id().context("it has ended")? };
    Ok(Proxy { child, process, _agent: agent })
}

fn files(pods: &Pods, folder: &Path) -> Result<Files> {
    let file = |name| folder.join(name);
    let files = Files {
        zds: file("zds/agent.sock"),
        workloads: file("workloads.yaml"),
        ca_cert: file("ca.pem"),
        ca_key: file("ca-key.pem"),
    };
    let (certificate, key) = certificate_authority().context("making a CA")?;
    std::fs::write(&files.workloads, pods.workloads())?;
    std::fs::write(&files.ca_cert, certificate)?;
    std::fs::write(&files.ca_key, key)?;
    Ok(files)
}

/// A root for one run, certificate and key as PEM.
fn certificate_authority() -> Result<(String, String), rcgen::Error> {
    let mut params = rcgen::CertificateParams::new(Vec::new())?;
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let key = rcgen::KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}
