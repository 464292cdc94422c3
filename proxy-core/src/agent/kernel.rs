//! Kernel: what is done inside pods' namespaces, on a few threads that may block.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroUsize};
use std::sync::Arc;

use netns::{EnterError, Namespace};
use redirect::{
    Difference, DrainError, EnrolError, Existing, IstioError, KernelError, ListError, Piece, Plan, Ports,
    RemoveError, Verdict, VerifyError, Watch,
};
use tokio::sync::Semaphore;

use super::remaining::{ends, remaining};
use super::watched::Watched;
use crate::config;
use crate::listeners::{ListenError, Listeners};

/// Enters pods' namespaces for the agent.
#[derive(Debug, Clone)]
pub(super) struct Kernel {
    slots: Arc<Semaphore>,
    threads: u32,
}

/// Why a step in a pod's namespace was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// The namespace could not be entered.
    #[error("entering the pod")]
    Enter(#[from] EnterError),
    /// The rules could not be read.
    #[error("reading the rules")]
    Look(#[from] VerifyError),
    /// The kernel does not tell when something changes.
    #[error("watching the rules")]
    Watch(#[source] KernelError),
    /// The kernel's word cannot be waited for.
    #[error("waiting for the kernel's word")]
    Poll(#[source] std::io::Error),
    /// The pod's addresses could not be told.
    #[error("listing its addresses")]
    Addresses(#[source] nix::Error),
    /// The pod's listeners could not be bound.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The pod could not be enrolled.
    #[error("capturing")]
    Enrol(#[from] EnrolError),
    /// The rules of Istio's node agent could not be taken away. Ours are in place.
    #[error("taking over from Istio")]
    Istio(#[from] IstioError),
    /// Capture could not be ended.
    #[error("ending the capture of new connections")]
    Drain(#[from] DrainError),
    /// The captured connections could not be counted.
    #[error("counting the captured connections")]
    Count(#[from] ListError),
    /// The rules could not be removed.
    #[error("removing the rules")]
    Remove(#[from] RemoveError),
    /// The thread that was to do it has panicked or was not started.
    #[error("the step was not finished")]
    Thread(#[source] tokio::task::JoinError),
    /// The agent ends.
    #[error("the agent ends")]
    Ending,
}

/// What becomes of the rules of Istio's node agent in a pod that is enrolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Istio {
    /// Nobody looks whether there are any: there are none on this node.
    #[default]
    Absent,
    /// They are taken away once ours are in place.
    TakeOver,
}

/// What was found of a pod's rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// All, and nothing else.
    All,
    /// Nothing.
    Nothing,
    /// Something else, as it says.
    Other(String),
}

impl Kernel {
    /// Enters so many namespaces at once.
    pub(super) fn new(threads: NonZeroU16) -> Self {
        Self { slots: Arc::new(Semaphore::new(threads.get().into())), threads: threads.get().into() }
    }

    pub(super) async fn look(&self, namespace: &Namespace, plan: &Arc<Plan>) -> Result<Found, StepError> {
        let verdict = self.run(namespace, plan, redirect::verify).await??;
        Ok(match verdict {
            Verdict::Same => Found::All,
            Verdict::Differs(differences) if is_nothing(plan, &differences) => Found::Nothing,
            Verdict::Differs(differences) => Found::Other(first(&differences)),
        })
    }

    /// The addresses by which others reach the pod.
    pub(super) async fn addresses(&self, namespace: &Namespace) -> Result<BTreeSet<IpAddr>, StepError> {
        self.visit(namespace, addresses).await?.map_err(StepError::Addresses)
    }

    pub(super) async fn enrol(
        &self,
        namespace: &Namespace,
        plan: &Arc<Plan>,
        existing: Existing,
        istio: Istio,
    ) -> Result<(), StepError> {
        let enrol = move |plan: &Plan| {
            redirect::enrol(plan, existing)?;
            // After ours are in place, so that there is no moment without any.
            if istio == Istio::TakeOver {
                redirect::remove_istio()?;
            }
            Ok(())
        };
        self.run(namespace, plan, enrol).await?
    }

    pub(super) async fn drain(&self, namespace: &Namespace, plan: &Arc<Plan>) -> Result<(), StepError> {
        Ok(self.run(namespace, plan, redirect::drain).await?.map(drop)?)
    }

    /// How many captured connections of applications there are.
    pub(super) async fn count(
        &self,
        namespace: &Namespace,
        plan: &Arc<Plan>,
        ports: Ports,
    ) -> Result<usize, StepError> {
        let count = move |plan: &Plan| {
            let (its, all) = (redirect::captured(plan)?, redirect::tcp_sockets()?);
            Ok(remaining(all.iter().map(ends), its.iter().map(ends), ports))
        };
        self.run(namespace, plan, count).await?
    }

    pub(super) async fn remove(&self, namespace: &Namespace, plan: &Arc<Plan>) -> Result<(), StepError> {
        Ok(self.run(namespace, plan, redirect::remove).await??)
    }

    /// Has the kernel tell when something changes in a pod.
    pub(super) async fn watch(&self, namespace: &Namespace) -> Result<Watched, StepError> {
        let watches = || Ok((Watch::nf_tables()?, Watch::routing()?));
        let (rules, routing) = self.visit(namespace, watches).await?.map_err(StepError::Watch)?;
        Watched::new(rules, routing).map_err(StepError::Poll)
    }

    /// Binds a pod's listeners.
    pub(super) async fn listen(
        &self,
        namespace: &Namespace,
        ports: config::Ports,
        mark: u32,
        acceptors: NonZeroUsize,
    ) -> Result<Listeners, StepError> {
        let pod = namespace.clone();
        let bind = move || Listeners::bind(&pod, ports, mark, acceptors);
        Ok(self.block(bind).await??)
    }

    /// Waits until no step is under way, and takes no more.
    pub(super) async fn idle(&self) {
        // It is only closed here.
        let _all = self.slots.acquire_many(self.threads).await;
        self.slots.close();
    }

    async fn run<R: Send + 'static>(
        &self,
        namespace: &Namespace,
        plan: &Arc<Plan>,
        step: impl FnOnce(&Plan) -> R + Send + 'static,
    ) -> Result<R, StepError> {
        let plan = Arc::clone(plan);
        self.visit(namespace, move || step(&plan)).await
    }

    pub(super) async fn visit<R: Send + 'static>(
        &self,
        namespace: &Namespace,
        step: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, StepError> {
        let namespace = namespace.clone();
        Ok(self.block(move || namespace.run(step)).await??)
    }

    /// A step that has begun ends, also if nobody waits for it any more.
    async fn block<R: Send + 'static>(
        &self,
        step: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, StepError> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| StepError::Ending)?;
        let done = tokio::task::spawn_blocking(move || {
            let done = step();
            drop(slot);
            done
        });
        done.await.map_err(StepError::Thread)
    }
}

/// The addresses of the namespace that the calling thread is in, but for those that have no meaning elsewhere.
pub(super) fn addresses() -> Result<BTreeSet<IpAddr>, nix::Error> {
    let address = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    };
    let is_reachable = |address: &IpAddr| match address {
        IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
    };
    Ok(nix::ifaddrs::getifaddrs()?.filter_map(address).filter(is_reachable).collect())
}

/// Whether no piece of the plan is there, and none in its places that is not the plan's.
fn is_nothing(plan: &Plan, differences: &[Difference]) -> bool {
    let missing = |is: fn(&Piece) -> bool| {
        differences
            .iter()
            .filter(|difference| matches!(difference, Difference::Missing(piece) if is(piece)))
            .count()
    };
    differences.iter().all(|difference| matches!(difference, Difference::Missing(_)))
        && missing(|piece| matches!(piece, Piece::Table(_))) == 1
        && missing(|piece| matches!(piece, Piece::Route(_))) == plan.routes().len()
        && missing(|piece| matches!(piece, Piece::PolicyRule(_))) == plan.policy_rules().len()
}

/// The first difference, for people, and how many more there are.
fn first(differences: &[Difference]) -> String {
    match differences {
        [] => String::new(),
        [only] => only.to_string(),
        [first, rest @ ..] => format!("{first}, and {} more", rest.len()),
    }
}
