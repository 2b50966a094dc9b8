//! What a test restore has shown, and how long each part of it took.

use std::time::Duration;

use crate::display::{counted, duration, rough_span};
use crate::repository::Stem;

/// A part of a test restore, in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrillPhase {
    /// All files of the backup are read and checked.
    Verify,
    /// The temporary cluster is made and started.
    Server,
    /// Roles, memberships and tablespaces are loaded, and the empty database is made.
    Globals,
    /// The dump is loaded.
    Load,
    /// What was loaded is dumped again.
    Dump,
    /// The two are compared.
    Compare,
}

impl DrillPhase {
    /// The phase in one word, as the ledger has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Server => "server",
            Self::Globals => "globals",
            Self::Load => "load",
            Self::Dump => "dump",
            Self::Compare => "compare",
        }
    }
}

/// What a test restore has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DrillOutcome {
    /// The backup restores: what came back is what was dumped.
    Proven,
    /// Its files are not as they were written.
    Damaged(String),
    /// The server refused it.
    Refused {
        /// What failed, without rows.
        what: String,
        /// All that the program said, which may show rows: for a terminal.
        detail: String,
    },
    /// What came back is something else: one sentence for each difference.
    Differs(Vec<String>),
    /// It could not be tried. That says nothing about the backup.
    Impossible(String),
}

impl DrillOutcome {
    /// Whether the backup itself is bad.
    pub fn is_bad(&self) -> bool {
        matches!(
            self,
            Self::Damaged(_) | Self::Refused { .. } | Self::Differs(_)
        )
    }

    /// Whether it says that a backup whose files are whole restores, or that it does not.
    pub(super) fn is_about_contents(&self) -> bool {
        matches!(self, Self::Proven | Self::Refused { .. } | Self::Differs(_))
    }

    /// Why files that are whole do not restore, for the backup's state; none where nothing of that
    /// kind was shown.
    pub(super) fn failure(&self) -> Option<String> {
        match self {
            Self::Refused { what, .. } => Some(what.clone()),
            Self::Differs(_) => self.sentence(),
            Self::Proven | Self::Damaged(_) | Self::Impossible(_) => None,
        }
    }

    /// What is wrong with the backup, to follow its name; none where nothing is known to be.
    pub fn alarm(&self) -> Option<String> {
        let sentence = self.sentence().filter(|_| self.is_bad())?;
        Some(format!("does NOT RESTORE: {sentence}"))
    }

    /// The outcome in a sentence; none for a good one.
    pub fn sentence(&self) -> Option<String> {
        Some(match self {
            Self::Proven => return None,
            Self::Damaged(what) => format!("it is damaged: {what}"),
            Self::Refused { what, .. } => format!("it does not restore: {what}"),
            Self::Differs(differences) => {
                let number = differences.len() as u64;
                let first: Vec<&str> = differences.iter().take(3).map(String::as_str).collect();
                let more = if differences.len() > first.len() {
                    "; …"
                } else {
                    ""
                };
                format!(
                    "what was restored is not what was dumped, {}: {}{more}",
                    counted(number, "difference", "differences"),
                    first.join("; ")
                )
            }
            Self::Impossible(why) => format!("it could not be drilled: {why}"),
        })
    }
}

/// A test restore that was made, or tried.
#[derive(Clone, Debug)]
pub struct DrillReport {
    /// The backup.
    pub stem: Stem,
    /// What was shown.
    pub outcome: DrillOutcome,
    /// How long each part took, in their order, as far as they were reached.
    pub phases: Vec<(DrillPhase, Duration)>,
    /// How long all of it took.
    pub took: Duration,
    /// Rows of the backup.
    pub rows: u64,
    /// Tables of the backup.
    pub tables: u64,
    /// Bytes of the backup's files.
    pub bytes: u64,
    /// What the server computed while the backup was loaded, and nobody compared.
    pub recomputed: Vec<String>,
    /// What deserves a word, one sentence each.
    pub remarks: Vec<String>,
}

impl DrillReport {
    /// Why a restore like this one would not meet its target, in a sentence; none if it would.
    pub(super) fn missed(&self, target: Duration) -> Option<String> {
        let took = self.recovery_time();
        (self.outcome == DrillOutcome::Proven && took > target).then(|| {
            format!(
                "the data was back after {}, and a restore is to take {} at most \
                 (objectives.recovery_time)",
                duration(took),
                rough_span(target)
            )
        })
    }

    /// The recovery time against its target.
    pub fn against(&self, target: Duration) -> String {
        let took = duration(self.recovery_time());
        format!("the data was back in {took} (of {})", rough_span(target))
    }

    /// How long it took to have the data back: from looking at the backup to the end of loading it.
    pub fn recovery_time(&self) -> Duration {
        self.phases
            .iter()
            .filter(|(phase, _)| !matches!(phase, DrillPhase::Dump | DrillPhase::Compare))
            .map(|(_, took)| *took)
            .sum()
    }
}
