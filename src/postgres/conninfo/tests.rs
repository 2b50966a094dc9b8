//! Tables over the precedence and the meaning of connection parameters.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::config::PasswordSource;

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn map(pairs: Pairs<'_>) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn by_string(conninfo: &str) -> Connection {
    Connection::from_string(conninfo).unwrap()
}

fn resolved(conninfo: &str, environment: &[(&str, &str)]) -> Conninfo {
    match Conninfo::resolve(&by_string(conninfo), &map(environment), None) {
        Ok(resolved) => resolved,
        Err(error) => panic!("{conninfo:?}: {error}"),
    }
}

fn refused(conninfo: &str, environment: &[(&str, &str)]) -> String {
    match Conninfo::resolve(&by_string(conninfo), &map(environment), None) {
        Ok(resolved) => panic!("{conninfo:?} was accepted: {resolved:?}"),
        Err(error) => error.to_string(),
    }
}

fn variable(conninfo: &Conninfo, name: &str) -> Option<String> {
    let all: Vec<_> = conninfo
        .child_environment("app", Duration::from_secs(10))
        .into_iter()
        .filter(|(variable, _)| variable == name)
        .collect();
    assert!(all.len() < 2, "{name} is set twice: {all:?}");
    all.into_iter().next().map(|(_, value)| value)
}

#[test]
fn the_configuration_wins_over_the_service_over_the_environment_over_the_default() {
    let home = tempfile::tempdir().unwrap();
    fs::write(
        home.path().join(".pg_service.conf"),
        "[prod]\nhost=from-service\nport=2\nuser=service-user\n",
    )
    .unwrap();
    let home = home.path().display().to_string();
    let environment = [
        ("HOME", home.as_str()),
        ("PGSERVICE", "prod"),
        ("PGPORT", "3"),
        ("PGHOST", "from-environment"),
        ("PGDATABASE", "from-environment"),
        ("PGUSER", "environment-user"),
    ];
    let mut connection = by_string("port=4 user=string-user");
    connection
        .parameters
        .extend(map(&[("user", "parameter-user")]));
    let conninfo = Conninfo::resolve(&connection, &map(&environment), None).unwrap();
    assert_eq!(
        conninfo.to_string(),
        r#"database "from-environment" as user "parameter-user" at from-service port 4"#
    );
    let conninfo = Conninfo::resolve(&connection, &map(&environment), Some("a=b://c")).unwrap();
    assert_eq!(conninfo.database(), "a=b://c");
    let message = refused("service=absent", &environment);
    assert!(
        message.contains("\"absent\"") && message.contains(".pg_service.conf"),
        "{message}"
    );
}

#[test]
fn the_database_is_the_users_unless_named() {
    assert_eq!(resolved("user=me", &[]).database(), "me");
    assert_eq!(resolved("user=me dbname=it", &[]).database(), "it");
    // An empty value keeps the environment out, as in libpq.
    assert_eq!(
        resolved("user=me dbname=''", &[("PGDATABASE", "it")]).database(),
        "me"
    );
    let os_user = uzers::get_user_by_uid(rustix::process::geteuid().as_raw()).unwrap();
    assert_eq!(resolved("", &[]).user(), os_user.name().to_str().unwrap());
}

#[test]
fn hosts_addresses_and_ports_belong_together() {
    let table = [
        ("host=a", "a port 5432"),
        ("host=a,b port=1,2", "a port 1, b port 2"),
        ("host=a,b port=7", "a port 7, b port 7"),
        ("host=a,b port=,8", "a port 5432, b port 8"),
        ("host=/run/x port=6", "/run/x/.s.PGSQL.6"),
        ("host=a hostaddr=127.0.0.1", "a (127.0.0.1) port 5432"),
        ("hostaddr=::1", "::1 port 5432"),
        ("postgresql://[::1]:9,h/", "::1 port 9, h port 5432"),
    ];
    for (text, expected) in table {
        let shown = resolved(text, &[("PGUSER", "u")]).to_string();
        assert_eq!(
            shown,
            format!(r#"database "u" as user "u" at {expected}"#),
            "{text:?}"
        );
    }
    for text in [
        "host=a,b port=1,2,3",
        "host=a,b,c hostaddr=::1,::1",
        "host=a,b hostaddr=::1",
    ] {
        assert!(refused(text, &[]).contains("one for each host"), "{text:?}");
    }
}

#[test]
fn a_value_that_makes_no_sense_is_refused_with_its_place() {
    let table: &[(&str, Pairs<'_>, &str)] = &[
        ("port=0", &[], "the configuration sets port to \"0\""),
        (
            "",
            &[("PGPORT", "x")],
            "the environment variable PGPORT sets port to \"x\"",
        ),
        ("sslmode=on", &[], "verify-full"),
        ("hostaddr=localhost", &[], "an IPv4 or IPv6 address"),
        ("host=@abstract", &[], "abstract"),
        ("connect_timeout=soon", &[], "integer"),
        ("keepalives_idle=-1", &[], "integer"),
        ("target_session_attrs=master", &[], "prefer-standby"),
        ("sslrootcert=system sslmode=require", &[], "verify-full"),
        ("gssencmode=require", &[], "GSSAPI is not supported"),
        (
            "",
            &[("PGREQUIREAUTH", "scram-sha-256")],
            "channel_binding=require",
        ),
        ("", &[("PGREQUIREPEER", "postgres")], "PGREQUIREPEER"),
        ("replication=database", &[], "ordinary connection"),
        ("sslpassword=x", &[], "unencrypted"),
    ];
    for (text, environment, expected) in table {
        let message = refused(text, environment);
        assert!(message.contains(expected), "{text:?}: {message}");
    }
    let connection = Connection {
        parameters: map(&[("hots", "a")]),
        ..Connection::default()
    };
    let error = Conninfo::resolve(&connection, &BTreeMap::new(), None).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("unknown libpq parameter \"hots\""),
        "{error}"
    );
}

#[test]
fn tls_modes_are_found_where_libpq_finds_them() {
    let table: &[(&str, Pairs<'_>, SslMode)] = &[
        ("", &[], SslMode::Prefer),
        ("", &[("PGREQUIRESSL", "1")], SslMode::Require),
        ("sslmode=allow", &[("PGREQUIRESSL", "1")], SslMode::Allow),
        ("sslrootcert=system", &[], SslMode::VerifyFull),
        ("", &[("PGSSLMODE", "verify-ca")], SslMode::VerifyCa),
    ];
    for (text, environment, expected) in table {
        assert_eq!(resolved(text, environment).ssl_mode, *expected, "{text:?}");
    }
}

#[test]
fn the_password_comes_from_the_first_place_that_has_one() {
    let home = tempfile::tempdir().unwrap();
    let passfile = home.path().join(".pgpass");
    fs::write(&passfile, "a:*:*:*:for-a\nb:*:*:*:for-b\n").unwrap();
    fs::set_permissions(&passfile, fs::Permissions::from_mode(0o600)).unwrap();
    let home = home.path().display().to_string();
    let passwords = |connection: &Connection, environment: &[(&str, &str)]| -> Vec<String> {
        Conninfo::resolve(connection, &map(environment), None)
            .unwrap()
            .endpoints
            .iter()
            .map(|e| {
                e.password
                    .as_ref()
                    .map_or("", |p| p.expose_secret())
                    .to_owned()
            })
            .collect()
    };
    let hosts = by_string("host=a,b,c");
    let with_variable = [("HOME", home.as_str()), ("PGPASSWORD", "variable")];
    assert_eq!(
        passwords(&hosts, &[("HOME", &home)]),
        ["for-a", "for-b", ""]
    );
    assert_eq!(passwords(&hosts, &with_variable), ["variable"; 3]);
    let in_string = by_string("host=a password=string");
    assert_eq!(passwords(&in_string, &with_variable), ["string"]);
    let in_both = Connection {
        password: Some(PasswordSource::Inline("inline".to_owned().into())),
        ..in_string
    };
    assert_eq!(passwords(&in_both, &with_variable), ["inline"]);
}

#[test]
fn nothing_that_is_shown_holds_the_password() {
    let conninfo = resolved("postgresql://u:hidden@h/d?options=-cx", &[]);
    assert!(!format!("{conninfo} {conninfo:?}").contains("hidden"));
    assert_eq!(conninfo.mask("password=hidden b"), "password=******** b");
    assert_eq!(conninfo.child_argument(), None);
}

#[test]
fn the_programs_get_what_was_resolved_and_nothing_else() {
    let conninfo = resolved(
        "host=a,b port=1 hostaddr=,127.0.0.1 user=u dbname='a=b' password=p sslmode=require \
         options='-c x=y' keepalives_idle=5 tcp_user_timeout=7 service=''",
        &[
            ("PGSERVICE", "never"),
            ("PGCLIENTENCODING", "LATIN1"),
            ("PGAPPNAME", "another"),
            ("PGSSLCERT", "/c"),
            ("PATH", "/bin"),
            ("LC_ALL", "ar_SA.UTF-8"),
            ("LD_PRELOAD", "evil.so"),
        ],
    );
    let table = [
        ("PGHOST", Some("a,b")),
        ("PGHOSTADDR", Some(",127.0.0.1")),
        ("PGPORT", Some("1,1")),
        ("PGUSER", Some("u")),
        ("PGDATABASE", Some("a=b")),
        ("PGPASSWORD", Some("p")),
        ("PGPASSFILE", Some(NONE)),
        ("PGSSLMODE", Some("require")),
        ("PGSSLCERT", Some("/c")),
        (
            "PGOPTIONS",
            Some(
                "-c role=none -c statement_timeout=0 -c lock_timeout=0 \
                 -c idle_in_transaction_session_timeout=0 -c default_transaction_read_only=off \
                 -c default_transaction_deferrable=off \
                 -c default_transaction_isolation=read\\ committed -c client_min_messages=warning \
                 -c bytea_output=hex -c quote_all_identifiers=off \
                 -c standard_conforming_strings=on -c datestyle=ISO -c array_nulls=on \
                 -c transform_null_equals=off -c x=y",
            ),
        ),
        ("PGTZ", Some("UTC")),
        ("PGAPPNAME", Some("app")),
        ("PGCONNECT_TIMEOUT", Some("10")),
        ("PATH", Some("/bin")),
        ("LC_ALL", Some("C")),
        ("PGSERVICE", None),
        ("PGCLIENTENCODING", None),
        ("LD_PRELOAD", None),
    ];
    for (name, expected) in table {
        assert_eq!(variable(&conninfo, name).as_deref(), expected, "{name}");
    }
    assert_eq!(
        conninfo.child_argument().as_deref(),
        Some("keepalives_idle='5' tcp_user_timeout='7'")
    );
}

const NONE: &str = "/dev/null/none";

#[test]
fn event_triggers_are_kept_still_where_the_server_has_such_on_login() {
    let options = |conninfo: Conninfo| conninfo.parameters.get("options").cloned();
    let plain = resolved("host=a user=u dbname=d", &[]);
    let own = resolved("host=a user=u dbname=d options='-c x=y'", &[]);
    for (conninfo, major, expected) in [
        (&plain, 16, None),
        (&plain, 17, Some(" -c event_triggers=off")),
        (&own, 18, Some("-c x=y -c event_triggers=off")),
    ] {
        let quiet = options(conninfo.without_event_triggers(major));
        assert_eq!(quiet.as_deref(), expected, "{major}");
    }
}

#[test]
fn a_dump_is_loaded_in_the_zone_of_its_database_or_in_the_server_s() {
    let conninfo = resolved("host=a user=u dbname=d", &[]);
    let zone = |conninfo: &Conninfo| {
        let environment = conninfo.child_environment("app", Duration::from_secs(1));
        let found = environment.into_iter().find(|(name, _)| name == "PGTZ");
        found.map(|(_, zone)| zone)
    };
    for (conninfo, expected) in [
        (conninfo.clone(), Some("UTC")),
        (
            conninfo.for_loading(Some("Asia/Riyadh"), false),
            Some("Asia/Riyadh"),
        ),
        (conninfo.for_loading(None, false), None),
    ] {
        assert_eq!(zone(&conninfo).as_deref(), expected);
    }
}
