//! The addresses of a network, as the files in `/proc/PID/net` list them.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Reads `fib_trie`, line by line: the kernel's IPv4 routes as a tree, whose leaves are
///
/// ```text
/// |-- 10.0.0.5
///    /32 host LOCAL
/// ```
#[derive(Default)]
pub(super) struct FibTrie {
    leaf: Option<Ipv4Addr>,
}

impl FibTrie {
    /// The address of the network's own that a line completes. Whole networks that are local, as rules for capture
    /// make them (`/0 host LOCAL`), are no addresses.
    pub(super) fn own_address(&mut self, line: &str) -> Option<Ipv4Addr> {
        let line = line.trim();
        if let Some(leaf) = line.strip_prefix("|-- ") {
            self.leaf = leaf.parse().ok();
        }
        self.leaf.filter(|_| line == "/32 host LOCAL")
    }
}

/// The address in a line of `if_inet6`: 32 hexadecimal digits, then index, prefix length, scope, flags and interface.
pub(super) fn own_v6_address(line: &str) -> Option<Ipv6Addr> {
    let digits = line.split_ascii_whitespace().next().filter(|digits| digits.len() == 32)?;
    u128::from_str_radix(digits, 16).ok().map(Ipv6Addr::from_bits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRIE: &str = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
        /0 host LOCAL
     +-- 127.0.0.0/31 1 0 0
        |-- 127.0.0.0
           /8 host LOCAL
        |-- 127.0.0.1
           /32 host LOCAL
     +-- 192.0.2.0/24 2 0 2
        |-- 192.0.2.0
           /24 link UNICAST
        |-- 192.0.2.2
           /32 host LOCAL
        |-- 192.0.2.3
           /32 universe UNICAST
     |-- 192.0.2.255
        /32 link BROADCAST
Local:
  +-- 0.0.0.0/0 3 0 5
     |-- 10.0.0.5
        /8 host LOCAL
        /32 host LOCAL
";

    #[test]
    fn own_addresses_are_leaves_of_32_bits() {
        let mut trie = FibTrie::default();
        let found: Vec<_> = TRIE.lines().filter_map(|line| trie.own_address(line)).collect();
        assert_eq!(
            found,
            ["127.0.0.1", "192.0.2.2", "10.0.0.5"].map(|address| address.parse::<Ipv4Addr>().unwrap())
        );
    }

    #[test]
    fn v6_addresses() {
        let line = "20010db8000000000000000000000005 04 40 00 80     eth0";
        assert_eq!(own_v6_address(line), Some("2001:db8::5".parse().unwrap()));
        for line in ["", "2001:db8::5 04 40 00 80 eth0", "20010db8 04 40 00 80 eth0"] {
            assert_eq!(own_v6_address(line), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_v6_address_is_read(bits: u128) {
            let line = format!("{bits:032x} 02 40 20 80     eth0");
            prop_assert_eq!(own_v6_address(&line), Some(Ipv6Addr::from_bits(bits)));
        }

        #[test]
        fn nothing_makes_it_panic(lines in prop::collection::vec(".{0,60}", 0..5)) {
            let mut trie = FibTrie::default();
            for line in &lines {
                let _ = (trie.own_address(line), own_v6_address(line));
            }
        }
    }
}
