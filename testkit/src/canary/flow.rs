//! TCP as it is on the wire: segments, and what one direction of a connection said when they are put in order.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// One TCP segment of a captured frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Segment<'a> {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) opens: bool,
    pub(super) sequence: u32,
    pub(super) payload: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Parses an Ethernet frame; `None` for everything that is not TCP over IP, and for fragments.
    pub(super) fn parse(frame: &'a [u8]) -> Option<Self> {
        let (_addresses, rest) = frame.split_at_checked(12)?;
        let (kind, packet) = ethertype(rest)?;
        let (source, destination, segment) = match kind {
            0x0800 => ipv4(packet)?,
            0x86dd => ipv6(packet)?,
            _ => return None,
        };
        // RFC 9293, section 3.1.
        let header = usize::from(segment.get(12)? >> 4) * 4;
        Some(Self {
            source: SocketAddr::new(source, be16(segment, 0)?),
            destination: SocketAddr::new(destination, be16(segment, 2)?),
            opens: segment.get(13)? & 0x02 != 0,
            sequence: u32::from_be_bytes(segment.get(4..8)?.try_into().ok()?),
            payload: segment.get(header..)?,
        })
    }
}

/// The type of what follows the link addresses, past VLAN tags (IEEE 802.1Q).
fn ethertype(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let rest = bytes.get(2..)?;
    match be16(bytes, 0)? {
        0x8100 | 0x88a8 => ethertype(rest.get(2..)?),
        kind => Some((kind, rest)),
    }
}

/// RFC 791, section 3.1: addresses and the TCP segment.
fn ipv4(packet: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let fragment = be16(packet, 6)? & 0x3fff != 0;
    if *packet.get(9)? != TCP || fragment {
        return None;
    }
    let address =
        |at: usize| Some(IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?)));
    // Short frames are padded, so the packet's own length counts.
    let segment = packet.get(header..usize::from(be16(packet, 2)?))?;
    Some((address(12)?, address(16)?, segment))
}

/// RFC 8200, section 3; without extension headers, which nothing here sends with TCP.
fn ipv6(packet: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    if *packet.get(6)? != TCP {
        return None;
    }
    let address =
        |at: usize| Some(IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?)));
    let segment = packet.get(40..40 + usize::from(be16(packet, 4)?))?;
    Some((address(8)?, address(24)?, segment))
}

/// The protocol's number (IANA, "Assigned Internet Protocol Numbers").
const TCP: u8 = 6;

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Everything that was said over TCP: for each direction of each connection, the runs of bytes that were captured
/// without a gap. Of bytes that were sent twice, the first stay.
pub(super) fn streams<'a>(segments: impl Iterator<Item = Segment<'a>>) -> Vec<Vec<u8>> {
    let mut directions: BTreeMap<(SocketAddr, SocketAddr), Vec<Direction<'a>>> = BTreeMap::new();
    for segment in segments {
        let incarnations = directions.entry((segment.source, segment.destination)).or_default();
        match incarnations.last_mut() {
            Some(last) if !last.is_reopened_by(&segment) => last.add(&segment),
            _ => {
                let mut direction = Direction::default();
                direction.add(&segment);
                incarnations.push(direction);
            }
        }
    }
    directions.into_values().flatten().flat_map(Direction::into_runs).collect()
}

/// One direction of one connection.
#[derive(Debug, Default)]
struct Direction<'a> {
    opened_at: Option<u32>,
    /// The position and the sequence number of the latest segment: numbers wrap, positions do not.
    latest: Option<(i64, u32)>,
    payloads: Vec<(i64, &'a [u8])>,
}

impl<'a> Direction<'a> {
    /// Whether this is a new connection between the same ports; an opening sent again has the same number.
    fn is_reopened_by(&self, segment: &Segment<'_>) -> bool {
        segment.opens && self.opened_at != Some(segment.sequence)
    }

    fn add(&mut self, segment: &Segment<'a>) {
        // The opening takes one number (RFC 9293, section 3.4).
        let sequence = segment.sequence.wrapping_add(u32::from(segment.opens));
        if segment.opens {
            self.opened_at = Some(segment.sequence);
        }
        let position = match self.latest {
            None => 0,
            Some((position, before)) => position + i64::from(sequence.wrapping_sub(before).cast_signed()),
        };
        self.latest = Some((position, sequence));
        if !segment.payload.is_empty() {
            self.payloads.push((position, segment.payload));
        }
    }

    fn into_runs(mut self) -> Vec<Vec<u8>> {
        // Stable: of two at the same position the one captured first stays first.
        self.payloads.sort_by_key(|(position, _)| *position);
        let mut runs: Vec<Vec<u8>> = Vec::new();
        let mut end = i64::MIN;
        for (position, payload) in self.payloads {
            let length = i64::try_from(payload.len()).unwrap_or(i64::MAX);
            match runs.last_mut() {
                Some(run) if position <= end => {
                    let known = usize::try_from(end - position).unwrap_or(usize::MAX);
                    run.extend_from_slice(payload.get(known..).unwrap_or_default());
                }
                _ => runs.push(payload.to_vec()),
            }
            end = end.max(position.saturating_add(length));
        }
        runs
    }
}
