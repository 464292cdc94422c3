//! Frames made by hand.

use proptest::prelude::*;

use super::*;

const CANARY: &[u8] = b"canary-7f3a9c";
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const NO_LIMIT: usize = usize::MAX;

/// A TCP segment from 10.0.0.1 to 10.0.0.2:80 in an Ethernet frame, padded as real ones are.
fn v4(port: u16, sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([0x08, 0x00]);
    let length = u16::try_from(40 + payload.len()).unwrap();
    frame.extend([0x45, 0]);
    frame.extend(length.to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
    frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend(tcp(port, sequence, flags, payload));
    frame.resize(frame.len().max(60), 0);
    frame
}

fn v6(port: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend(u16::try_from(20 + payload.len()).unwrap().to_be_bytes());
    frame.extend([6, 64]);
    frame.extend([0xfd; 16]);
    frame.extend([0xfe; 16]);
    frame.extend(tcp(port, sequence, ACK, payload));
    frame
}

fn tcp(port: u16, sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = port.to_be_bytes().to_vec();
    segment.extend(80_u16.to_be_bytes());
    segment.extend(sequence.to_be_bytes());
    segment.extend([0; 4]);
    segment.extend([0x50, flags, 0, 0, 0, 0, 0, 0]);
    segment.extend(payload);
    segment
}

fn frames(all: impl IntoIterator<Item = Vec<u8>>) -> Frames {
    let mut frames = Frames::default();
    for frame in all {
        frames.keep(&frame, NO_LIMIT);
    }
    frames
}

#[test]
fn found_in_one_frame() {
    let said = [b"GET /", CANARY, b" HTTP/1.1"].concat();
    assert!(frames([v4(1000, 1, ACK, &said)]).contains(CANARY));
    assert!(frames([v6(1000, 1, &said)]).contains(CANARY));
    assert!(frames([b"no ip at all: canary-7f3a9c".to_vec()]).contains(CANARY));
}

#[test]
fn found_across_segments() {
    let (head, tail) = CANARY.split_at(5);
    assert!(frames([v4(1000, 1, ACK, head), v4(1000, 6, ACK, tail)]).contains(CANARY));
    assert!(frames([v6(1000, 1, head), v6(1000, 6, tail)]).contains(CANARY));
}

#[test]
fn found_across_segments_out_of_order_and_sent_again() {
    let all = [
        v4(1000, 105, ACK, &CANARY[5..8]),
        v4(1000, 100, ACK, &CANARY[..5]),
        v4(1000, 100, ACK, &CANARY[..5]),
        v4(1000, 103, ACK, &CANARY[3..8]),
        v4(1000, 108, ACK, &CANARY[8..]),
    ];
    assert!(frames(all).contains(CANARY));
}

#[test]
fn found_where_sequence_numbers_wrap() {
    let (head, tail) = CANARY.split_at(5);
    let start = u32::MAX - 2;
    assert!(
        frames([v4(1000, start, ACK, head), v4(1000, start.wrapping_add(5), ACK, tail)]).contains(CANARY)
    );
}

#[test]
fn not_found_where_it_was_not_said() {
    let (head, tail) = CANARY.split_at(5);
    // Two connections said a half each.
    assert!(!frames([v4(1000, 1, ACK, head), v4(1001, 6, ACK, tail)]).contains(CANARY));
    // Something was said between the halves.
    let between = [v4(1000, 1, ACK, head), v4(1000, 6, ACK, b"x"), v4(1000, 7, ACK, tail)];
    assert!(!frames(between).contains(CANARY));
    // Something between the halves was not captured.
    assert!(!frames([v4(1000, 1, ACK, head), v4(1000, 7, ACK, tail)]).contains(CANARY));
    assert!(!frames([]).contains(CANARY));
}

#[test]
fn a_port_used_again_is_another_connection() {
    let (head, tail) = CANARY.split_at(5);
    let said = |sequence: u32, tail: &[u8]| {
        [v4(1000, sequence, SYN, b""), v4(1000, sequence.wrapping_add(1), ACK, tail)]
    };
    let both = [said(100, b"first"), said(3_000_000_000, b"second")].concat();
    assert!(frames(both.clone()).contains(b"first") && frames(both).contains(b"second"));
    // The second one starts where the first one ended; still it is not its continuation.
    let after = [said(100, head), [v4(1000, 105, SYN, b""), v4(1000, 106, ACK, tail)]].concat();
    assert!(!frames(after).contains(CANARY));
    // An opening that was sent again is the same connection.
    let again = [
        v4(1000, 100, SYN, b""),
        v4(1000, 101, ACK, head),
        v4(1000, 100, SYN, b""),
        v4(1000, 106, ACK, tail),
    ];
    assert!(frames(again).contains(CANARY));
}

#[test]
fn padding_is_not_part_of_the_stream() {
    // A short first segment is followed by padding in its frame.
    assert!(frames([v4(1000, 1, ACK, b"can"), v4(1000, 4, ACK, b"ary-7f3a9c")]).contains(CANARY));
}

#[test]
fn beyond_the_limit_is_counted() {
    let mut frames = Frames::default();
    frames.keep(&[0; 60], 100);
    frames.keep(&[0; 60], 100);
    frames.keep(&[0; 40], 100);
    assert_eq!((frames.len(), frames.drops()), (2, 1));
}

#[test]
fn ports_are_counted_by_destination() {
    let all = frames([v4(1000, 1, ACK, b""), v6(1001, 1, b"x"), vec![0; 60]]);
    assert_eq!(all.tcp_ports(), BTreeMap::from([(80, 2)]));
    assert_eq!(all.len(), 3);
}

proptest! {
    /// However a stream is cut, and in whatever order its pieces arrive, all of it is found.
    #[test]
    fn any_cut_in_any_order(
        said in proptest::collection::vec(any::<u8>(), 2..200),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        start in any::<u32>(),
        seed in any::<prop::sample::Index>(),
    ) {
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(said.len())).chain([0, said.len()]).collect();
        at.sort_unstable();
        at.dedup();
        let mut pieces: Vec<Vec<u8>> = at
            .windows(2)
            .map(|ends| {
                let offset = u32::try_from(ends[0]).unwrap();
                v4(1000, start.wrapping_add(offset), ACK, &said[ends[0]..ends[1]])
            })
            .collect();
        let turn = seed.index(pieces.len());
        pieces.rotate_left(turn);
        prop_assert!(frames(pieces).contains(&said));
    }

    /// Whatever is on the wire, looking at it does no harm.
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..120), kind in 0..3_usize) {
        let mut frame = vec![2; 12];
        frame.extend([[0x08, 0x00], [0x86, 0xdd], [0x81, 0x00]][kind]);
        frame.extend(bytes);
        let frames = frames([frame]);
        let _ = frames.tcp_ports();
        prop_assert!(!frames.contains(&[1; 200]));
    }
}
