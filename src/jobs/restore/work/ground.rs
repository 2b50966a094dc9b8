//! What has to be there before the dump can be loaded: roles, and an empty database.

use std::collections::BTreeSet;

use super::super::beside::{Beside, mark};
use super::super::roles::{self, without_grantor};
use super::{Made, STATEMENT, Work};
use crate::jobs::JobError;
use crate::postgres::{
    Client, comment_on_database, create_database, databases, is_member, settings_for_loading,
};

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
            if is_left && Beside::Restoring.is(&name, &self.prepared.plan.database) {
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
        let read = ledger.read(|record| begun.extend(record.beside.map(|names| names.loads_into)));
        read.map_err(|source| JobError::Unrecorded {
            done: "nothing was restored because".to_owned(),
            ledger: ledger.path().display().to_string(),
            source,
        })?;
        Ok(begun)
    }

    /// Creates the roles that the server lacks, and brings memberships back: all of it or nothing,
    /// or a later restore would find a role and take it for one that is as somebody wanted it.
    pub(super) async fn restore_roles(
        &self,
        client: &Client,
        made: &mut Made,
    ) -> Result<(), JobError> {
        const WHAT: &str = "restore a role";
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
        let nothing = wanted.statements.is_empty() && wanted.memberships.is_empty();
        if nothing {
            return Ok(());
        }
        // Whatever ends this function early ends the connection, and with it the transaction.
        client.execute(WHAT, "BEGIN", STATEMENT).await?;
        for statement in &wanted.statements {
            self.go_on()?;
            client.execute(WHAT, statement, STATEMENT).await?;
        }
        for (role, member, statement) in &wanted.memberships {
            if is_member(client, role, member).await? {
                continue;
            }
            client
                .execute(WHAT, "SAVEPOINT membership", STATEMENT)
                .await?;
            let first = client.execute(WHAT, statement, STATEMENT).await;
            match (first, without_grantor(statement)) {
                (Ok(()), _) => {}
                // The recorded grantor may not have the right here.
                (Err(_), Some(shorter)) => {
                    client.roll_back_to(WHAT, "membership", STATEMENT).await?;
                    client.execute(WHAT, &shorter, STATEMENT).await?;
                }
                (Err(error), None) => return Err(error.into()),
            }
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

    /// Makes the empty database.
    pub(super) async fn create(&self, client: &Client, made: &mut Made) -> Result<(), JobError> {
        let like = self.prepared.like.as_ref();
        let name = self.new_name();
        let sql = create_database(name, like, self.prepared.premises.major);
        self.go_on()?;
        // Not given up midway: the server would go on, and leave a database without our mark.
        let created = client
            .execute("create the database to restore into", &sql, STATEMENT)
            .await;
        // What the server has refused is not there, or is somebody else's; an answer that is lost
        // is no failure of the statement.
        made.database = !matches!(&created, Err(error) if error.sqlstate.is_some());
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
        let mut statements = vec![comment_on_database(name, Some(&self.mark()))];
        statements.extend(like.map_or_else(Vec::new, |like| settings_for_loading(name, like)));
        for sql in statements {
            client
                .execute("prepare the new database", &sql, STATEMENT)
                .await?;
        }
        Ok(())
    }
}
