//! Whether a disk has room for what comes next.

use super::{Concern, ConcernKind, FEWEST_ROUNDS, Severity, SpaceFacts};
use crate::display::one_line;

/// Judges the free space of a file system.
pub fn judge_space(facts: &SpaceFacts) -> Option<Concern> {
    let size = |bytes: u64| bytesize::ByteSize::b(bytes).display().iec();
    let rounds = facts.rounds();
    let lasts = match rounds {
        Some(rounds) if rounds < FEWEST_ROUNDS => Some(format!(
            "enough for {} of {}",
            match rounds {
                0 => "not even one more backup".to_owned(),
                1 => "one more backup".to_owned(),
                rounds => format!("{rounds} more backups"),
            },
            match facts.databases {
                1 => "the database there".to_owned(),
                databases => format!("each of the {databases} databases there"),
            }
        )),
        _ => None,
    };
    let below = (facts.free < facts.wanted).then(|| {
        format!(
            "less than limits.free_space asks for ({})",
            size(facts.wanted)
        )
    });
    let full = facts.full_in_days.map(|days| {
        format!(
            "full {} by the schedule, although retention removes backups",
            match days {
                1 => "within a day".to_owned(),
                days => format!("in {days} days"),
            }
        )
    });
    let why: Vec<String> = below.into_iter().chain(lasts).chain(full).collect();
    (!why.is_empty()).then(|| {
        let directory = facts.directory.display().to_string();
        let sentence = format!(
            "only {} are free in {}, {}; make room there, or keep less and run `pgbackupd prune`",
            size(facts.free),
            one_line(&directory),
            why.join(", and ")
        );
        let mut concern = Concern::new(ConcernKind::Space, sentence).about(directory);
        // The next backup will fail.
        if rounds == Some(0) {
            concern.severity = Severity::Critical;
        }
        concern
    })
}
