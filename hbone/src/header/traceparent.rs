//! `traceparent`: which trace a request belongs to (W3C Trace Context).

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};
use std::str::FromStr;

use super::{Expected, FieldError};

/// The `traceparent` field, in version 00.
///
/// A later version is read as far as this one goes (section 3.2.4) and written as 00. Flags without a meaning here are
/// cleared, as section 3.2.2.5 asks who passes the field on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace_id: NonZeroU128,
    parent_id: NonZeroU64,
    flags: u8,
}

impl TraceParent {
    /// Of a trace and of the operation in it that asks; not sampled.
    pub fn new(trace_id: NonZeroU128, parent_id: NonZeroU64) -> Self {
        Self { trace_id, parent_id, flags: 0 }
    }

    /// The trace.
    pub fn trace_id(self) -> NonZeroU128 {
        self.trace_id
    }

    /// The operation that asks.
    pub fn parent_id(self) -> NonZeroU64 {
        self.parent_id
    }

    /// Whether who asks may have recorded the trace.
    pub fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Whether at least the lower 7 bytes of the trace's id are random.
    pub fn has_random_id(self) -> bool {
        self.flags & RANDOM != 0
    }

    /// Says that the trace may be recorded.
    pub fn sampled(self) -> Self {
        Self { flags: self.flags | SAMPLED, ..self }
    }

    /// Says that the lower 7 bytes of the trace's id are random.
    pub fn random(self) -> Self {
        Self { flags: self.flags | RANDOM, ..self }
    }
}

super::field!(TraceParent, "traceparent", One);

impl FromStr for TraceParent {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        if text.len() > MAX_LENGTH {
            return Err(FieldError::TooLong { length: text.len(), max: MAX_LENGTH });
        }
        let version = hexadecimal(text, 0, 2)?;
        if version == 0xff {
            return Err(FieldError::Syntax { at: 0, expected: Expected::Version });
        }
        dash(text, 2)?;
        let trace_id = NonZeroU128::new(hexadecimal(text, 3, 32)?).ok_or_else(|| no_hexadecimal(3))?;
        dash(text, 35)?;
        let parent_id = u64::try_from(hexadecimal(text, 36, 16)?).ok().and_then(NonZeroU64::new);
        let parent_id = parent_id.ok_or_else(|| no_hexadecimal(36))?;
        dash(text, 52)?;
        let flags = u8::try_from(hexadecimal(text, 53, 2)?).map_err(|_| no_hexadecimal(53))?;
        match text.as_bytes().get(LENGTH) {
            None => {}
            Some(b'-') if version > 0 => {}
            Some(_) => return Err(FieldError::Syntax { at: LENGTH, expected: Expected::Separator }),
        }
        Ok(Self { trace_id, parent_id, flags: flags & (SAMPLED | RANDOM) })
    }
}

fn dash(text: &str, at: usize) -> Result<(), FieldError> {
    match text.as_bytes().get(at) {
        Some(b'-') => Ok(()),
        _ => Err(FieldError::Syntax { at, expected: Expected::Separator }),
    }
}

fn hexadecimal(text: &str, at: usize, digits: usize) -> Result<u128, FieldError> {
    let digits = text.get(at..at + digits).ok_or_else(|| no_hexadecimal(at))?;
    if !digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(no_hexadecimal(at));
    }
    u128::from_str_radix(digits, 16).map_err(|_| no_hexadecimal(at))
}

fn no_hexadecimal(at: usize) -> FieldError {
    FieldError::Syntax { at, expected: Expected::Hexadecimal }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.parent_id, self.flags)
    }
}

/// Section 3.2.2: version, trace, parent, flags, and three dashes.
const LENGTH: usize = 2 + 1 + 32 + 1 + 16 + 1 + 2;
/// What a later version may add to it is not read, so this bounds only the work.
const MAX_LENGTH: usize = 512;
/// Section 3.2.2.5.1.
const SAMPLED: u8 = 1;
/// Level 2 of Trace Context, section 3.2.2.5.2.
const RANDOM: u8 = 2;
