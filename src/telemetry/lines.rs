//! Readable lines: one a message, with nothing in it that could pass for another line or reach the
//! terminal as a command.

use std::fmt::{self, Write};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::display::Printable;

/// Before every line of a message but its first.
const CONTINUATION: &str = "    ";

/// What stands before a message.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lines {
    /// The level: a command's diagnostics.
    Level,
    /// The time in this zone, with its distance from UTC, and the level: a daemon on a terminal.
    Time(Tz),
    /// The priority as `<N>` before each line, see sd-daemon(3): a daemon whose stderr is the
    /// journal's, which adds the time itself.
    Priority,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let text = text(event, metadata.target());
        let colours = writer.has_ansi_escapes();
        let message = Message {
            level: *metadata.level(),
            at: Utc::now(),
            text: &text,
        };
        self.write(&mut writer, colours, &message)
    }
}

/// What is written.
struct Message<'a> {
    level: Level,
    at: DateTime<Utc>,
    text: &'a str,
}

impl Lines {
    fn write(self, writer: &mut impl Write, colours: bool, message: &Message<'_>) -> fmt::Result {
        let &Message { level, at, text } = message;
        let (dim, colour, plain) = if colours {
            ("\x1b[2m", colour(level), "\x1b[0m")
        } else {
            ("", "", "")
        };
        let mut before_each = String::new();
        match self {
            Self::Level => write!(writer, "{colour}{level:>5}{plain} ")?,
            Self::Time(zone) => {
                let time = at.with_timezone(&zone).format("%Y-%m-%d %H:%M:%S %:z");
                write!(writer, "{dim}{time}{plain} {colour}{level:>5}{plain} ")?;
            }
            Self::Priority => {
                write!(before_each, "<{}>", priority(level))?;
                writer.write_str(&before_each)?;
            }
        }
        for (index, line) in text.trim_end_matches('\n').split('\n').enumerate() {
            if index > 0 {
                write!(writer, "\n{before_each}{CONTINUATION}")?;
            }
            write!(writer, "{}", Printable(&line))?;
        }
        writer.write_char('\n')
    }
}

/// The message. Fields are for programs, and our messages need none of them; a library's do.
fn text(event: &Event<'_>, target: &str) -> String {
    let mut seen = Seen::default();
    event.record(&mut seen);
    let ours = target == "pgbackupd" || target.starts_with("pgbackupd::");
    match (seen.message, ours) {
        (Some(message), true) => message,
        (Some(message), false) => format!("{target}: {message}{}", seen.others),
        (None, _) => format!("{target}:{}", seen.others),
    }
}

#[derive(Default)]
struct Seen {
    message: Option<String>,
    others: String,
}

impl Visit for Seen {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message = Some(value.to_owned());
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = Some(format!("{value:?}"));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(self.others, " {}={value:?}", field.name());
        }
    }
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}

/// The priority of a level, as syslog(3) counts.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;

    use super::*;
    use crate::display::is_hostile;

    fn shown(lines: Lines, colours: bool, level: Level, text: &str) -> String {
        let at = Utc.with_ymd_and_hms(2026, 10, 25, 0, 30, 5).unwrap();
        let mut line = String::new();
        let message = Message { level, at, text };
        lines.write(&mut line, colours, &message).unwrap();
        line
    }

    #[test]
    fn a_line_says_when_in_the_zone_of_the_plan() {
        let berlin = Lines::Time(Tz::Europe__Berlin);
        assert_eq!(
            shown(berlin, false, Level::INFO, "done"),
            "2026-10-25 02:30:05 +02:00  INFO done\n"
        );
        assert_eq!(
            shown(
                Lines::Time(Tz::Asia__Riyadh),
                false,
                Level::ERROR,
                "not done"
            ),
            "2026-10-25 03:30:05 +03:00 ERROR not done\n"
        );
        assert_eq!(
            shown(berlin, true, Level::WARN, "look"),
            "\x1b[2m2026-10-25 02:30:05 +02:00\x1b[0m \x1b[33m WARN\x1b[0m look\n"
        );
    }

    #[test]
    fn lines_for_the_journal_have_their_priority_each() {
        for (level, expected) in [
            (Level::ERROR, "<3>a\n<3>    b\n"),
            (Level::WARN, "<4>a\n<4>    b\n"),
            (Level::INFO, "<6>a\n<6>    b\n"),
            (Level::DEBUG, "<7>a\n<7>    b\n"),
            (Level::TRACE, "<7>a\n<7>    b\n"),
        ] {
            assert_eq!(shown(Lines::Priority, false, level, "a\nb\n"), expected);
        }
    }

    #[test]
    fn no_name_forges_a_line_or_reaches_the_terminal() {
        let name =
            "a\n2026-10-25 02:30:05 +02:00  INFO all is well\r\x1b[2J\u{9b}31m\u{202e}\0\u{7f}";
        assert_eq!(
            shown(Lines::Level, true, Level::WARN, name),
            "\x1b[33m WARN\x1b[0m a\n    2026-10-25 02:30:05 +02:00  INFO all is well\
             \\r\\u{1b}[2J\\u{9b}31m\\u{202e}\\u{0}\\u{7f}\n"
        );
        assert_eq!(
            shown(Lines::Priority, false, Level::INFO, "a\n<0>b"),
            "<6>a\n<6>    <0>b\n"
        );
    }

    #[test]
    fn what_is_no_control_character_stays() {
        let text = "قاعدة \u{200f}بيانات\tüñí 🐘 \\x1b";
        assert_eq!(Printable(text).to_string(), text);
        assert_eq!(Printable(Printable("\u{1b}")).to_string(), "\\u{1b}");
    }

    proptest::proptest! {
        #[test]
        fn every_line_after_the_first_is_indented(text in "\\PC*(\n|\\PC|\\x00|\\x1b|\r|\u{85}){0,20}") {
            let line = shown(Lines::Level, false, Level::INFO, &text);
            let body = line.strip_suffix('\n').unwrap();
            for (index, line) in body.split('\n').enumerate() {
                proptest::prop_assert!(index == 0 || line.starts_with(CONTINUATION));
                proptest::prop_assert!(!line.chars().any(is_hostile));
            }
        }
    }
}
