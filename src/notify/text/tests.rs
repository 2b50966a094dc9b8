use insta::assert_snapshot;

use super::*;
use crate::notify::examples::{alert, hostile, mixed, notice, test, thousand};

#[test]
fn a_message_reads_well_on_a_telephone() {
    let notice = mixed();
    assert_snapshot!(format!("{}\n\n{}", subject(&notice), text(&notice, 5000)));
}

#[test]
fn a_subject_says_how_bad_it_is_and_where() {
    let one =
        |change, severity| notice(vec![(change, alert("app", ConcernKind::Overdue, severity))]);
    let mut elsewhere = one(Change::Opened, Severity::Warning);
    elsewhere.items[0].alert.server = Some("reports".to_owned());
    for (notice, expected) in [
        (
            one(Change::Opened, Severity::Critical),
            "[CRITICAL] app on db1: overdue",
        ),
        (
            one(Change::Reminded, Severity::Warning),
            "[WARNING] app on db1: overdue",
        ),
        (
            one(Change::Resolved, Severity::Critical),
            "[RESOLVED] app on db1: overdue",
        ),
        (elsewhere, "[WARNING] reports/app on db1: overdue"),
        (
            mixed(),
            "[CRITICAL] 4 alerts and 1 resolved on db1: app, crm, reports/audit",
        ),
        (
            thousand(),
            "[WARNING] 1,000 alerts on db1: db0000, db0001, db0002 and 997 more",
        ),
        (test(), "[TEST] pgbackupd on db1"),
    ] {
        assert_eq!(subject(&notice), expected);
    }
}

#[test]
fn a_text_is_no_longer_than_it_may_be_and_counts_what_it_leaves_out() {
    let notice = thousand();
    for longest in [600, 1800, 3500, 50_000] {
        let text = text(&notice, longest);
        assert!(text.chars().count() <= longest, "{}", text.chars().count());
        let shown = text.matches("WARNING").count();
        assert!(shown > 0);
        assert!(
            text.contains(&format!("… and {} more", 1000 - shown)),
            "{text}"
        );
        assert!(
            text.contains("Open on db1: 1 critical, 2 warnings."),
            "{text}"
        );
    }
    let mut late = mixed();
    late.dropped = 3;
    let words = text(&late, 5000);
    assert!(words.contains("While this channel failed, 3 other alerts came and went."));
    let mut long = mixed();
    long.items[0].alert.sentence = "@".repeat(100_000);
    for longest in [400, 1800] {
        assert!(text(&long, longest).chars().count() <= longest);
        assert!(chat(&long, longest).chars().count() <= longest);
    }
}

#[test]
fn what_others_wrote_breaks_no_line_and_calls_nobody() {
    let notice = hostile();
    let subject = subject(&notice);
    assert!(!subject.contains(char::is_control), "{subject:?}");
    let text = chat(&notice, 5000);
    assert!(
        !text.contains(|c: char| c != '\n' && crate::display::is_hostile(c)),
        "{text:?}"
    );
    assert!(!text.lines().any(|line| line.starts_with("Bcc")), "{text}");
    assert!(!text.contains("@everyone"), "{text}");
}
