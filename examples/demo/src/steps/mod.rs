//! Steps: what the story does and checks, one function a step.

pub(crate) mod absent;
pub(crate) mod bulk;
pub(crate) mod enrol;
pub(crate) mod exchange;
pub(crate) mod gone;
pub(crate) mod outsider;
pub(crate) mod setup;
