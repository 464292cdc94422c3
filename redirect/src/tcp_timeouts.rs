//! TcpTimeouts: how long conntrack remembers captured connections.

use std::fmt;

/// How long conntrack remembers a TCP connection of which nothing is heard, by its state, in seconds.
///
/// Address translation holds as long as conntrack knows a connection, so a captured one is to be known as long as its sockets
/// may live. All states are given, so that the namespace's sysctls (`net.netfilter.nf_conntrack_tcp_timeout_*`, see
/// Documentation/networking/nf_conntrack-sysctl.rst) do not matter to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct TcpTimeouts {
    /// It was opened, and nobody has answered.
    pub syn_sent: u32,
    /// It was answered, and the answer not yet acknowledged.
    pub syn_recv: u32,
    /// It is open.
    pub established: u32,
    /// One side has ended, which is not yet acknowledged.
    pub fin_wait: u32,
    /// One side has ended. The other may go on for as long as it wants (RFC 9293, section 3.6).
    pub close_wait: u32,
    /// Both sides have ended, which is not yet acknowledged.
    pub last_ack: u32,
    /// It has ended.
    pub time_wait: u32,
    /// It was reset.
    pub close: u32,
    /// It was opened from both sides at once.
    pub syn_sent2: u32,
    /// The most in any state when the last packet has been sent again and again.
    pub retrans: u32,
    /// The most in any state when data is not acknowledged.
    pub unack: u32,
}

/// The name of the object in a plan's table.
pub(crate) const NAME: &str = "captured-tcp";

/// Five days: how long the kernel remembers an open connection when it is not told otherwise.
const OPEN: u32 = 5 * 24 * 60 * 60;

impl TcpTimeouts {
    /// Of captured connections: half closed ones are remembered as long as open ones, where the kernel's own value is a minute.
    /// Somebody who wants to fill the table can do so with open ones already. A last acknowledgement may be waited for as
    /// long as that of other data. All else is as the kernel has it (`tcp_timeouts` in `nf_conntrack_proto_tcp.c`).
    pub const CAPTURED: Self = Self {
        syn_sent: 120,
        syn_recv: 60,
        established: OPEN,
        fin_wait: OPEN,
        close_wait: OPEN,
        last_ack: 300,
        time_wait: 120,
        close: 10,
        syn_sent2: 120,
        retrans: 300,
        unack: 300,
    };

    /// The names of the states for `nft`, in the order of the kernel (`CTA_TIMEOUT_TCP_SYN_SENT` and on, in
    /// `linux/netfilter/nfnetlink_cttimeout.h`).
    const STATES: [&'static str; 11] = [
        "syn_sent",
        "syn_recv",
        "established",
        "fin_wait",
        "close_wait",
        "last_ack",
        "time_wait",
        "close",
        "syn_sent2",
        "retrans",
        "unack",
    ];

    /// The numbers, in that order.
    pub(crate) const fn numbers(self) -> [u32; 11] {
        [
            self.syn_sent,
            self.syn_recv,
            self.established,
            self.fin_wait,
            self.close_wait,
            self.last_ack,
            self.time_wait,
            self.close,
            self.syn_sent2,
            self.retrans,
            self.unack,
        ]
    }

    /// Those of which these are the numbers.
    pub(crate) const fn of_numbers(numbers: [u32; 11]) -> Self {
        let [
            syn_sent,
            syn_recv,
            established,
            fin_wait,
            close_wait,
            last_ack,
            time_wait,
            close,
            syn_sent2,
            retrans,
            unack,
        ] = numbers;
        Self {
            syn_sent,
            syn_recv,
            established,
            fin_wait,
            close_wait,
            last_ack,
            time_wait,
            close,
            syn_sent2,
            retrans,
            unack,
        }
    }
}

impl fmt::Display for TcpTimeouts {
    /// As `nft` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (state, seconds)) in Self::STATES.iter().zip(self.numbers()).enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{state} : {seconds}")?;
        }
        Ok(())
    }
}

/// Whether this kernel remembers captured connections for as long as a plan says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Remembers {
    /// It does.
    #[default]
    AsPlanned,
    /// It was built without that (`CONFIG_NF_CONNTRACK_TIMEOUT`, `CONFIG_NFT_CT`), or the plan says nothing of it: the sysctls
    /// `net.netfilter.nf_conntrack_tcp_timeout_*` hold. A captured connection that is forgotten earlier than its sockets fails;
    /// it does not escape, if the plan has its guard.
    BySysctl,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_in_the_kernels_order() {
        let numbers: [u32; 11] = std::array::from_fn(|index| u32::try_from(index).unwrap() + 1);
        let timeouts = TcpTimeouts::of_numbers(numbers);
        assert_eq!(timeouts.numbers(), numbers);
        // CTA_TIMEOUT_TCP_CLOSE_WAIT and CTA_TIMEOUT_TCP_UNACK.
        assert_eq!((timeouts.close_wait, timeouts.unack), (5, 11));
        assert!(
            timeouts.to_string().starts_with("syn_sent : 1, syn_recv : 2, established : 3, fin_wait : 4, ")
        );
    }
}
