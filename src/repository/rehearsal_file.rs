//! When copies were opened with an identity, and which recipients are known: one file in the state directory.
//!
//! `rehearsals.json`, replaced as a whole. When it is lost, the clock of each destination starts at the oldest copy
//! that is there, and the recipients of the newest copy are the known ones.

use super::seal::Names;
use super::state_file::{StateContent, StateFile};
use crate::policy::RehearsalBook;

/// The file with the rehearsals.
pub type RehearsalFile = StateFile<RehearsalBook>;

impl StateContent for RehearsalBook {
    const NAMES: Names<'static> = Names {
        file: "rehearsals.json",
        lock: ".rehearsals.lock",
        when_spoilt: "the next rehearsal is due as if there had been none",
    };
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::RehearsalFile;
    use crate::policy::RehearsalBook;

    #[test]
    fn what_was_changed_is_read_again_and_a_spoilt_file_is_replaced() {
        let state = tempfile::tempdir().unwrap();
        let file = RehearsalFile::at(&state.path().join("state"));
        assert_eq!(file.read().unwrap(), RehearsalBook::default());
        let at = DateTime::from_timestamp(1_752_000_000, 0).unwrap();
        let take_in = |book: &mut RehearsalBook| {
            book.take_in_copies(("far", at), &[], &["a".to_owned()]);
            book.clone()
        };
        let book = file.change(take_in).unwrap();
        assert_eq!(file.read().unwrap(), book);

        let path = state.path().join("state/rehearsals.json");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen("\"a\"", "\"m\"", 1)).unwrap();
        file.read().unwrap_err();
        assert_eq!(file.change(take_in).unwrap(), book);
        assert_eq!(file.read().unwrap(), book);
    }
}
