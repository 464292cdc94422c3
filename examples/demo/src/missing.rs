//! Missing: what an administrator could change when the kernel allows no namespaces.

use std::fs;

/// The switches that usually forbid namespaces to users, with the value that does.
const SWITCHES: [(&str, &str); 3] = [
    // Debian's.
    ("/proc/sys/kernel/unprivileged_userns_clone", "0"),
    // Ubuntu's, since 23.10.
    ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"),
    // namespaces(7).
    ("/proc/sys/user/max_user_namespaces", "0"),
];

/// Names the switches that are set against us; else what else it could be.
pub(crate) fn rights() -> String {
    let set = SWITCHES
        .iter()
        .filter(|(file, forbids)| fs::read_to_string(file).is_ok_and(|value| value.trim() == *forbids));
    let named: Vec<String> = set.map(|(file, value)| format!("{file} is {value}")).collect();
    if named.is_empty() {
        " (in a container, it needs CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_NET_RAW, or a seccomp profile that allows \
         unshare(2) and mount(2))"
            .to_owned()
    } else {
        format!(" ({}; change that, or run as root)", named.join(", "))
    }
}
