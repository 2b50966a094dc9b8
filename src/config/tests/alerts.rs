//! Channels of alerts: what they mean, what is refused, and that nothing shows their secrets.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Etc, accepted, refused, set_mode};
use crate::config::{
    AlertChannel, BodyPart, ChannelWay, Payload, PingAbout, PingService, Placeholder, SmtpTls, load,
};
use crate::policy::{ConcernKind, Severity};

fn channel(settings: &str) -> AlertChannel {
    let loaded = accepted(&format!("database = \"a\"\n[alerts.c]\n{settings}"));
    loaded.plan.alerts[0].clone()
}

const MAIL: &str = "type = \"email\"\nto = [\"a@example.org\"]\nfrom = \"b@example.org\"\n";

#[test]
fn a_channel_is_what_it_says_and_the_rest_is_usual() {
    let mail = channel(MAIL);
    assert_eq!(mail.name, "c");
    assert_eq!(mail.severities, [Severity::Warning, Severity::Critical]);
    assert_eq!(mail.remind, Some(Duration::from_secs(86_400)));
    assert_eq!(mail.min_age, Duration::ZERO);
    assert_eq!(mail.timeout, Duration::from_secs(30));
    assert!(mail.hours.is_none() && mail.kinds.is_empty() && mail.databases.is_empty());
    let off = channel(&format!("{MAIL}remind = \"off\"\nmin_age = \"10 minutes\""));
    assert_eq!(off.remind, None);
    assert_eq!(off.min_age, Duration::from_secs(600));
    let whole = channel(&format!("{MAIL}hours = [\"00:00-24:00\"]"));
    assert!(whole.is_open_at(Utc::now()), "all hours are no limit");
}

#[test]
fn mail_goes_under_the_protection_that_its_server_needs() {
    for (settings, host, port, tls) in [
        ("", "localhost", 25, SmtpTls::None),
        (
            "smtp = \"[::1]:26\"\ntls = \"none\"",
            "::1",
            26,
            SmtpTls::None,
        ),
        (
            "smtp = \"localhost:26\"",
            "localhost",
            26,
            SmtpTls::StartTls,
        ),
        (
            "smtp = \"m.example.org\"",
            "m.example.org",
            587,
            SmtpTls::StartTls,
        ),
        (
            "smtp = \"m.example.org:25\"",
            "m.example.org",
            25,
            SmtpTls::StartTls,
        ),
        (
            "smtp = \"m.example.org:465\"",
            "m.example.org",
            465,
            SmtpTls::Tls,
        ),
        (
            "user = \"u\"\ncredential = \"p\"",
            "localhost",
            587,
            SmtpTls::StartTls,
        ),
        (
            "smtp = \"m.example.org\"\ntls = \"tls\"",
            "m.example.org",
            465,
            SmtpTls::Tls,
        ),
    ] {
        let ChannelWay::Email(email) = channel(&format!("{MAIL}{settings}")).way else {
            panic!("{settings}: mail")
        };
        let found = (email.host.as_str(), email.port, email.tls);
        assert_eq!(found, (host, port, tls), "{settings}");
    }
}

#[test]
fn a_ping_reports_jobs_or_the_daemon() {
    let ping = |settings: &str| {
        let settings = format!("type = \"ping\"\nurl = \"http://h/x\"\n{settings}");
        match channel(&settings).way {
            ChannelWay::Ping(ping) => (ping.service, ping.about),
            other => panic!("{other:?}"),
        }
    };
    let (service, about) = ping("");
    assert_eq!(
        (service, about),
        (PingService::Healthchecks, PingAbout::AllJobs)
    );
    let (service, about) = ping("template = \"uptime-kuma\"\njobs = [\"daily\"]");
    assert_eq!(service, PingService::UptimeKuma);
    assert_eq!(about, PingAbout::Jobs(vec!["daily".to_owned()]));
    let (_, about) = ping("heartbeat = \"5 minutes\"");
    assert_eq!(about, PingAbout::Daemon(Duration::from_secs(300)));
}

#[test]
fn a_body_is_text_and_placeholders() {
    let body =
        "type = \"webhook\"\nurl = \"http://h/x\"\nbody = '{\"a\": \"{{ text }}\", \"b\": {}}'";
    let ChannelWay::Webhook(webhook) = channel(body).way else {
        panic!("a webhook")
    };
    let expected = [
        BodyPart::Text("{\"a\": \"".to_owned()),
        BodyPart::Placeholder(Placeholder::Text),
        BodyPart::Text("\", \"b\": {}}".to_owned()),
    ];
    assert_eq!(webhook.payload, Payload::Own(expected.into()));
}

#[test]
fn an_alert_is_sent_to_those_who_want_it() {
    let channel = channel(&format!(
        "{MAIL}severities = [\"critical\"]\nkinds = [\"failed\", \"overdue\"]\n\
         databases = [\"app_*\", \"reports/audit\"]\nhours = [\"Mon-Fri 08:00-18:00\"]"
    ));
    let (failed, critical) = (ConcernKind::Failed, Severity::Critical);
    for (kind, severity, server, database, wanted) in [
        (failed, critical, Some("main"), Some("app_1"), true),
        (failed, critical, Some("reports"), Some("audit"), true),
        (failed, critical, Some("main"), Some("audit"), false),
        (failed, critical, None, None, false),
        (
            failed,
            Severity::Warning,
            Some("main"),
            Some("app_1"),
            false,
        ),
        (
            ConcernKind::Space,
            critical,
            Some("main"),
            Some("app_1"),
            false,
        ),
    ] {
        let found = channel.wants(kind, severity, (server, database));
        assert_eq!(
            found, wanted,
            "{kind:?} {severity:?} {server:?} {database:?}"
        );
    }
    let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    assert!(
        channel.is_open_at(at("2026-11-27T07:00:00Z")),
        "Friday, 10:00 in Riyadh"
    );
    assert!(!channel.is_open_at(at("2026-11-28T07:00:00Z")), "Saturday");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of all that is refused")]
fn what_cannot_be_meant_is_refused_with_the_way_out() {
    let webhook = "type = \"webhook\"\nurl = \"http://h/x\"\n";
    let ping = "type = \"ping\"\nurl = \"http://h/x\"\n";
    for (settings, what, way) in [
        (
            "to = [\"a@b.c\"]",
            "the channel has no type",
            "write type = \"email\"",
        ),
        (
            "type = \"mail\"",
            "invalid value \"mail\"",
            "did you mean \"email\"?",
        ),
        (
            "type = \"email\"\nfrom = \"a@b.c\"",
            "no recipient",
            "write to = ",
        ),
        (
            "type = \"email\"\nto = [\"a@b.c\"]",
            "no sender",
            "write from = ",
        ),
        (
            "type = \"email\"\nto = [\"a@b.c\", \"x\"]\nfrom = \"a@b.c\"",
            "invalid mail address \"x\"",
            "dba@example.org",
        ),
        (
            &format!("{MAIL}smtp = \"smtp://h\""),
            "invalid server",
            "mail.example.org:587",
        ),
        (
            &format!("{MAIL}smtp = \"m.example.org\"\ntls = \"none\""),
            "in the clear",
            "\"starttls\"",
        ),
        (
            &format!("{MAIL}user = \"u\""),
            "no password",
            "password_file or credential",
        ),
        (
            &format!("{MAIL}credential = \"p\""),
            "and no user",
            "write user = ",
        ),
        (
            &format!("{MAIL}url = \"http://h/x\""),
            "has no url",
            "\"webhook\" or \"ping\"",
        ),
        (
            &format!("{MAIL}severities = []"),
            "no severities",
            "[\"critical\"]",
        ),
        (
            &format!("{MAIL}severities = [\"bad\"]"),
            "invalid value \"bad\"",
            "warning, critical",
        ),
        (
            &format!("{MAIL}kinds = [\"faild\"]"),
            "invalid value \"faild\"",
            "\"failed\"?",
        ),
        (
            &format!("{MAIL}hours = []"),
            "the list of hours is empty",
            "08:00-18:00",
        ),
        (
            &format!("{MAIL}hours = [\"Mon\"]"),
            "a blackout window is two times",
            "",
        ),
        (&format!("{MAIL}rcpt = \"x\""), "unknown setting", ""),
        ("type = \"webhook\"", "no address", "write url = "),
        (
            &format!("{webhook}credential = \"x\""),
            "both url and credential",
            "leave one",
        ),
        (
            &format!("{webhook}template = \"slack\"\nbody = \"x\""),
            "both template and body",
            "",
        ),
        (
            &format!("{webhook}template = \"cronitor\""),
            "template of a ping",
            "\"ping\"",
        ),
        (
            &format!("{webhook}body = \"{{{{txt}}}}\""),
            "unknown placeholder \"txt\"",
            "{{text}}",
        ),
        (
            &format!("{webhook}body = \"{{{{text\""),
            "without an end",
            "",
        ),
        (
            &format!("{webhook}headers = {{ \"a b\" = \"x\" }}"),
            "invalid name of a header",
            "",
        ),
        (
            &format!("{webhook}headers = {{ a = \"x\\ny\" }}"),
            "one line",
            "",
        ),
        (
            "type = \"webhook\"\ntemplate = \"pagerduty\"",
            "no integration key",
            "password_file or credential",
        ),
        ("type = \"command\"", "no argv", "write argv = "),
        (
            "type = \"command\"\nargv = [\"page me\"]",
            "no shell splits it",
            "separately: argv",
        ),
        (
            &format!("{ping}jobs = [\"dayly\"]"),
            "there is no job \"dayly\"",
            "\"daily\"?",
        ),
        (
            &format!("{ping}jobs = [\"daily\"]\nheartbeat = \"1 h\""),
            "both jobs and",
            "second",
        ),
        (
            &format!("{ping}heartbeat = \"1 s\""),
            "too frequent",
            "10 s",
        ),
        (
            &format!("{ping}template = \"slack\""),
            "template of a webhook",
            "\"cronitor\"",
        ),
        (
            &format!("{ping}remind = \"1 h\""),
            "has no remind",
            "\"email\" or",
        ),
    ] {
        let message = refused(&format!("database = \"a\"\n[alerts.c]\n{settings}"));
        assert!(message.contains(what), "{settings}\n{message}");
        assert!(message.contains(way), "{settings}\n{message}");
    }
    let name = refused("database = \"a\"\n[alerts.\"a b\"]\ntype = \"command\"\nargv = [\"x\"]");
    assert!(name.contains("invalid channel name \"a b\""), "{name}");
}

#[test]
fn no_secret_of_a_channel_is_shown_and_none_stands_where_others_read_it() {
    let hook = "type = \"webhook\"\nurl = \"https://h/services/hunter2-hunter2-hunter2\"";
    let header =
        "type = \"webhook\"\nurl = \"http://h/x\"\nheaders = { X-Auth-Token = \"hunter2\" }";
    for settings in [hook, header] {
        let text = format!("database = \"a\"\n[alerts.c]\n{settings}\n");
        let message = refused(&text);
        assert!(
            message.contains("which others can read (mode 0644)"),
            "{message}"
        );
        assert!(message.contains("chmod 0600"), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
        let etc = Etc::new(&text);
        set_mode(&etc.0.path().join("pgbackupd.toml"), 0o600);
        let loaded = load(&etc.source()).unwrap();
        assert!(
            loaded.plan.warnings.is_empty(),
            "{:?}",
            loaded.plan.warnings
        );
        let everything = format!("{loaded:?}");
        assert!(!everything.contains("hunter2"), "{everything}");
    }
    for settings in [
        "type = \"webhook\"\nurl = \"hunter2\"",
        "type = \"webhook\"\nurl = \"ftp://hunter2\"",
        "type = \"webhook\"\nurl = [\"hunter2\"]",
        "type = \"webhook\"\nurl = \"http://h/x\"\nheaders = { Authorization = [\"hunter2\"] }",
        "type = \"webhook\"\nurl = \"http://h/x\"\nheaders = { Authorization = \"hunter2\\n\" }",
    ] {
        let message = refused(&format!("database = \"a\"\n[alerts.c]\n{settings}"));
        assert!(!message.contains("hunter2"), "{settings}\n{message}");
    }
    let etc = Etc::new("");
    let secret = etc.write("url", "https://h/hunter2\n");
    etc.write(
        "pgbackupd.toml",
        &format!("database = \"a\"\n[alerts.c]\ntype = \"ping\"\nurl_file = {secret:?}\n"),
    );
    let error = etc.refusal();
    assert!(
        error.contains("can be read by others (mode 0644)"),
        "{error}"
    );
    set_mode(&secret, 0o600);
    assert!(load(&etc.source()).is_ok());
}

#[test]
fn p17_reports_are_sent_at_their_usual_times_or_at_others() {
    let mail = "[alerts.mail]\ntype = \"email\"\nto = [\"a@b.example\"]\nfrom = \"c@b.example\"\n\
                smtp = \"localhost\"\ntls = \"none\"\n";
    let text = format!(
        "database = \"a\"\n{mail}[reports.monthly]\nchannels = [\"mail\"]\n[reports.daily]\n\
         schedule = \"30 7 * * *\"\nchannels = [\"mail\"]\n"
    );
    let loaded = load(&Etc::new(&text).source()).unwrap();
    let reports: Vec<(&str, &str, &[String])> = loaded
        .plan
        .reports
        .iter()
        .map(|one| (one.period.word(), one.schedule.text(), &one.channels[..]))
        .collect();
    let channels = &["mail".to_owned()][..];
    assert_eq!(
        reports,
        [
            ("daily", "30 7 * * *", channels),
            ("monthly", "0 8 1 * *", channels)
        ]
    );
}

#[test]
fn p17_a_report_that_cannot_be_sent_as_it_is_written_is_refused() {
    let mail = "[alerts.mail]\ntype = \"command\"\nargv = [\"/bin/true\"]\n";
    let ping = "[alerts.mail]\ntype = \"ping\"\nurl = \"http://h/x\"\n";
    let pager = "[alerts.mail]\ntype = \"webhook\"\nurl = \"http://h/x\"\n\
                 template = \"alertmanager\"\n";
    for (channel, settings, what, way) in [
        (
            mail,
            "[reports.dayly]\nchannels = [\"mail\"]",
            "no report \"dayly\"",
            "\"daily\"?",
        ),
        (mail, "[reports.daily]", "no channels", "channels = ["),
        (
            mail,
            "[reports.daily]\nchannels = []",
            "no channels",
            "channels = [",
        ),
        (
            mail,
            "[reports.daily]\nchannels = [\"mial\"]",
            "no channel \"mial\"",
            "\"mail\"?",
        ),
        (
            mail,
            "[reports.daily]\nchannels = [\"zzz\"]",
            "no channel \"zzz\"",
            "there are: mail",
        ),
        (
            "",
            "[reports.daily]\nchannels = [\"mail\"]",
            "no channel \"mail\"",
            "/usr/share/doc/pgbackupd/alerts.md",
        ),
        (
            ping,
            "[reports.daily]\nchannels = [\"mail\"]",
            "cannot carry a report",
            "\"email\"",
        ),
        (
            pager,
            "[reports.daily]\nchannels = [\"mail\"]",
            "cannot carry a report",
            "\"email\"",
        ),
        (
            mail,
            "[reports.daily]\nchannels = [\"mail\"]\nschedule = \"x\"",
            "schedule",
            "field",
        ),
    ] {
        let message = refused(&format!("database = \"a\"\n{channel}{settings}\n"));
        assert!(message.contains(what), "{settings}\n{message}");
        assert!(message.contains(way), "{settings}\n{message}");
    }
}

#[test]
fn p18_the_wanted_success_rate_and_sizes_are_read_or_refused_with_the_way_out() {
    let objectives = |settings: &str| format!("database = \"a\"\n[objectives]\n{settings}\n");
    let plan = |settings: &str| {
        let etc = Etc::new(&objectives(settings));
        load(&etc.source()).unwrap().plan.objectives
    };
    let usual = plan("");
    assert_eq!(
        (usual.success_rate.to_string(), usual.size),
        ("99.9 %".to_owned(), None)
    );
    let own = plan("success_rate = \"99.95%\"\nsize = \"50 MB to 200 MB\"");
    assert_eq!(own.success_rate.to_string(), "99.95 %");
    assert_eq!(own.size.unwrap().ends(), (50_000_000, 200_000_000));
    for (settings, what) in [
        ("success_rate = 99.9", "a percentage in quotes"),
        ("success_rate = \"99.9\"", "invalid percentage"),
        ("success_rate = \"0 %\"", "invalid percentage"),
        ("success_rate = \"100.1 %\"", "invalid percentage"),
        ("success_rate = \"99.9999 %\"", "invalid percentage"),
        ("success_rate = \"-1 %\"", "invalid percentage"),
        ("size = \"50 MB\"", "invalid range of sizes"),
        ("size = \"200 MB to 50 MB\"", "ends below its beginning"),
        ("size = \"50 to 200\"", "has no unit"),
        ("size = \"some to all\"", "invalid size \"some\""),
        (
            "size = [\"50 MB\", \"200 MB\"]",
            "a range of sizes in quotes",
        ),
    ] {
        let message = refused(&objectives(settings));
        assert!(message.contains(what), "{settings}\n{message}");
    }
}
