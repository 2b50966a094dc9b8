//! Whether a disk has room for what comes next.

use super::{Concern, ConcernKind, FEWEST_ROUNDS, SpaceFacts};
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
    let why: Vec<String> = below.into_iter().chain(lasts).collect();
    (!why.is_empty()).then(|| Concern {
        kind: ConcernKind::Space,
        server: None,
        database: None,
        directory: None,
        sentence: format!(
            "only {} are free in {}, {}; make room there, or keep less and run `pgbackupd prune`",
            size(facts.free),
            one_line(&facts.directory.display().to_string()),
            why.join(", and ")
        ),
    })
}
