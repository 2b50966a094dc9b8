use std::time::Duration;

use insta::assert_snapshot;

use super::*;
use crate::config::{BodyPart, ChannelWay, Patterns, Placeholder};
use crate::notify::examples::{alert, daily_report, hostile, mixed, notice, test, thousand};
use crate::policy::ConcernKind;

fn channel(remind: Option<Duration>) -> AlertChannel {
    AlertChannel {
        name: "a".to_owned(),
        severities: vec![Severity::Warning, Severity::Critical],
        databases: Patterns::default(),
        kinds: Vec::new(),
        hours: None,
        remind,
        min_age: Duration::ZERO,
        timeout: Duration::from_secs(1),
        way: ChannelWay::Command(Vec::new()),
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

fn own(parts: &[BodyPart], notice: &Notice, content_type: &str) -> String {
    body::filled(parts, notice, Escaping::of(content_type))
}

#[test]
fn each_service_is_sent_what_it_reads() {
    let notice = mixed();
    let document: Value = serde_json::from_str(&document::document(&notice)).unwrap();
    assert_snapshot!("json", pretty(&document));
    assert_snapshot!("slack", pretty(&slack(&notice)));
    assert_snapshot!("teams", pretty(&teams(&notice)));
    let key = SecretString::from("KEY");
    assert_snapshot!("pagerduty", pretty(&pager_duty(&notice, &key).into()));
    let day = Some(Duration::from_secs(86_400));
    assert_snapshot!(
        "alertmanager",
        pretty(&alertmanager(&channel(day), &notice))
    );
}

#[test]
fn a_thousand_alerts_fit_into_what_each_service_takes() {
    let notice = thousand();
    assert!(slack(&notice).to_string().len() < 4000);
    assert!(teams(&notice).to_string().len() < 28_000);
    let key = SecretString::from("KEY");
    let events = pager_duty(&notice, &key);
    assert_eq!(events.len(), EVENTS);
    assert_eq!(
        events[0]["payload"]["custom_details"]["more"],
        "and 950 more alerts"
    );
    let alerts = alertmanager(&channel(None), &notice);
    assert_eq!(alerts.as_array().unwrap().len(), 1000);
    let document: Value = serde_json::from_str(&document::document(&notice)).unwrap();
    assert_eq!(document["items"].as_array().unwrap().len(), 1000);
}

#[test]
fn what_others_wrote_commands_no_service() {
    let notice = hostile();
    let text = slack(&notice)["text"].as_str().unwrap().to_owned();
    assert!(!text.contains('<') && !text.contains("@everyone"), "{text}");
    assert!(
        !teams(&notice).to_string().contains("\"TextBlock\""),
        "which reads Markdown"
    );
    let text = BodyPart::Text;
    let placeholder = BodyPart::Placeholder;
    let parts = [
        text("{\"title\": \"".to_owned()),
        placeholder(Placeholder::Subject),
        text("\", \"message\": \"".to_owned()),
        placeholder(Placeholder::Text),
        text("\", \"host\": \"".to_owned()),
        placeholder(Placeholder::Host),
        text("\", \"all\": ".to_owned()),
        placeholder(Placeholder::Json),
        text("}".to_owned()),
    ];
    let filled = own(&parts, &notice, body::usual_type(&parts));
    let read: Value = serde_json::from_str(&filled).unwrap();
    assert_eq!(read["host"], notice.host.as_str());
    assert_eq!(read["all"]["version"], 1);
    assert!(!read["message"].as_str().unwrap().contains("@everyone"));
    let parts = [
        text("chat=1&text=".to_owned()),
        placeholder(Placeholder::Host),
    ];
    let filled = own(&parts, &notice, "application/x-www-form-urlencoded");
    assert!(
        filled.starts_with("chat=1&text=x%0D%0ABcc%3A+all%40evil.example"),
        "{filled}"
    );
    assert_eq!(filled.matches(['&', '=']).count(), 3, "{filled}");
}

#[test]
fn a_text_is_as_long_as_every_chat_takes() {
    let parts = [BodyPart::Placeholder(Placeholder::Text)];
    for notice in [thousand(), hostile(), mixed()] {
        let text = own(&parts, &notice, "text/plain");
        assert!(text.chars().count() < 2000 && text.len() < 4096);
    }
}

#[test]
fn a_test_leaves_nothing_open() {
    let key = SecretString::from("KEY");
    let actions: Vec<Value> = pager_duty(&test(), &key)
        .into_iter()
        .map(|event| event["event_action"].clone())
        .collect();
    assert_eq!(actions, ["trigger", "resolve"]);
    let alerts = alertmanager(&channel(None), &test());
    assert_eq!(alerts[0]["labels"]["severity"], "none");
    assert_eq!(alerts[0]["endsAt"], "2026-11-28T05:11:00+03:00");
}

#[test]
fn an_alert_ends_in_alertmanager_under_the_labels_under_which_it_began() {
    let day = Some(Duration::from_secs(86_400));
    let of = |change, severity| {
        let notice = notice(vec![(change, alert("app", ConcernKind::Overdue, severity))]);
        alertmanager(&channel(day), &notice)
            .as_array()
            .unwrap()
            .clone()
    };
    let opened = of(Change::Opened, Severity::Warning);
    let worsened = of(Change::Worsened, Severity::Critical);
    let resolved = of(Change::Resolved, Severity::Critical);
    assert_eq!(opened[0]["labels"], worsened[0]["labels"]);
    assert_eq!(worsened[0]["endsAt"], "2026-11-28T05:10:00+03:00");
    assert_eq!(worsened[1]["labels"], resolved[1]["labels"]);
    assert_eq!(worsened[1]["endsAt"], "2026-11-30T06:10:00+03:00");
    assert_eq!(resolved[1]["endsAt"], "2026-11-28T05:10:00+03:00");
}

#[test]
fn p17_each_service_is_sent_a_report_that_calls_nobody() {
    let report = daily_report();
    let document: Value = serde_json::from_str(&document::report_document(&report)).unwrap();
    assert_snapshot!("report_json", pretty(&document));
    let parts = [
        BodyPart::Text("{\"s\": \"".to_owned()),
        BodyPart::Placeholder(Placeholder::State),
        BodyPart::Text("\", \"t\": \"".to_owned()),
        BodyPart::Placeholder(Placeholder::Text),
        BodyPart::Text("\"}".to_owned()),
    ];
    let own = body::filled_with_report(&parts, &report, Escaping::Json);
    let own: Value = serde_json::from_str(&own).unwrap();
    assert_eq!(own["s"], "report");
    let slack = slack_report(&report);
    assert_snapshot!("report_slack", pretty(&slack));
    let teams = teams_report(&report);
    assert_snapshot!("report_teams", pretty(&teams));
    for sent in [&own, &slack, &teams] {
        let text = sent.to_string();
        assert!(!text.contains("@everyone"), "{text}");
        assert!(
            !text.contains("\\u001b") && !text.contains('\u{202e}'),
            "{text}"
        );
    }
    assert!(!slack.to_string().contains("<!channel>"));
    let long = ReportMessage {
        text: "x@".repeat(100_000),
        ..report
    };
    assert!(slack_report(&long).to_string().len() < 20_000);
    assert!(teams_report(&long).to_string().len() < 28_000);
}
