//! Each target on mutations of its seeds, and on bytes of no kind.

use inpod_fuzz::TARGETS;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// One change of some bytes.
#[derive(Clone, Debug)]
enum Change {
    Set(Index, u8),
    Insert(Index, u8),
    Delete(Index),
    Repeat(Index, usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let place = |index: &Index, bytes: &[u8]| index.index(bytes.len().max(1)).min(bytes.len());
        match self {
            Self::Set(index, byte) => {
                let place = place(index, bytes);
                if let Some(there) = bytes.get_mut(place) {
                    *there = *byte;
                }
            }
            Self::Insert(index, byte) => bytes.insert(place(index, bytes), *byte),
            Self::Delete(index) if !bytes.is_empty() => {
                bytes.remove(place(index, bytes).min(bytes.len() - 1));
            }
            Self::Delete(_) => {}
            Self::Repeat(index, times) => {
                let tail: Vec<u8> = bytes.iter().skip(place(index, bytes)).copied().collect();
                bytes.extend(tail.repeat(*times));
            }
        }
    }
}

fn changes() -> impl Strategy<Value = Change> {
    // The letters that mean something to one parser or another come more often.
    let byte = prop_oneof![any::<u8>(), proptest::sample::select(b"0159af./:-_%[]{}\"\\ \n\0".to_vec())];
    prop_oneof![
        (any::<Index>(), byte.clone()).prop_map(|(index, byte)| Change::Set(index, byte)),
        (any::<Index>(), byte).prop_map(|(index, byte)| Change::Insert(index, byte)),
        any::<Index>().prop_map(Change::Delete),
        (any::<Index>(), 1_usize..4).prop_map(|(index, times)| Change::Repeat(index, times)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_target_panics_on_mutations_of_its_seeds(seed: Index, changes in vec(changes(), 0..6)) {
        for target in TARGETS {
            let mut bytes = seed.get(target.seeds).to_vec();
            changes.iter().for_each(|change| change.apply(&mut bytes));
            (target.run)(&bytes);
        }
    }

    #[test]
    fn no_target_panics_on_any_bytes(bytes in vec(any::<u8>(), 0..300)) {
        for target in TARGETS {
            (target.run)(&bytes);
        }
    }
}

#[test]
fn seeds_are_taken_or_refused() {
    for target in TARGETS {
        assert!(!target.seeds.is_empty(), "{}", target.name);
        target.seeds.iter().for_each(|seed| (target.run)(seed));
    }
}
