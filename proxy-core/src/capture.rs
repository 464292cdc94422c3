//! Capture: redirect's rules inside a pod's namespace, pointing at the ports of [`Config`], so that the two agree.
//!
//! The order matters: a pod is captured after its proxy listens, and released before its proxy stops, so that no
//! connection meets a rule without a listener.

use netns::{EnterError, Namespace};
use redirect::{ApplyError, Intent, IntentError, Plan, RemoveError, Verdict, VerifyError};

use crate::config::Config;

/// Why a pod could not be captured, released or checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The configuration makes no rules.
    #[error("the configuration makes no rules")]
    Intent(#[from] IntentError),
    /// A port of the configuration is none.
    #[error("the configuration's ports")]
    Port(#[from] redirect::PortError),
    /// The pod's namespace could not be entered.
    #[error("entering the pod")]
    Enter(#[from] EnterError),
    /// The rules could not be applied; none stays.
    #[error("applying the rules")]
    Apply(#[from] ApplyError),
    /// The rules could not be removed.
    #[error("removing the rules")]
    Remove(#[from] RemoveError),
    /// The rules could not be read.
    #[error("reading the rules")]
    Verify(#[from] VerifyError),
}

/// The rules for pods of this configuration.
///
/// # Errors
/// When two of its ports are the same, or one is zero.
pub fn plan(config: &Config) -> Result<Plan, CaptureError> {
    Ok(Plan::new(&intent(config)?))
}

/// What is captured in pods of this configuration, for a caller that captures more or less.
///
/// # Errors
/// When two of its ports are the same, or one is zero.
pub fn intent(config: &Config) -> Result<Intent, CaptureError> {
    let ports = redirect::Ports {
        outbound: config.ports.outbound.try_into()?,
        inbound_plaintext: config.ports.plaintext.try_into()?,
        inbound_hbone: config.ports.hbone.try_into()?,
    };
    Ok(Intent::ambient().with_ports(ports)?)
}

/// Captures a pod's traffic: applies `plan` in its namespace and reads it back.
///
/// # Errors
/// [`CaptureError`]; then no rule of the plan stays.
pub fn capture(namespace: &Namespace, plan: &Plan) -> Result<(), CaptureError> {
    namespace.run(|| redirect::apply(plan))??;
    Ok(())
}

/// Releases a pod's traffic: removes exactly what `plan` put there.
///
/// # Errors
/// [`CaptureError`] when something of it may still be there.
pub fn release(namespace: &Namespace, plan: &Plan) -> Result<(), CaptureError> {
    namespace.run(|| redirect::remove(plan))??;
    Ok(())
}

/// Compares the kernel's rules with `plan`.
///
/// # Errors
/// [`CaptureError`] when they cannot be read.
pub fn verify(namespace: &Namespace, plan: &Plan) -> Result<Verdict, CaptureError> {
    Ok(namespace.run(|| redirect::verify(plan))??)
}
