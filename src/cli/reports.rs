//! `pgbackupd report`: the checklist of a day, a week or a month, answered by what is on record.

use std::io::Write;

use chrono::{Datelike as _, Days, NaiveDate, Utc};

use super::env::CommandEnv;
use super::failure::Failure;
use super::report;
use super::session::Session;
use crate::jobs::{ReportOrder, collect_status, make_report, report_as_markdown, report_as_text};
use crate::policy::{ReportPeriod, ReportSpan};

/// The end of its help.
const EXAMPLES: &str = "\
Examples:
  pgbackupd report
      The last 24 hours
  pgbackupd report daily --for yesterday
      One day, from the ledgers alone
  pgbackupd report monthly --for 2026-11 --format markdown > november.md
      Save the report of a month";

/// Report on a day, a week or a month: checklist, targets, events.
///
/// Without --for, the report is about the 24 hours, 7 days or month up to now. With --for, it is about
/// that day, the 7 days that end with it, or its month, and comes from the ledgers alone; what they do
/// not have is reported as unknown. It takes no lock and connects to no server. The exit code is 0 also
/// if the report has bad news; `pgbackupd status` has an exit code for that.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Which report
    #[arg(value_enum, default_value_t = Period::Daily)]
    period: Period,
    /// A day in the past: YYYY-MM-DD, "today" or "yesterday"; for a month also YYYY-MM
    #[arg(long = "for", value_name = "DATE")]
    date: Option<String>,
    /// The form of the report; --json is the same as json
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Period {
    /// A day
    Daily,
    /// Seven days
    Weekly,
    /// A month
    Monthly,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Lines of 80 columns
    Text,
    /// Markdown
    Markdown,
    /// One JSON document
    Json,
}

impl From<Period> for ReportPeriod {
    fn from(period: Period) -> Self {
        match period {
            Period::Daily => Self::Daily,
            Period::Weekly => Self::Weekly,
            Period::Monthly => Self::Monthly,
        }
    }
}

pub(super) fn run(args: &Args, env: &CommandEnv<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let session = Session::new(env, env.load()?);
    let (plan, settings) = (&session.loaded.plan, &session.loaded.settings);
    let span = span(args, plan.zone)?;
    let status = (!span.is_past)
        .then(|| collect_status(&session.context, (plan, settings), &[]))
        .transpose()
        .map_err(|error| session.failure(&error))?;
    let order = ReportOrder {
        plan,
        settings,
        span,
        status: status.as_ref(),
    };
    let made = make_report(&session.context, &order).map_err(|error| session.failure(&error))?;
    match args.format {
        _ if env.json => report::json(&made, out)?,
        Format::Json => report::json(&made, out)?,
        Format::Text => out.write_all(report_as_text(&made).as_bytes())?,
        Format::Markdown => out.write_all(report_as_markdown(&made).as_bytes())?,
    }
    Ok(out.flush()?)
}

/// The time that is meant.
fn span(args: &Args, zone: chrono_tz::Tz) -> Result<ReportSpan, Failure> {
    let now = Utc::now();
    let period = ReportPeriod::from(args.period);
    let Some(text) = &args.date else {
        return Ok(period.ending_at(now, zone));
    };
    let today = now.with_timezone(&zone).date_naive();
    let date = date(text, today, period).ok_or_else(|| {
        let month = match period {
            ReportPeriod::Monthly => ", or a month as YYYY-MM",
            ReportPeriod::Daily | ReportPeriod::Weekly => "",
        };
        Failure::usage(format!(
            "invalid date {}\nhint: write a day as YYYY-MM-DD, today or yesterday{month}",
            report::one_line(text)
        ))
    })?;
    period.of_date(date, now, zone).ok_or_else(|| {
        Failure::usage(format!(
            "{date} is in the future, and no report can be made of it\nhint: today is {today}"
        ))
    })
}

/// A date as written.
fn date(text: &str, today: NaiveDate, period: ReportPeriod) -> Option<NaiveDate> {
    let found = match text {
        "today" => Some(today),
        "yesterday" => today.checked_sub_days(Days::new(1)),
        _ if period == ReportPeriod::Monthly && text.len() == "2026-11".len() => {
            NaiveDate::parse_from_str(&format!("{text}-01"), "%Y-%m-%d").ok()
        }
        _ => NaiveDate::parse_from_str(text, "%Y-%m-%d").ok(),
    };
    // Nothing is on record before computers counted time.
    found.filter(|date| date.year() >= 1970)
}

#[cfg(test)]
mod tests {
    use super::date;
    use crate::policy::ReportPeriod::{Daily, Monthly};

    #[test]
    fn a_day_or_a_month_is_read_and_nothing_else() {
        let today = "2026-03-01".parse().unwrap();
        for (text, period, expected) in [
            ("today", Daily, Some("2026-03-01")),
            ("yesterday", Daily, Some("2026-02-28")),
            ("2026-01-31", Daily, Some("2026-01-31")),
            ("2026-01", Daily, None),
            ("2026-01", Monthly, Some("2026-01-01")),
            ("2026-13", Monthly, None),
            ("2026-02-30", Daily, None),
            ("31.01.2026", Daily, None),
            ("", Monthly, None),
            ("1969-12-31", Daily, None),
            ("-262143-01-05", Daily, None),
            ("2026-é1", Monthly, None),
        ] {
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!(date(text, today, period), expected, "{text}");
        }
    }
}
