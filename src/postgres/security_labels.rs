//! Which providers of security labels a server has loaded.

use std::collections::BTreeSet;
use std::time::Duration;

use super::client::Client;
use super::query_error::QueryError;
use super::quote::identifier;

/// "invalid parameter value": there is no such provider.
const NO_PROVIDER: &str = "22023";

/// What nothing is called.
const NOTHING: &str = "pgbackupd asks for a label provider";

/// Those of the providers that the server has not loaded.
///
/// No system catalog lists them. But the server reports a missing provider before it looks for the object and
/// for privileges (`ExecSecLabelStmt` in `PostgreSQL`'s `seclabel.c`). So an object that does not exist is
/// labelled, and nothing changes.
///
/// # Errors
/// The server does not answer within the limit.
pub async fn missing_label_providers(
    client: &Client,
    providers: &BTreeSet<String>,
    limit: Duration,
) -> Result<Vec<String>, QueryError> {
    let mut missing = Vec::new();
    for provider in providers {
        let sql = format!(
            "SECURITY LABEL FOR {} ON TABLESPACE {} IS NULL",
            identifier(provider),
            identifier(NOTHING)
        );
        let asking = client
            .execute("ask for a label provider", &sql, limit)
            .await;
        match asking {
            Err(error) if error.sqlstate.is_none() => return Err(error),
            Err(error) if error.sqlstate.as_deref() == Some(NO_PROVIDER) => {
                missing.push(provider.clone());
            }
            // It looked for what is to be labelled, or is a standby.
            _ => {}
        }
    }
    Ok(missing)
}
