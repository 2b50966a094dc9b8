//! A moment as an operator writes it.

use std::io::Write as _;

use chrono::{DateTime, FixedOffset, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, TimeZone};
use chrono_tz::Tz;

use super::failure::Failure;
use super::report;

/// Reads it, in the schedule's zone unless it names one.
pub(super) fn moment(text: &str, zone: Tz) -> Result<DateTime<FixedOffset>, Failure> {
    if let Some(moment) = with_its_zone(text) {
        return Ok(moment);
    }
    let local = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S")
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M"))
        .or_else(|_| {
            NaiveDate::parse_from_str(text, "%Y-%m-%d").map(|day| day.and_time(NaiveTime::MIN))
        })
        .map_err(|_| {
            Failure::usage(format!(
                "invalid time {text:?}\nhint: write 2025-07-09, \"2025-07-09 14:30\" or \
                     2025-07-09T14:30:00+03:00"
            ))
        })?;
    match zone.from_local_datetime(&local) {
        // What is asked for is the time before something happened: the earlier one is safe.
        LocalResult::Single(moment) | LocalResult::Ambiguous(moment, _) => {
            Ok(moment.fixed_offset())
        }
        LocalResult::None => Err(Failure::usage(format!(
            "there is no {text} in {zone}: the clocks were put forward then"
        ))),
    }
}

/// A moment that names its zone: RFC 3339, or as `list` prints it.
fn with_its_zone(text: &str) -> Option<DateTime<FixedOffset>> {
    if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
        return Some(moment);
    }
    let utc = text
        .strip_suffix("UTC")
        .or_else(|| text.strip_suffix(['Z', 'z']));
    let text = utc.map_or_else(
        || text.to_owned(),
        |rest| format!("{}+00:00", rest.trim_end()),
    );
    ["%Y-%m-%d %H:%M:%S%#z", "%Y-%m-%d %H:%M%#z"]
        .into_iter()
        .find_map(|format| DateTime::parse_from_str(&text, format).ok())
}

/// Shows on stderr how the time of an option was read: whoever thought of another zone sees it.
pub(super) fn show_zone(option: &str, at: DateTime<FixedOffset>, zone: Tz) {
    let read = report::moment(at.with_timezone(&zone).fixed_offset());
    let _ = writeln!(std::io::stderr(), "{option} is read as {read} ({zone})");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<FixedOffset> {
        DateTime::parse_from_rfc3339(text).unwrap()
    }

    #[test]
    fn a_moment_is_read_in_the_schedule_s_zone() {
        for (text, expected) in [
            ("2025-07-09", "2025-07-09T00:00:00+03:00"),
            ("2025-07-09 14:30", "2025-07-09T14:30:00+03:00"),
            ("2025-07-09 14:30:15", "2025-07-09T14:30:15+03:00"),
            ("2025-07-09T14:30:00Z", "2025-07-09T17:30:00+03:00"),
            ("2025-07-09 14:30Z", "2025-07-09T17:30:00+03:00"),
            ("2025-07-09 14:30 UTC", "2025-07-09T17:30:00+03:00"),
            ("2025-07-09 14:30:15 UTC", "2025-07-09T17:30:15+03:00"),
            ("2025-07-09 14:30:15 +05:30", "2025-07-09T12:00:15+03:00"),
            ("2025-07-09 14:30+02:00", "2025-07-09T15:30:00+03:00"),
        ] {
            assert_eq!(
                moment(text, Tz::Asia__Riyadh).unwrap(),
                at(expected),
                "{text}"
            );
        }
        let twice = moment("2025-10-26 02:30", Tz::Europe__Berlin).unwrap();
        assert_eq!(twice, at("2025-10-26T02:30:00+02:00"));
        for text in [
            "yesterday",
            "2025-13-01",
            "14:30",
            "UTC",
            "2025-07-09 14:30 CET",
        ] {
            assert_eq!(
                moment(text, Tz::UTC).unwrap_err().kind,
                crate::cli::FailureKind::Usage,
                "{text}"
            );
        }
        assert!(moment("2025-03-30 02:30", Tz::Europe__Berlin).is_err());
    }
}
