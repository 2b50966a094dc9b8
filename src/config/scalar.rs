//! Single values with a rule of their own: names, lengths of time, sizes, zones, paths.
//!
//! Each is checked while a fragment is read, so that an error can point at its place. A message's
//! first line says what is wrong, and its second line, where there is one, the way out.

mod keep;
mod number;
mod ports;
mod word;

use std::borrow::Cow;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use chrono_tz::{TZ_VARIANTS, Tz};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

pub(crate) use self::keep::Keep;
pub(crate) use self::number::{Count, Factor};
pub(crate) use self::ports::Ports;
pub(crate) use self::word::Word;
use super::listen::Listen;
use super::nearest::nearest;
use crate::mask::password_of;
use crate::policy::{Blackout, BlackoutError, Schedule, SizeRange, SuccessRate};

/// The longest name of a database, in bytes (`NAMEDATALEN` less one).
const LONGEST_NAME: usize = 63;

/// No wait and no retention is longer than a century: chrono's arithmetic stays in its range.
const LONGEST_TIME: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

/// Defines a type that is read from a string by a function `&str -> Result<inner, message>`.
macro_rules! from_text {
    ($(#[$doc:meta])* $name:ident($inner:ty), $expected:literal, $schema:tt, $read:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(crate) struct $name(pub(crate) $inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let read: fn(&str) -> Result<$inner, String> = $read;
                deserializer
                    .deserialize_any(Text { expected: $expected, read })
                    .map(Self)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

/// Reads a duration.
fn length_of_time(text: &str) -> Result<Duration, String> {
    let span = humantime::parse_duration(text).map_err(|error| {
        let fault = match error {
            humantime::DurationError::UnknownUnit { .. } => error.to_string(),
            _ => format!("invalid duration {text:?}"),
        };
        format!("{fault}\nwrite a number and a unit: \"10 seconds\", \"12 hours\", \"30 days\"")
    })?;
    if span > LONGEST_TIME {
        Err("a duration of more than a hundred years".to_owned())
    } else {
        Ok(span)
    }
}

/// Reads a string by a function.
struct Text<T> {
    expected: &'static str,
    read: fn(&str) -> Result<T, String>,
}

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.read)(text).map_err(E::custom)
    }
}

from_text!(
    /// A name that a database can have.
    DatabaseName(String),
    "the name of a database in quotes",
    { "type": "string", "minLength": 1, "maxLength": 63 },
    |text| match name_fault("a database", text) {
        Some(fault) if text.len() > LONGEST_NAME => Err(format!(
            "{fault}\nPostgreSQL cuts longer names short; write the name as \\l of psql shows it"
        )),
        Some(fault) => Err(fault),
        None => Ok(text.to_owned()),
    }
);

from_text!(
    /// The name of a library that a server can load.
    LibraryName(String),
    "the name of a library in quotes",
    { "type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9_.+-]*$" },
    |text| {
        let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"_.+-".contains(&byte);
        if text.is_empty() || text.starts_with(['.', '+', '-']) || !text.bytes().all(is_fine) {
            Err(format!(
                "{text:?} is not the name of a library\nwrite it as in shared_preload_libraries, \
                 without a directory: \"pg_cron\""
            ))
        } else {
            Ok(text.strip_suffix(".so").unwrap_or(text).to_owned())
        }
    }
);

/// Whether a name is a connection string with a password. One without is the name of a database like any
/// other.
pub(crate) fn is_connection_string(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let rest = ["postgres://", "postgresql://"]
        .iter()
        .find_map(|scheme| lower.strip_prefix(scheme));
    let has_user_and_password = rest.is_some_and(|rest| password_of(rest).is_some());
    let has_password = lower
        .split("password")
        .skip(1)
        .any(|rest| rest.trim_start().starts_with('='));
    has_user_and_password || has_password
}

/// Why a name is none that `PostgreSQL` would keep as it is, if so: it cuts longer ones short without
/// a word.
pub(crate) fn name_fault(of: &str, name: &str) -> Option<String> {
    if is_connection_string(name) {
        Some(format!(
            "{of}'s name is expected, and this is a connection string with a password; set it as uri or conninfo in \
             [connection] of the configuration"
        ))
    } else if name.is_empty() {
        Some(format!("{of}'s name is not empty"))
    } else if name.contains('\0') {
        Some(format!("{of}'s name has no NUL in it"))
    } else if name.len() > LONGEST_NAME {
        Some(format!(
            "{of}'s name has at most {LONGEST_NAME} bytes, not {}",
            name.len()
        ))
    } else {
        None
    }
}

from_text!(
    /// A zone of the time zone database.
    Zone(Tz),
    "the name of a time zone in quotes, such as \"Asia/Riyadh\"",
    { "type": "string", "examples": ["Asia/Riyadh", "Europe/Berlin", "UTC"] },
    |text| {
        text.parse().map_err(|_| {
            let words = TZ_VARIANTS.iter().map(|zone| zone.name());
            let hint = match nearest(text, words) {
                Some(zone) => format!("did you mean \"{zone}\"?"),
                None => "names look like \"Asia/Riyadh\", \"Europe/Berlin\" or \"UTC\"".to_owned(),
            };
            format!("unknown time zone {text:?}\n{hint}")
        })
    }
);

from_text!(
    /// A crontab pattern, its zone left open.
    Pattern(String),
    "a crontab pattern in quotes, such as \"0 2 * * *\"",
    { "type": "string", "examples": ["0 2 * * *", "0 3 * * 0", "@daily"] },
    |text| match Schedule::parse(text, Tz::UTC) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
);

from_text!(
    /// A length of time, longer than nothing.
    TimeSpan(Duration),
    "a duration in quotes, such as \"30 days\"",
    { "type": "string", "examples": ["10 seconds", "1 minute", "30 days", "12 weeks"] },
    |text| {
        let span = length_of_time(text)?;
        if span.is_zero() {
            Err("a duration of zero\nit must be positive".to_owned())
        } else {
            Ok(span)
        }
    }
);

from_text!(
    /// A length of time that may be nothing.
    Delay(Duration),
    "a duration in quotes, such as \"5 minutes\"",
    { "type": "string", "examples": ["0 seconds", "5 minutes", "1 hour"] },
    length_of_time
);

from_text!(
    /// A limit of age: a duration longer than nothing, or none.
    AgeLimit(Option<Duration>),
    "a duration in quotes, such as \"35 days\", or \"off\"",
    { "type": "string", "examples": ["35 days", "100 days", "off"] },
    |text| match text {
        "off" => Ok(None),
        text => match length_of_time(text).map_err(|why| format!("{why}, or \"off\""))? {
            Duration::ZERO => Err(
                "an age of zero\nit must be positive; \"off\" sets no limit".to_owned(),
            ),
            age => Ok(Some(age)),
        },
    }
);

from_text!(
    /// A window of the week in which no run starts.
    Window(Blackout),
    "days and times in quotes, such as \"Mon-Fri 08:00-18:00\"",
    { "type": "string", "examples": ["08:00-18:00", "Mon-Fri 08:00-18:00", "Sat,Sun 22:00-02:00"] },
    |text| text.parse().map_err(|error: BlackoutError| error.to_string())
);

from_text!(
    /// A size, larger than nothing.
    Size(ByteSize),
    "a size in quotes, such as \"10 GB\" or \"10 GiB\"",
    { "type": "string", "examples": ["10 GB", "512 MiB"] },
    |text| {
        let form = "write a number and a unit: \"10 GB\" is 10,000,000,000 bytes, \"10 GiB\" is \
                    10,737,418,240";
        let size: ByteSize =
            text.parse().map_err(|_| format!("invalid size {text:?}\n{form}"))?;
        if size.as_u64() == 0 {
            Err(format!("a size of zero\n{form}"))
        } else if text.bytes().all(|b| b.is_ascii_digit()) {
            Err(format!("{text} of what?\n{form}"))
        } else {
            Ok(size)
        }
    }
);

from_text!(
    /// So many bytes a second.
    Rate(ByteSize),
    "a rate in quotes, such as \"20 MB/s\"",
    { "type": "string", "pattern": "/s$", "examples": ["20 MB/s", "512 KiB/s"] },
    |text| {
        let form = "write a number, a unit and /s: \"20 MB/s\" is 20,000,000 bytes a second";
        let invalid = || format!("invalid rate {text:?}\n{form}");
        let size = text.strip_suffix("/s").map(str::trim_end).ok_or_else(invalid)?;
        let rate: ByteSize = size.parse().map_err(|_| invalid())?;
        if rate.as_u64() == 0 {
            Err(format!("a rate of zero\n{form}"))
        } else if size.bytes().all(|b| b.is_ascii_digit()) {
            Err(format!("{size} of what a second?\n{form}"))
        } else {
            Ok(rate)
        }
    }
);

from_text!(
    /// The name of a host, in keys and in what is shown.
    HostName(String),
    "the name of a host in quotes, such as \"db1\"",
    { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", "examples": ["db1"] },
    |text| {
        let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_name = (1..=64).contains(&text.len())
            && text.bytes().all(is_fine)
            && text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if is_name {
            Ok(text.to_owned())
        } else {
            Err(format!(
                "invalid name {text:?}\nit is made of ASCII letters, digits, and . _ -, 64 at most, and \
                 begins with a letter or a digit"
            ))
        }
    }
);

from_text!(
    /// A part of a whole, in hundredths: 1 to 100.
    Share(u32),
    "a share in quotes, such as \"50 %\"",
    { "type": "string", "pattern": "^[0-9]+ ?%$", "examples": ["50 %", "80 %"] },
    |text| {
        let form = "write a whole number from 1 to 100 and the sign: \"50 %\"";
        let number = text.strip_suffix('%').map(str::trim_end);
        let share = number.and_then(|number| number.parse().ok());
        share
            .filter(|share| (1..=100).contains(share))
            .ok_or_else(|| format!("invalid share {text:?}\n{form}"))
    }
);

from_text!(
    /// A share of slots, to the thousandth of a percent.
    Percentage(SuccessRate),
    "a percentage in quotes, such as \"99.9 %\"",
    { "type": "string", "pattern": "^[0-9]+(\\.[0-9]{1,3})? ?%$", "examples": ["99.9 %", "100 %"] },
    |text| {
        let form = "write a number above 0, 100 at most, with up to three decimals, and the sign: \
                    \"99.9 %\"";
        let number = text.strip_suffix('%').map(str::trim_end);
        number
            .and_then(thousandths)
            .and_then(SuccessRate::from_thousandths)
            .ok_or_else(|| format!("invalid percentage {text:?}\n{form}"))
    }
);

/// A decimal number of at most three decimals, times a thousand.
fn thousandths(number: &str) -> Option<u32> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(decimals) || decimals.len() > 3 {
        return None;
    }
    let whole: u32 = whole.parse().ok()?;
    let decimals: u32 = format!("{decimals:0<3}").parse().ok()?;
    whole.checked_mul(1000)?.checked_add(decimals)
}

from_text!(
    /// A range of sizes.
    Sizes(SizeRange),
    "a range of sizes in quotes, such as \"50 MB to 200 MB\"",
    { "type": "string", "pattern": " to ", "examples": ["50 MB to 200 MB"] },
    |text| {
        let form = "write the least size, the word to, and the largest: \"50 MB to 200 MB\"";
        let Some((from, to)) = text.split_once(" to ") else {
            return Err(format!("invalid range of sizes {text:?}\n{form}"));
        };
        let bytes = |end: &str| -> Result<u64, String> {
            let end = end.trim();
            if end.bytes().all(|b| b.is_ascii_digit()) && end != "0" {
                return Err(format!("the size {end:?} has no unit\n{form}"));
            }
            let size: ByteSize = end.parse().map_err(|_| format!("invalid size {end:?}\n{form}"))?;
            Ok(size.as_u64())
        };
        let (from, to) = (bytes(from)?, bytes(to)?);
        SizeRange::new(from, to)
            .ok_or_else(|| format!("the range {text:?} ends below its beginning\n{form}"))
    }
);

from_text!(
    /// A path from the root, without `..`, and not the root itself.
    AbsolutePath(PathBuf),
    "a path in quotes, such as \"/var/backups\"",
    { "type": "string", "pattern": "^/" },
    |text| {
        let path = Path::new(text);
        let names = |c: Component<'_>| matches!(c, Component::Normal(_));
        if text.contains('\0') {
            Err("a path has no NUL in it".to_owned())
        } else if !path.is_absolute() {
            Err(format!("{text:?} is not a path from the root\nbegin it with /"))
        } else if path.components().any(|c| c == Component::ParentDir) {
            Err("a path with .. in it\nwrite the path that it leads to".to_owned())
        } else if !path.components().any(names) {
            Err("the root directory\nname a directory below it".to_owned())
        } else {
            // Without the doubled and the last slashes, so that equal places are equal paths.
            Ok(path.components().collect())
        }
    }
);

from_text!(
    /// Where the page listens.
    ListenAddress(Listen),
    "an address in quotes, such as \"127.0.0.1:8432\"",
    { "type": "string", "minLength": 1 },
    Listen::read
);

from_text!(
    /// A systemd credential's name: one path component.
    CredentialName(String),
    "the name of a systemd credential in quotes",
    { "type": "string", "pattern": "^[^/]+$" },
    |text| {
        if text.is_empty() || text == "." || text == ".." || text.contains(['/', '\0']) {
            Err(format!(
                "invalid credential name {text:?}\nit is the part before the colon of \
                 LoadCredential= in the unit"
            ))
        } else {
            Ok(text.to_owned())
        }
    }
);
