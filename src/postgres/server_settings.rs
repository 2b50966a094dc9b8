//! Settings that decide how a dump is read, or what the functions in it do, and that belong to the server
//! and not to the database: recorded at a backup, and given to the copy while it is loaded.

use std::collections::BTreeSet;

use tokio_postgres::types::Type;

use super::client::Client;
use super::properties::{ServerSetting, Setting};
use super::query_error::QueryError;
use super::quote::literal;
use super::system_catalog_text::{as_bytes, required};

/// Those that are recorded where a configuration sets them. The zone of times is recorded apart, and what
/// decides how strings are read stands in every dump.
const OF_THE_SERVER: [&str; 15] = [
    "array_nulls",
    "backslash_quote",
    "bytea_output",
    "DateStyle",
    "default_text_search_config",
    "default_toast_compression",
    "extra_float_digits",
    "icu_validation_level",
    "IntervalStyle",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "lo_compat_privileges",
    "max_stack_depth",
    "xmlbinary",
];

/// Those of PL/pgSQL ("plpgsql" in the manual), which a session knows by their names only.
const OF_PLPGSQL: [&str; 5] = [
    "plpgsql.check_asserts",
    "plpgsql.extra_errors",
    "plpgsql.extra_warnings",
    "plpgsql.print_strict_params",
    "plpgsql.variable_conflict",
];

/// What belongs to whoever connects, or would keep a load from coming to its end: a database gets it when
/// it is loaded.
const NOT_FOR_LOADING: [&str; 14] = [
    "client_encoding",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "local_preload_libraries",
    "lock_timeout",
    "role",
    "session_preload_libraries",
    "session_replication_role",
    "statement_timeout",
    "transaction_timeout",
    "zero_damaged_pages",
];

/// Whether a setting is one that a database has while it is loaded.
pub(super) fn is_for_loading(name: &str) -> bool {
    !NOT_FOR_LOADING
        .iter()
        .any(|other| other.eq_ignore_ascii_case(name))
}

/// The statements that give a session what a database has while it is loaded, where the database itself is
/// somebody's who has settings of his own. Where names are looked for stays as it is.
pub fn session_statements(server: &[ServerSetting], own: &[Setting]) -> Vec<String> {
    let server = server.iter().map(|one| (&*one.name, &*one.value));
    let own = own.iter().filter(|one| one.role.is_none());
    let own = own.filter_map(|one| one.setting.split_once('='));
    server
        .chain(own)
        .filter(|(name, _)| is_for_loading(name) && *name != "search_path")
        .map(|(name, value)| {
            let (name, value) = (literal(name), literal(value));
            format!("SELECT pg_catalog.set_config({name}, {value}, false)")
        })
        .collect()
}

/// The names of settings with a dot in them whose values a server decides: those that are mentioned, or
/// that the database sets for single roles. What it sets for everybody is its own.
fn dotted(mentioned: &BTreeSet<String>, own: &[Setting]) -> Vec<String> {
    let set = own.iter().filter_map(|one| {
        let (name, _) = one.setting.split_once('=')?;
        Some((name, one.role.is_none()))
    });
    let mut names = mentioned.clone();
    names.extend(OF_PLPGSQL.map(str::to_owned));
    names.extend(
        set.clone()
            .filter(|(name, _)| name.contains('.'))
            .map(|(name, _)| name.to_owned()),
    );
    let is_own = |name: &str| {
        set.clone()
            .any(|(other, for_all)| for_all && other.eq_ignore_ascii_case(name))
    };
    names.retain(|name| !is_own(name));
    names.into_iter().collect()
}

/// Reads the settings of the server that a load needs: the listed ones, as far as it has other values than
/// every server, and those with a dot in their names that the definitions mention or the database sets.
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn server_settings(
    client: &Client,
    mentioned: &BTreeSet<String>,
    own: &[Setting],
) -> Result<Vec<ServerSetting>, QueryError> {
    const WHAT: &str = "read the server's settings";
    // What a role or a database sets comes with it.
    let sql = format!(
        "SELECT {name}, {value} FROM pg_catalog.pg_settings s \
          WHERE s.name = ANY ($1) \
            AND s.source IN ('configuration file', 'environment variable', 'command line', 'global') \
          ORDER BY s.name",
        name = as_bytes(client, "s.name"),
        value = as_bytes(client, "s.setting"),
    );
    let listed = OF_THE_SERVER.map(str::to_owned).to_vec();
    let rows = client
        .query(WHAT, &sql, &[(&listed, Type::TEXT_ARRAY)])
        .await?;
    let setting = |row| {
        Ok(ServerSetting {
            name: required(client, WHAT, row, 0)?,
            value: required(client, WHAT, row, 1)?,
        })
    };
    let mut found: Vec<ServerSetting> = rows.iter().map(setting).collect::<Result<_, _>>()?;
    found.extend(values(client, dotted(mentioned, own)).await?);
    Ok(found)
}

/// The values of those of these settings that there are.
async fn values(client: &Client, names: Vec<String>) -> Result<Vec<ServerSetting>, QueryError> {
    const WHAT: &str = "read the server's settings";
    let sql = format!(
        "SELECT {name}, {value} FROM \
         (SELECT n.name, pg_catalog.current_setting(n.name, true) \
            FROM pg_catalog.unnest($1::text[]) AS n (name)) AS s (name, value) \
          WHERE s.value IS NOT NULL ORDER BY s.name",
        name = as_bytes(client, "s.name"),
        value = as_bytes(client, "s.value"),
    );
    let parameters: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)] =
        &[(&names, Type::TEXT_ARRAY)];
    let rows = client.query(WHAT, &sql, parameters).await?;
    rows.iter()
        .map(|row| {
            Ok(ServerSetting {
                name: required(client, WHAT, row, 0)?,
                value: required(client, WHAT, row, 1)?,
            })
        })
        .collect()
}

/// Those of the recorded settings whose values another server does not have.
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn differing_settings(
    client: &Client,
    recorded: &[ServerSetting],
) -> Result<Vec<ServerSetting>, QueryError> {
    const WHAT: &str = "read the server's settings";
    let names: Vec<String> = recorded.iter().map(|one| one.name.clone()).collect();
    let sql = format!(
        "SELECT {name}, {value} FROM pg_catalog.pg_settings s WHERE s.name = ANY ($1)",
        name = as_bytes(client, "s.name"),
        value = as_bytes(client, "s.setting"),
    );
    let rows = client
        .query(WHAT, &sql, &[(&names, Type::TEXT_ARRAY)])
        .await?;
    let mut here = Vec::new();
    for row in &rows {
        here.push(ServerSetting {
            name: required(client, WHAT, row, 0)?,
            value: required(client, WHAT, row, 1)?,
        });
    }
    let dotted = names.into_iter().filter(|name| name.contains('.'));
    here.extend(values(client, dotted.collect()).await?);
    let differs = |one: &&ServerSetting| !here.contains(one);
    Ok(recorded.iter().filter(differs).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_a_setting_is_shown_nowhere() {
        let setting = ServerSetting {
            name: "app.key".to_owned(),
            value: "open-sesame".to_owned(),
        };
        assert_eq!(
            format!("{setting:?}"),
            "ServerSetting { name: \"app.key\", .. }"
        );
    }

    #[test]
    fn a_session_gets_the_databases_settings_over_the_servers() {
        let server = ServerSetting {
            name: "app.region".to_owned(),
            value: "it's eu".to_owned(),
        };
        let own = |role: Option<&str>, setting: &str| Setting {
            role: role.map(str::to_owned),
            setting: setting.to_owned(),
        };
        let own = [
            own(None, "app.region=us"),
            own(None, "search_path=evil"),
            own(None, "statement_timeout=1"),
            own(Some("r"), "app.x=1"),
        ];
        assert_eq!(
            session_statements(&[server], &own),
            [
                "SELECT pg_catalog.set_config(E'app.region', E'it''s eu', false)",
                "SELECT pg_catalog.set_config(E'app.region', E'us', false)",
            ]
        );
    }

    #[test]
    fn what_a_database_sets_for_everybody_is_not_its_servers() {
        let own = |role: Option<&str>, setting: &str| Setting {
            role: role.map(str::to_owned),
            setting: setting.to_owned(),
        };
        let own = [
            own(None, "App.Tenant=acme"),
            own(None, "plpgsql.extra_errors=all"),
            own(Some("r"), "app.of_role=1"),
            own(None, "work_mem=1MB"),
        ];
        let mentioned = ["app.tenant", "app.region"].map(str::to_owned);
        let names = dotted(&BTreeSet::from(mentioned), &own);
        assert_eq!(
            names,
            [
                "app.of_role",
                "app.region",
                "plpgsql.check_asserts",
                "plpgsql.extra_warnings",
                "plpgsql.print_strict_params",
                "plpgsql.variable_conflict",
            ]
        );
    }

    #[test]
    fn what_would_hinder_a_load_comes_after_it() {
        for (name, expected) in [
            ("app.region", true),
            ("default_text_search_config", true),
            ("DateStyle", true),
            ("role", false),
            ("Statement_Timeout", false),
            ("session_preload_libraries", false),
        ] {
            assert_eq!(is_for_loading(name), expected, "{name}");
        }
    }
}
