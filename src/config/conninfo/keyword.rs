//! The parameters that libpq knows, the environment variable of each, and which of them this
//! program can honour.
//!
//! Source: the chapters "Parameter Key Words" and "Environment Variables" of libpq's manual, as of
//! `PostgreSQL` 18.

/// How this program treats a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Treatment {
    /// Our own connection and the programs that we start follow it.
    Honoured,
    /// It changes nothing that matters here, so it is accepted and left out.
    Ignored,
    /// Following it is impossible for our own connection, and leaving it out would be wrong. The
    /// text says what to do instead.
    Refused(&'static str),
}

/// One parameter.
#[derive(Debug)]
pub(crate) struct Keyword {
    /// Its name in a connection string.
    pub(crate) name: &'static str,
    /// Its environment variable, if it has one.
    pub(crate) variable: Option<&'static str>,
    /// How it is treated.
    pub(crate) treatment: Treatment,
}

const fn honoured(name: &'static str, variable: Option<&'static str>) -> Keyword {
    Keyword {
        name,
        variable,
        treatment: Treatment::Honoured,
    }
}

const fn ignored(name: &'static str, variable: Option<&'static str>) -> Keyword {
    Keyword {
        name,
        variable,
        treatment: Treatment::Ignored,
    }
}

const fn refused(
    name: &'static str,
    variable: Option<&'static str>,
    instead: &'static str,
) -> Keyword {
    Keyword {
        name,
        variable,
        treatment: Treatment::Refused(instead),
    }
}

const NO_OAUTH: &str = "OAuth is not supported: use a password or a client certificate";
const NO_SCRAM_KEYS: &str = "SCRAM keys are not supported: give the password";

/// All parameters. Keywords of the same meaning stand together.
pub(crate) const KEYWORDS: &[Keyword] = &[
    honoured("service", Some("PGSERVICE")),
    honoured("servicefile", Some("PGSERVICEFILE")),
    honoured("host", Some("PGHOST")),
    honoured("hostaddr", Some("PGHOSTADDR")),
    honoured("port", Some("PGPORT")),
    honoured("dbname", Some("PGDATABASE")),
    honoured("user", Some("PGUSER")),
    honoured("password", Some("PGPASSWORD")),
    honoured("passfile", Some("PGPASSFILE")),
    honoured("connect_timeout", Some("PGCONNECT_TIMEOUT")),
    honoured("options", Some("PGOPTIONS")),
    honoured("channel_binding", Some("PGCHANNELBINDING")),
    honoured("target_session_attrs", Some("PGTARGETSESSIONATTRS")),
    honoured("load_balance_hosts", Some("PGLOADBALANCEHOSTS")),
    honoured("keepalives", None),
    honoured("keepalives_idle", None),
    honoured("keepalives_interval", None),
    honoured("keepalives_count", None),
    honoured("tcp_user_timeout", None),
    honoured("sslmode", Some("PGSSLMODE")),
    honoured("sslnegotiation", Some("PGSSLNEGOTIATION")),
    honoured("sslcert", Some("PGSSLCERT")),
    honoured("sslkey", Some("PGSSLKEY")),
    honoured("sslcertmode", Some("PGSSLCERTMODE")),
    honoured("sslrootcert", Some("PGSSLROOTCERT")),
    honoured("sslcrl", Some("PGSSLCRL")),
    honoured("sslsni", Some("PGSSLSNI")),
    honoured("ssl_min_protocol_version", Some("PGSSLMINPROTOCOLVERSION")),
    honoured("ssl_max_protocol_version", Some("PGSSLMAXPROTOCOLVERSION")),
    honoured("gssencmode", Some("PGGSSENCMODE")),
    // Ours is the only application name that a blocked dump can be found by.
    ignored("application_name", Some("PGAPPNAME")),
    ignored("fallback_application_name", None),
    // pg_dump would write the dump in this encoding instead of the database's own.
    ignored("client_encoding", Some("PGCLIENTENCODING")),
    ignored("sslcompression", Some("PGSSLCOMPRESSION")),
    ignored("krbsrvname", Some("PGKRBSRVNAME")),
    ignored("gsslib", Some("PGGSSLIB")),
    ignored("gssdelegation", Some("PGGSSDELEGATION")),
    ignored("min_protocol_version", Some("PGMINPROTOCOLVERSION")),
    ignored("max_protocol_version", Some("PGMAXPROTOCOLVERSION")),
    refused(
        "sslcrldir",
        Some("PGSSLCRLDIR"),
        "a directory of revocation lists is not supported: put them into one file for sslcrl",
    ),
    refused(
        "sslpassword",
        None,
        "an encrypted client key is not supported: keep the key unencrypted with mode 0600",
    ),
    refused(
        "requirepeer",
        Some("PGREQUIREPEER"),
        "the owner of the server's process cannot be checked: leave it out, and check that only \
         the server can write to the socket's directory",
    ),
    refused(
        "require_auth",
        Some("PGREQUIREAUTH"),
        "the way of authentication cannot be demanded: leave it out, and use channel_binding=require \
         or sslmode=verify-full",
    ),
    refused(
        "sslkeylogfile",
        None,
        "session keys are not written to a file: leave it out",
    ),
    refused(
        "replication",
        None,
        "a logical backup needs an ordinary connection: leave it out",
    ),
    refused("scram_client_key", None, NO_SCRAM_KEYS),
    refused("scram_server_key", None, NO_SCRAM_KEYS),
    refused("oauth_issuer", None, NO_OAUTH),
    refused("oauth_client_id", None, NO_OAUTH),
    refused("oauth_client_secret", None, NO_OAUTH),
    refused("oauth_scope", None, NO_OAUTH),
];

/// The parameter of this name.
pub(crate) fn find(name: &str) -> Option<&'static Keyword> {
    KEYWORDS.iter().find(|keyword| keyword.name == name)
}

/// The known name that is spelled most like this one, if any comes close.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    KEYWORDS
        .iter()
        .map(|keyword| {
            (
                strsim::damerau_levenshtein(keyword.name, name),
                keyword.name,
            )
        })
        .min()
        .filter(|(distance, _)| *distance <= 2)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_and_every_variable_stands_in_the_table_once() {
        for (i, one) in KEYWORDS.iter().enumerate() {
            for other in &KEYWORDS[i + 1..] {
                assert_ne!(one.name, other.name);
                assert!(
                    one.variable.is_none() || one.variable != other.variable,
                    "{one:?} {other:?}"
                );
            }
        }
    }

    #[test]
    fn a_misspelled_parameter_finds_its_neighbour() {
        assert_eq!(nearest("ssl_mode"), Some("sslmode"));
        assert_eq!(nearest("hots"), Some("host"));
        assert_eq!(nearest("colour_of_the_sky"), None);
    }
}
