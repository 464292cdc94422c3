//! `node-agent install-cni` and `uninstall-cni`: the plugin, where container runtimes find it.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use cni_plugin::configuration;
use cni_plugin::install::{
    Entry, InstallError, Installed, Pace, install as chain, install_program, keep, uninstall as unchain,
    uninstall_program,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::args::{Folders, InstallCni, UninstallCni};

pub(crate) fn install(args: &InstallCni) -> Result<()> {
    let Folders { networks, plugins } = &args.folders;
    let plugin = match &args.plugin {
        Some(plugin) => plugin.clone(),
        None => beside()?,
    };
    let agent = configuration::Agent { socket: args.cni.clone(), ..configuration::Agent::default() };
    let entry = Entry::new(&agent);
    let program = install_program(&plugin, plugins).context("installing the plugin")?;
    tracing::info!(program = %program.display(), "the plugin is in place");
    if args.keep {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(stay(args, &entry));
    }
    tell(chain(networks, &entry)).context("chaining the plugin")
}

pub(crate) fn uninstall(args: &UninstallCni) -> Result<()> {
    let Folders { networks, plugins } = &args.folders;
    for path in unchain(networks).context("unchaining the plugin")? {
        tracing::info!(network = %path.display(), "the plugin is out of the network");
    }
    uninstall_program(plugins).context("removing the plugin")
}

async fn stay(args: &InstallCni, entry: &Entry) -> Result<()> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("watching for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("watching for signals")?;
    let told = |installed: Result<Installed, InstallError>| {
        if let Err(error) = tell(installed) {
            tracing::warn!("the plugin is not chained: {error:#}");
        }
    };
    let kept = keep(&args.folders.networks, entry, Pace::default(), &stop, told);
    tokio::select! {
        () = kept => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

fn tell(installed: Result<Installed, InstallError>) -> Result<()> {
    match installed? {
        Installed::Already(path) => tracing::debug!(network = %path.display(), "the plugin is chained"),
        Installed::Now(path) => tracing::info!(network = %path.display(), "the plugin is chained now"),
        Installed::NoNetwork => tracing::info!("there is no network yet that the plugin could be chained to"),
    }
    Ok(())
}

/// The plugin that was built with this program.
fn beside() -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding the plugin beside this program; --plugin names it")?;
    Ok(own.with_file_name("inpod-cni"))
}
