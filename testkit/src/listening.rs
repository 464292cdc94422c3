//! Listening: who waits for connections in a namespace.

use std::error::Error;
use std::fs;

use netns::Namespace;

/// How many sockets listen on `port` in a namespace, on either family: proc_pid_net(5), state 0A.
///
/// # Errors
///
/// When the namespace cannot be entered.
pub fn listening(namespace: &Namespace, port: u16) -> Result<usize, Box<dyn Error>> {
    let read = |file| namespace.run(|| fs::read_to_string(format!("/proc/thread-self/net/{file}")));
    let (v4, v6) = (read("tcp")??, read("tcp6")??);
    let is_it = |line: &&str| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next().unwrap_or_default();
        local.ends_with(&format!(":{port:04X}")) && fields.nth(1) == Some("0A")
    };
    Ok(v4.lines().chain(v6.lines()).filter(is_it).count())
}
