//! Enter a Linux network namespace, and be certain to come back.
