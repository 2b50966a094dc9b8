//! Messages for tests.

use chrono::DateTime;
use uuid::Uuid;

use crate::policy::{
    Alert, Change, ConcernKind, Notice, NoticeItem, OpenCounts, ReportMessage, ReportPeriod,
    Severity,
};

/// What a name or an error may hold that somebody else wrote.
pub(super) const HOSTILE: &str =
    "x\r\nBcc: all@evil.example <!channel> @everyone *b* [l](http://e) `c` \u{202e}\u{1b}[2J";

pub(super) fn alert(database: &str, kind: ConcernKind, severity: Severity) -> Alert {
    Alert {
        id: "overdue-7f3a91c2".to_owned(),
        kind,
        severity,
        server: Some("main".to_owned()),
        database: Some(database.to_owned()),
        series: Some("daily".to_owned()),
        object: None,
        since: DateTime::parse_from_rfc3339("2026-11-28T02:00:00+03:00").unwrap(),
        incident: Uuid::from_u128(7),
        sentence: format!(
            "the daily backup that was due at Sat 2026-11-28 02:00 +03:00 has not been made; run \
             `pgbackupd backup --database {database}`"
        ),
    }
}

pub(super) fn notice(items: Vec<(Change, Alert)>) -> Notice {
    Notice {
        id: Uuid::from_u128(1),
        host: "db1".to_owned(),
        at: DateTime::parse_from_rfc3339("2026-11-28T05:10:00+03:00").unwrap(),
        is_test: false,
        items: items
            .into_iter()
            .map(|(change, alert)| NoticeItem { change, alert })
            .collect(),
        open: OpenCounts {
            critical: 1,
            warning: 2,
        },
        dropped: 0,
    }
}

/// One of everything.
pub(super) fn mixed() -> Notice {
    use Change::{Opened, Reminded, Resolved, Worsened};
    let mut space = alert("x", ConcernKind::Space, Severity::Warning);
    space.database = None;
    space.sentence = "there are 4.2 GiB free for the backups in /var/backups".to_owned();
    let mut other = alert("audit", ConcernKind::Failed, Severity::Warning);
    other.server = Some("reports".to_owned());
    notice(vec![
        (
            Opened,
            alert("app", ConcernKind::NoBackup, Severity::Critical),
        ),
        (
            Worsened,
            alert("crm", ConcernKind::RecoveryPoint, Severity::Critical),
        ),
        (Reminded, other),
        (Opened, space),
        (
            Resolved,
            alert("app", ConcernKind::Overdue, Severity::Warning),
        ),
    ])
}

/// A thousand databases at once.
pub(super) fn thousand() -> Notice {
    let alerts = (0..1000).map(|number| {
        let mut alert = alert(
            &format!("db{number:04}"),
            ConcernKind::Failed,
            Severity::Warning,
        );
        alert.id = format!("failed-{number:08x}");
        (Change::Opened, alert)
    });
    notice(alerts.collect())
}

/// With what others wrote in every place.
pub(super) fn hostile() -> Notice {
    let mut alert = alert(HOSTILE, ConcernKind::Failed, Severity::Critical);
    alert.sentence = format!("the last backup failed: {HOSTILE}");
    alert.server = Some(HOSTILE.to_owned());
    alert.object = Some(HOSTILE.to_owned());
    let mut notice = notice(vec![(Change::Opened, alert)]);
    notice.host = HOSTILE.to_owned();
    notice
}

pub(super) fn test() -> Notice {
    let mut notice = notice(Vec::new());
    notice.is_test = true;
    notice
}

/// A report of two databases, one with a bad name.
pub(super) fn daily_report() -> ReportMessage {
    let name = crate::display::one_line(HOSTILE);
    let subject = "Daily report of db1, Sun 2026-11-29 08:00 +03:00: 1 of 4 checks: NO";
    ReportMessage {
        id: Uuid::from_u128(2),
        host: "db1".to_owned(),
        at: DateTime::parse_from_rfc3339("2026-11-29T08:00:00+03:00").unwrap(),
        period: ReportPeriod::Daily,
        subject: subject.to_owned(),
        text: format!(
            "{subject}\n  yes  app: backup_20261129_020000 at 02:00:11, 61.2 MiB, usually 58 to 66\n  NO   \
             {name}: failed\n"
        ),
        report: serde_json::json!({ "period": "daily", "ok": false }),
    }
}
