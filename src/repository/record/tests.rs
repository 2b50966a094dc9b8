use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// A line of each operation, with all that any version has ever written of any.
fn crowded(operation: &str) -> Value {
    json!({
        "at": "2025-07-09T02:00:00+03:00",
        "run": Uuid::from_u128(7),
        "operation": operation,
        "event": "succeeded",
        "database": "shop",
        "series": "daily",
        "job": "nightly",
        "due": "2025-07-09T02:00:00+03:00",
        "reason": "r",
        "requested_by": {"user": "root", "host": "db1", "pid": 7},
        "backup": "backup_20250709_020000",
        "bytes": 7,
        "seconds": 1.5,
        "message": "m",
        "removed": [{"backup": "a", "reasons": ["old"]}],
        "damaged": [{"backup": "b", "what": "short"}],
        "beside": {"loads_into": "shop_restoring"},
        "phases": [{"phase": "load", "seconds": 1.5}],
        "definitions": {"digest": "0a", "result": "refused"},
        "destination": "offsite",
        "copy": "read_back",
        "recipients": ["SHA256:abc"],
        "restoration": {"server": "db1:5432"},
        "accepted": "vanished",
        "lost": [],
        "left": 7,
        "round": "2025-07-09T02:00:00+03:00",
    })
}

const OPERATIONS: [(&str, Operation, usize); 14] = [
    ("backup", Operation::Backup, 6),
    ("verify", Operation::Verify, 4),
    ("drill", Operation::Drill, 8),
    ("definitions", Operation::Definitions, 3),
    ("copy", Operation::Copy, 6),
    ("rehearse", Operation::Rehearse, 6),
    ("prune", Operation::Prune, 1),
    ("pin", Operation::Pin, 2),
    ("unpin", Operation::Unpin, 2),
    ("quarantine", Operation::Quarantine, 2),
    ("release", Operation::Release, 3),
    ("accept", Operation::Accept, 2),
    ("restore", Operation::Restore, 3),
    ("undo-restore", Operation::UndoRestore, 1),
];

#[test]
fn what_an_operation_does_not_have_is_kept_as_it_is() {
    /// Of 27 keys, nine and the operation are of every record.
    const OF_ONE_OPERATION: usize = 17;
    for (word, operation, has) in OPERATIONS {
        let mut line = crowded(word);
        // With a destination, it is of copies.
        let without = usize::from(operation == Operation::Verify);
        if without > 0 {
            line.as_object_mut().unwrap().remove("destination");
        }
        let record: Record = serde_json::from_value(line.clone()).unwrap();
        assert_eq!(record.operation(), operation, "{word}");
        assert_eq!(
            record.unknown.len(),
            OF_ONE_OPERATION - without - has,
            "{word}"
        );
        assert_eq!(serde_json::to_value(&record).unwrap(), line, "{word}");
    }
}

/// Whoever asks whether backups were verified does not mean those elsewhere.
#[test]
fn a_verification_of_copies_is_one_with_a_destination_and_says_nothing_of_the_backups_here() {
    let line = json!({
        "at": "2025-07-09T02:00:00+03:00", "run": Uuid::nil(), "operation": "verify", "event": "failed",
        "database": "shop", "bytes": 7, "damaged": [{"backup": "a", "what": "a bit"}],
        "destination": "offsite", "left": 2,
    });
    let record: Record = serde_json::from_value(line.clone()).unwrap();
    assert_eq!(record.operation(), Operation::VerifyCopies);
    assert_eq!(serde_json::to_value(&record).unwrap(), line);
    assert_eq!(record.damaged(), []);
    assert_eq!(record.damaged_copies()[0].backup, "a");
    let text = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    let mut line = line;
    line.as_object_mut().unwrap().remove("destination");
    let record: Record = serde_json::from_value(line).unwrap();
    assert_eq!(record.operation(), Operation::Verify);
    assert_eq!(
        (record.damaged().len(), record.damaged_copies().len()),
        (1, 0)
    );
}

/// Who looks for a backup that is gone asks what was removed.
#[test]
fn a_copy_that_was_removed_explains_no_backups_absence() {
    let record: Record = serde_json::from_value(crowded("copy")).unwrap();
    assert_eq!(record.removed(), []);
    assert_eq!(record.removed_copies()[0].backup, "a");
    let record: Record = serde_json::from_value(crowded("prune")).unwrap();
    assert_eq!(record.removed()[0].backup, "a");
    assert_eq!(record.removed_copies(), []);
}

#[test]
fn a_record_with_nothing_else_is_as_short_as_can_be() {
    let at = DateTime::parse_from_rfc3339("2025-07-09T02:00:00+03:00").unwrap();
    for (word, operation, _) in OPERATIONS {
        let details = Details::of(operation);
        let record = Record::new(at, Uuid::nil(), Event::Started, "shop", details);
        let line = format!(
            r#"{{"at":"2025-07-09T02:00:00+03:00","run":"{}","operation":"{word}","event":"started","database":"shop"}}"#,
            Uuid::nil()
        );
        assert_eq!(serde_json::to_string(&record).unwrap(), line);
        assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
    }
}

#[test]
fn what_is_no_record_is_refused() {
    let line = |change: &dyn Fn(&mut serde_json::Map<String, Value>)| {
        let mut line = crowded("backup");
        change(line.as_object_mut().unwrap());
        serde_json::from_value::<Record>(line)
    };
    line(&|_| ()).unwrap();
    for key in ["at", "run", "operation", "event", "database"] {
        let error = line(&|line| drop(line.remove(key))).unwrap_err();
        assert_eq!(error.to_string(), format!("missing field `{key}`"));
    }
    for (key, value) in [
        ("operation", json!("move")),
        ("event", json!("postponed")),
        ("series", json!("No Series")),
        ("bytes", json!(-1)),
        ("removed", json!(null)),
    ] {
        let error = line(&|line| drop(line.insert(key.to_owned(), value.clone()))).unwrap_err();
        assert!(
            error.to_string().starts_with(&format!("{key}: ")),
            "{error}"
        );
    }
    // An option may be null, as if it were not there.
    let null = line(&|line| drop(line.insert("series".to_owned(), json!(null)))).unwrap();
    let absent = line(&|line| drop(line.remove("series"))).unwrap();
    assert_eq!(null, absent);
    let twice = crowded("pin")
        .to_string()
        .replacen('{', r#"{"database":"x","#, 1);
    let error = serde_json::from_str::<Record>(&twice).unwrap_err();
    assert!(
        error.to_string().contains("duplicate field `database`"),
        "{error}"
    );
}

/// The end of a run is this program's own word.
#[test]
fn closing_a_run_keeps_what_it_was_about_and_not_what_is_not_known() {
    let line = r#"{"at":"2025-07-09T02:00:00+03:00","run":"00000000-0000-0000-0000-000000000007","operation":"backup","event":"started","database":"shop","series":"daily","requested_by":{"user":"root","host":"db1","pid":7},"new":1}"#;
    let open: Record = serde_json::from_str(line).unwrap();
    let at = DateTime::parse_from_rfc3339("2025-07-09T03:00:00+03:00").unwrap();
    let closed = open.closed(at, Event::Interrupted, "over");
    assert_eq!(
        serde_json::to_string(&closed).unwrap(),
        r#"{"at":"2025-07-09T03:00:00+03:00","run":"00000000-0000-0000-0000-000000000007","operation":"backup","event":"interrupted","database":"shop","series":"daily","message":"over"}"#
    );
}

/// JSON as anybody may write it: numbers that no type of ours holds, and spaces.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("1e400".to_owned()),
        Just("0.10".to_owned()),
        Just("123456789012345678901234567890".to_owned()),
        Just(r#""\u0041 \"b\"""#.to_owned()),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let list = prop::collection::vec(inner.clone(), 0..4);
        let object = prop::collection::vec(("[a-c]", inner), 0..4);
        prop_oneof![
            list.prop_map(|values| format!("[{}]", values.join(", "))),
            object.prop_map(|fields| {
                let fields = fields
                    .iter()
                    .map(|(key, value)| format!(r#""{key}": {value}"#));
                format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn what_a_newer_program_adds_survives_in_its_order(
        (word, ..) in prop::sample::select(&OPERATIONS[..]),
        added in prop::collection::vec(("new_[a-z]{0,3}", value()), 0..6),
    ) {
        let line = format!(
            r#"{{"at":"2025-07-09T02:00:00+03:00","run":"{}","operation":"{word}","event":"failed","database":"shop","seconds":1.5"#,
            Uuid::nil()
        );
        let added = added.iter().map(|(key, value)| format!(r#","{key}":{value}"#));
        let line = format!("{line}{}}}", added.collect::<String>());
        let record: Record = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(serde_json::to_string(&record).unwrap(), line);
    }
}
