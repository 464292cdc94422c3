//! Reason: why the API server has not done something, for people. kube's errors repeat their causes; here each is said once.

use std::error::Error as _;

use kube::Error;

use crate::agent::name::excerpt;
use crate::report::Causes;

pub(super) fn reason(error: &Error) -> String {
    match (error, error.source()) {
        (Error::Api(status), _) => format!("{} ({})", excerpt_of_server(&status.message), status.code),
        (_, Some(cause)) => Causes(cause).to_string(),
        (error, None) => error.to_string(),
    }
}

/// A proxy before the server may say anything, and pages of it.
fn excerpt_of_server(message: &str) -> String {
    if message.is_empty() { "no reason given".into() } else { message.lines().map(excerpt).take(3).collect() }
}
