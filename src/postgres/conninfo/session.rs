//! What the owner of a database, or a role itself, can set for every session (`ALTER DATABASE … SET`,
//! `ALTER ROLE … SET`), and what our sessions ask for against it at their start. Pure.

use super::Conninfo;

/// What is known of a server and of our user there, as far as it decides what a session may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::postgres) struct LoginFacts {
    /// The server's major version.
    pub(in crate::postgres) major: u32,
    /// Whether the user who logs in is a superuser.
    pub(in crate::postgres) is_superuser: bool,
    /// Whether that user may choose the language of messages (`lc_messages`): a superuser, and from
    /// version 15 on whoever was granted it.
    pub(in crate::postgres) sets_messages: bool,
}

/// What programs do with a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// They write one.
    Dump,
    /// They load one.
    Load {
        /// Whether sessions have the libraries that they usually have.
        keeps_libraries: bool,
    },
}

impl LoginFacts {
    /// Of a server that has ended a session for `transaction_timeout`, which came with version 17.
    pub(in crate::postgres) const WITH_TRANSACTION_TIMEOUT: Self = Self {
        major: 17,
        is_superuser: false,
        sets_messages: false,
    };

    /// Of a server that ends a session which has not asked anything yet: `idle_session_timeout` came
    /// with version 14.
    pub(in crate::postgres) const WITH_IDLE_TIMEOUT: Self = Self {
        major: 14,
        is_superuser: false,
        sets_messages: false,
    };
}

/// Meant for applications, and in the way of a dump: another role, limits of time, transactions that
/// read only, wait for a safe snapshot or are refused by a standby, and messages that are no errors.
/// Everybody may set these, on every version.
const EVERYWHERE: &str = "-c role=none -c statement_timeout=0 -c lock_timeout=0 \
    -c idle_in_transaction_session_timeout=0 -c default_transaction_read_only=off \
    -c default_transaction_deferrable=off -c default_transaction_isolation=read\\ committed \
    -c client_min_messages=warning";

/// By this our own session sees whether the server has got what it asked for: a connection pooler may
/// keep it to itself.
const MARK: &str = "pgbackupd.session";

/// What a session asks for at its start against what a role or a database sets; without a login
/// before, only what every server knows.
fn neutral(login: Option<LoginFacts>) -> String {
    let mut options = EVERYWHERE.to_owned();
    let Some(login) = login else {
        return options;
    };
    for (since, setting) in [
        (14, "idle_session_timeout=0"),
        (17, "transaction_timeout=0"),
    ] {
        if login.major >= since {
            options.push_str(" -c ");
            options.push_str(setting);
        }
    }
    if login.sets_messages {
        options.push_str(" -c lc_messages=C");
    }
    options
}

/// What a load cannot do without, of what a superuser alone may set.
///
/// Before version 17 event triggers are kept still by the role of a replica. Triggers and rules are so
/// too, and none of a dump is there before its rows are: what checks rows in constraints is made after
/// them, and reads all of them then (`validateForeignKeyConstraint`, `index_build` in `PostgreSQL`'s
/// source), whatever the session's role. Event triggers that are ENABLE ALWAYS or REPLICA are disabled
/// meanwhile.
fn forced(purpose: Purpose, login: Option<LoginFacts>) -> String {
    let (
        Purpose::Load { keeps_libraries },
        Some(LoginFacts {
            major,
            is_superuser: true,
            ..
        }),
    ) = (purpose, login)
    else {
        return String::new();
    };
    let quiet = if major >= 17 {
        "-c event_triggers=off"
    } else {
        "-c session_replication_role=replica"
    };
    let without = if keeps_libraries {
        ""
    } else {
        " -c session_preload_libraries= -c local_preload_libraries="
    };
    format!("{quiet}{without}")
}

impl Conninfo {
    /// The same connection, with what is known of the server and of our user there. One that was made
    /// has it ([`Client::conninfo`](crate::postgres::Client::conninfo)).
    #[must_use]
    pub(in crate::postgres) fn known(&self, login: LoginFacts) -> Self {
        Self {
            login: Some(login),
            ..self.clone()
        }
    }

    /// What a program asks for at the start of its sessions, besides `more`. What the operator's own
    /// options say comes after it, and counts, but for what a load cannot do without.
    pub(super) fn options_of_program(&self, more: &str) -> String {
        let own = self.parameters.get("options").map_or("", String::as_str);
        let forced = forced(self.purpose, self.login);
        let options = format!("{} {more} {own}", neutral(self.login));
        let options = format!("{} {forced}", options.trim_end());
        options.trim_end().to_owned()
    }

    /// The same for a session of ours.
    pub(in crate::postgres) fn options_of_session(&self) -> String {
        self.options_of_program(&format!(
            "-c search_path=pg_catalog -c quote_all_identifiers=off -c {MARK}=on"
        ))
    }
}

/// Whether the session has got what it asked for at its start, as an expression in SQL.
pub(in crate::postgres) fn has_options() -> String {
    format!("pg_catalog.current_setting('{MARK}', true) IS NOT DISTINCT FROM 'on'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_triggers_are_still_while_a_superuser_loads() {
        let login = |major, is_superuser| {
            Some(LoginFacts {
                major,
                is_superuser,
                sets_messages: is_superuser,
            })
        };
        let load = |keeps_libraries| Purpose::Load { keeps_libraries };
        let without = "-c session_preload_libraries= -c local_preload_libraries=";
        for (purpose, login, expected) in [
            (Purpose::Dump, login(15, true), String::new()),
            (load(false), login(15, false), String::new()),
            (load(false), None, String::new()),
            (
                load(false),
                login(16, true),
                format!("-c session_replication_role=replica {without}"),
            ),
            (
                load(false),
                login(17, true),
                format!("-c event_triggers=off {without}"),
            ),
            (
                load(true),
                login(18, true),
                "-c event_triggers=off".to_owned(),
            ),
        ] {
            assert_eq!(forced(purpose, login), expected, "{purpose:?} {login:?}");
        }
    }

    #[test]
    fn a_session_asks_for_what_the_server_knows_and_the_user_may_set() {
        let login = |major, sets_messages| LoginFacts {
            major,
            is_superuser: false,
            sets_messages,
        };
        let idle = format!("{EVERYWHERE} -c idle_session_timeout=0");
        for (login, expected) in [
            (None, EVERYWHERE.to_owned()),
            (Some(login(13, false)), EVERYWHERE.to_owned()),
            (Some(login(16, false)), idle.clone()),
            (Some(login(15, true)), format!("{idle} -c lc_messages=C")),
            (
                Some(login(17, true)),
                format!("{idle} -c transaction_timeout=0 -c lc_messages=C"),
            ),
        ] {
            assert_eq!(neutral(login), expected, "{login:?}");
        }
    }
}
