//! Pods: where they come from, a folder or Kubernetes.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use proxy_core::agent::folder::Folder;
#[cfg(feature = "kubernetes")]
use proxy_core::agent::kubernetes::{Access, Kubernetes, Settings};
use proxy_core::agent::{Agent, Recognised, Source, Starting};
use tokio_util::sync::CancellationToken;

/// Where pods will come from, once a runtime runs.
#[derive(Debug)]
pub(crate) enum Origin {
    Folder(Folder),
    #[cfg(feature = "kubernetes")]
    Kubernetes(Box<Cluster>),
}

/// A node of a cluster.
#[cfg(feature = "kubernetes")]
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) settings: Settings,
    pub(crate) access: Access,
    pub(crate) finder: netns::find::Finder,
}

/// Where pods come from.
#[derive(Debug, Clone)]
pub(crate) enum Pods {
    Folder(Arc<Folder>),
    #[cfg(feature = "kubernetes")]
    Kubernetes(Arc<Kubernetes>),
}

impl Origin {
    /// To be called inside a tokio runtime.
    #[cfg_attr(
        not(feature = "kubernetes"),
        expect(clippy::unused_async, reason = "only Kubernetes has to be waited for")
    )]
    pub(crate) async fn open(self) -> Result<Pods> {
        Ok(match self {
            Self::Folder(folder) => Pods::Folder(Arc::new(folder)),
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(cluster) => {
                let Cluster { settings, access, finder } = *cluster;
                let source = Kubernetes::new(settings, &access, finder).await;
                Pods::Kubernetes(Arc::new(anyhow::Context::context(source, "--kubernetes")?))
            }
        })
    }
}

impl Pods {
    /// What is wrong now, by file or pod.
    pub(crate) fn problems(&self) -> BTreeMap<String, String> {
        match self {
            Self::Folder(folder) => folder.problems(),
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(cluster) => cluster.problems(),
        }
    }
}

impl Source for Pods {
    async fn run(&self, agent: &Agent, stop: &CancellationToken) {
        match self {
            Self::Folder(folder) => folder.run(agent, stop).await,
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(cluster) => cluster.run(agent, stop).await,
        }
    }

    async fn recognise(&self, starting: &Starting) -> Recognised {
        match self {
            Self::Folder(folder) => folder.recognise(starting).await,
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(cluster) => cluster.recognise(starting).await,
        }
    }

    fn ended(&self, uid: &str) {
        match self {
            Self::Folder(folder) => folder.ended(uid),
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(cluster) => cluster.ended(uid),
        }
    }
}
