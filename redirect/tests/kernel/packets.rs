pub(crate) fn tests() -> Vec<testkit::kernel::Case> {
    Vec::new()
}
