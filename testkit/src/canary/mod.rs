//! A canary on the wire: a byte string that a packet capture must, or must never, see.

mod capture;
mod flow;
mod frames;

pub use self::capture::{Capture, CaptureError};
pub use self::frames::Frames;
