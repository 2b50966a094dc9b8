//! Giving a database its name, in one transaction, while others keep connecting; and dropping databases.
//!
//! `ALTER DATABASE … RENAME` takes a lock that keeps new sessions of the database waiting, and then
//! waits up to five seconds for those that are there to be gone (`CountOtherDBBackends` in
//! `PostgreSQL`'s `procarray.c`). Meanwhile another connection ends them. When the transaction
//! commits, those who wait learn that the database was renamed, and find the new one at their
//! next try; when anything ends it, nothing has changed.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::jobs::JobError;
use crate::postgres::{
    Client, ConnectError, Conninfo, QueryError, TakePlace, databases, drop_database, end_sessions,
    forget_subscription, no_template, subscriptions, take_place,
};

/// Completes the sentence "cannot …".
const DROP: &str = "drop a database";

/// Dropping a database removes files.
const STATEMENT: Duration = Duration::from_secs(300);

/// "wrong object type": what is to be dropped is a template.
const WRONG_OBJECT: &str = "42809";

/// How often sessions are ended while the names wait to change.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// For one attempt; the server itself gives up earlier.
const ATTEMPT: Duration = Duration::from_secs(30);

/// Sessions that do not end within so many attempts hang.
const ATTEMPTS: usize = 2;

/// "object in use": somebody is still connected.
const IN_USE: &str = "55006";

/// "tuple concurrently updated", or deleted: somebody has changed the database's settings in the same moment.
/// The server has no code of its own for it.
const CHANGED_MEANWHILE: &str = "XX000";

/// "cannot connect now": the server starts, or recovers from a crash.
const STARTING: &str = "57P03";

/// How often a server that starts is asked again.
const BETWEEN_KNOCKS: Duration = Duration::from_millis(250);

/// Connects to a server that may be recovering from the crash of one of its processes, which has
/// cut all sessions: it takes seconds, and what was made is still to be cleaned up.
pub(in crate::jobs) async fn connect_patiently(
    conninfo: &Conninfo,
    within: Duration,
) -> Result<Client, ConnectError> {
    let began = Instant::now();
    loop {
        match Client::connect(conninfo, within).await {
            Err(error)
                if error.sqlstate.as_deref() == Some(STARTING) && began.elapsed() < within =>
            {
                sleep(BETWEEN_KNOCKS).await;
            }
            outcome => return outcome,
        }
    }
}

/// A swap of names.
pub(in crate::jobs) struct Swap<'a> {
    /// To a database that has no part in it.
    pub(in crate::jobs) maintenance: &'a Conninfo,
    /// For each attempt to connect.
    pub(in crate::jobs) connect: Duration,
    pub(in crate::jobs) names: TakePlace<'a>,
}

impl Swap<'_> {
    /// Swaps the names, and gives the number of sessions that were ended for it.
    ///
    /// # Errors
    /// The names are as they were, unless the error says that it is not known.
    pub(in crate::jobs) async fn carry_out(&self) -> Result<u64, JobError> {
        let Self {
            maintenance,
            connect,
            names,
        } = self;
        let sql = take_place(names);
        let other = Client::connect(maintenance, *connect).await?;
        let mut databases = vec![names.from];
        if names.aside.is_some() {
            databases.push(names.name);
        }
        let mut ended = 0;
        let mut attempt = 1;
        loop {
            // A transaction that failed leaves its connection of no use.
            let renamer = Client::connect(maintenance, *connect).await?;
            let renaming = renamer.execute("swap the names of the databases", &sql, ATTEMPT);
            let mut renaming = std::pin::pin!(renaming);
            let mut spared = Vec::new();
            let outcome = loop {
                tokio::select! {
                    outcome = &mut renaming => break outcome,
                    // What keeps us from asking keeps the names from changing, and that tells.
                    () = sleep(BETWEEN_LOOKS) => if let Ok(found) = end_sessions(&other, &databases).await {
                        ended += found.ended;
                        spared = found.spared;
                    },
                }
            };
            let Err(error) = outcome else {
                return Ok(ended);
            };
            let is_in_use = error.sqlstate.as_deref() == Some(IN_USE);
            if is_in_use && attempt < ATTEMPTS && spared.is_empty() {
                attempt += 1;
                continue;
            }
            return match (&error.sqlstate, spared.as_slice()) {
                (Some(_), []) => Err(error.into()),
                (Some(_), spared) => Err(JobError::failed(format!(
                    "{error}; sessions of it could not be ended by our user: {}\nhint: end them, GRANT \
                     pg_signal_backend to it, or restore as a superuser",
                    spared.join(", ")
                ))),
                // The connection may have broken after the commit.
                (None, _) => self.after_lost_answer(error, ended).await,
            };
        }
    }

    /// Looks whether the names were swapped.
    async fn after_lost_answer(&self, error: QueryError, ended: u64) -> Result<u64, JobError> {
        let from = self.names.from;
        let look = async {
            let client = connect_patiently(self.maintenance, self.connect).await?;
            Ok::<_, JobError>(databases(&client).await?)
        };
        match look.await {
            Ok(databases) if !databases.contains_key(from) => Ok(ended),
            Ok(_) => Err(error.into()),
            Err(_) => Err(JobError::failed(format!(
                "{error}; whether the names were swapped is not known: they were if there is no \
                 database {from:?} any more"
            ))),
        }
    }
}

/// Drops a database that a restore has made, which nobody has used. Its subscriptions came disabled
/// and have never reached a publisher; they go without a word to it, where their slots may be those
/// of the database that serves.
pub(in crate::jobs) async fn drop_made(
    client: &Client,
    connect: Duration,
    name: &str,
) -> Result<(), JobError> {
    let kept = match drop_any(client, name).await {
        Err(error) if is(&error, IN_USE) => subscriptions(client, name).await?,
        dropped => return Ok(dropped?),
    };
    let inside = Client::connect(&client.conninfo().to_database(name), connect).await?;
    for subscription in kept {
        for sql in forget_subscription(&subscription) {
            inside
                .execute("drop a restored subscription", &sql, STATEMENT)
                .await?;
        }
    }
    drop(inside);
    Ok(drop_any(client, name).await?)
}

/// Drops the database that was replaced. What its subscriptions hold at their publishers is the
/// operator's: of those it is only reported.
pub(in crate::jobs) async fn drop_replaced(client: &Client, name: &str) -> Result<(), JobError> {
    let Err(error) = drop_any(client, name).await else {
        return Ok(());
    };
    let kept = if is(&error, IN_USE) {
        subscriptions(client, name).await?
    } else {
        Vec::new()
    };
    if kept.is_empty() {
        return Err(error.into());
    }
    let kept: Vec<String> = kept.iter().map(|name| format!("{name:?}")).collect();
    Err(JobError::failed(format!(
        "its subscriptions keep it: {}; in it, ALTER SUBSCRIPTION … DISABLE each, … SET (slot_name \
         = NONE) where the restored database goes on with the slot, and DROP SUBSCRIPTION; then {}",
        kept.join(", "),
        drop_database(name)
    )))
}

/// Subscriptions keep a database from being dropped; sessions do not.
async fn drop_any(client: &Client, name: &str) -> Result<(), QueryError> {
    let sql = drop_database(name);
    match client.execute(DROP, &sql, STATEMENT).await {
        Err(error) if is(&error, WRONG_OBJECT) => {
            client.execute(DROP, &no_template(name), STATEMENT).await?;
            client.execute(DROP, &sql, STATEMENT).await
        }
        Err(error) if is(&error, CHANGED_MEANWHILE) => client.execute(DROP, &sql, STATEMENT).await,
        dropped => dropped,
    }
}

fn is(error: &QueryError, sqlstate: &str) -> bool {
    error.sqlstate.as_deref() == Some(sqlstate)
}
