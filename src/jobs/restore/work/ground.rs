//! What has to be there before the dump can be loaded: roles, and an empty database.

use std::collections::BTreeSet;

use super::super::beside::{Beside, Names, mark};
use super::super::roles::{self, without_grantor};
use super::{Made, STATEMENT, Work};
use crate::jobs::JobError;
use crate::jobs::record::unrecorded;
use crate::postgres::{
    Client, QueryError, comment_on_database, create_database, databases, differing_settings,
    in_the_name_of, is_member, settings_for_loading,
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

impl Work<'_> {
    /// The mark of a database that is being restored, by which a later restore knows it.
    fn mark(&self) -> String {
        mark(&self.context.requester.host, self.request.database)
    }

    /// Drops what a restore left behind that was killed: the lock says that none is at work.
    pub(super) async fn drop_leftovers(
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
            if is_left && Beside::Restoring.is(&name, &self.plan.database) {
                self.say(&format!("dropping {name}, which an earlier restore left"));
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
        let ledger = self.request.repository.restore_ledger();
        let mut begun = BTreeSet::new();
        let read = ledger.read(|record| {
            if let Details::Restore(details) = record.details
                && let Some(names) = details.beside
            {
                begun.insert(names.loads_into);
                begun.extend(names.compares_with);
            }
        });
        read.map_err(unrecorded(&ledger, "nothing was restored because"))?;
        // A restore of tables leaves a note.
        let notes = self.request.repository.scratch_notes()?;
        begun.extend(notes.into_iter().flat_map(|note| note.names));
        Ok(begun)
    }

    /// Creates the roles that the server lacks, and brings memberships back: all of it or nothing,
    /// or a later restore would find a role and take it for one that is as somebody wanted it.
    pub(super) async fn restore_roles(
        &self,
        client: &Client,
        made: &mut Made,
    ) -> Result<(), JobError> {
        const WHAT: &str = RESTORE_ROLE;
        let source = &self.prepared.source;
        let overwrite = self.request.overwrite_roles;
        let wanted = roles::to_restore(&source.globals, &self.prepared.premises.roles, overwrite);
        if !wanted.missing.is_empty() {
            self.say(&format!("creating roles: {}", wanted.missing.join(", ")));
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
                "that {member} is a member of {role} stays as it is: {error}"
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
    pub(super) async fn give_rights_to_roles(&self, client: &Client, made: &mut Made) {
        const WHAT: &str = "give a role its rights";
        let globals = &self.prepared.source.globals;
        let overwrite = self.request.overwrite_roles;
        let wanted = roles::to_restore(globals, &self.prepared.premises.roles, overwrite);
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
    pub(super) async fn create_what_is_loaded(
        &mut self,
        client: &Client,
        made: &mut Made,
    ) -> Result<(), JobError> {
        loop {
            let name = self.new_name().to_owned();
            self.say(&format!("creating the database {name}"));
            let Made {
                database, warnings, ..
            } = &mut *made;
            let created = self.create(client, &name, database, warnings).await;
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
    pub(super) async fn other_names(
        &self,
        client: &Client,
        error: &JobError,
        name: &str,
    ) -> Result<Option<Names>, JobError> {
        if !matches!(error, JobError::Query(error) if error.is_taken_database_name()) {
            return Ok(None);
        }
        let all = databases(client).await?;
        let names = Names::free(&self.plan.database, self.context.now(), &all);
        Ok(all.contains_key(name).then_some(names))
    }

    /// Makes the empty database that is loaded, or the one for its reference, in the same way; `is_there`
    /// says whether it must be dropped after a failure.
    pub(super) async fn create(
        &self,
        client: &Client,
        name: &str,
        is_there: &mut bool,
        warnings: &mut Vec<String>,
    ) -> Result<(), JobError> {
        let like = self.prepared.like.as_ref();
        let sql = create_database(name, like, self.prepared.premises.major);
        self.go_on()?;
        // Not given up midway: the server would go on, and leave a database without our mark.
        let created = client
            .execute("create the database to restore into", &sql, STATEMENT)
            .await;
        // What the server has refused is not there, or is somebody else's; an answer that is lost
        // is no failure of the statement.
        *is_there = !matches!(&created, Err(error) if error.sqlstate.is_some());
        created.map_err(|error| {
            let locale = like.map(|like| {
                format!(
                    "it is to have encoding {}, locale {} and provider {}; `locale -a` on the \
                     server's machine shows the locales there are",
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
        self.give_settings_for_loading(client, name, warnings).await
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
            .limit
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
                    "the setting {} was not to be had while it was loaded (SQLSTATE {})",
                    one.name,
                    error.sqlstate.unwrap_or_default()
                )),
                _ => {}
            }
        }
        Ok(())
    }
}
