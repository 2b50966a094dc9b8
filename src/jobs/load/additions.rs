//! Statements of ours between those of a dump: extensions are made as the roles that own them in the original,
//! and foreign keys of a partial backup also where rows are missing. And which owners have not come about.

use std::time::Duration;

use crate::jobs::error::JobError;
use crate::pipeline::{made_extension, make_as_owner, make_key_or_leave_it_unvalidated};
use crate::postgres::{Client, Conninfo, DatabaseProperties, Extension, quoted};
use crate::repository::Manifest;

/// For one CREATE EXTENSION.
const STATEMENT: Duration = Duration::from_secs(300);

/// What a dump gets of ours while it is loaded.
#[derive(Clone, Debug, Default)]
pub(in crate::jobs) struct Additions {
    /// The extensions whose owners are recorded.
    extensions: Vec<Extension>,
    /// Whether rows are missing that foreign keys refer to.
    lacks_rows: bool,
}

impl Additions {
    /// Those for a backup.
    pub(in crate::jobs) fn of(manifest: &Manifest) -> Self {
        let recorded = manifest.properties.extensions.iter();
        Self {
            extensions: recorded
                .filter(|one| one.owner.is_some())
                .cloned()
                .collect(),
            lacks_rows: manifest.is_partial(),
        }
    }

    /// Whether they can only stand in a text.
    pub(super) fn need_a_text(&self) -> bool {
        self.lacks_rows
    }

    /// What is carried out in the place of a statement of the dump.
    pub(super) fn instead_of(&self, statement: &[u8]) -> Option<Vec<u8>> {
        let statement = self.lacks_rows.then_some(statement)?;
        make_key_or_leave_it_unvalidated(statement)
    }

    /// What is to be carried out directly before a statement of the dump.
    pub(in crate::jobs) fn before(&self, statement: &[u8]) -> Option<Vec<u8>> {
        let name = made_extension(statement)?;
        let one = self
            .extensions
            .iter()
            .find(|one| one.name.as_bytes() == name)?;
        make_as_owner(statement, one.owner.as_deref()?)
    }

    /// Makes the extensions in an empty database, as far as their schemas are there already and their owners
    /// may: `pg_restore` lets nothing come between its statements.
    ///
    /// # Errors
    /// When the server does not answer.
    pub(super) async fn make_in(
        &self,
        conninfo: &Conninfo,
        connect: Duration,
    ) -> Result<(), JobError> {
        let user = conninfo.user();
        if self
            .extensions
            .iter()
            .all(|one| one.owner.as_deref() == Some(user))
        {
            return Ok(());
        }
        let client = Client::connect(conninfo, connect).await?;
        // One may need another one, which comes later by its name.
        for one in [&self.extensions, &self.extensions].into_iter().flatten() {
            let statement = format!(
                "CREATE EXTENSION IF NOT EXISTS {} WITH SCHEMA {};",
                quoted(&one.name),
                quoted(&one.schema)
            );
            let made = one
                .owner
                .as_deref()
                .and_then(|owner| make_as_owner(statement.as_bytes(), owner));
            let Some(Ok(sql)) = made.map(String::from_utf8) else {
                continue;
            };
            match client.execute("make an extension", &sql, STATEMENT).await {
                Err(error) if error.sqlstate.is_none() => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Which extensions belong to another role than in the original, one sentence each. Pure.
pub(in crate::jobs) fn other_owners(
    recorded: &DatabaseProperties,
    found: &DatabaseProperties,
) -> Vec<String> {
    let recorded = recorded.extensions.iter();
    recorded
        .filter_map(|recorded| {
            let same_name = |one: &&Extension| one.name == recorded.name;
            let found = found.extensions.iter().find(same_name)?.owner.as_ref()?;
            let owner = recorded.owner.as_ref().filter(|owner| *owner != found)?;
            Some(format!(
                "the extension {} belongs to {found}, and to {owner} in the original, who could not create \
                 it: only {found} or a superuser can ALTER or DROP it",
                recorded.name
            ))
        })
        .collect()
}
