//! Which alerts are open, and what each channel was sent of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, FixedOffset, SubsecRound as _, TimeDelta};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::channel::{ChannelRules, ChannelState, Refusal};
use super::notice::{Alert, Change, Notice, NoticeItem, OpenCounts};
use crate::policy::attention::{Concern, Severity};

/// What came and went while a channel failed is kept for so long, and no more than so many of it.
const KEPT: TimeDelta = TimeDelta::days(1);
const MOST_KEPT: usize = 500;

/// All that is known of alerts: the open ones, and how every channel stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertBook {
    /// The alerts, by id; one that is over stays until every channel has been sent that.
    #[serde(default)]
    pub alerts: BTreeMap<String, Tracked>,
    /// The channels that were used, by name.
    #[serde(default)]
    pub channels: BTreeMap<String, ChannelState>,
    /// What is silenced.
    #[serde(default)]
    pub silences: Vec<Silence>,
}

/// An alert, and who was sent it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tracked {
    /// The alert.
    pub alert: Alert,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<DateTime<FixedOffset>>,
    /// The channels that were sent it: as what, and when last.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sent: BTreeMap<String, Sent>,
    /// The channels that failed while they were to be sent it, when it was over already.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub missed: BTreeSet<String>,
}

/// What a channel was last sent of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// As how urgent.
    pub severity: Severity,
    /// When.
    pub at: DateTime<FixedOffset>,
}

/// An alert that somebody does not want to be sent for some time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// The alert's id.
    pub id: String,
    /// As how urgent it was silenced: it speaks again when it becomes more urgent.
    pub severity: Severity,
    /// When it was silenced.
    pub at: DateTime<FixedOffset>,
    /// When that ends.
    pub until: DateTime<FixedOffset>,
    /// Why.
    pub reason: String,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<String>,
}

/// How things stand, as far as alerts depend on it.
pub struct Judged<'a> {
    /// What needs attention.
    pub concerns: &'a [Concern],
    /// Ids of failed runs that are tried again: none of them opens an alert.
    pub retried: &'a BTreeSet<String>,
    /// Whether nobody could see if an alert is still true: it stays open then.
    pub is_unseen: &'a dyn Fn(&Alert) -> bool,
    /// Now.
    pub now: DateTime<FixedOffset>,
}

impl AlertBook {
    /// Takes in how things stand; gives what has opened, worsened or is over, for the log.
    pub fn update(
        &mut self,
        judged: &Judged<'_>,
        channels: &[ChannelRules<'_>],
    ) -> Vec<NoticeItem> {
        let now = judged.now;
        let mut news = Vec::new();
        let mut seen: BTreeMap<String, &Concern> = BTreeMap::new();
        for concern in judged.concerns {
            let worst = seen.entry(concern.id()).or_insert(concern);
            if concern.severity > worst.severity {
                *worst = concern;
            }
        }
        for (id, concern) in &seen {
            news.extend(self.see(id, concern, judged));
        }
        let over: Vec<String> = self
            .alerts
            .iter()
            .filter(|(id, tracked)| {
                tracked.resolved.is_none()
                    && !seen.contains_key(*id)
                    && !(judged.is_unseen)(&tracked.alert)
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in over {
            news.extend(self.resolve(&id, now, channels));
        }
        self.forget(now, channels);
        sort(&mut news);
        news
    }

    /// Takes in a concern; gives the news in it.
    fn see(&mut self, id: &str, concern: &Concern, judged: &Judged<'_>) -> Option<NoticeItem> {
        let Some(tracked) = self.alerts.get_mut(id) else {
            if judged.retried.contains(id) {
                return None;
            }
            let alert = Alert::opening(concern, judged.now, Uuid::now_v7());
            let news = item(Change::Opened, &alert);
            let tracked = Tracked {
                alert,
                resolved: None,
                sent: BTreeMap::new(),
                missed: BTreeSet::new(),
            };
            self.alerts.insert(id.to_owned(), tracked);
            return Some(news);
        };
        let before = tracked.alert.severity;
        tracked.alert.severity = concern.severity;
        tracked.alert.sentence.clone_from(&concern.sentence);
        let change = if tracked.resolved.take().is_some() {
            Change::Opened
        } else if concern.severity > before {
            Change::Worsened
        } else {
            return None;
        };
        Some(item(change, &tracked.alert))
    }

    /// Takes in that an alert is over.
    fn resolve(
        &mut self,
        id: &str,
        now: DateTime<FixedOffset>,
        channels: &[ChannelRules<'_>],
    ) -> Option<NoticeItem> {
        let missed: BTreeSet<String> = channels
            .iter()
            .filter(|rules| {
                let fails = self.channels.get(rules.name);
                fails.is_some_and(|state| state.failing.is_some() || state.sending.is_some())
            })
            .filter(|rules| {
                self.alerts
                    .get(id)
                    .and_then(|tracked| self.owed_of(tracked, rules, now))
                    .is_some_and(|change| change == Change::Opened)
            })
            .map(|rules| rules.name.to_owned())
            .collect();
        let tracked = self.alerts.get_mut(id)?;
        tracked.resolved = Some(now);
        tracked.missed.extend(missed);
        Some(item(Change::Resolved, &tracked.alert))
    }

    /// Forgets what is over and owed to nobody, channels that are gone, and silences that ended.
    fn forget(&mut self, now: DateTime<FixedOffset>, channels: &[ChannelRules<'_>]) {
        let exists = |name: &str| channels.iter().any(|rules| rules.name == name);
        self.channels.retain(|name, _| exists(name));
        self.silences.retain(|silence| silence.until > now);
        for tracked in self.alerts.values_mut() {
            tracked.sent.retain(|name, _| exists(name));
            tracked.missed.retain(|name| exists(name));
        }
        self.alerts.retain(|_, tracked| {
            tracked.resolved.is_none() || !tracked.sent.is_empty() || !tracked.missed.is_empty()
        });
        self.drop_what_was_missed(now);
    }

    /// Bounds what came and went while a channel failed.
    fn drop_what_was_missed(&mut self, now: DateTime<FixedOffset>) {
        let mut missed: Vec<(DateTime<FixedOffset>, String)> = self
            .alerts
            .iter()
            .filter(|(_, tracked)| !tracked.missed.is_empty())
            .filter_map(|(id, tracked)| Some((tracked.resolved?, id.clone())))
            .collect();
        missed.sort();
        let too_many = missed.len().saturating_sub(MOST_KEPT);
        for (index, (resolved, id)) in missed.into_iter().enumerate() {
            if index >= too_many && now - resolved <= KEPT {
                continue;
            }
            let Some(tracked) = self.alerts.get_mut(&id) else {
                continue;
            };
            for channel in std::mem::take(&mut tracked.missed) {
                self.channels.entry(channel).or_default().dropped += 1;
            }
            if tracked.sent.is_empty() {
                self.alerts.remove(&id);
            }
        }
    }

    /// The next message to a channel; none where it has been sent all that is true.
    pub fn owed(
        &self,
        rules: &ChannelRules<'_>,
        host: &str,
        now: DateTime<FixedOffset>,
    ) -> Option<Notice> {
        let state = self.channels.get(rules.name);
        if let Some(sending) = state.and_then(|state| state.sending.as_ref()) {
            return Some(sending.clone());
        }
        let mut items: Vec<NoticeItem> = self
            .alerts
            .values()
            .filter_map(|tracked| {
                let change = self.owed_of(tracked, rules, now)?;
                Some(item(change, &tracked.alert))
            })
            .collect();
        if items.is_empty() {
            return None;
        }
        sort(&mut items);
        Some(Notice {
            id: Uuid::now_v7(),
            host: host.to_owned(),
            at: now.trunc_subsecs(0),
            is_test: false,
            items,
            open: self.open(),
            dropped: state.map_or(0, |state| state.dropped),
        })
    }

    /// How many alerts are open.
    pub fn open(&self) -> OpenCounts {
        let mut open = OpenCounts::default();
        for tracked in self.alerts.values() {
            match tracked.alert.severity {
                _ if tracked.resolved.is_some() => {}
                Severity::Critical => open.critical += 1,
                Severity::Warning => open.warning += 1,
            }
        }
        open
    }

    /// What a channel is owed of one alert.
    fn owed_of(
        &self,
        tracked: &Tracked,
        rules: &ChannelRules<'_>,
        now: DateTime<FixedOffset>,
    ) -> Option<Change> {
        let alert = &tracked.alert;
        let sent = tracked.sent.get(rules.name);
        let takes = |severity| severity == Severity::Critical || rules.takes_warnings_now;
        let is_wanted =
            || (rules.admits)(alert) && takes(alert.severity) && self.silence(alert, now).is_none();
        match (tracked.resolved, sent) {
            (Some(_), Some(sent)) => takes(sent.severity).then_some(Change::Resolved),
            (Some(_), None) => tracked
                .missed
                .contains(rules.name)
                .then_some(Change::Resolved),
            (None, None) => (has_passed(alert.since, rules.min_age, now) && is_wanted())
                .then_some(Change::Opened),
            (None, Some(sent)) if alert.severity > sent.severity => {
                is_wanted().then_some(Change::Worsened)
            }
            (None, Some(sent)) => {
                let remind = rules.remind?;
                (has_passed(sent.at, remind, now) && is_wanted()).then_some(Change::Reminded)
            }
        }
    }

    /// The silence that an alert is under.
    pub fn silence(&self, alert: &Alert, now: DateTime<FixedOffset>) -> Option<&Silence> {
        self.silences.iter().find(|silence| {
            silence.id == alert.id && silence.until > now && alert.severity <= silence.severity
        })
    }

    /// Notes that a message is about to be sent: after a crash it is sent again under its id.
    pub fn begin(&mut self, channel: &str, notice: &Notice) {
        self.channels.entry(channel.to_owned()).or_default().sending = Some(notice.clone());
    }

    /// Takes in that a message has arrived.
    pub fn arrived(&mut self, channel: &str, notice: &Notice, now: DateTime<FixedOffset>) {
        let state = self.channels.entry(channel.to_owned()).or_default();
        state.dropped = state.dropped.saturating_sub(notice.dropped);
        state.sending = None;
        state.failing = None;
        state.succeeded = Some(now);
        for NoticeItem { change, alert } in &notice.items {
            let Some(tracked) = self.alerts.get_mut(&alert.id) else {
                continue;
            };
            // What came back under the same id is another incident only after it was over for all.
            if *change == Change::Resolved {
                tracked.sent.remove(channel);
                tracked.missed.remove(channel);
            } else {
                let sent = Sent {
                    severity: alert.severity,
                    at: now,
                };
                tracked.sent.insert(channel.to_owned(), sent);
            }
        }
        self.alerts.retain(|_, tracked| {
            tracked.resolved.is_none() || !tracked.sent.is_empty() || !tracked.missed.is_empty()
        });
    }

    /// Takes in that a message has not arrived.
    pub fn failed(&mut self, channel: &str, refusal: &Refusal<'_>, now: DateTime<FixedOffset>) {
        let state = self.channels.entry(channel.to_owned()).or_default();
        state.fail(refusal, now);
    }

    /// Takes in how sending a report went. An alert that is being sent meanwhile is not touched.
    pub fn note_report(
        &mut self,
        channel: &str,
        refusal: Option<&Refusal<'_>>,
        now: DateTime<FixedOffset>,
    ) {
        let state = self.channels.entry(channel.to_owned()).or_default();
        let Some(refusal) = refusal else {
            state.failing = None;
            state.succeeded = Some(now);
            return;
        };
        let sending = state.sending.take();
        state.fail(refusal, now);
        state.sending = sending;
    }

    /// Takes in how the newest ping fared: of a service that hears of runs, and is sent no message.
    pub fn note_ping(&mut self, channel: &str, error: Option<&str>, now: DateTime<FixedOffset>) {
        let state = self.channels.entry(channel.to_owned()).or_default();
        let Some(error) = error else {
            state.failing = None;
            state.succeeded = Some(now);
            return;
        };
        let refusal = Refusal {
            error,
            retry_after: None,
        };
        state.fail(&refusal, now);
    }

    /// When the next message may be due, if nothing else changes.
    pub fn next_moment(
        &self,
        channels: &[ChannelRules<'_>],
        now: DateTime<FixedOffset>,
    ) -> Option<DateTime<FixedOffset>> {
        let plus = |moment: DateTime<FixedOffset>, span: Duration| {
            moment.checked_add_signed(TimeDelta::from_std(span).ok()?)
        };
        let of_alerts = channels.iter().flat_map(|rules| {
            self.alerts.values().filter_map(move |tracked| {
                if tracked.resolved.is_some() {
                    return None;
                }
                match tracked.sent.get(rules.name) {
                    None => plus(tracked.alert.since, rules.min_age),
                    Some(sent) => plus(sent.at, rules.remind?),
                }
            })
        });
        let retries = self
            .channels
            .values()
            .filter_map(|state| Some(state.failing.as_ref()?.next));
        let silences = self.silences.iter().map(|silence| silence.until);
        of_alerts
            .chain(retries)
            .chain(silences)
            .filter(|moment| *moment > now)
            .min()
    }
}

fn item(change: Change, alert: &Alert) -> NoticeItem {
    NoticeItem {
        change,
        alert: alert.clone(),
    }
}

/// What is over comes last, what is worst first, what is oldest before what is newer.
fn sort(items: &mut [NoticeItem]) {
    items.sort_by(|one, other| {
        let key = |item: &NoticeItem| {
            (
                item.change == Change::Resolved,
                std::cmp::Reverse(item.alert.severity),
                item.alert.since,
            )
        };
        key(one).cmp(&key(other))
    });
}

/// Whether so much time has passed since a moment. A moment in the future is one of a clock that was
/// wrong: then it has, rather than never.
fn has_passed(since: DateTime<FixedOffset>, span: Duration, now: DateTime<FixedOffset>) -> bool {
    let age = now - since;
    age < TimeDelta::zero() || age.to_std().is_ok_and(|age| age >= span)
}
