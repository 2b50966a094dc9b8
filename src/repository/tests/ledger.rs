//! Lines of ledgers that programs of this and of older versions have written.
//!
//! `tests/fixtures/ledger/` has one of every kind, in a file for each commit: which keys there are, of
//! which operation and event. Runs of the test suite wrote them; what names the machine is changed.
//! The last lines of each file are made from others: kinds that no test of the suite provokes.

use super::*;
use crate::repository::Record;

#[test]
fn every_line_ever_written_is_read_and_written_the_same() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ledger");
    for file in ["5f23850.jsonl", "3ca4b2d.jsonl"] {
        let text = fs::read_to_string(fixtures.join(file)).unwrap();
        assert!(text.lines().count() > 30, "{file}");
        for line in text.lines() {
            let record: Record = serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("{file}: {error}: {line}"));
            assert_eq!(serde_json::to_string(&record).unwrap(), line, "{file}");
        }
    }
}
