//! What has to be there before the dump can be loaded: room on the disk, roles, and an empty database.

use std::collections::BTreeSet;

use super::begin::NOTHING_RESTORED;
use super::roles::{self, without_grantor};
use super::side_names::{Names, SideName, mark};
use super::work::{Made, Restore, STATEMENT};
use crate::jobs::JobError;
use crate::jobs::record::unrecorded;
use crate::pipeline::StreamSummary;
use crate::postgres::{
    Client, Conninfo, DatabaseProperties, QueryError, ServerFacts, USUAL_TABLESPACE,
    comment_on_database, create_database, databases, differing_settings, in_the_name_of, is_member,
    settings_for_loading,
};
use crate::repository::Details;

/// Completes the sentence "cannot …".
const PREPARE: &str = "prepare the new database";

/// The same.
const RESTORE_ROLE: &str = "restore a role";

/// Carries a statement out within a transaction, which goes on if it fails.
async fn attempt(client: &Client, sql: &str) -> Result<Result<(), QueryError>, QueryError> {
    client
        .execute(RESTORE_ROLE, "SAVEPOINT attempt", STATEMENT)
        .await?;
    let done = client.execute(RESTORE_ROLE, sql, STATEMENT).await;
    if done.is_err() {
        client
            .roll_back_to(RESTORE_ROLE, "attempt", STATEMENT)
            .await?;
    }
    Ok(done)
}

/// What came of making an empty database, also after a failure.
#[derive(Default)]
pub(super) struct Creation {
    /// Whether it must be dropped after a failure.
    pub(super) is_there: bool,
    /// What the server does not take.
    pub(super) warnings: Vec<String>,
}

impl Restore<'_> {
    /// The mark of a database that is being restored, by which a later restore knows it.
    fn mark(&self) -> String {
        mark(
            &self.run.context.requester.host,
            self.request.order.database,
        )
    }

    /// Drops what a restore left behind that was killed: the lock says that none is at work.
    pub(in crate::jobs) async fn drop_leftovers(
        &self,
        client: &Client,
        made: &mut Made,
    ) -> Result<(), JobError> {
        let mark = self.mark();
        let recorded = self.recorded_as_begun()?;
        for (name, standing) in databases(client).await? {
            let is_left = match &standing.comment {
                Some(comment) => *comment == mark,
                // Whoever made it was killed before it was marked, or the server lost the mark.
                None => recorded.contains(&name),
            };
            // A name without a time is somebody's, whatever its comment says.
            if is_left && SideName::Restoring.is(&name, &self.plan.database) {
                self.run
                    .step(&format!("dropping {name}, which an earlier restore left"));
                if let Err(error) = self.drop_made(client, &name).await {
                    made.warnings.push(format!(
                        "{name}, which an earlier restore left, could not be dropped: {error}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// The databases that restores have ever begun to make. One that took its name has it no more; what
    /// still is there was left.
    fn recorded_as_begun(&self) -> Result<BTreeSet<String>, JobError> {
        let ledger = self.request.order.repository.restore_ledger();
        let mut begun = BTreeSet::new();
        let read = ledger.read(|record| {
            if let Details::Restore(details) = record.details
                && let Some(names) = details.side_names
            {
                begun.insert(names.loads_into);
                begun.extend(names.compares_with);
            }
        });
        read.map_err(unrecorded(&ledger, NOTHING_RESTORED))?;
        // A restore of tables leaves a note.
        let notes = self.request.order.repository.scratch_notes()?;
        begun.extend(notes.into_iter().flat_map(|note| note.names));
        Ok(begun)
    }

    /// Creates the roles that the server lacks, and brings memberships back: all of it or nothing,
    /// or a later restore would find a role and take it for one that is as somebody wanted it.
    pub(in crate::jobs) async fn restore_roles(
        &self,
        client: &Client,
        made: &mut Made,
    ) -> Result<(), JobError> {
        const WHAT: &str = RESTORE_ROLE;
        let source = &self.prepared.source;
        let overwrite = self.request.overwrite_roles;
        let wanted = roles::to_restore(
            &source.globals,
            &self.prepared.server_facts.roles,
            overwrite,
        );
        if !wanted.missing.is_empty() {
            self.run
                .step(&format!("creating roles: {}", wanted.missing.join(", ")));
        }
        let has_passwords = source
            .manifest
            .as_ref()
            .and_then(|manifest| manifest.globals.as_ref())
            .is_some_and(|globals| globals.role_passwords);
        if !has_passwords && !wanted.missing.is_empty() {
            made.warnings.push(format!(
                "the backup holds no passwords of roles: set them for {}",
                wanted.missing.join(", ")
            ));
        }
        if wanted.statements.is_empty() && wanted.memberships.is_empty() {
            return Ok(());
        }
        // Whatever ends this function early ends the connection, and with it the transaction.
        client.execute(WHAT, "BEGIN", STATEMENT).await?;
        for statement in &wanted.statements {
            self.go_on()?;
            client.execute(WHAT, statement, STATEMENT).await?;
        }
        for (role, member, statement) in &wanted.memberships {
            self.go_on()?;
            let granted = match (
                attempt(client, statement).await?,
                without_grantor(statement),
            ) {
                // The recorded grantor may not have the right here.
                (Err(_), Some(shorter)) => attempt(client, &shorter).await?,
                (granted, _) => granted,
            };
            let Err(error) = granted else { continue };
            if !is_member(client, role, member).await? {
                return Err(error.into());
            }
            made.warnings.push(format!(
                "the membership of {member} in {role} is unchanged: {error}"
            ));
        }
        self.go_on()?;
        // If the answer is lost, they may be there.
        made.roles.clone_from(&wanted.missing);
        let committed = client.execute(WHAT, "COMMIT", STATEMENT).await;
        if matches!(&committed, Err(error) if error.sqlstate.is_some()) {
            made.roles.clear();
        }
        Ok(committed?)
    }

    /// Gives the roles that were restored their rights on parameters and tablespaces: last, since a role
    /// that has any could not be dropped again.
    pub(in crate::jobs) async fn give_rights_to_roles(&self, client: &Client, made: &mut Made) {
        const WHAT: &str = "grant a role its privileges";
        let globals = &self.prepared.source.globals;
        let overwrite = self.request.overwrite_roles;
        let wanted = roles::to_restore(globals, &self.prepared.server_facts.roles, overwrite);
        for (grantor, statement) in &wanted.privileges {
            let mut granted = match grantor {
                Some(grantor) => {
                    let sql = in_the_name_of(grantor, statement);
                    client.execute(WHAT, &sql, STATEMENT).await
                }
                None => client.execute(WHAT, statement, STATEMENT).await,
            };
            if granted.is_err() && grantor.is_some() {
                // Who has granted it may not have the right here.
                granted = client.execute(WHAT, statement, STATEMENT).await;
            }
            if let Err(error) = granted {
                made.warnings.push(format!("{error}: {statement}"));
            }
        }
    }

    /// Makes the empty database that is loaded. Another restore, from elsewhere, may have taken its name in
    /// the same second: then it is the next one.
    pub(in crate::jobs) async fn create_what_is_loaded(
        &mut self,
        client: &Client,
        made: &mut Made,
    ) -> Result<(), JobError> {
        loop {
            let name = self.new_name().to_owned();
            self.run.step(&format!("creating the database {name}"));
            let mut creation = Creation::default();
            let created = self.create(client, &name, &mut creation).await;
            made.database = creation.is_there;
            made.warnings.append(&mut creation.warnings);
            let Err(error) = created else { return Ok(()) };
            let Some(names) = self.other_names(client, &error, &name).await? else {
                return Err(error);
            };
            self.plan.loads_into = names.loads_into;
            self.plan.compares_with = names.compares_with;
            self.record_names(&self.plan.compares_with)?;
        }
    }

    /// Other names, where an error says that somebody else has this one.
    pub(in crate::jobs) async fn other_names(
        &self,
        client: &Client,
        error: &JobError,
        name: &str,
    ) -> Result<Option<Names>, JobError> {
        if !matches!(error, JobError::Query(error) if error.is_taken_database_name()) {
            return Ok(None);
        }
        let all = databases(client).await?;
        let names = Names::free(&self.plan.database, self.run.now(), &all);
        Ok(all.contains_key(name).then_some(names))
    }

    /// Makes the empty database that is loaded, or the one for its reference, in the same way.
    pub(super) async fn create(
        &self,
        client: &Client,
        name: &str,
        creation: &mut Creation,
    ) -> Result<(), JobError> {
        let like = self.prepared.like.as_ref();
        let sql = create_database(name, like, self.prepared.server_facts.major);
        self.go_on()?;
        // Not given up midway: the server would go on, and leave a database without our mark.
        let created = client
            .execute("create the database to restore into", &sql, STATEMENT)
            .await;
        // What the server has refused is not there, or is somebody else's; an answer that is lost
        // is no failure of the statement.
        creation.is_there = !matches!(&created, Err(error) if error.sqlstate.is_some());
        created.map_err(|error| {
            let locale = like.map(|like| {
                format!(
                    "it is to have encoding {}, locale {} and provider {}\nhint: `locale -a` on the \
                     server's machine lists the available ones",
                    like.encoding, like.lc_collate, like.locale_provider
                )
            });
            match (error.sqlstate.as_deref(), locale) {
                // A wrong object, a wrong value, a feature that is not there.
                (Some("42809" | "22023" | "0A000"), Some(locale)) => {
                    JobError::failed(format!("{error}; {locale}"))
                }
                _ => error.into(),
            }
        })?;
        client
            .execute(
                PREPARE,
                &comment_on_database(name, Some(&self.mark())),
                STATEMENT,
            )
            .await?;
        self.give_settings_for_loading(client, name, &mut creation.warnings)
            .await
    }

    /// Gives the new database what functions and conditions in the dump find in their session. What it
    /// does not take is a warning; of its own settings, when they are given for good.
    async fn give_settings_for_loading(
        &self,
        client: &Client,
        name: &str,
        warnings: &mut Vec<String>,
    ) -> Result<(), JobError> {
        let Some(like) = &self.prepared.like else {
            return Ok(());
        };
        let manifest = self.prepared.source.manifest.as_ref();
        let recorded = manifest.map_or(&[][..], |one| &one.server.settings);
        let differing = self
            .run
            .wait_for(differing_settings(client, recorded))
            .await??;
        if !differing.is_empty() {
            let names: Vec<&str> = differing.iter().map(|one| one.name.as_str()).collect();
            warnings.push(format!(
                "the server does not set what the server of the backup did: {}. It was loaded with the \
                 recorded values, and is without them now: set them in postgresql.conf, or by ALTER \
                 DATABASE, if its functions need them",
                names.join(", ")
            ));
        }
        for one in settings_for_loading(name, &differing, like) {
            match client.execute(PREPARE, &one.sql, STATEMENT).await {
                Err(error) if error.sqlstate.is_none() => return Err(error.into()),
                Err(error) if one.is_of_server => warnings.push(format!(
                    "the setting {} could not be applied while it was loaded (SQLSTATE {})",
                    one.name,
                    error.sqlstate.unwrap_or_default()
                )),
                _ => {}
            }
        }
        Ok(())
    }
}

/// What a row takes at least: its header and the pointer to it (the manual's "Database Page Layout").
const LEAST_OF_A_ROW: u64 = 24 + 4;

/// Bytes that the database is likely to take: what it took, or three halves of its text.
pub(in crate::jobs) fn forecast(
    recorded: Option<&DatabaseProperties>,
    stream_summary: Option<&StreamSummary>,
) -> Option<u64> {
    let text = stream_summary.map(|stream_summary| of_text(stream_summary.text_bytes));
    // A dump file does not say.
    let recorded = recorded.map(|properties| properties.size_bytes);
    recorded.filter(|bytes| *bytes > 0).or(text)
}

fn of_text(bytes: u64) -> u64 {
    bytes / 2 * 3
}

/// Bytes that some tables of a backup take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::jobs) struct Room {
    /// Not less than this.
    pub(in crate::jobs) at_least: u64,
    /// Likely this: their share of the text, by rows.
    pub(in crate::jobs) about: u64,
}

impl Room {
    /// For so many of all the rows that make this text.
    pub(in crate::jobs) fn of_rows(rows: u64, all: u64, text_bytes: u64) -> Self {
        let at_least = rows.saturating_mul(LEAST_OF_A_ROW);
        let share = u128::from(of_text(text_bytes)) * u128::from(rows) / u128::from(all.max(1));
        Self {
            at_least,
            about: at_least.max(u64::try_from(share).unwrap_or(u64::MAX)),
        }
    }
}

/// Bytes that are free where a database stands, if that is the usual place and on this machine.
pub(in crate::jobs) fn free(
    conninfo: &Conninfo,
    server_facts: &ServerFacts,
    tablespace: Option<&str>,
) -> Option<u64> {
    if !conninfo.is_on_this_machine() || tablespace.unwrap_or(USUAL_TABLESPACE) != USUAL_TABLESPACE
    {
        return None;
    }
    let space = rustix::fs::statvfs(server_facts.data_directory.as_ref()?.as_str()).ok()?;
    Some(space.f_bavail.saturating_mul(space.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_tables_take_their_share_by_rows_and_no_row_is_smaller_than_its_header() {
        for (rows, all, text, at_least, about) in [
            (10, 100, 20_000, 280, 3_000),
            (100, 100, 1_000, 2_800, 2_800),
            (0, 0, 1_000, 0, 0),
            (u64::MAX, u64::MAX, 0, u64::MAX, u64::MAX),
        ] {
            let room = Room::of_rows(rows, all, text);
            assert_eq!(room, Room { at_least, about }, "{rows} of {all}");
        }
    }
}
