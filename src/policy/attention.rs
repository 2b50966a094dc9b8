//! What needs the operator's attention, judged from facts: whether all is well.

mod concern;
mod copies;
mod facts;
mod losses;
mod odd;
mod rehearsal;
mod space;

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, FixedOffset, Utc};

use super::anomaly::time_limit;
use super::continuity::Accepted;
use super::definitions::DefinitionsResult;
use super::overdue::{PointMissed, recovery_point};
use super::series::Series;
use crate::display::{
    command, database_option, joined_lines, one_line, rough_span, salvage_command,
};

use copies::judge_copies;

pub use copies::judge_clocks;

pub use concern::{Concern, ConcernKind, Severity};
pub use facts::{
    DatabaseFacts, DefinitionsFacts, DrillFacts, Expectation, Failing, SeriesFacts, SpaceFacts,
    VerificationFacts,
};
pub use losses::{describe_loss, describe_lost_manifest, describe_lost_state};
pub use odd::describe_odd_size;
pub use rehearsal::judge_rehearsals;
pub use space::judge_space;

/// A definition that is refused is shown with its details, its context and its statement.
const LONGEST_REFUSAL: usize = 900;

/// For fewer backups than these, the free space is too small.
const FEWEST_ROUNDS: u64 = 3;

/// The page with ways out that need more than a sentence, where the package installs it.
const OPERATIONS: &str = "/usr/share/doc/pgbackupd/operations.md";

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
    judge.definitions();
    judge.backups();
    judge.verification();
    judge.other_runs();
    for concern in judge_copies(facts, expectation, now.to_utc()) {
        judge.push(concern);
    }
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
        let database = database_option(&self.facts.label);
        for (backup, what) in &self.facts.damaged {
            self.about(
                ConcernKind::Damaged,
                backup,
                format!(
                    "the backup {backup} is damaged: {what}; run `pgbackupd verify --all \
                     {database}` to see whether others are, and `pgbackupd backup \
                     {database}` for a new one"
                ),
            );
        }
        for (backup, what) in &self.facts.unrestorable {
            self.about(
                ConcernKind::Unrestorable,
                backup,
                format!(
                    "the backup {backup} does not restore: {}; once the reason is fixed in the database, \
                     run `pgbackupd backup {database}` and `{}`; `{}` salvages what this one holds",
                    without_full_stop(&excerpt(&joined_lines(what))),
                    self.facts.drill_command(""),
                    salvage_command(
                        &self.facts.label,
                        backup,
                        self.facts.encrypted.contains(backup)
                    )
                ),
            );
        }
        for (directory, what) in &self.facts.quarantined {
            let name = directory.file_name().unwrap_or_default().to_string_lossy();
            let path = one_line(&directory.display().to_string());
            self.about(
                ConcernKind::Quarantined,
                &name,
                format!(
                    "the backup {name} was damaged and is in quarantine: {}; copy intact files \
                     into {path} and run `{}`, or remove that directory",
                    without_full_stop(&excerpt(&joined_lines(what))),
                    command("release", &self.facts.label, &name)
                ),
            );
        }
        for (file, what) in &self.facts.unreadable {
            let path = self.facts.directory.join(file);
            self.about(
                ConcernKind::Unreadable,
                file,
                format!(
                    "{} counts for no backup: {what}; see {OPERATIONS}",
                    one_line(&path.display().to_string())
                ),
            );
        }
        for (backup, what) in &self.facts.lost_states {
            let sentence = describe_lost_state(backup, what, &self.facts.label);
            self.about(ConcernKind::LostState, backup, sentence);
        }
    }

    fn definitions(&mut self) {
        let database = database_option(&self.facts.label);
        let Some(definitions) = &self.facts.definitions else {
            return;
        };
        let (backup, message) = (&definitions.backup, joined_lines(&definitions.message));
        match definitions.result {
            DefinitionsResult::Load => {}
            DefinitionsResult::NotTried => self.remark(&format!(
                "{} ({backup})",
                without_full_stop(&excerpt(&message))
            )),
            DefinitionsResult::Refused => {
                let what = message.strip_prefix("definitions do not load: ");
                let what = shortened(what.unwrap_or(&message), LONGEST_REFUSAL);
                let sentence = format!(
                    "the definitions of {backup} do not load: {}; rows not tried. Fix it in the \
                     database, then run `pgbackupd backup {database}` and `{}`",
                    without_full_stop(&what),
                    self.facts.drill_command("--definitions ")
                );
                self.concern(ConcernKind::DefinitionsDoNotLoad, sentence);
            }
        }
    }

    fn losses(&mut self) {
        for (backup, dump) in &self.facts.lost_manifests {
            let path = self.facts.directory.join(dump);
            let sentence = describe_lost_manifest(backup, &path, &self.facts.label);
            self.about(ConcernKind::LostManifest, backup, sentence);
        }
        for loss in &self.facts.losses {
            let sentence = describe_loss(loss, &self.facts.label, &self.facts.directory);
            let mut concern = Concern::new(loss.what.into(), sentence);
            concern = concern.about(&loss.to_accept().name);
            if loss.is_of_some_rows() {
                concern.severity = Severity::Warning;
            }
            self.push(concern);
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
            self.odd_size(series);
            self.slow_backup(series);
        }
    }

    /// That a backup of a series has been running for longer than expected.
    fn slow_backup(&mut self, series: &SeriesFacts) {
        let objective = ("objectives.backup_time", self.expectation.backup_time);
        let slow = self.slow(series.running_since, objective, &series.took);
        if let Some(slow) = slow {
            let sentence = format!(
                "the {} backup {slow}; `pgbackupd status` shows how far it is",
                series.series
            );
            self.push(Concern::new(ConcernKind::Slow, sentence).of_series(&series.series));
        }
    }

    /// That a test restore has been running for longer than expected.
    fn slow_drill(&mut self) {
        let drill = &self.facts.drill;
        let objective = ("objectives.recovery_time", self.expectation.recovery_time);
        let slow = self.slow(drill.running_since, objective, &drill.took);
        if let Some(slow) = slow {
            let sentence =
                format!("the drill {slow}; {OPERATIONS} has ways to make a restore faster");
            self.about(ConcernKind::Slow, "drill", sentence);
        }
    }

    /// "has been running for 3 hours, longer than …", if it has.
    fn slow(
        &self,
        since: Option<DateTime<FixedOffset>>,
        (name, objective): (&str, Duration),
        took: &[Duration],
    ) -> Option<String> {
        let runs = age(since?, self.now);
        let limit = time_limit(objective, took, self.expectation.sensitivity);
        (runs > limit).then(|| {
            let than = if limit == objective {
                format!("{name} allows ({})", rough_span(limit))
            } else {
                format!("expected from those before it ({})", rough_span(limit))
            };
            format!(
                "has been running for {}, longer than {than}",
                rough_span(runs)
            )
        })
    }

    /// That the size of the newest backup of a series is odd. With rows that are lost and reported, a
    /// smaller one is no news.
    fn odd_size(&mut self, series: &SeriesFacts) {
        let mut losses = self.facts.losses.iter();
        let is_known = losses.any(|loss| loss.what == Accepted::Contents);
        let odd = series.odd_size.as_ref();
        if let Some(odd) = odd.filter(|odd| !(is_known && odd.has_shrunk())) {
            let sentence = describe_odd_size(&series.series, odd, &self.facts.label);
            self.push(Concern::new(ConcernKind::Size, sentence).of_series(&series.series));
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
            let mut concern = Concern::new(ConcernKind::Failed, sentence).of_series(name);
            // There is nothing to restore, and this says so.
            if newest.is_none() {
                concern.severity = Severity::Critical;
            }
            self.push(concern);
        } else if let Some(slot) = series
            .overdue
            .filter(|_| newest.is_some() && !series.running)
        {
            let why = series.skipped.as_ref().map_or_else(String::new, |why| {
                format!(" (skipped: {})", without_full_stop(&joined_lines(why)))
            });
            let way_out = self.way_out(Some(series));
            let sentence = format!(
                "the {name} backup that was due at {} has not been made{why}{way_out}",
                moment(slot)
            );
            self.push(Concern::new(ConcernKind::Overdue, sentence).of_series(name));
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
        let database = database_option(&self.facts.label);
        let verification = &self.facts.verification;
        let way_out = format!("; run `pgbackupd verify --all {database}`");
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
        let database = database_option(&self.facts.label);
        if let Some(failing) = &self.facts.prune {
            let sentence = format!(
                "{}; run `pgbackupd prune {database}`",
                self.failed("prune", failing)
            );
            self.about(ConcernKind::Failed, "prune", sentence);
        }
        self.slow_drill();
        let drill = &self.facts.drill;
        let way_out = format!("; run `{}`", self.facts.drill_command(""));
        if let Some(failing) = &drill.failing {
            let sentence = format!("{}{way_out}", self.failed("drill", failing));
            self.about(ConcernKind::Failed, "drill", sentence);
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
                 most (objectives.recovery_time); {OPERATIONS} has ways to make it faster",
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
        let database = database_option(&self.facts.label);
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
        format!("; run `pgbackupd backup {database}{series}`{gone}")
    }

    fn concern(&mut self, kind: ConcernKind, sentence: String) {
        self.push(Concern::new(kind, sentence));
    }

    /// A concern about one of the database's backups, files or operations.
    fn about(&mut self, kind: ConcernKind, object: &str, sentence: String) {
        self.push(Concern::new(kind, sentence).about(object));
    }

    fn push(&mut self, concern: Concern) {
        let facts = self.facts;
        let concern = concern
            .of_server(&facts.server)
            .of_database(&facts.database)
            .in_directory(&facts.directory);
        self.judgement.concerns.push(concern);
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

/// So much of an error as fits into a sentence, and its way out; the ledger has all of it.
fn excerpt(message: &str) -> String {
    const LONGEST: usize = 300;
    const HINT: &str = "; hint: ";
    match message.rsplit_once(HINT) {
        Some((what, hint)) if hint.chars().count() <= LONGEST => {
            format!("{}{HINT}{hint}", shortened(what, LONGEST))
        }
        _ => shortened(message, LONGEST),
    }
}

fn shortened(message: &str, longest: usize) -> String {
    if message.chars().count() <= longest {
        return message.to_owned();
    }
    let mut front: String = message.chars().take(longest).collect();
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
