//! A dump is code of whoever could write into the database, and a test restore carries it out. These
//! dumps try to get out of the temporary cluster, to places that its user has every right to: what
//! stands in their way is the confinement alone.

use std::fs::{self, Permissions};
use std::io::{ErrorKind, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::cluster::{Cluster, SUPERUSER, binary};
use crate::support::drill::{assert_empty, back_up, drill, open_directory, operator};
use crate::support::operator::{Output, PROGRAM};

/// Backs up a server's database `postgres` in a format and drills; gives the report, once nothing is
/// left of the temporary cluster.
fn back_up_and_drill(source: &Cluster, format: &str, expected: i32) -> (Value, Output) {
    let (mut operator, directory) = operator(source, "postgres");
    operator.set("dump.format", format);
    back_up(&operator);
    let (report, output) = drill(&operator, expected);
    assert_empty(directory.path());
    (report, output)
}

/// A place that everybody may write to, with a secret in it that everybody may read.
fn everybodys_place() -> TempDir {
    let place = open_directory();
    fs::set_permissions(place.path(), Permissions::from_mode(0o777)).unwrap();
    let secret = place.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o644)).unwrap();
    place
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A function for a CHECK constraint: harmless where it is made, and in a temporary cluster it tries
/// all of this, and then fails with what came of each attempt.
fn function_that_tries(attempts: &[(&str, String, &str)]) -> String {
    let attempt = |(name, sql, refusal): &(&str, String, &str)| {
        format!(
            "BEGIN EXECUTE $sql${sql}$sql$; told := told || '{name}: done; ';\n\
             EXCEPTION WHEN OTHERS THEN GET STACKED DIAGNOSTICS more = PG_EXCEPTION_DETAIL;\n\
             more := SQLERRM || ' ' || more;\n\
             told := told || '{name}: ' || CASE WHEN strpos(more, '{refusal}') > 0\n\
             THEN 'refused' ELSE translate(more, E'\\n', ' ') END || '; ';\n\
             END;\n"
        )
    };
    let body: Vec<String> = attempts.iter().map(attempt).collect();
    let body = body.concat();
    format!(
        "CREATE FUNCTION public.tries(integer) RETURNS boolean LANGUAGE plpgsql AS $body$\n\
         DECLARE told text := ''; more text;\n\
         BEGIN\n\
         IF current_setting('data_directory') !~ 'pgbackupd-drill-' THEN RETURN true; END IF;\n\
         {body} RAISE EXCEPTION 'ATTEMPTS %', told;\n\
         END $body$;"
    )
}

/// What is tried: a name, the statements, and what the server says of the refusal. `place` has a
/// secret and a library, somebody listens at `port`, and `server` lets everybody in.
#[expect(clippy::too_many_lines, reason = "a list of what is tried")]
fn attempts(
    place: &Path,
    port: u16,
    server: &Cluster,
) -> Vec<(&'static str, String, &'static str)> {
    let (out, socket) = (place.display(), server.socket_directory().display());
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let libc = maps
        .split_whitespace()
        .find(|word| {
            ["/libc.", "/libc-", "/ld-musl"]
                .iter()
                .any(|name| word.contains(name))
        })
        .unwrap();
    vec![
        (
            "run a program",
            format!("COPY (SELECT 1) TO PROGRAM 'cat > {out}/program'"),
            "could not execute command",
        ),
        (
            "run a program in its own directory",
            "COPY (SELECT 1) TO PROGRAM 'cat > ran'".to_owned(),
            "could not execute command",
        ),
        (
            "write a file",
            format!("COPY (SELECT 1) TO '{out}/file'"),
            "Permission denied",
        ),
        (
            "read a file",
            format!("SELECT pg_read_file('{out}/secret')"),
            "Permission denied",
        ),
        (
            "load a file",
            format!("CREATE TEMP TABLE secret (line text); COPY secret FROM '{out}/secret'"),
            "Permission denied",
        ),
        (
            "list a directory",
            format!("SELECT pg_ls_dir('{out}')"),
            "Permission denied",
        ),
        (
            "export a large object",
            format!("SELECT lo_create(4242); SELECT lo_export(4242, '{out}/export')"),
            "Permission denied",
        ),
        (
            "import a large object",
            format!("SELECT lo_import('{out}/secret')"),
            "Permission denied",
        ),
        (
            "call the C library",
            format!(
                "CREATE FUNCTION pg_temp.sys(cstring) RETURNS integer LANGUAGE c AS '{libc}', 'system'"
            ),
            "missing magic block",
        ),
        (
            "load a library",
            format!("LOAD '{out}/library.so'"),
            "Permission denied",
        ),
        (
            "call over the network",
            format!(
                "SELECT public.dblink_connect('a', 'host=127.0.0.1 port={port} user=x dbname=x connect_timeout=2')"
            ),
            "Operation not permitted",
        ),
        (
            "call the real server",
            format!(
                "SELECT public.dblink_connect('b', 'host={socket} user={SUPERUSER} dbname=postgres'); \
                 SELECT public.dblink_exec('b', 'CREATE TABLE public.taken ()')"
            ),
            "Operation not permitted",
        ),
        (
            "end the real server",
            format!(
                "SELECT 1 / pg_terminate_backend({})::integer",
                server.pid().as_raw_nonzero()
            ),
            "division by zero",
        ),
    ]
}

#[test]
fn what_a_dump_carries_out_reaches_neither_files_nor_programs_nor_the_network() {
    let source = Cluster::start();
    // The source's socket is open to everybody, and asks nobody for a password.
    fs::set_permissions(source.socket_directory(), Permissions::from_mode(0o755)).unwrap();
    let listening = TcpListener::bind("127.0.0.1:0").unwrap();
    listening.set_nonblocking(true).unwrap();
    let port = listening.local_addr().unwrap().port();
    let place = everybodys_place();
    let library = binary("pg_config");
    let library = Command::new(library).arg("--pkglibdir").output().unwrap();
    let library = String::from_utf8(library.stdout).unwrap();
    fs::copy(
        Path::new(library.trim()).join("plpgsql.so"),
        place.path().join("library.so"),
    )
    .unwrap();
    let attempts = attempts(place.path(), port, &source);
    source.psql(&format!(
        "CREATE EXTENSION dblink;\n{}\n\
         CREATE TABLE public.t (n integer CHECK (public.tries(n)));\n\
         INSERT INTO public.t VALUES (1);",
        function_that_tries(&attempts)
    ));
    let before = names_in(place.path());
    for format in ["plain", "directory"] {
        let (report, output) = back_up_and_drill(&source, format, 65);
        assert_eq!(report["outcome"], "refused", "{output}");
        let expected: Vec<String> = attempts
            .iter()
            .map(|(name, ..)| format!("{name}: refused;"))
            .collect();
        let (_, told) = output.stderr.split_once("ATTEMPTS ").unwrap();
        assert!(told.starts_with(&expected.join(" ")), "{told}");
    }
    assert_eq!(names_in(place.path()), before);
    let caller = listening.accept().err().map(|error| error.kind());
    assert_eq!(caller, Some(ErrorKind::WouldBlock), "somebody has called");
    let taken = "SELECT count(*) FROM pg_class WHERE relname = 'taken'";
    assert_eq!(source.psql(taken), "0");
}

#[test]
fn an_event_trigger_that_hides_its_failures_gets_nowhere() {
    let source = Cluster::start();
    let place = everybodys_place();
    source.psql(&format!(
        "CREATE FUNCTION public.tries() RETURNS event_trigger LANGUAGE plpgsql AS $body$\n\
         BEGIN\n\
         IF current_setting('data_directory') ~ 'pgbackupd-drill-' THEN\n\
         COPY (SELECT 1) TO PROGRAM 'cat > {0}/program';\n\
         COPY (SELECT 1) TO '{0}/file';\n\
         END IF;\n\
         EXCEPTION WHEN OTHERS THEN NULL;\n\
         END $body$;\n\
         CREATE TABLE public.t AS SELECT 1 AS n;\n\
         CREATE MATERIALIZED VIEW public.later AS SELECT * FROM public.t;\n\
         CREATE EVENT TRIGGER tries ON ddl_command_end EXECUTE FUNCTION public.tries();\n\
         COMMENT ON EVENT TRIGGER tries IS 'hostile';",
        place.path().display()
    ));
    let (report, output) = back_up_and_drill(&source, "plain", 0);
    assert_eq!(report["outcome"], "proven", "{output}");
    assert_eq!(names_in(place.path()), ["secret"]);
}

/// Gives psql a script, within the bounds that the sandbox sets or without; gives what it said.
fn psql_with(server: &Cluster, confined: bool, script: &str) -> String {
    let program = binary("psql");
    let mut command = if confined {
        let directory = program.parent().unwrap();
        let mut command = Command::new(PROGRAM);
        command
            .arg0("pgbackupd-confined")
            .args(["--parent", &std::process::id().to_string()])
            .args(["--death-signal", "kill", "--reach", "sockets", "--execute"])
            .arg(&program)
            .arg("--read")
            .arg(directory.parent().unwrap())
            .arg("--call")
            .arg(server.socket_directory())
            .arg("--")
            .arg(&program);
        command
    } else {
        Command::new(&program)
    };
    let mut running = command
        .args(["-X", "-q", "-f", "-"])
        .env_clear()
        .envs(server.environment())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = running.stdin.take().unwrap();
    stdin.write_all(script.as_bytes()).unwrap();
    drop(stdin);
    let output = running.wait_with_output().unwrap();
    String::from_utf8(output.stderr).unwrap()
}

/// psql as the sandbox starts it, on a server of whose socket it knows: if a command of its own came
/// through in spite of the look at the dump, it would get no further.
#[test]
fn a_psql_within_its_bounds_runs_nothing_writes_nothing_and_calls_nobody_far() {
    let source = Cluster::start();
    let place = everybodys_place();
    let listening = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listening.local_addr().unwrap().port();
    let out = place.path().display();
    let psql = |confined, script: &str| psql_with(&source, confined, script);
    for (script, refusal) in [
        (format!("\\! touch {out}/witness\n"), ""),
        (
            format!("\\o |cat > {out}/witness\nSELECT 1;\n"),
            "error: |cat",
        ),
        (
            format!("SELECT 1 \\g |cat > {out}/witness\n"),
            "error: |cat",
        ),
        (
            format!("\\copy (SELECT 1) TO PROGRAM 'cat > {out}/witness'\n"),
            "could not execute command",
        ),
        (format!("\\set a `touch {out}/witness`\n"), ""),
        (format!("SELECT 1 \\g {out}/witness\n"), "Permission denied"),
        (format!("\\i {out}/secret\n"), "Permission denied"),
        (
            format!("\\c \"host=127.0.0.1 port={port} connect_timeout=1\"\n"),
            "Operation not permitted",
        ),
    ] {
        let witness = place.path().join("witness");
        let said = psql(true, &script);
        assert!(said.contains(refusal), "{script}{said}");
        assert!(!witness.exists(), "{script}{said}");
        // Without its bounds, it would have succeeded.
        let said = psql(false, &script);
        assert!(
            refusal.is_empty() || !said.contains(refusal),
            "{script}{said}"
        );
        assert!(
            witness.exists() == script.contains("witness"),
            "{script}{said}"
        );
        let _ = fs::remove_file(&witness);
    }
    // What it is there for.
    assert_eq!(psql(true, "CREATE TABLE t AS SELECT 1;\n"), "");
    assert_eq!(source.psql("SELECT count(*) FROM t"), "1");
}
