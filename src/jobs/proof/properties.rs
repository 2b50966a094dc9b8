//! What belongs to a database itself and stands in no dump: settings, privileges, comment and the rest.

use std::time::Duration;

use crate::jobs::error::JobError;
use crate::jobs::run::Run;
use crate::postgres::{
    Client, DatabaseProperties, QueryError, Setting, give_setting, reset_settings,
    settings_and_privileges,
};

/// For a statement that changes the catalogue.
const STATEMENT: Duration = Duration::from_secs(300);

/// A statement that the server has refused.
#[derive(Debug)]
pub(in crate::jobs) struct Refused {
    pub(in crate::jobs) sql: String,
    pub(in crate::jobs) error: QueryError,
    /// The setting that it was to give, if it was one.
    pub(in crate::jobs) setting: Option<Setting>,
}

/// A copy of a database, and what it is to have.
pub(in crate::jobs) struct RestoredCopy<'a> {
    /// How it is called for now.
    pub(in crate::jobs) name: &'a str,
    pub(in crate::jobs) recorded: &'a DatabaseProperties,
    /// Statements for what comes after settings and privileges.
    pub(in crate::jobs) more: Vec<String>,
}

/// Gives a copy the settings and privileges that were recorded, and what else is its; what was set for
/// loading goes. Gives what the server has refused.
///
/// # Errors
/// When the server cannot be asked, or the limit is reached.
pub(in crate::jobs) async fn give_properties(
    run: &Run<'_>,
    client: &Client,
    copy: RestoredCopy<'_>,
) -> Result<Vec<Refused>, JobError> {
    const WHAT: &str = "give the restored database its settings and privileges";
    let (name, recorded) = (copy.name, copy.recorded);
    let mut statements = vec![reset_settings(name)];
    statements.extend(settings_and_privileges(name, recorded));
    statements.extend(copy.more);
    let mut refused = Vec::new();
    for sql in statements {
        let giving = client.execute(WHAT, &sql, STATEMENT);
        let Err(error) = run.wait_for(giving).await? else {
            continue;
        };
        if error.sqlstate.is_none() {
            return Err(error.into());
        }
        let gives = |one: &&Setting| give_setting(name, one).as_deref() == Some(&*sql);
        refused.push(Refused {
            setting: recorded.settings.iter().find(gives).cloned(),
            sql,
            error,
        });
    }
    Ok(refused)
}

/// What was recorded but for the settings that could not be given: of those nothing can be expected.
pub(in crate::jobs) fn without(
    recorded: &DatabaseProperties,
    refused: &[Refused],
) -> DatabaseProperties {
    let mut expected = recorded.clone();
    let is_refused = |one: &Setting| refused.iter().any(|it| it.setting.as_ref() == Some(one));
    expected.settings.retain(|one| !is_refused(one));
    expected
}
