//! Conditions that are left off so that rows can come, and come back at the end: checks of tables and
//! domains, NOT NULL, and columns that are computed.

use super::fixes::fix_of;
use super::missing::{Missing, MissingState};
use super::sender::{Sender, Tried};
use crate::jobs::JobError;
use crate::pipeline::sql::not_valid;
use crate::postgres::{
    Client, Condition, StatementRefusal, check_of_domain, checks_of_domains_of, checks_of_table,
    computed_columns, domain_without_nulls, quoted,
};

/// "not null violation", "check violation"
const NOT_NULL: &str = "23502";
const CHECK: &str = "23514";

/// A condition, and how it is left off and brought back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LeftOff {
    /// What it is called for people.
    pub(super) object: String,
    /// The statement that takes it away.
    pub(super) drop: String,
    /// The one that brings it back.
    pub(super) add: String,
    /// Why it had to go.
    pub(super) refusal: StatementRefusal,
    /// Whether it is a computed column, which comes back as a new one: before anything else stands on it.
    pub(super) is_column: bool,
}

/// The conditions that a refusal names. Empty where it names none that can be left off.
///
/// # Errors
/// When the server does not answer.
pub(super) async fn named_by(
    catalog: &Client,
    refusal: &StatementRefusal,
) -> Result<Vec<LeftOff>, JobError> {
    let StatementRefusal {
        sqlstate,
        schema: Some(schema),
        table,
        column,
        data_type,
        constraint,
        ..
    } = refusal
    else {
        return Ok(Vec::new());
    };
    let found = match (sqlstate.as_str(), table, data_type, column, constraint) {
        (CHECK, _, Some(domain), _, Some(constraint)) => {
            let found = check_of_domain(catalog, [schema, domain], constraint).await?;
            found
                .into_iter()
                .map(|one| Kind::Domain.leave_off(one, refusal))
                .collect()
        }
        (CHECK, Some(table), _, _, Some(constraint)) => {
            let found = checks_of_table(catalog, [schema, table], Some(constraint)).await?;
            found
                .into_iter()
                .map(|one| Kind::Table.leave_off(one, refusal))
                .collect()
        }
        (NOT_NULL, _, Some(domain), _, _) => {
            let found = domain_without_nulls(catalog, [schema, domain]).await?;
            let leave_off = |holder: String| LeftOff {
                object: format!("NOT NULL of domain {holder}"),
                drop: drop_not_null(&holder),
                add: format!("ALTER DOMAIN {holder} SET NOT NULL;"),
                refusal: refusal.clone(),
                is_column: false,
            };
            found.into_iter().map(leave_off).collect()
        }
        (NOT_NULL, Some(table), _, Some(column), _) => {
            let holder = format!("{}.{}", quoted(schema), quoted(table));
            let quoted_column = quoted(column);
            let alter = format!("ALTER TABLE {holder} ALTER COLUMN {quoted_column}");
            vec![LeftOff {
                object: format!("NOT NULL of {schema}.{table}.{column}"),
                drop: format!("{alter} DROP NOT NULL"),
                add: format!("{alter} SET NOT NULL;"),
                refusal: refusal.clone(),
                is_column: false,
            }]
        }
        _ => Vec::new(),
    };
    Ok(found)
}

/// Makes a domain take nulls. Until 16 a session that knows a domain over it goes on to refuse them until
/// constraints change (`TypeCacheConstrCallback` in `typcache.c`), so one comes and goes.
fn drop_not_null(holder: &str) -> String {
    format!(
        "DO $pgbackupd$ BEGIN ALTER DOMAIN {holder} DROP NOT NULL; \
         ALTER DOMAIN {holder} ADD CONSTRAINT pgbackupd CHECK (true) NOT VALID; \
         ALTER DOMAIN {holder} DROP CONSTRAINT pgbackupd; END $pgbackupd$"
    )
}

/// All that a table computes of its rows: its checks, those of its columns' domains, and its computed columns.
/// For a refusal that comes out of an expression and names nothing.
///
/// # Errors
/// When the server does not answer.
pub(super) async fn all_of(
    catalog: &Client,
    table: [&str; 2],
    refusal: &StatementRefusal,
) -> Result<Vec<LeftOff>, JobError> {
    let computed = computed_columns(catalog, table).await?.into_iter();
    let checks = checks_of_table(catalog, table, None).await?.into_iter();
    let computed = computed.map(|one| Kind::Computed.leave_off(one, refusal));
    let domains = of_its_domains(catalog, table, refusal).await?;
    Ok(computed
        .chain(checks.map(|one| Kind::Table.leave_off(one, refusal)))
        .chain(domains)
        .collect())
}

/// The checks of the domains that a table's columns are made of.
///
/// # Errors
/// When the server does not answer.
pub(super) async fn of_its_domains(
    catalog: &Client,
    table: [&str; 2],
    refusal: &StatementRefusal,
) -> Result<Vec<LeftOff>, JobError> {
    let checks = checks_of_domains_of(catalog, table).await?.into_iter();
    Ok(checks
        .map(|one| Kind::Domain.leave_off(one, refusal))
        .collect())
}

#[derive(Clone, Copy)]
enum Kind {
    Table,
    Domain,
    Computed,
}

impl Kind {
    fn leave_off(self, condition: Condition, refusal: &StatementRefusal) -> LeftOff {
        let Condition {
            holder,
            name,
            definition,
        } = condition;
        let (object, drop, add) = match self {
            Self::Table => (
                format!("check constraint {name} of {holder}"),
                format!("ALTER TABLE {holder} DROP CONSTRAINT {name}"),
                format!("ALTER TABLE {holder} ADD CONSTRAINT {name} {definition};"),
            ),
            Self::Domain => (
                format!("check constraint {name} of domain {holder}"),
                format!("ALTER DOMAIN {holder} DROP CONSTRAINT {name}"),
                format!("ALTER DOMAIN {holder} ADD CONSTRAINT {name} {definition};"),
            ),
            Self::Computed => (
                format!("computed column {name} of {holder}"),
                format!("ALTER TABLE {holder} ALTER COLUMN {name} DROP EXPRESSION"),
                format!("ALTER TABLE {holder} DROP COLUMN {name}, ADD COLUMN {name} {definition};"),
            ),
        };
        LeftOff {
            object,
            drop,
            add,
            refusal: refusal.clone(),
            is_column: matches!(self, Self::Computed),
        }
    }
}

/// What has become of a condition in the end.
pub(super) enum BroughtBack {
    /// It is there, and all rows keep it.
    Valid,
    /// It is there only because of the database's own `search_path`.
    ByOwnPath(Missing),
    /// It is missing, or not validated.
    Not(Missing),
}

/// Brings a condition back: as it was, else for new rows alone.
///
/// # Errors
/// When the session ends.
pub(super) async fn bring_back(
    sender: &mut Sender<'_>,
    one: LeftOff,
    order: u64,
) -> Result<BroughtBack, JobError> {
    let refusal = match sender.try_both_ways(&one.add).await? {
        Tried::AsWritten => return Ok(BroughtBack::Valid),
        Tried::ByOwnPath(refusal) => {
            return Ok(BroughtBack::ByOwnPath(Missing {
                fix: fix_of(&refusal),
                refusal: Some(*refusal),
                ..Missing::new(order, one.object, MissingState::Differs)
            }));
        }
        Tried::Refused(refusal) => refusal,
    };
    let mut state = MissingState::NotThere;
    if let Some(text) = not_valid(one.add.as_bytes()) {
        let text = String::from_utf8_lossy(&text).into_owned();
        if !matches!(sender.try_both_ways(&text).await?, Tried::Refused(_)) {
            state = MissingState::NotValidated;
        }
    }
    let statement = match state {
        MissingState::NotValidated => validate(&one.add),
        _ => one.add,
    };
    Ok(BroughtBack::Not(Missing {
        fix: fix_of(&refusal),
        refusal: Some(*refusal),
        statements: vec![statement],
        ..Missing::new(order, one.object, state)
    }))
}

/// The statement that validates what another one has added.
pub(super) fn validate(add: &str) -> String {
    let Some((head, rest)) = add.split_once("ADD CONSTRAINT ") else {
        return add.to_owned();
    };
    let end = name_end(rest);
    format!(
        "{}VALIDATE CONSTRAINT {};",
        head.replace('\n', " ").replace("    ", ""),
        &rest[..end]
    )
}

/// Where the name ends that a text begins with.
fn name_end(text: &str) -> usize {
    if !text.starts_with('"') {
        return text.find(' ').unwrap_or(text.len());
    }
    let mut at = 1;
    while let Some(quote) = text[at..].find('"') {
        at += quote + 1;
        if !text[at..].starts_with('"') {
            return at;
        }
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::validate;

    #[test]
    fn what_was_added_is_validated_by_its_name() {
        for (add, expected) in [
            (
                "ALTER TABLE ONLY public.c\n    ADD CONSTRAINT f FOREIGN KEY (p) REFERENCES public.p(i);",
                "ALTER TABLE ONLY public.c VALIDATE CONSTRAINT f;",
            ),
            (
                "ALTER DOMAIN public.d ADD CONSTRAINT \"a \"\"b\" CHECK ((VALUE > 0));",
                "ALTER DOMAIN public.d VALIDATE CONSTRAINT \"a \"\"b\";",
            ),
        ] {
            assert_eq!(validate(add), expected);
        }
    }
}
