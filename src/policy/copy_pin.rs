//! Whether the copy of a backup is pinned, and what its destination does not know of that yet. Pure.
//!
//! What the operator said here holds from the start, also while the destination is out of reach. Whoever holds the
//! store's key can withhold a fact, or put an old one again, but not change what is on record here. So a pin holds
//! if either side has it; only an unpin needs both.

/// What is known of the pin of a copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyPin {
    /// Whether the backup is pinned here; none where it is gone.
    pub here: Option<bool>,
    /// What the operator did last with the backup: pin, or unpin. None if neither is on record.
    pub on_record: Option<bool>,
    /// Whether the facts at the destination pin the copy; none where there is no such fact.
    pub by_fact: Option<bool>,
    /// Whether the backup was pinned when it was copied.
    pub when_copied: bool,
}

impl CopyPin {
    /// Whether the copy stays, whatever the rules say.
    pub fn holds(self) -> bool {
        self.by_fact == Some(true) || self.operator().unwrap_or_else(|| self.there())
    }

    /// What has to be put at the destination as a further fact: pin, or unpin. None if it says what the operator
    /// said, or the operator said nothing.
    pub fn lacking_there(self) -> Option<bool> {
        self.operator().filter(|pinned| *pinned != self.there())
    }

    /// What the operator wants.
    fn operator(self) -> Option<bool> {
        // A backup that was brought back is not pinned here, whatever was said of it before.
        match self.here {
            Some(true) => Some(true),
            _ => self.on_record,
        }
    }

    /// What the destination says.
    fn there(self) -> bool {
        self.by_fact.unwrap_or(self.when_copied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIN: Option<bool> = Some(true);
    const UNPIN: Option<bool> = Some(false);

    #[test]
    fn a_pin_of_either_side_holds_and_only_what_the_operator_said_is_put() {
        // (here, on record, by fact, when copied) -> (holds, put)
        for (known, expected) in [
            // Never pinned.
            ((UNPIN, None, None, false), (false, None)),
            ((None, None, None, false), (false, None)),
            // Pinned before the copy was made: its manifest says so.
            ((PIN, PIN, None, true), (true, None)),
            // Pinned since then.
            ((PIN, PIN, None, false), (true, PIN)),
            ((None, PIN, None, false), (true, PIN)),
            ((PIN, PIN, PIN, false), (true, None)),
            // Unpinned since then.
            ((UNPIN, UNPIN, None, true), (false, UNPIN)),
            ((None, UNPIN, None, true), (false, UNPIN)),
            ((None, UNPIN, PIN, false), (true, UNPIN)),
            ((None, UNPIN, UNPIN, true), (false, None)),
            // The pin at the destination was withheld, or an old unpin was put again.
            ((None, PIN, UNPIN, false), (true, PIN)),
            ((PIN, PIN, UNPIN, true), (true, PIN)),
            // Nothing is on record: what the destination says holds, and nothing is put.
            ((None, None, PIN, false), (true, None)),
            ((None, None, UNPIN, true), (false, None)),
            ((None, None, None, true), (true, None)),
            ((UNPIN, None, PIN, false), (true, None)),
            ((UNPIN, None, None, true), (true, None)),
            // Brought back, after it was pinned while it was gone.
            ((UNPIN, PIN, PIN, false), (true, None)),
            ((UNPIN, PIN, None, false), (true, PIN)),
        ] {
            let (here, on_record, by_fact, when_copied) = known;
            let pin = CopyPin {
                here,
                on_record,
                by_fact,
                when_copied,
            };
            assert_eq!((pin.holds(), pin.lacking_there()), expected, "{pin:?}");
        }
    }
}
