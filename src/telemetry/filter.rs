//! What is logged and what is not.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The variable that says what is logged, over every setting.
pub const LOG_VARIABLE: &str = "PGBACKUPD_LOG";

/// How much the daemon tells.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Only what was not done.
    Error,
    /// Also what needs a look.
    Warning,
    /// Also what is done.
    #[default]
    Info,
    /// Also how it is done, and what the libraries do.
    Debug,
}

/// A word that is no level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown log level `{0}`; the levels are error, warning, info and debug")]
pub struct UnknownLevel(String);

impl Level {
    /// Every level, the quietest first.
    pub const ALL: [Self; 4] = [Self::Error, Self::Warning, Self::Info, Self::Debug];

    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    /// In tracing's language, for the daemon: its events tell what is done, one line for each thing,
    /// so that the steps in between need debug.
    fn directives_for_daemon(self) -> &'static str {
        match self {
            Self::Info => "warn,pgbackupd::event=info,pgbackupd::daemon=info",
            other => other.directives(),
        }
    }

    /// In tracing's language. Libraries tell their own workings at info, so their info needs debug.
    fn directives(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warn",
            Self::Info => "warn,pgbackupd=info",
            Self::Debug => "info,pgbackupd=debug",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|level| level.name() == text)
            .ok_or_else(|| UnknownLevel(text.to_owned()))
    }
}

/// A filter, and where it is from.
pub(super) struct Choice {
    pub(super) filter: EnvFilter,
    /// Whether the variable decided.
    pub(super) by_variable: bool,
    /// Why the variable did not decide although it is set.
    pub(super) refused: Option<String>,
}

/// The filter of a level.
pub(super) fn of(level: Level) -> EnvFilter {
    EnvFilter::new(level.directives())
}

/// The daemon's filter of a level.
pub(super) fn of_daemon(level: Level) -> EnvFilter {
    EnvFilter::new(level.directives_for_daemon())
}

/// The filter that the variable's value asks for, or else the usual one.
pub(super) fn choose_filter(variable: Option<&str>, usual: EnvFilter) -> Choice {
    let asked = match variable.map(str::trim) {
        None | Some("") => None,
        Some(text) => Some(
            parse(text)
                .map_err(|why| format!("{LOG_VARIABLE}={text} is invalid and ignored: {why}")),
        ),
    };
    match asked {
        Some(Ok(filter)) => Choice {
            filter,
            by_variable: true,
            refused: None,
        },
        Some(Err(why)) => Choice {
            filter: usual,
            by_variable: false,
            refused: Some(why),
        },
        None => Choice {
            filter: usual,
            by_variable: false,
            refused: None,
        },
    }
}

/// A level of ours, or tracing's language.
fn parse(text: &str) -> Result<EnvFilter, String> {
    if let Ok(level) = text.parse() {
        return Ok(of(level));
    }
    // To tracing a lone word that is no level names a crate, and all others become silent: a
    // misspelt level would switch the log off.
    for word in text.split(',').map(str::trim) {
        let lone = !word.contains(['=', ':', '[']);
        if lone && word != "pgbackupd" && word.parse::<LevelFilter>().is_err() {
            return Err(UnknownLevel(word.to_owned()).to_string());
        }
    }
    EnvFilter::try_new(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(variable: Option<&str>, level: Level) -> (String, bool, Option<String>) {
        let choice = choose_filter(variable, of(level));
        let mut directives: Vec<String> = choice
            .filter
            .to_string()
            .split(',')
            .map(str::to_owned)
            .collect();
        directives.sort();
        (directives.join(","), choice.by_variable, choice.refused)
    }

    #[test]
    fn the_level_decides_unless_the_variable_does() {
        let plain = |directives: &str, by_variable| (directives.to_owned(), by_variable, None);
        let cases = [
            (None, Level::Error, plain("error", false)),
            (None, Level::Warning, plain("warn", false)),
            (None, Level::Info, plain("pgbackupd=info,warn", false)),
            (None, Level::Debug, plain("info,pgbackupd=debug", false)),
            (Some(""), Level::Warning, plain("warn", false)),
            (Some(" "), Level::Warning, plain("warn", false)),
            (
                Some("debug"),
                Level::Error,
                plain("info,pgbackupd=debug", true),
            ),
            (Some("warning"), Level::Info, plain("warn", true)),
            (Some("trace"), Level::Info, plain("trace", true)),
            (Some("off"), Level::Info, plain("off", true)),
            (
                Some("warn,tokio_postgres=debug"),
                Level::Info,
                plain("tokio_postgres=debug,warn", true),
            ),
        ];
        for (variable, level, expected) in cases {
            assert_eq!(choice(variable, level), expected, "{variable:?} {level}");
        }
    }

    #[test]
    fn a_misspelt_level_does_not_switch_the_log_off() {
        for text in [
            "inof",
            "verbose",
            "pgbackupd=debug,warnings",
            "pgbackupd=loud",
        ] {
            let (directives, by_variable, refused) = choice(Some(text), Level::Info);
            assert_eq!(directives, "pgbackupd=info,warn", "{text}");
            assert!(!by_variable);
            let why = refused.unwrap();
            assert!(why.starts_with(&format!("PGBACKUPD_LOG={text} ")), "{why}");
        }
    }

    #[test]
    fn a_level_is_read_by_the_name_it_is_written_with() {
        for level in Level::ALL {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        assert_eq!(
            "loud".parse::<Level>().unwrap_err().to_string(),
            "unknown log level `loud`; the levels are error, warning, info and debug"
        );
    }
}
