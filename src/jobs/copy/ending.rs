//! A warning of credentials that end soon: copies would fail from one day to the next.

use chrono::{DateTime, TimeDelta, Utc};

/// So long before the end each run warns.
const BEFORE: TimeDelta = TimeDelta::days(7);

/// The warning; none where there is time left, or the credentials have ended: then the run fails by itself.
pub(super) fn warning(destination: &str, end: DateTime<Utc>, now: DateTime<Utc>) -> Option<String> {
    (end > now && end - now < BEFORE).then(|| {
        format!(
            "the credentials of {destination} end at {}, and copies fail from then on\nhint: get a new token",
            end.format("%Y-%m-%d %H:%M UTC")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_week_of_credentials_is_a_warning() {
        let now: DateTime<Utc> = "2026-11-30T02:00:00Z".parse().unwrap();
        for (hours, is_warned) in [
            (-1, false),
            (0, false),
            (1, true),
            (167, true),
            (168, false),
        ] {
            let warned = warning("far", now + TimeDelta::hours(hours), now);
            assert_eq!(warned.is_some(), is_warned, "{hours}");
        }
        let warned = warning("far", now + TimeDelta::hours(1), now).unwrap();
        assert!(
            warned.starts_with("the credentials of far end at 2026-11-30 03:00 UTC"),
            "{warned}"
        );
    }
}
