//! Dropping databases that stand beside the one that is restored.

use std::time::Duration;

use crate::jobs::JobError;
use crate::postgres::{
    Client, QueryError, drop_database, forget_subscription, no_template, subscriptions,
};

const WHAT: &str = "drop a database";

/// Dropping a database removes files.
const STATEMENT: Duration = Duration::from_secs(300);

/// "wrong object type": what is to be dropped is a template.
const WRONG_OBJECT: &str = "42809";

/// "object in use": subscriptions keep a database from being dropped, sessions do not.
const IN_USE: &str = "55006";

/// Drops a database that a restore has made, which nobody has used. Its subscriptions came disabled
/// and have never reached a publisher; they go without a word to it, where their slots may be those
/// of the database that serves.
pub(super) async fn drop_made(
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
/// operator's: of those it is only told.
pub(super) async fn drop_replaced(client: &Client, name: &str) -> Result<(), JobError> {
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

async fn drop_any(client: &Client, name: &str) -> Result<(), QueryError> {
    let sql = drop_database(name);
    match client.execute(WHAT, &sql, STATEMENT).await {
        Err(error) if is(&error, WRONG_OBJECT) => {
            client.execute(WHAT, &no_template(name), STATEMENT).await?;
            client.execute(WHAT, &sql, STATEMENT).await
        }
        dropped => dropped,
    }
}

fn is(error: &QueryError, sqlstate: &str) -> bool {
    error.sqlstate.as_deref() == Some(sqlstate)
}
