//! Whether all is well, in a word for machines and a sentence for people. Pure.

use std::time::Duration;

use super::feed::Snapshot;
use crate::display::{counted, rough_span};
use crate::policy::{Severity, age};

/// Things are judged every 5 minutes. A judgement older than this no longer counts.
const STALE: Duration = Duration::from_secs(20 * 60);

/// How things are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// Nothing has been judged yet.
    Unknown,
    /// The newest judgement is so old.
    Stale(Duration),
    /// So much needs attention.
    Judged {
        /// Databases that were seen.
        databases: usize,
        /// Concerns that are critical.
        critical: usize,
        /// Concerns that are not.
        warning: usize,
    },
}

impl Health {
    /// What a snapshot shows.
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let Some(judged) = &snapshot.judged else {
            return Self::Unknown;
        };
        let status = &judged.status;
        let old = age(status.at, judged.local(snapshot.now));
        if old > STALE {
            return Self::Stale(old);
        }
        let count = |severity| {
            let concerns = status.concerns.iter();
            concerns.filter(|one| one.severity == severity).count()
        };
        Self::Judged {
            databases: status.databases.len(),
            critical: count(Severity::Critical),
            warning: count(Severity::Warning),
        }
    }

    /// Whether nothing is critical, as far as is known.
    pub(super) fn is_ok(self) -> bool {
        matches!(self, Self::Judged { critical: 0, .. })
    }

    /// The class of the style sheet for it.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Stale(_) => "critical",
            Self::Judged {
                critical, warning, ..
            } => match (critical, warning) {
                (0, 0) => "good",
                (0, _) => "warning",
                _ => "critical",
            },
        }
    }

    /// The sentence on top of the page.
    pub(super) fn sentence(self) -> String {
        match self {
            Self::Unknown => "The backups have not been judged yet".to_owned(),
            Self::Stale(old) => format!(
                "The backups were last judged {} ago: what follows is old",
                rough_span(old)
            ),
            Self::Judged {
                databases,
                critical: 0,
                warning: 0,
            } => {
                if databases == 0 {
                    return "No database is backed up here yet".to_owned();
                }
                let databases = counted(databases as u64, "database", "databases");
                format!("All is well with {databases}")
            }
            Self::Judged {
                critical, warning, ..
            } => {
                let all = (critical + warning) as u64;
                let all = counted(all, "thing needs attention", "things need attention");
                match critical {
                    0 => all,
                    _ => format!("{all}, {critical} critical"),
                }
            }
        }
    }

    /// The line of `/healthz`.
    pub(super) fn line(self) -> String {
        match self {
            Self::Unknown => "not judged yet\n".to_owned(),
            Self::Stale(old) => format!("last judged {} ago\n", rough_span(old)),
            Self::Judged { critical: 0, .. } => "ok\n".to_owned(),
            Self::Judged { critical, .. } => format!("critical: {critical}\n"),
        }
    }
}
