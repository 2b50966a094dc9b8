//! What needs the operator's attention, judged from facts: whether all is well.

mod facts;
mod losses;
mod space;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, FixedOffset, Utc};

use super::continuity::Accepted;
use super::overdue::{PointMissed, recovery_point};
use super::series::Series;
use crate::display::{joined_lines, one_line, rough_span, shell_word};

pub use facts::{
    DatabaseFacts, DrillFacts, Expectation, Failing, SeriesFacts, SpaceFacts, VerificationFacts,
};
pub use losses::{describe_loss, describe_lost_manifest, describe_lost_state};
pub use space::judge_space;

/// For fewer backups than these, the free space is too small.
const FEWEST_ROUNDS: u64 = 3;

/// Something that needs attention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    /// What it is.
    pub kind: ConcernKind,
    /// The server's name in the configuration, where it is about one.
    pub server: Option<String>,
    /// The database, where it is about one.
    pub database: Option<String>,
    /// Where the backups of that database stand: two servers may each have one of its name.
    pub directory: Option<PathBuf>,
    /// What is wrong with which thing, and the way out, in a sentence.
    pub sentence: String,
}

/// The kinds of what needs attention. Their names are part of the JSON output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConcernKind {
    /// There is no sound backup.
    NoBackup,
    /// The newest sound backup is older than the recovery point allows.
    RecoveryPoint,
    /// A run that its schedule promises has not happened.
    Overdue,
    /// The newest run failed.
    Failed,
    /// A backup is damaged.
    Damaged,
    /// A backup does not restore.
    Unrestorable,
    /// A damaged backup was put aside.
    Quarantined,
    /// A manifest speaks for no backup.
    Unreadable,
    /// The manifest of a backup is lost.
    LostManifest,
    /// The state of a backup, its pin and what its last check found, is lost.
    LostState,
    /// The newest backup that was known is gone.
    Vanished,
    /// The newest backups were made of another server than those before.
    OtherServer,
    /// The database has lost its tables, or most of its rows.
    Contents,
    /// The newest verification failed.
    VerificationFailed,
    /// A verification that its schedule promises has not happened.
    VerificationOverdue,
    /// A test restore that its schedule promises has not happened.
    DrillOverdue,
    /// The newest test restore with a result is older than it may be.
    DrillAge,
    /// A restore was killed, and nobody has made it again.
    RestoreCutShort,
    /// A test restore took longer than a restore may.
    RecoveryTime,
    /// The free space is small.
    Space,
    /// A directory cannot be looked at.
    Directory,
    /// The server does not have the database.
    NoSuchDatabase,
    /// The server refuses the daemon's connection.
    CannotConnect,
    /// The daemon's newest configuration is not in force.
    ConfigurationRefused,
    /// Something is overdue, and there is no daemon that would start it.
    NoDaemon,
}

/// What a database gives cause for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// What needs attention.
    pub concerns: Vec<Concern>,
    /// What is good to know and needs none, one sentence each.
    pub remarks: Vec<String>,
}

/// Judges one database.
pub fn judge_database(
    facts: &DatabaseFacts,
    expectation: Expectation,
    now: DateTime<FixedOffset>,
) -> Judgement {
    let mut judge = Judge {
        facts,
        expectation,
        now,
        judgement: Judgement::default(),
    };
    if let Some(sentence) = &facts.restore {
        judge.concern(ConcernKind::RestoreCutShort, sentence.clone());
    }
    judge.losses();
    judge.damage();
    judge.backups();
    judge.verification();
    judge.other_runs();
    judge.judgement
}

struct Judge<'a> {
    facts: &'a DatabaseFacts,
    expectation: Expectation,
    now: DateTime<FixedOffset>,
    judgement: Judgement,
}

impl Judge<'_> {
    fn damage(&mut self) {
        let word = shell_word(&self.facts.label);
        for (backup, what) in &self.facts.damaged {
            self.concern(
                ConcernKind::Damaged,
                format!(
                    "the backup {backup} is damaged: {what}; run `pgbackupd verify --all \
                     --database {word}` to see whether others are, and `pgbackupd backup \
                     --database {word}` for a new one"
                ),
            );
        }
        for (backup, what) in &self.facts.unrestorable {
            self.concern(
                ConcernKind::Unrestorable,
                format!(
                    "the backup {backup} does not restore: {}; run `pgbackupd backup --database \
                     {word}` for a new one, and `pgbackupd drill --database {word} {backup}` once \
                     the reason is fixed",
                    without_full_stop(&excerpt(&joined_lines(what)))
                ),
            );
        }
        for (directory, what) in &self.facts.quarantined {
            let name = directory.file_name().unwrap_or_default().to_string_lossy();
            let path = one_line(&directory.display().to_string());
            self.concern(
                ConcernKind::Quarantined,
                format!(
                    "the backup {name} was damaged and is in quarantine: {}; copy intact files \
                     into {path} and run `pgbackupd release {name}`, or remove that directory",
                    without_full_stop(&excerpt(&joined_lines(what)))
                ),
            );
        }
        for (file, what) in &self.facts.unreadable {
            let path = self.facts.directory.join(file);
            self.concern(
                ConcernKind::Unreadable,
                format!(
                    "{} counts for no backup: {what}; see docs/operations.md",
                    one_line(&path.display().to_string())
                ),
            );
        }
        for (backup, what) in &self.facts.lost_states {
            let sentence = describe_lost_state(backup, what, &self.facts.label);
            self.concern(ConcernKind::LostState, sentence);
        }
    }

    fn losses(&mut self) {
        for (backup, dump) in &self.facts.lost_manifests {
            let path = self.facts.directory.join(dump);
            let sentence = describe_lost_manifest(backup, &path, &self.facts.label);
            self.concern(ConcernKind::LostManifest, sentence);
        }
        for loss in &self.facts.losses {
            let kind = match loss.what {
                Accepted::Contents => ConcernKind::Contents,
                Accepted::Server => ConcernKind::OtherServer,
                Accepted::Vanished => ConcernKind::Vanished,
                Accepted::Manifest => ConcernKind::LostManifest,
            };
            let sentence = describe_loss(loss, &self.facts.label, &self.facts.directory);
            self.concern(kind, sentence);
        }
    }

    fn backups(&mut self) {
        let facts = self.facts;
        let newest = facts.series.iter().filter_map(|series| series.newest).max();
        let Expectation {
            recovery_point: target,
            grace,
            ..
        } = self.expectation;
        let newest_utc = newest.map(|newest| newest.to_utc());
        match recovery_point(newest_utc, self.now.to_utc(), target, grace) {
            None => {}
            Some(PointMissed::NoBackup) => self.no_backup(),
            Some(PointMissed::TooOld { age, target }) => {
                let way_out = self.way_out(None);
                self.concern(
                    ConcernKind::RecoveryPoint,
                    format!(
                        "the newest intact backup is {} old, and the recovery point is {}{way_out}",
                        rough_span(age),
                        rough_span(target),
                    ),
                );
            }
        }
        for series in &facts.series {
            self.series(series, newest);
        }
    }

    /// What is wrong with one series, in one concern: a run that failed is why a backup is overdue.
    fn series(&mut self, series: &SeriesFacts, newest: Option<DateTime<FixedOffset>>) {
        let name = &series.series;
        // What nobody makes by a schedule is not made again; any later backup is as good.
        let failing = series
            .failing
            .as_ref()
            .filter(|failing| series.scheduled || newest.is_none_or(|newest| newest < failing.at));
        if let Some(failing) = failing {
            let way_out = self.way_out(Some(series));
            let sentence = format!(
                "{}{way_out}",
                self.failed(&format!("{name} backup"), failing)
            );
            self.concern(ConcernKind::Failed, sentence);
        } else if let Some(slot) = series
            .overdue
            .filter(|_| newest.is_some() && !series.running)
        {
            let why = series.skipped.as_ref().map_or_else(String::new, |why| {
                format!(" (skipped: {})", without_full_stop(&joined_lines(why)))
            });
            let way_out = self.way_out(Some(series));
            self.concern(
                ConcernKind::Overdue,
                format!(
                    "the {name} backup that was due at {} has not been made{why}{way_out}",
                    moment(slot)
                ),
            );
        }
    }

    fn no_backup(&mut self) {
        let facts = self.facts;
        let is_due = facts.series.iter().any(|series| series.overdue.is_some());
        let is_scheduled = facts.series.iter().any(|series| series.scheduled);
        let runs = facts.series.iter().any(|series| series.running);
        let fails = facts.series.iter().any(|series| series.failing.is_some());
        let lost = [&facts.damaged, &facts.unrestorable, &facts.unreadable]
            .iter()
            .any(|bad| !bad.is_empty())
            || !facts.quarantined.is_empty()
            || !facts.lost_manifests.is_empty();
        let way_out = self.way_out(None);
        if lost {
            let sentence = format!("there is no intact backup{way_out}");
            self.concern(ConcernKind::NoBackup, sentence);
        } else if runs {
            self.remark("there is no backup yet: the first is being made");
        } else if fails {
            // Its failure says so.
        } else if !is_scheduled {
            let sentence = format!("there is no backup, and no job makes one{way_out}");
            self.concern(ConcernKind::NoBackup, sentence);
        } else if is_due {
            let sentence = format!("there is no backup, although one was due{way_out}");
            self.concern(ConcernKind::NoBackup, sentence);
        } else {
            self.remark("there is no backup yet: the first is not due");
        }
    }

    fn verification(&mut self) {
        let word = shell_word(&self.facts.label);
        let verification = &self.facts.verification;
        let way_out = format!("; run `pgbackupd verify --all --database {word}`");
        if verification.left > 0 {
            let left = match verification.left {
                1 => "1 backup".to_owned(),
                left => format!("{left} backups"),
            };
            self.remark(&format!(
                "the last verify run did not reach {left} in time; the next one begins with them"
            ));
        }
        if let Some(failing) = &verification.failing {
            let sentence = format!("{}{way_out}", self.failed("verify", failing));
            self.concern(ConcernKind::VerificationFailed, sentence);
        } else if let Some(slot) = verification.overdue.filter(|_| !verification.running) {
            let last = match verification.last {
                Some(last) => format!("the last was {} ago", rough_span(age(last, self.now))),
                None => "there was none before".to_owned(),
            };
            self.concern(
                ConcernKind::VerificationOverdue,
                format!(
                    "the verify run that was due at {} has not happened, and {last}{way_out}",
                    moment(slot)
                ),
            );
        }
    }

    fn other_runs(&mut self) {
        let word = shell_word(&self.facts.label);
        if let Some(failing) = &self.facts.prune {
            let sentence = format!(
                "{}; run `pgbackupd prune --database {word}`",
                self.failed("prune", failing)
            );
            self.concern(ConcernKind::Failed, sentence);
        }
        let drill = &self.facts.drill;
        let way_out = format!("; run `pgbackupd drill --database {word}`");
        if let Some(failing) = &drill.failing {
            let sentence = format!("{}{way_out}", self.failed("drill", failing));
            self.concern(ConcernKind::Failed, sentence);
        } else if let Some(slot) = drill.overdue.filter(|_| !drill.running) {
            let last = match drill.last {
                Some(last) => format!("the last one was {} ago", rough_span(age(last, self.now))),
                None => "there never was one".to_owned(),
            };
            let sentence = format!(
                "the drill that was due at {} has not happened, and {last}{way_out}",
                moment(slot)
            );
            self.concern(ConcernKind::DrillOverdue, sentence);
        }
        let utc = |moment: Option<DateTime<FixedOffset>>| moment.map(|moment| moment.to_utc());
        let (result, since) = (utc(drill.result), utc(drill.backups_since));
        let missed = self
            .expectation
            .missed_drill(result, since, self.now.to_utc());
        if let Some(missed) = missed.filter(|_| !drill.running) {
            self.concern(ConcernKind::DrillAge, format!("{missed}{way_out}"));
        }
        let target = self.expectation.recovery_time;
        if let Some(took) = self.facts.drill.recovery.filter(|took| *took > target) {
            let sentence = format!(
                "the data was back after {} in the last drill, and a restore is to take {} at \
                 most (objectives.recovery_time); docs/operations.md has ways to make it faster",
                rough_span(took),
                rough_span(target)
            );
            self.concern(ConcernKind::RecoveryTime, sentence);
        }
    }

    /// "the last daily backup failed 3 hours ago: …"
    fn failed(&self, what: &str, failing: &Failing) -> String {
        let ago = rough_span(age(failing.at, self.now));
        let which = match failing.runs {
            1 => format!("the last {what} failed {ago} ago"),
            runs => format!("the last {runs} runs of the {what} failed, the newest {ago} ago"),
        };
        format!(
            "{which}: {}",
            without_full_stop(&excerpt(&joined_lines(&failing.message)))
        )
    }

    /// The command that makes a backup, into a series that is not the usual one by its name.
    fn way_out(&self, series: Option<&SeriesFacts>) -> String {
        let word = shell_word(&self.facts.label);
        let series = match series {
            Some(facts) if facts.series.as_str() != Series::DAILY => {
                let is_new =
                    !facts.scheduled && facts.newest.is_none() && !facts.series.is_manual();
                let new = if is_new { " --new-series" } else { "" };
                format!(" --series {}{new}", facts.series)
            }
            _ => String::new(),
        };
        let gone = if self.facts.discovered && series.is_empty() {
            format!(
                ", or, if the database is gone, move {} away",
                one_line(&self.facts.directory.display().to_string())
            )
        } else {
            String::new()
        };
        format!("; run `pgbackupd backup --database {word}{series}`{gone}")
    }

    fn concern(&mut self, kind: ConcernKind, sentence: String) {
        self.judgement.concerns.push(Concern {
            kind,
            server: Some(self.facts.server.clone()),
            database: Some(self.facts.database.clone()),
            directory: Some(self.facts.directory.clone()),
            sentence,
        });
    }

    fn remark(&mut self, sentence: &str) {
        self.judgement.remarks.push(sentence.to_owned());
    }
}

/// How long ago a moment was; nothing for one that is still to come.
pub fn age(moment: DateTime<FixedOffset>, now: DateTime<FixedOffset>) -> Duration {
    (now.with_timezone(&Utc) - moment.with_timezone(&Utc))
        .to_std()
        .unwrap_or_default()
}

fn moment(moment: DateTime<FixedOffset>) -> impl fmt::Display {
    moment.format("%a %Y-%m-%d %H:%M %:z")
}

/// So much of an error as fits into a sentence; the ledger has all of it.
fn excerpt(message: &str) -> String {
    const LONGEST: usize = 300;
    if message.chars().count() <= LONGEST {
        return message.to_owned();
    }
    let mut front: String = message.chars().take(LONGEST).collect();
    // Half a command is none.
    if front.matches('`').count() % 2 == 1
        && let Some(open) = front.rfind('`')
    {
        front.truncate(open);
    }
    format!("{front}… (backup.log has all of it)")
}

fn without_full_stop(text: &str) -> &str {
    text.trim_end().trim_end_matches('.')
}

#[cfg(test)]
mod tests;
