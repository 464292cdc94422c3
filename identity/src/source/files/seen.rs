//! [`Seen`]: whether what was just read is worth a judgement. Pure.

use super::snapshot::Snapshot;

/// What was read last, and what became of it.
///
/// Files that are written one after the other, or in parts, are read in the middle of it sooner or later: such a set is
/// judged only when it is read a second time without a change. A set that was replaced at once is judged at once.
#[derive(Debug, Default)]
pub(super) struct Seen {
    last: Option<Snapshot>,
    accepted: bool,
}

impl Seen {
    /// Takes note of what was read, if it could be read. Gives the set if it is to be judged now.
    pub(super) fn read(&mut self, snapshot: Option<Snapshot>) -> Option<&Snapshot> {
        let known = self.last == snapshot;
        if !known {
            self.accepted = false;
        }
        self.last = snapshot;
        // One that was not accepted is judged again: perhaps it only was too early.
        self.last.as_ref().filter(|last| !self.accepted && (known || last.atomic))
    }

    /// The set was judged good.
    pub(super) fn accept(&mut self) {
        self.accepted = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_that_is_written_file_by_file_has_to_stand_still() {
        let mut seen = Seen::default();
        let set = |text| Some(Snapshot::of(text, false));
        assert_eq!(seen.read(set("a")), None);
        assert_eq!(seen.read(set("b")), None);
        assert_eq!(seen.read(set("b")), set("b").as_ref());
        seen.accept();
        assert_eq!(seen.read(set("b")), None, "nothing new");
        assert_eq!(seen.read(set("a")), None);
        assert_eq!(seen.read(None), None);
        assert_eq!(seen.read(set("a")), None);
        assert_eq!(seen.read(set("a")), set("a").as_ref());
    }

    #[test]
    fn a_set_that_is_replaced_at_once_is_judged_at_once() {
        let mut seen = Seen::default();
        let set = |text| Some(Snapshot::of(text, true));
        assert_eq!(seen.read(set("a")), set("a").as_ref());
        seen.accept();
        assert_eq!(seen.read(set("a")), None);
        assert_eq!(seen.read(set("b")), set("b").as_ref());
    }

    #[test]
    fn a_bad_set_is_judged_until_it_is_good() {
        let mut seen = Seen::default();
        let set = || Some(Snapshot::of("a", true));
        for _ in 0..3 {
            assert_eq!(seen.read(set()), set().as_ref());
        }
        seen.accept();
        assert_eq!(seen.read(set()), None);
        assert_eq!(seen.read(None), None);
        assert_eq!(seen.read(set()), set().as_ref(), "what was reported is over");
    }
}
