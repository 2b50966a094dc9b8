//! Giving a database its name, in one transaction, while others keep connecting.
//!
//! `ALTER DATABASE … RENAME` takes a lock that keeps new sessions of the database waiting, and then
//! waits up to five seconds for those that are there to be gone (`CountOtherDBBackends` in
//! `PostgreSQL`'s `procarray.c`). Meanwhile another connection ends them. When the transaction
//! commits, those who wait are told that the database was renamed, and find the new one at their
//! next try; when anything ends it, nothing has changed.

use std::time::Duration;

use tokio::time::sleep;

use crate::jobs::JobError;
use crate::postgres::{
    Client, Conninfo, QueryError, TakePlace, databases, end_sessions, take_place,
};

/// How often sessions are ended while the names wait to change.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// For one attempt; the server itself gives up earlier.
const ATTEMPT: Duration = Duration::from_secs(30);

/// Sessions that do not end within so many attempts hang.
const ATTEMPTS: usize = 2;

/// "object in use": somebody is still connected.
const IN_USE: &str = "55006";

/// Swaps the names, and gives the number of sessions that were ended for it.
///
/// # Errors
/// The names are as they were, unless the error says that it is not known.
pub(super) async fn swap(
    maintenance: &Conninfo,
    connect: Duration,
    swap: &TakePlace<'_>,
) -> Result<u64, JobError> {
    let sql = take_place(swap);
    let other = Client::connect(maintenance, connect).await?;
    let mut names = vec![swap.from];
    if swap.aside.is_some() {
        names.push(swap.name);
    }
    let mut ended = 0;
    let mut attempt = 1;
    loop {
        // A transaction that failed leaves its connection of no use.
        let renamer = Client::connect(maintenance, connect).await?;
        let renaming = renamer.execute("swap the names of the databases", &sql, ATTEMPT);
        let mut renaming = std::pin::pin!(renaming);
        let mut not_allowed = None;
        let outcome = loop {
            tokio::select! {
                outcome = &mut renaming => break outcome,
                () = sleep(BETWEEN_LOOKS) => match end_sessions(&other, &names).await {
                    Ok(more) => ended += more,
                    Err(error) => not_allowed = Some(error),
                },
            }
        };
        let Err(error) = outcome else {
            return Ok(ended);
        };
        let is_in_use = error.sqlstate.as_deref() == Some(IN_USE);
        if is_in_use && attempt < ATTEMPTS && not_allowed.is_none() {
            attempt += 1;
            continue;
        }
        return after_failure(maintenance, connect, swap, (error, not_allowed), ended).await;
    }
}

/// The connection may have broken after the commit.
async fn after_failure(
    maintenance: &Conninfo,
    connect: Duration,
    swap: &TakePlace<'_>,
    (error, not_allowed): (QueryError, Option<QueryError>),
    ended: u64,
) -> Result<u64, JobError> {
    if error.sqlstate.is_some() {
        return Err(match not_allowed {
            Some(not_allowed) => JobError::failed(format!(
                "{error}: sessions of it could not be ended: {not_allowed}"
            )),
            None => error.into(),
        });
    }
    let look = async {
        let client = Client::connect(maintenance, connect).await?;
        Ok::<_, JobError>(databases(&client).await?)
    };
    match look.await {
        Ok(databases) if !databases.contains_key(swap.from) => Ok(ended),
        Ok(_) => Err(error.into()),
        Err(_) => Err(JobError::failed(format!(
            "{error}; whether the names were swapped is not known: they were if there is no \
             database {:?} any more",
            swap.from
        ))),
    }
}
