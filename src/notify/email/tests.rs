use insta::assert_snapshot;

use super::*;
use crate::notify::examples::{alert, daily_report, hostile, mixed, notice};
use crate::policy::{Change, ConcernKind, Severity};

fn channel() -> EmailChannel {
    EmailChannel {
        to: vec![
            "The DBAs <dba@example.org>".to_owned(),
            "night@example.org".to_owned(),
        ],
        from: "pgbackupd <pgbackupd@example.org>".to_owned(),
        host: "localhost".to_owned(),
        port: 25,
        tls: SmtpTls::None,
        login: None,
        ca_file: None,
    }
}

fn mail(notice: &Notice) -> String {
    let mail = message(&channel(), notice).unwrap().formatted();
    String::from_utf8(mail).unwrap().replace("\r\n", "\n")
}

fn header<'m>(mail: &'m str, name: &str) -> &'m str {
    let line = mail
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name} in\n{mail}"))
}

#[test]
fn a_mail_has_all_that_a_mail_program_wants() {
    assert_snapshot!(mail(&mixed()));
}

#[test]
fn p17_a_report_is_a_mail_of_its_own() {
    let mail = report_message(&channel(), &daily_report()).unwrap();
    let mail = String::from_utf8(mail.formatted()).unwrap();
    assert_snapshot!(mail.replace("\r\n", "\n"));
}

#[test]
fn the_mails_of_an_incident_are_one_thread() {
    let of = |id: u128, change| {
        let alert = alert("app", ConcernKind::Overdue, Severity::Critical);
        let mut notice = notice(vec![(change, alert)]);
        notice.id = Uuid::from_u128(id);
        mail(&notice)
    };
    let (first, last) = (of(1, Change::Opened), of(2, Change::Resolved));
    assert_ne!(header(&first, "Message-ID"), header(&last, "Message-ID"));
    for name in ["References", "In-Reply-To"] {
        assert_eq!(header(&first, name), header(&last, name));
    }
    assert_eq!(
        of(1, Change::Opened),
        first,
        "one that is sent again is the same"
    );
}

#[test]
fn what_others_wrote_is_no_header() {
    let mail = mail(&hostile());
    let (head, _) = mail.split_once("\n\n").unwrap();
    assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
    let id = header(&mail, "Message-ID");
    assert_eq!(id.matches(['<', '>', '@']).count(), 3, "{id}");
}

#[test]
fn a_host_becomes_a_domain() {
    for (host, expected) in [
        ("db1.example.org", "db1.example.org"),
        ("db 1\r\n", "db-1"),
        ("дб", "localhost"),
        ("", "localhost"),
    ] {
        assert_eq!(domain(host), expected);
    }
}
