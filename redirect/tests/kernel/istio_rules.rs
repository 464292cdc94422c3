//! What Istio's agent puts into a pod in ambient mode, by version and by means. Facts, table by table.

use std::fmt;

use inpod_redirect::iptables::Variant;
use testkit::kernel::Outcome;

use crate::programs::feed;

/// What an agent of Istio's has put there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Istio {
    Iptables(Variant, Version),
    NfTables,
}

/// Since when the agent's rules have had their form.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Version {
    /// 1.21 to 1.23: TPROXY for what comes in.
    V1_21,
    /// 1.24 and newer.
    V1_24,
}

impl Istio {
    pub(crate) const ALL: [Self; 5] = [
        Self::Iptables(Variant::Nft, Version::V1_24),
        Self::Iptables(Variant::Legacy, Version::V1_24),
        Self::Iptables(Variant::Nft, Version::V1_21),
        Self::Iptables(Variant::Legacy, Version::V1_21),
        Self::NfTables,
    ];

    /// Those that bring what comes in by REDIRECT.
    pub(crate) const REDIRECTING: [Self; 3] = [
        Self::Iptables(Variant::Nft, Version::V1_24),
        Self::Iptables(Variant::Legacy, Version::V1_24),
        Self::NfTables,
    ];

    /// How many tables of nf_tables, and how many chains of iptables.
    pub(crate) fn pieces(self) -> (usize, usize) {
        match self {
            Self::Iptables(_, Version::V1_21) => (0, 2 * 3),
            Self::Iptables(_, Version::V1_24) => (0, 2 * 6),
            Self::NfTables => (3, 0),
        }
    }

    /// In the calling thread's namespace, for both families.
    pub(crate) fn install(self) -> Outcome {
        match self {
            Self::Iptables(variant, version) => with_iptables(variant, version)?,
            Self::NfTables => drop(feed("nft -f -", NFTABLES)?),
        }
        for (flag, everything) in [("-4", "0.0.0.0/0"), ("-6", "::/0")] {
            feed(&format!("ip {flag} route replace local {everything} dev lo table 100"), "")?;
            feed(&format!("ip {flag} rule add fwmark 0x111/0xfff pref 32764 lookup 100"), "")?;
        }
        Ok(())
    }
}

fn with_iptables(variant: Variant, version: Version) -> Outcome {
    let text = match version {
        Version::V1_21 => V1_21,
        Version::V1_24 => V1_24,
    };
    for (program, loopback, probe) in [
        ("iptables", "127.0.0.1/32", "169.254.7.127"),
        ("ip6tables", "::1/128", "fd16:9254:7127:1337:ffff:ffff:ffff:ffff"),
    ] {
        let text = text.replace("LOOPBACK", loopback).replace("PROBE", probe);
        feed(&format!("{program}-{variant}-restore --noflush"), &text)?;
    }
    Ok(())
}

const V1_24: &str = "*raw
-N ISTIO_OUTPUT
-N ISTIO_PRERT
-A PREROUTING -j ISTIO_PRERT
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_PRERT -p udp -m mark ! --mark 0x539/0xfff -m udp --sport 53 -j CT --zone 1
-A ISTIO_OUTPUT -p udp -m mark --mark 0x539/0xfff -m udp --dport 53 -j CT --zone 1
COMMIT
*mangle
-N ISTIO_PRERT
-N ISTIO_OUTPUT
-A PREROUTING -j ISTIO_PRERT
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_PRERT -m mark --mark 0x539/0xfff -j CONNMARK --set-xmark 0x111/0xfff
-A ISTIO_OUTPUT -m connmark --mark 0x111/0xfff -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff
COMMIT
*nat
-N ISTIO_PRERT
-N ISTIO_OUTPUT
-A PREROUTING -j ISTIO_PRERT
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_PRERT -s PROBE -p tcp -m tcp -j ACCEPT
-A ISTIO_PRERT ! -d LOOPBACK -p tcp ! --dport 15008 -m mark ! --mark 0x539/0xfff -j REDIRECT --to-ports 15006
-A ISTIO_OUTPUT -d PROBE -p tcp -m tcp -j ACCEPT
-A ISTIO_OUTPUT ! -o lo -p udp -m mark ! --mark 0x539/0xfff -m udp --dport 53 -j REDIRECT --to-port 15053
-A ISTIO_OUTPUT ! -d LOOPBACK -p tcp --dport 53 -m mark ! --mark 0x539/0xfff -j REDIRECT --to-ports 15053
-A ISTIO_OUTPUT -p tcp -m mark --mark 0x111/0xfff -j ACCEPT
-A ISTIO_OUTPUT ! -d LOOPBACK -o lo -j ACCEPT
-A ISTIO_OUTPUT ! -d LOOPBACK -p tcp -m mark ! --mark 0x539/0xfff -j REDIRECT --to-ports 15001
COMMIT
";

const V1_21: &str = "*mangle
-N ISTIO_PRERT
-N ISTIO_OUTPUT
-A PREROUTING -j ISTIO_PRERT
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_PRERT -m mark --mark 0x539/0xfff -j CONNMARK --set-xmark 0x111/0xfff
-A ISTIO_PRERT -s PROBE -p tcp -m tcp -j ACCEPT
-A ISTIO_PRERT ! -d LOOPBACK -p tcp -i lo -j ACCEPT
-A ISTIO_PRERT -p tcp -m tcp --dport 15008 -m mark ! --mark 0x539/0xfff -j TPROXY --on-port 15008 --tproxy-mark 0x111/0xfff
-A ISTIO_PRERT -p tcp -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ISTIO_PRERT ! -d LOOPBACK -p tcp -m mark ! --mark 0x539/0xfff -j TPROXY --on-port 15006 --tproxy-mark 0x111/0xfff
-A ISTIO_OUTPUT -m connmark --mark 0x111/0xfff -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff
COMMIT
*nat
-N ISTIO_OUTPUT
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_OUTPUT -d PROBE -p tcp -m tcp -j ACCEPT
-A ISTIO_OUTPUT ! -o lo -p udp -m mark ! --mark 0x539/0xfff -m udp --dport 53 -j REDIRECT --to-port 15053
-A ISTIO_OUTPUT -p tcp -m mark --mark 0x111/0xfff -j ACCEPT
-A ISTIO_OUTPUT ! -d LOOPBACK -o lo -j ACCEPT
-A ISTIO_OUTPUT ! -d LOOPBACK -p tcp -m mark ! --mark 0x539/0xfff -j REDIRECT --to-ports 15001
COMMIT
";

const NFTABLES: &str = "table inet istio-ambient-raw {
	chain prerouting { type filter hook prerouting priority -300; jump istio-prerouting; }
	chain output { type filter hook output priority -300; jump istio-output; }
	chain istio-prerouting { udp sport 53 meta mark and 0xfff != 0x539 counter ct zone set 1; }
	chain istio-output { udp dport 53 meta mark and 0xfff == 0x539 counter ct zone set 1; }
}
table inet istio-ambient-mangle {
	chain prerouting { type filter hook prerouting priority -150; jump istio-prerouting; }
	chain output { type route hook output priority -150; jump istio-output; }
	chain istio-prerouting { meta mark & 0xfff == 0x539 counter ct mark set ct mark & 0xfffff000 | 0x111; }
	chain istio-output { ct mark and 0xfff == 0x111 counter meta mark set ct mark; }
}
table inet istio-ambient-nat {
	chain prerouting { type nat hook prerouting priority -100; jump istio-prerouting; }
	chain output { type nat hook output priority -100; jump istio-output; }
	chain istio-prerouting {
		meta l4proto tcp ip saddr 169.254.7.127 counter accept
		meta l4proto tcp ip6 saddr fd16:9254:7127:1337:ffff:ffff:ffff:ffff counter accept
		ip daddr != 127.0.0.1/32 tcp dport != 15008 mark and 0xfff != 0x539 counter redirect to :15006
		ip6 daddr != ::1/128 tcp dport != 15008 mark and 0xfff != 0x539 counter redirect to :15006
	}
	chain istio-output {
		meta l4proto tcp ip daddr 169.254.7.127 counter accept
		meta l4proto tcp ip6 daddr fd16:9254:7127:1337:ffff:ffff:ffff:ffff counter accept
		oifname != lo mark and 0xfff != 0x539 udp dport 53 counter redirect to :15053
		ip daddr != 127.0.0.1/32 tcp dport 53 mark and 0xfff != 0x539 counter redirect to :15053
		ip6 daddr != ::1/128 tcp dport 53 mark and 0xfff != 0x539 counter redirect to :15053
		meta l4proto tcp mark and 0xfff == 0x111 counter accept
		oifname lo ip daddr != 127.0.0.1/32 counter accept
		oifname lo ip6 daddr != ::1/128 counter accept
		meta l4proto tcp ip daddr != 127.0.0.1/32 mark and 0xfff != 0x539 counter redirect to :15001
		meta l4proto tcp ip6 daddr != ::1/128 mark and 0xfff != 0x539 counter redirect to :15001
	}
}
";

impl fmt::Display for Istio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Iptables(variant, Version::V1_21) => write!(f, "istio_1_21_by_iptables_{variant}"),
            Self::Iptables(variant, Version::V1_24) => write!(f, "istio_1_24_by_iptables_{variant}"),
            Self::NfTables => f.write_str("istio_by_nf_tables"),
        }
    }
}
