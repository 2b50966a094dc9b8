//! What connecting shows before a night's backup fails: `config check --connect`, and the daemon after
//! its start and each reload.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, Options, wait_until};
use crate::support::daemon::{Daemon, only_daily};
use crate::support::operator::{Operator, Output, code_of_status, wait_for_the_next_second};

/// The attention that `status` asks for, by kind and database, and its remarks.
fn status(operator: &Operator) -> (Vec<(String, Value)>, Vec<String>) {
    let output = operator.run(&["status", "--json"]);
    let status: Value = serde_json::from_str(&output.stdout).unwrap();
    let attention = status["attention"].as_array().unwrap();
    assert_eq!(output.code, code_of_status(&status), "{output}");
    let attention = attention.iter();
    let kinds = attention.map(|one| {
        (
            one["kind"].as_str().unwrap().to_owned(),
            one["database"].clone(),
        )
    });
    let remarks = status["remarks"].as_array().unwrap().iter();
    let remarks = remarks.map(|remark| remark.as_str().unwrap().to_owned());
    (kinds.collect(), remarks.collect())
}

/// The kinds of failures in a check's JSON, each with its database.
fn failures(output: &Output) -> Vec<(Value, Value)> {
    let document: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(document["ok"], output.code == 0, "{output}");
    let servers = document["servers"].as_array().unwrap().iter();
    let failures = servers.flat_map(|server| server["failures"].as_array().unwrap());
    failures
        .map(|failure| (failure["kind"].clone(), failure["database"].clone()))
        .collect()
}

#[track_caller]
fn each_failure_has_the_programs_name(output: &Output, failures: usize) {
    let lines = output.stderr.lines();
    let sentences: Vec<&str> = lines.filter(|line| !line.starts_with("hint: ")).collect();
    assert_eq!(sentences.len(), failures, "{output}");
    let is_named = |line: &&str| line.starts_with("pgbackupd: server main: ");
    assert!(sentences.iter().all(is_named), "{output}");
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario, each step on what the one before has left"
)]
fn a_check_that_connects_names_what_the_server_does_not_have() {
    let cluster = Cluster::start();
    cluster.create_database("sales");
    cluster.create_database("audit");
    let mut operator = Operator::of(&cluster, "sales");
    let check = ["config", "check", "--connect"];
    let json = ["config", "check", "--connect", "--json"];
    let sound = operator.run(&check);
    assert_eq!((sound.code, sound.stderr.as_str()), (0, ""), "{sound}");
    assert!(
        sound
            .stdout
            .ends_with("server main: connected to 1 database: sales\n"),
        "{sound}"
    );

    // A name that is wrong, among others: did you mean?
    operator.unset("database");
    operator.set_value("databases", vec!["audit", "salse"]);
    let wrong = operator.run(&check);
    assert_eq!(wrong.code, 78, "{wrong}");
    assert!(
        wrong.stdout.ends_with("connected to 1 database: audit\n"),
        "{wrong}"
    );
    assert!(
        wrong
            .stderr
            .contains("pgbackupd: server main: there is no database \"salse\" at "),
        "{wrong}"
    );
    assert!(
        wrong.stderr.contains(" (did you mean \"sales\"?)\nhint: "),
        "{wrong}"
    );
    let wrong = operator.run(&json);
    assert_eq!(
        failures(&wrong),
        [(json!("no_such_database"), json!("salse"))]
    );
    // Without connecting nothing of it is known, and a backup says the same.
    assert_eq!(operator.run(&["config", "check"]).code, 0);
    let backup = operator.run(&["backup"]);
    assert_eq!(backup.code, 69, "{backup}");
    assert!(
        backup.stderr.contains(" (did you mean \"sales\"?)\nhint: "),
        "{backup}"
    );

    // What a pattern without wildcards names is as missing; other patterns may match what comes.
    operator.set("databases", "all");
    operator.set_value("include", vec!["sales", "audti", "tenant_*"]);
    let wrong = operator.run(&json);
    assert_eq!(wrong.code, 78, "{wrong}");
    assert_eq!(
        failures(&wrong),
        [(json!("no_such_database"), json!("audti"))]
    );

    // What cannot be connected to is named whatever comes before it, and one that is full hides none.
    for database in ["full", "closed"] {
        cluster.create_database(database);
    }
    cluster.psql(
        "CREATE ROLE keeper LOGIN; REVOKE CONNECT ON DATABASE closed FROM PUBLIC; \
         ALTER DATABASE \"full\" CONNECTION LIMIT 0",
    );
    operator.unset("include");
    operator.set("connection.user", "keeper");
    operator.set_value("exclude", vec!["postgres"]);
    let refused = [
        (json!("refused"), json!("closed")),
        (json!("unreachable"), json!("full")),
    ];
    let wrong = operator.run(&json);
    assert_eq!(wrong.code, 69, "{wrong}");
    assert_eq!(failures(&wrong), refused);
    each_failure_has_the_programs_name(&operator.run(&check), 2);
    operator.unset("exclude");
    operator.set_value("databases", vec!["full", "salse", "audit"]);
    let wrong = operator.run(&json);
    assert_eq!(wrong.code, 78, "{wrong}");
    let missing = (json!("no_such_database"), json!("salse"));
    assert_eq!(failures(&wrong), [refused[1].clone(), missing]);
    operator.set("connection.user", "postgres");

    // A choice of nothing is none.
    operator.set("databases", "all");
    operator.set_value("include", vec!["tenant_*"]);
    let wrong = operator.run(&json);
    assert_eq!(wrong.code, 78, "{wrong}");
    assert_eq!(failures(&wrong), [(json!("no_such_database"), Value::Null)]);

    // A server that does not answer is asked once.
    operator.unset("include");
    operator.set_value("databases", vec!["audit", "sales"]);
    operator.set("connection.host", "/nonexistent");
    let silent = operator.run(&check);
    assert_eq!(silent.code, 69, "{silent}");
    assert_eq!(
        silent.stderr.matches("cannot connect").count(),
        1,
        "{silent}"
    );
    assert_eq!(
        failures(&operator.run(&json)),
        [(json!("unreachable"), Value::Null)]
    );
}

#[test]
fn a_password_is_asked_for_in_a_way_that_works() {
    let cluster = Cluster::with(&Options {
        tcp: true,
        ..Options::default()
    });
    cluster.psql(
        "SET password_encryption = 'scram-sha-256';
         CREATE ROLE keeper LOGIN SUPERUSER PASSWORD 'correct horse'",
    );
    cluster.create_database("sales");
    let mut operator = Operator::of(&cluster, "sales");
    operator.set("connection.host", "127.0.0.1");
    operator.set("connection.user", "keeper");
    operator.unset("database");
    operator.set_value("databases", vec!["postgres", "sales"]);
    let check = ["config", "check", "--connect"];
    let none = operator.run(&check);
    assert_eq!(none.code, 69, "{none}");
    assert!(none.stderr.contains("with password_file"), "{none}");

    // The way out of every step leads to the next one, and in the end to a backup.
    let secret = operator.path("it's secret");
    operator.set("connection.password_file", secret.display());
    let missing = operator.run(&["config", "check"]);
    assert_eq!(missing.code, 78, "{missing}");
    pasted(&missing, "install ", "wrong");
    let wrong = operator.run(&check);
    assert_eq!(wrong.code, 69, "{wrong}");
    assert!(wrong.stderr.contains("(SQLSTATE 28P01)"), "{wrong}");
    assert!(wrong.stderr.contains("correct the password "), "{wrong}");
    assert_eq!(
        wrong.stderr.matches("cannot connect").count(),
        1,
        "a password that is wrong is not tried for every database: {wrong}"
    );
    fs::write(&secret, "correct horse\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let exposed = operator.run(&check);
    assert_eq!(exposed.code, 78, "{exposed}");
    pasted(&exposed, "chmod ", "");
    assert_eq!(operator.run(&check).code, 0);
    assert_eq!(operator.run(&["backup"]).code, 0);

    // The same of a password in the configuration itself.
    operator.unset("connection.password_file");
    operator.set("connection.password", "correct horse");
    rustix::fs::chmod(operator.configuration(), 0o644.into()).unwrap();
    let exposed = operator.run(&check);
    assert_eq!(exposed.code, 78, "{exposed}");
    pasted(&exposed, "chmod ", "");
    assert_eq!(operator.run(&check).code, 0);
}

#[test]
fn a_password_file_without_a_fitting_line_is_named() {
    let cluster = Cluster::with(&Options {
        tcp: true,
        ..Options::default()
    });
    cluster.psql("CREATE ROLE keeper LOGIN PASSWORD 'correct horse'");
    cluster.psql("SET password_encryption = 'scram-sha-256'; ALTER ROLE keeper PASSWORD 'horse'");
    let mut operator = Operator::of(&cluster, "postgres");
    operator.set("connection.host", "127.0.0.1");
    operator.set("connection.user", "keeper");
    let file = operator.path("pass");
    let line = format!("127.0.0.1:{}:postgres:keeper", cluster.port());
    let check = ["config", "check", "--connect"];
    let says = |operator: &Operator, words: &str| {
        let output = operator.run(&check);
        assert_eq!(output.code, 69, "{output}");
        assert!(output.stderr.contains(words), "{words}: {output}");
    };

    operator.set("connection.passfile", file.display());
    let fits = format!(
        "no line of the password file {} matches {line}: add",
        file.display()
    );
    for content in ["", "elsewhere:*:*:*:horse\n", "# *:*:*:*:horse\n"] {
        fs::write(&file, content).unwrap();
        rustix::fs::chmod(&file, 0o600.into()).unwrap();
        says(&operator, &fits);
    }
    fs::write(&file, format!("{line}:horse\n")).unwrap();
    assert_eq!(operator.run(&check).code, 0);

    // libpq's way to want none.
    operator.set("connection.passfile", "/dev/null");
    assert_eq!(operator.run(&["config", "check"]).code, 0);
    says(
        &operator,
        "a password and none is configured: in [connection]",
    );

    operator.unset("connection.passfile");
    let absent = operator.path("absent");
    operator.set_variable("PGPASSFILE", absent.display());
    let words = format!("the password file {} does not exist", absent.display());
    says(&operator, &words);
    operator.set_variable("PGPASSFILE", file.display());
    assert_eq!(operator.run(&check).code, 0);
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario, each step on what the one before has left"
)]
fn what_the_role_may_not_read_is_found_before_the_night() {
    let cluster = Cluster::start();
    cluster.psql("CREATE ROLE keeper LOGIN");
    cluster.create_database("sales");
    let mut operator = Operator::of(&cluster, "sales");
    operator.set("connection.user", "keeper");
    operator.set_value("dump.globals", false);
    let check = ["config", "check", "--connect"];
    let agrees = |operator: &Operator, said: Option<&str>| {
        let output = operator.run(&check);
        let code = if said.is_some() { 69 } else { 0 };
        assert_eq!(output.code, code, "{output}");
        assert!(output.stderr.contains(said.unwrap_or_default()), "{output}");
        // pg_dump knows best.
        let backup = operator.run(&["backup"]);
        assert_eq!(backup.code == 0, said.is_none(), "{output}\n{backup}");
        output.stderr
    };
    // What is printed ends it.
    let granted = |printed: &str| {
        let (_, statement) = printed.split_once("run ").unwrap();
        let statement = statement.lines().next().unwrap();
        let statement = statement.split(", or let").next().unwrap();
        cluster.psql_in("sales", statement);
    };
    let sql = |sql: &str| cluster.psql_in("sales", sql);
    agrees(&operator, None);

    // Views and foreign tables have no rows of their own, and what others may do with them is theirs.
    sql(
        "CREATE VIEW v AS SELECT 1 AS i; CREATE TABLE open (i serial); GRANT SELECT ON open, open_i_seq TO keeper",
    );
    agrees(&operator, None);
    for (made, said) in [
        (
            "CREATE TABLE closed (i int)",
            "may not read table public.closed: ",
        ),
        (
            "CREATE SEQUENCE \"Odd\"",
            "may not read sequence public.\"Odd\": ",
        ),
        (
            "CREATE SCHEMA inner_part; CREATE TABLE inner_part.t (i int); GRANT SELECT ON inner_part.t TO keeper",
            "may not read schema inner_part: ",
        ),
        (
            "CREATE TABLE parted (i int) PARTITION BY LIST (i)",
            "may not read table public.parted: ",
        ),
    ] {
        sql(made);
        let printed = agrees(&operator, Some(said));
        granted(&printed);
        agrees(&operator, None);
        cluster.psql("REVOKE pg_read_all_data FROM keeper");
        sql(
            "DROP TABLE IF EXISTS closed, parted; DROP SEQUENCE IF EXISTS \"Odd\"; DROP SCHEMA IF EXISTS inner_part CASCADE",
        );
    }
    sql(
        "CREATE TABLE a (i int); CREATE TABLE b (i int); CREATE TABLE c (i int); CREATE TABLE d (i int)",
    );
    agrees(
        &operator,
        Some("table public.a, table public.b, table public.c and 1 more: "),
    );
    cluster.psql("GRANT pg_read_all_data TO keeper");
    agrees(&operator, None);

    sql("SELECT lo_create(4711)");
    let printed = agrees(&operator, Some("may not read large object 4711: "));
    granted(&printed);
    agrees(&operator, None);

    sql("ALTER TABLE a ENABLE ROW LEVEL SECURITY");
    let printed = agrees(
        &operator,
        Some("row-level security hides rows of public.a from role"),
    );
    sql("ALTER TABLE a OWNER TO keeper");
    agrees(&operator, None);
    sql("ALTER TABLE a FORCE ROW LEVEL SECURITY");
    agrees(
        &operator,
        Some("row-level security hides rows of public.a from role"),
    );
    granted(&printed);
    agrees(&operator, None);
}

#[test]
fn a_credential_of_the_service_is_no_failure_of_a_job_by_hand() {
    let cluster = Cluster::start();
    let mut operator = Operator::of(&cluster, "postgres");
    assert_eq!(operator.run(&["backup"]).code, 0);
    let records = operator.ledger().len();
    for (key, value, more) in [
        (
            "connection.password_file",
            "/run/credentials/pgbackupd.service/db-password",
            "write credential = \"db-password\" in place of password_file",
        ),
        ("connection.credential", "db-password", "by hand, "),
        (
            "connection.sslkey",
            "/run/credentials/pgbackupd.service/client.key",
            "sets sslkey to the credential \"client.key\", which exists only inside the service",
        ),
        (
            "connection.passfile",
            "/run/credentials/pgbackupd.service/pass",
            "set PGBACKUPD_CONNECTION__PASSFILE to another file",
        ),
    ] {
        operator.set(key, value);
        let output = operator.run(&["backup"]);
        assert_eq!(output.code, 69, "{output}");
        assert!(output.stderr.contains(more), "{output}");
        if more.contains("by hand, ") || key.ends_with("password_file") {
            let command = format!(
                "`systemd-run --quiet --pipe --wait -E 'PGBACKUPD_CONFIG={}' -p User=",
                operator.configuration().display()
            );
            assert!(output.stderr.contains(&command), "{output}");
        }
        assert!(!output.stderr.contains("install "), "{output}");
        assert_eq!(operator.run(&["config", "check"]).code, 0);
        assert_eq!(operator.ledger().len(), records);
        assert_eq!(status(&operator).0, []);
        operator.unset(key);
    }
}

#[test]
fn a_mistake_in_what_is_named_is_the_configurations() {
    let cluster = Cluster::start();
    cluster.psql("CREATE DATABASE closed WITH ALLOW_CONNECTIONS false");
    cluster.create_database("sales");
    let mut operator = Operator::of(&cluster, "closed");
    let check = ["config", "check", "--connect"];
    let refused = |operator: &Operator, words: &str| {
        let output = operator.run(&check);
        assert_eq!(output.code, 78, "{output}");
        assert!(output.stderr.contains(words), "{words}: {output}");
        assert_eq!(output.stderr.matches("pgbackupd: ").count(), 1, "{output}");
        assert!(!output.stderr.contains("there is no database"), "{output}");
    };
    refused(&operator, "does not allow connections");
    operator.set("database", "template0");
    refused(&operator, "does not allow connections");
    operator.unset("database");
    operator.set("databases", "all");
    operator.set_value("include", vec!["sales", "closed"]);
    refused(
        &operator,
        "does not allow connections, so it cannot be backed up\nhint: remove",
    );
    operator.set_value("include", vec!["template1"]);
    refused(
        &operator,
        "is a template, which databases = \"all\" leaves out",
    );
    operator.set_value("include", vec!["sales"]);
    operator.set_value("exclude", vec!["sale*"]);
    refused(
        &operator,
        "\"sales\" is named by include and left out by exclude",
    );

    // So is a service that is not there.
    operator.unset("include");
    operator.unset("exclude");
    operator.set_variable("PGSERVICE", "nowhere");
    refused(
        &operator,
        "the service \"nowhere\" is in none of the service files",
    );
    assert_eq!(operator.run(&["backup"]).code, 78);
    operator.set_variable("PGSERVICEFILE", "/nonexistent/pg_service.conf");
    refused(
        &operator,
        "cannot read the service file /nonexistent/pg_service.conf",
    );
}

/// Carries out the command between backquotes that begins so, with this on its standard input.
#[track_caller]
fn pasted(output: &Output, start: &str, input: &str) {
    let mut quoted = output.stderr.split('`').skip(1).step_by(2);
    let command = quoted.find(|command| command.starts_with(start)).unwrap();
    let script = format!("{command} <<'END'\n{input}\nEND\n");
    let status = std::process::Command::new("sh")
        .args(["-c", &script])
        .status();
    assert!(status.unwrap().success(), "{command}");
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario, each step on what the one before has left"
)]
fn a_daemon_reports_a_database_that_is_not_there_until_it_is() {
    let cluster = Cluster::start();
    cluster.create_database("sales");
    cluster.create_database("late");
    cluster.psql("ALTER DATABASE late RENAME TO not_yet");
    let mut operator = Operator::of(&cluster, "sales");
    only_daily(&mut operator, "UTC", "0 2 1 1 *");
    operator.unset("database");
    operator.set_value("databases", vec!["sales", "salse", "late"]);
    let daemon = Daemon::start(&operator);
    daemon.wait_for("database salse cannot be backed up as configured: there is no database ");
    daemon.wait_for("database late cannot be backed up as configured: there is no database ");
    let missing = |name: &str| ("no_such_database".to_owned(), json!(name));
    wait_until("the concerns", || {
        status(&operator).0 == [missing("salse"), missing("late")]
    });

    // A reload without a change reports nothing again.
    let before = daemon.count("cannot be backed up as configured");
    daemon.signal(Signal::HUP);
    daemon.wait_for("configuration reloaded from ");
    wait_until("the concerns", || {
        status(&operator).0 == [missing("salse"), missing("late")]
    });
    assert_eq!(daemon.count("cannot be backed up as configured"), before);

    // It was made since, and a backup of it shows it.
    cluster.psql("ALTER DATABASE not_yet RENAME TO late");
    wait_for_the_next_second();
    assert_eq!(operator.run(&["backup", "-d", "late"]).code, 0);
    assert_eq!(status(&operator).0, [missing("salse")]);
    // A run that failed says so itself, once.
    assert_eq!(operator.run(&["backup", "-d", "salse"]).code, 69);
    let failed = status(&operator).0;
    assert_eq!(failed, [("failed".to_owned(), json!("salse"))]);

    // What is on the disk is not in force before the reload.
    operator.set_value("databases", vec!["sales", "late"]);
    let (attention, remarks) = status(&operator);
    assert_eq!(attention, [missing("salse")], "the daemon will still try");
    assert!(
        remarks
            .iter()
            .any(|remark| remark.starts_with("the configuration's files have changed since")),
        "{remarks:?}"
    );
    daemon.signal(Signal::HUP);
    daemon.wait_for_nth("configuration reloaded from ", 2);
    wait_until("the configuration in force", || {
        let (attention, remarks) = status(&operator);
        attention.is_empty()
            && !remarks
                .iter()
                .any(|remark| remark.contains("have changed since"))
    });

    // What takes effect at a restart alone is named until then, or until it is taken back.
    let at_restart = "what has changed in logs takes effect when the daemon is restarted: ";
    let is_named = || {
        status(&operator)
            .1
            .iter()
            .any(|remark| remark.starts_with(at_restart))
    };
    assert!(!is_named());
    let text = fs::read_to_string(operator.configuration()).unwrap();
    fs::write(
        operator.configuration(),
        format!("{text}[logs]\nlevel = \"debug\"\n"),
    )
    .unwrap();
    daemon.signal(Signal::HUP);
    wait_until("the remark", is_named);
    fs::write(operator.configuration(), text).unwrap();
    daemon.signal(Signal::HUP);
    wait_until("no remark", || !is_named());
    assert_eq!(daemon.end().code, 0);
}
