//! Say which traffic to capture; get the rules, apply them, and prove that they are there.
