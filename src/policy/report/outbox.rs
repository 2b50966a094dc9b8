//! Which report is due, and which channel is still owed one. Pure.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, FixedOffset, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::period::ReportPeriod;
use crate::policy::schedule::Schedule;

/// So long a report is tried to be sent.
const KEPT: TimeDelta = TimeDelta::days(1);

/// A report as it is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportMessage {
    /// The message's own id: the same if it is sent again because it is not known whether it arrived.
    pub id: Uuid,
    /// The host that sends it.
    pub host: String,
    /// When it was made.
    pub at: DateTime<FixedOffset>,
    /// Which report.
    pub period: ReportPeriod,
    /// Its title.
    pub subject: String,
    /// The report as text.
    pub text: String,
    /// The report as a document.
    pub report: serde_json::Value,
}

/// The reports that wait to be sent, and those that are due no more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReportBook {
    /// The newest slot of each report for which everything was done.
    #[serde(default)]
    handled: BTreeMap<ReportPeriod, Handled>,
    /// What waits, oldest first.
    #[serde(default)]
    waiting: Vec<Waiting>,
}

/// The newest slot that is done, of this schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Handled {
    schedule: String,
    zone: String,
    slot: DateTime<Utc>,
}

/// A report that some channels are still owed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Waiting {
    message: ReportMessage,
    channels: BTreeSet<String>,
}

/// A slot of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportSlot {
    /// When it was due.
    pub at: DateTime<Utc>,
    /// Whether a report is made for it. None is for a schedule that is new, and for a slot that was
    /// missed longer ago than the report would reach back.
    pub is_wanted: bool,
}

impl ReportBook {
    /// The newest slot of a report for which nothing was done yet.
    pub fn due(
        &self,
        period: ReportPeriod,
        schedule: &Schedule,
        now: DateTime<Utc>,
    ) -> Option<ReportSlot> {
        let at = schedule.latest_at_or_before(now)?.to_utc();
        let known = self.handled.get(&period);
        let known = known.filter(|known| {
            known.schedule == schedule.text() && known.zone == schedule.zone().name()
        });
        match known {
            Some(known) if known.slot >= at => None,
            Some(_) => {
                let reach = period.ending_at(now, schedule.zone()).after;
                Some(ReportSlot {
                    at,
                    is_wanted: at > reach,
                })
            }
            None => Some(ReportSlot {
                at,
                is_wanted: false,
            }),
        }
    }

    /// Notes that everything was done for a slot; what is to be sent waits from now on.
    pub fn handle(
        &mut self,
        schedule: &Schedule,
        (period, slot): (ReportPeriod, DateTime<Utc>),
        made: Option<(ReportMessage, BTreeSet<String>)>,
    ) {
        let handled = Handled {
            schedule: schedule.text().to_owned(),
            zone: schedule.zone().name().to_owned(),
            slot,
        };
        self.handled.insert(period, handled);
        self.waiting.extend(
            made.into_iter()
                .map(|(message, channels)| Waiting { message, channels }),
        );
    }

    /// Gives up what waits for longer than a day, and what waits for channels that are gone: the
    /// channel's name and the report.
    pub fn give_up(
        &mut self,
        channels: &BTreeSet<&str>,
        now: DateTime<Utc>,
    ) -> Vec<(String, ReportPeriod)> {
        let mut given_up = Vec::new();
        for waiting in &mut self.waiting {
            let period = waiting.message.period;
            let is_old = now - waiting.message.at.to_utc() > KEPT;
            waiting.channels.retain(|channel| {
                let stays = !is_old && channels.contains(channel.as_str());
                if !stays {
                    given_up.push((channel.clone(), period));
                }
                stays
            });
        }
        self.forget();
        given_up
    }

    /// What is to be sent, oldest first: the channel's name and the message.
    pub fn owed(&self) -> Vec<(String, ReportMessage)> {
        let owed = self.waiting.iter().flat_map(|waiting| {
            let channels = waiting.channels.iter();
            channels.map(|channel| (channel.clone(), waiting.message.clone()))
        });
        owed.collect()
    }

    /// Takes in that a channel has taken a message, or never will.
    pub fn settle(&mut self, channel: &str, id: Uuid) {
        let waiting = self.waiting.iter_mut();
        for waiting in waiting.filter(|waiting| waiting.message.id == id) {
            waiting.channels.remove(channel);
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.waiting.retain(|waiting| !waiting.channels.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chrono::{DateTime, TimeDelta, Utc};
    use chrono_tz::Tz;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::{ReportBook, ReportMessage, ReportSlot};
    use crate::policy::ReportPeriod::{self, Daily, Monthly, Weekly};
    use crate::policy::Schedule;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn schedule(pattern: &str) -> Schedule {
        Schedule::parse(pattern, Tz::Asia__Riyadh).unwrap()
    }

    fn message(id: u128, period: ReportPeriod, at: DateTime<Utc>) -> ReportMessage {
        ReportMessage {
            id: Uuid::from_u128(id),
            host: "db1".to_owned(),
            at: at.fixed_offset(),
            period,
            subject: "Daily report".to_owned(),
            text: "all is well".to_owned(),
            report: serde_json::Value::Null,
        }
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn p17_a_report_is_due_once_for_a_slot_and_a_missed_one_within_its_period() {
        let wanted = |at| {
            Some(ReportSlot {
                at,
                is_wanted: true,
            })
        };
        let passed_over = |at| {
            Some(ReportSlot {
                at,
                is_wanted: false,
            })
        };
        let daily = schedule("0 8 * * *");
        let mut book = ReportBook::default();
        // 08:00 in Riyadh.
        let (first, second) = (at("2026-11-01T05:00:00Z"), at("2026-11-02T05:00:00Z"));
        let due = |book: &ReportBook, now| book.due(Daily, &daily, at(now));
        assert_eq!(
            due(&book, "2026-11-01T12:00:00Z"),
            passed_over(first),
            "new"
        );
        book.handle(&daily, (Daily, first), None);
        assert_eq!(due(&book, "2026-11-02T04:59:59Z"), None);
        assert_eq!(due(&book, "2026-11-02T05:00:00Z"), wanted(second));
        assert_eq!(due(&book, "2026-11-03T04:59:59Z"), wanted(second), "late");
        book.handle(&daily, (Daily, second), None);
        assert_eq!(due(&book, "2026-11-03T04:59:59Z"), None);
        // The clock was set back.
        assert_eq!(due(&book, "2026-10-20T12:00:00Z"), None);
        // Another schedule counts from its next slot.
        let other = book.due(Daily, &schedule("0 7 * * *"), at("2026-11-03T04:30:00Z"));
        assert_eq!(other, passed_over(at("2026-11-03T04:00:00Z")));

        // Of the second of November nothing would be in a report of the last 24 hours.
        let weekday = schedule("0 8 2 * *");
        book.handle(&weekday, (Daily, at("2026-10-02T05:00:00Z")), None);
        let late = book.due(Daily, &weekday, at("2026-11-03T05:00:01Z"));
        assert_eq!(late, passed_over(second));
        book.handle(&weekday, (Weekly, at("2026-10-02T05:00:00Z")), None);
        let late = book.due(Weekly, &weekday, at("2026-11-03T05:00:01Z"));
        assert_eq!(late, wanted(second));
    }

    #[test]
    fn what_waits_is_owed_until_it_is_settled_or_a_day_old() {
        let now = at("2026-11-01T05:00:00Z");
        let daily = schedule("0 8 * * *");
        let mut book = ReportBook::default();
        let mail = message(1, Daily, now);
        let both = names(&["chat", "mail"]);
        book.handle(&daily, (Daily, now), Some((mail.clone(), both)));
        let month = message(2, Monthly, now + TimeDelta::hours(1));
        book.handle(
            &daily,
            (Monthly, now),
            Some((month.clone(), names(&["mail"]))),
        );
        let text = serde_json::to_string(&book).unwrap();
        assert_eq!(serde_json::from_str::<ReportBook>(&text).unwrap(), book);

        let owed = |book: &ReportBook| {
            let owed = book.owed().into_iter();
            owed.map(|(channel, message)| format!("{channel} {}", message.id.as_u128()))
                .collect::<Vec<_>>()
        };
        assert_eq!(owed(&book), ["chat 1", "mail 1", "mail 2"]);
        book.settle("mail", mail.id);
        assert_eq!(owed(&book), ["chat 1", "mail 2"]);
        let channels = BTreeSet::from(["chat", "mail"]);
        assert_eq!(book.give_up(&channels, now + TimeDelta::days(1)), []);
        let late = now + TimeDelta::days(1) + TimeDelta::seconds(1);
        assert_eq!(book.give_up(&channels, late), [("chat".to_owned(), Daily)]);
        assert_eq!(owed(&book), ["mail 2"]);
        assert_eq!(
            book.give_up(&BTreeSet::from(["chat"]), now),
            [("mail".to_owned(), Monthly)]
        );
        assert_eq!(owed(&book), [""; 0]);
    }

    proptest! {
        #[test]
        fn no_slot_is_reported_twice_and_none_that_is_seen_in_time_is_left_out(
            looks in prop::collection::vec(1i64..200, 1..60),
        ) {
            let daily = schedule("0 8 * * *");
            let mut book = ReportBook::default();
            let mut now = at("2026-11-01T12:00:00Z");
            let first = book.due(Daily, &daily, now).unwrap();
            book.handle(&daily, (Daily, first.at), None);
            let (mut reported, mut looked) = (Vec::new(), vec![now]);
            for minutes in looks {
                now += TimeDelta::minutes(minutes * 10);
                looked.push(now);
                if let Some(slot) = book.due(Daily, &daily, now) {
                    book.handle(&daily, (Daily, slot.at), None);
                    if slot.is_wanted {
                        reported.push(slot.at);
                    }
                }
            }
            prop_assert!(reported.windows(2).all(|pair| pair[0] < pair[1]));
            for pair in looked.windows(2) {
                let newest = daily.latest_at_or_before(pair[1]).unwrap().to_utc();
                if newest > pair[0] {
                    prop_assert!(reported.contains(&newest), "{newest}");
                }
            }
        }
    }
}
