//! Backups that schedules made, in directories that the configuration does not have any more: nothing
//! looks after them, and nobody would be reminded of them.

use std::path::Path;

use super::directories::Spot;
use super::inspection::Inspection;
use crate::config::{Databases, Plan};
use crate::display::counted;
use crate::repository::{LastSeen, Repository};

/// What such a remark, and no other, has in it.
const NOT_CONFIGURED: &str = " and is not configured";

/// Whether a remark is about such a directory.
pub(super) fn is_about(remark: &str) -> bool {
    remark.contains(NOT_CONFIGURED)
}

/// What there is to know of such directories, one sentence each. They come from the state directory,
/// which remembers where backups were made; one that is gone since is nobody's business.
pub(super) fn remarks(inspection: &Inspection<'_>, spots: &[Spot<'_>]) -> Vec<String> {
    let (plan, answers) = (inspection.plan, &inspection.answers);
    let Some(state_directory) = inspection.state_directory else {
        return Vec::new();
    };
    let remembered = answers.ask(state_directory, LastSeen::all);
    // Whoever may not look there sees fewer remarks; the daemon's user does.
    let remembered = remembered.flatten().unwrap_or_default();
    remembered
        .iter()
        .filter(|seen| !is_configured(plan, spots, &seen.directory))
        .filter_map(|seen| {
            let left = answers.ask(&seen.directory, backups_of_schedules).ok()??;
            Some(format!(
                "{} holds {}{NOT_CONFIGURED}: no job makes others or checks these, and \
                 retention removes none; move or delete the directory, or configure the database again",
                seen.directory.display(),
                counted(left, "scheduled backup", "scheduled backups"),
            ))
        })
        .collect()
}

fn is_configured(plan: &Plan, spots: &[Spot<'_>], directory: &Path) -> bool {
    let is_found_at_each_run = plan.servers.iter().any(|server| {
        matches!(server.databases, Databases::All(_))
            && directory.parent() == Some(server.directory.as_path())
    });
    is_found_at_each_run
        || spots
            .iter()
            .any(|spot| spot.repository.directory() == directory)
}

/// How many there are; none where there is none. Backups by hand were made wherever somebody wanted them.
fn backups_of_schedules(directory: &Path) -> Option<u64> {
    let catalogue = Repository::at(directory).catalogue().ok()?;
    let scheduled = catalogue.backups.iter();
    let count = scheduled
        .filter(|entry| !entry.stem.series.is_manual())
        .count();
    (count > 0).then_some(count as u64)
}
