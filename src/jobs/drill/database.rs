//! What belongs to the database itself and stands in no dump: its settings, privileges, comment and
//! the rest are given to the restored one as a restore gives them, and compared with the record.

use super::Drill;
use super::restored::Restored;
use crate::jobs::error::JobError;
use crate::jobs::load::other_owners;
use crate::jobs::proof::{Refused, RestoredCopy, give_properties, without};
use crate::postgres::{
    Client, DatabaseProperties, Extension, QueryError, comes_with_its_name, database_properties,
    differences_with_its_name, property_differences,
};
use crate::repository::Manifest;

impl Drill<'_> {
    /// Gives the restored database the recorded properties, and says what of them did not come back,
    /// one sentence each. What this machine cannot have is a remark.
    pub(super) async fn compare_properties(
        &mut self,
        restored: &Restored<'_>,
        manifest: &Manifest,
    ) -> Result<Vec<String>, JobError> {
        const WHAT: &str = "give the restored database its properties";
        let recorded = &manifest.properties;
        let database = restored.conninfo.database();
        let run = self.run;
        let connecting = Client::connect(&restored.conninfo, run.connect_limit());
        let client = run
            .wait_for(connecting)
            .await?
            .map_err(|error| JobError::failed(format!("{WHAT}: {error}")))?;
        let copy = RestoredCopy {
            name: database,
            recorded,
            more: comes_with_its_name(database, recorded),
        };
        let refused = give_properties(run, &client, copy).await?;
        let found = run.wait_for(database_properties(&client)).await??;
        self.remarks.extend(other_versions(recorded, &found));
        self.remarks.extend(manifest.not_in_the_backup());
        // Without the globals, nobody knows what the roles may do.
        if manifest.globals.is_some() {
            self.remarks.extend(other_owners(recorded, &found));
        }
        let is_older = manifest.server.major() < restored.sandbox.major();
        let (of_the_machine, of_the_backup): (Vec<_>, Vec<_>) = refused
            .into_iter()
            .partition(|one: &Refused| is_older || is_of_the_machine(&one.error));
        // What is missing for such a reason says nothing about the backup.
        let tried = without(recorded, &of_the_machine);
        self.remarks
            .extend(of_the_machine.iter().map(|Refused { sql, error, .. }| {
                format!("not compared, because {sql:?} failed: {}", error.reason())
            }));
        let mut phrases = property_differences(&tried, &found);
        phrases.extend(differences_with_its_name(&tried, &found));
        let mut sentences: Vec<String> = of_the_backup
            .iter()
            .map(|Refused { sql, error, .. }| {
                format!("of the database, {sql:?} failed: {}", error.reason())
            })
            .collect();
        sentences.extend(
            phrases
                .iter()
                .map(|phrase| format!("of the database, {phrase}")),
        );
        Ok(sentences)
    }
}

/// Whether a statement was refused for what this machine is: a value that depends on it (a locale, a
/// library), or a parameter of an extension's that is not loaded.
fn is_of_the_machine(error: &QueryError) -> bool {
    matches!(
        error.sqlstate.as_deref(),
        Some("22023" | "42704" | "42602" | "58P01" | "0A000")
    )
}

/// Extensions that came back in another version: the dump does not say which it was.
fn other_versions(recorded: &DatabaseProperties, found: &DatabaseProperties) -> Vec<String> {
    let recorded = recorded.extensions.iter();
    recorded
        .filter_map(|recorded| {
            let same_name = |one: &&Extension| one.name == recorded.name;
            let found = found.extensions.iter().find(same_name)?;
            (found.version != recorded.version).then(|| {
                format!(
                    "the extension {} came back as version {}, and was {}",
                    recorded.name, found.version, recorded.version
                )
            })
        })
        .collect()
}
