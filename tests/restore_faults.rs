//! Whatever breaks a restore, in whichever step, leaves the database serving that was there, and the
//! next restore succeeds.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, wait_until, wait_until_no_session_is_left};
use crate::support::filesystem::Filesystem;
use crate::support::operator::{Operator, Running};
use crate::support::restored::{assert_untouched, beginning_with, databases, small, value};

/// Restored under a name that nobody bore, from a dump that there is no manifest for, a database was
/// once left with the mark of one that is being restored, and the next restore dropped it.
#[test]
fn a_restored_database_is_never_taken_for_what_a_restore_left() {
    let cluster = Cluster::start();
    let operator = small(&cluster, "app");
    let dump = operator.path("x.sql");
    let path = dump.to_str().unwrap();
    let status = cluster
        .command("pg_dump")
        .args(["-f", path, "app"])
        .status();
    assert!(status.unwrap().success());
    let output = operator.run(&["restore", path, "--into", "beside"]);
    assert_eq!(output.code, 0, "{output}");
    let comment =
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'beside'";
    assert_eq!(cluster.psql(comment), "");
    // Even one that bears the mark is not dropped under the name of somebody who serves.
    cluster.psql(&format!(
        "COMMENT ON DATABASE beside IS 'pgbackupd on {} restores \"beside\" here'",
        rustix::system::uname().nodename().to_str().unwrap()
    ));
    cluster.psql_in("beside", "UPDATE t SET v = 'written since'");
    let output = operator.run(&["restore", path, "--database", "beside", "--yes"]);
    assert_eq!(output.code, 0, "{output}");
    let names = databases(&cluster);
    assert_eq!(names.len(), 3, "{names:?}");
    assert_eq!(value(&cluster, &names[2]), "written since");
}

/// The steps of a restore, each with what keeps it from being left. The server is made to wait by a
/// lock that only this step wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The dump's file cannot be opened: it is a pipe into which nobody writes.
    Reading,
    /// A lock from before the beginning, and what it is on.
    Preflight,
    Roles,
    Creating,
    Marking,
    /// The operator's own command waits.
    Stopping,
    /// A program of `PostgreSQL`'s waits.
    Loading,
    Comparing,
    /// A lock from when the application is stopped.
    Analysing,
    Settings,
    Swapping,
    BetweenTheNames,
    /// The other command waits.
    Starting,
    /// The ledger's file is locked.
    Recording,
}

/// What stands after a kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Nothing,
    HalfADatabase,
    /// The names are swapped, or about to be by the server.
    Restored,
}

/// Every step, and what a kill at it leaves.
const STEPS: [(Step, Left); 14] = [
    (Step::Reading, Left::Nothing),
    (Step::Preflight, Left::Nothing),
    (Step::Roles, Left::Nothing),
    (Step::Creating, Left::HalfADatabase),
    (Step::Marking, Left::HalfADatabase),
    (Step::Stopping, Left::HalfADatabase),
    (Step::Loading, Left::HalfADatabase),
    (Step::Comparing, Left::HalfADatabase),
    (Step::Analysing, Left::HalfADatabase),
    (Step::Settings, Left::HalfADatabase),
    (Step::Swapping, Left::Restored),
    (Step::BetweenTheNames, Left::Restored),
    (Step::Starting, Left::Restored),
    (Step::Recording, Left::Restored),
];

/// A session that holds a lock until it is dropped.
struct Holder<'a> {
    cluster: &'a Cluster,
    psql: Child,
}

impl<'a> Holder<'a> {
    fn of(cluster: &'a Cluster, database: &str, sql: &str) -> Self {
        let sql = format!("BEGIN; {sql}; SELECT pg_sleep(600)");
        let psql = cluster
            .command("psql")
            .args(["-Xqc", &sql])
            .env("PGDATABASE", database)
            .env("PGAPPNAME", "holder")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_until("the lock is held", || {
            cluster.psql(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'holder' \
                    AND wait_event = 'PgSleep'",
            ) == "1"
        });
        Self { cluster, psql }
    }

    /// Waits until our own session waits for it.
    fn wait_for_us(&self) {
        wait_until("the restore waits for the lock", || {
            self.cluster.psql(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbackupd' \
                    AND wait_event_type = 'Lock'",
            ) == "1"
        });
    }
}

impl Drop for Holder<'_> {
    fn drop(&mut self) {
        self.cluster.psql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
              WHERE application_name = 'holder'",
        );
        self.psql.wait().unwrap();
    }
}

/// A command of the operator's that says when it is reached, and waits to be let go.
struct Gate {
    reached: PathBuf,
    go_on: PathBuf,
}

impl Gate {
    fn of(operator: &mut Operator, name: &str) -> Self {
        let gate = Self {
            reached: operator.path(&format!("{name}.reached")),
            go_on: operator.path(&format!("{name}.go-on")),
        };
        let script = "echo >> \"$1\"; until test -e \"$2\"; do sleep 0.02; done";
        let (reached, go_on) = (gate.reached.to_str(), gate.go_on.to_str());
        operator.set_value(
            &format!("restore.{name}"),
            json!(["sh", "-c", script, "sh", reached, go_on]),
        );
        gate
    }

    fn wait(&self) {
        wait_until("the command is reached", || self.reached.exists());
    }

    fn open(&self) {
        fs::write(&self.go_on, "").unwrap();
    }

    fn close(&self) {
        fs::remove_file(&self.reached).ok();
        fs::remove_file(&self.go_on).ok();
    }
}

/// A scene for restores that are killed.
struct Scene {
    cluster: Cluster,
    operator: Operator,
    stop: Gate,
    start: Gate,
}

impl Scene {
    fn new() -> Self {
        let cluster = Cluster::start();
        cluster.psql("CREATE ROLE team; CREATE ROLE extra LOGIN; GRANT team TO extra");
        let mut operator = small(&cluster, "app");
        cluster.psql(
            "ALTER DATABASE app SET work_mem TO '7MB'; UPDATE pg_database SET datconnlimit = 30 \
              WHERE datname = 'app'",
        );
        let stop = Gate::of(&mut operator, "stop");
        let start = Gate::of(&mut operator, "start");
        Self {
            cluster,
            operator,
            stop,
            start,
        }
    }

    /// A backup of the format, and the state before a restore.
    fn back_up(&mut self, format: &str) -> String {
        self.operator.set("dump.format", format);
        self.cluster
            .psql_in("app", "UPDATE t SET v = 'as backed up'");
        self.operator.back_up()
    }

    fn as_it_stands(&self) {
        self.cluster
            .psql_in("app", "UPDATE t SET v = 'as it stands'");
        self.stop.close();
        self.start.close();
    }

    /// Starts a restore, and kills it at the step.
    #[expect(
        clippy::too_many_lines,
        reason = "for each step, how to be in the middle of it"
    )]
    fn kill_at(&mut self, step: Step, artifact: &Path) {
        let cluster = &self.cluster;
        let spawn = |operator: &Operator| operator.spawn(&["restore", "--latest", "--yes"]);
        let kill = |running: Running| {
            running.signal(Signal::KILL);
            assert_eq!(running.wait().code, 137);
        };
        let before = match step {
            Step::Preflight => Some("LOCK TABLE pg_shdescription"),
            Step::Roles => Some("LOCK TABLE pg_auth_members IN SHARE MODE"),
            Step::Creating => Some("LOCK TABLE pg_database IN SHARE MODE"),
            Step::Marking => Some("LOCK TABLE pg_shdescription IN SHARE MODE"),
            _ => None,
        };
        if let Some(before) = before {
            let holder = Holder::of(cluster, "postgres", before);
            let running = spawn(&self.operator);
            holder.wait_for_us();
            return kill(running);
        }
        let is_plain = artifact.extension().is_some_and(|it| it == "gz");
        let program = match (step, is_plain) {
            (Step::Reading, false) => Some(("pg_restore", "*--file=-*")),
            (Step::Loading, true) => Some(("psql", "*")),
            (Step::Loading, false) => Some(("pg_restore", "*--exit-on-error*")),
            (Step::Comparing, _) => Some(("pg_dump", "*")),
            _ => None,
        };
        if let Some((name, arguments)) = program {
            let script = format!(
                "case \"$*\" in {arguments}) : > \"$directory/reached\"; exec sleep 600;; esac; \
                 exec \"$real\" \"$@\""
            );
            self.operator.stand_in(name, &script);
            self.stop.open();
            let running = spawn(&self.operator);
            let reached = self.operator.path("reached");
            wait_until("the program is reached", || reached.exists());
            kill(running);
            fs::remove_file(&reached).unwrap();
            self.operator.send_stand_ins_home();
            return;
        }
        if step == Step::Reading {
            return self.kill_while_reading(artifact);
        }
        let running = spawn(&self.operator);
        self.stop.wait();
        let new = beginning_with(cluster, "app_restoring_");
        let within = match step {
            Step::Stopping => return kill(running),
            Step::Analysing => Some((&*new, "LOCK TABLE pg_statistic IN SHARE MODE".to_owned())),
            Step::Settings => Some((
                "postgres",
                format!("ALTER DATABASE {new} SET work_mem TO '1MB'"),
            )),
            Step::Swapping => Some(("postgres", "COMMENT ON DATABASE app IS 'x'".to_owned())),
            // The first name has changed, and the second waits.
            Step::BetweenTheNames => {
                Some(("postgres", format!("COMMENT ON DATABASE {new} IS 'x'")))
            }
            _ => None,
        };
        if let Some((database, sql)) = within {
            let holder = Holder::of(cluster, database, &sql);
            self.stop.open();
            holder.wait_for_us();
            return kill(running);
        }
        self.stop.open();
        self.start.wait();
        if step == Step::Recording {
            let ledger = File::open(self.operator.backups().join("restore.log")).unwrap();
            ledger.lock().unwrap();
            self.start.open();
            let pid = running.pid().as_raw_pid();
            wait_until("it waits for the ledger", || {
                let locks = fs::read_to_string("/proc/locks").unwrap();
                locks
                    .lines()
                    .any(|line| line.contains("-> FLOCK") && line.contains(&format!(" {pid} ")))
            });
            // While the lock is held.
            return kill(running);
        }
        kill(running);
    }

    /// Starts a restore, and kills it when it reads the dump.
    fn kill_while_reading(&self, artifact: &Path) {
        let trace = self.operator.path("trace");
        let [trace, artifact] = [&trace, artifact].map(|path| path.to_str().unwrap());
        let inject = "inject=read:signal=SIGKILL";
        let starter = ["strace", "-f", "-o", trace, "-P", artifact, "-e", inject];
        let killed = self
            .operator
            .run_under(&starter, &["restore", "--latest", "--yes"]);
        assert_eq!(killed.code, 137, "{killed}");
    }
}

#[test]
fn killed_at_any_step_it_leaves_what_the_next_one_names_and_sweeps_up() {
    kill_at_every(&STEPS, "plain", "sql.gz");
}

#[test]
fn killed_at_any_step_of_a_dump_in_directory_format_it_leaves_the_same() {
    kill_at_every(&STEPS, "directory", "dir");
}

#[test]
fn killed_at_a_step_that_custom_format_has_of_its_own_it_leaves_the_same() {
    let is_own = |step| matches!(step, Step::Reading | Step::Loading);
    let own: Vec<_> = STEPS
        .into_iter()
        .filter(|(step, _)| is_own(*step))
        .collect();
    kill_at_every(&own, "custom", "dump");
}

#[test]
fn a_signal_while_the_settings_are_given_leaves_the_names_as_they_were() {
    let mut scene = Scene::new();
    scene.back_up("plain");
    scene.as_it_stands();
    let running = scene.operator.spawn(&["restore", "--latest", "--yes"]);
    scene.stop.wait();
    let new = beginning_with(&scene.cluster, "app_restoring_");
    let sql = format!("ALTER DATABASE {new} SET work_mem TO '1MB'");
    let holder = Holder::of(&scene.cluster, "postgres", &sql);
    scene.stop.open();
    holder.wait_for_us();
    running.signal(Signal::TERM);
    // The statement that waits is given up, and what was made is dropped as soon as it can be.
    wait_until("the new database is to be dropped", || {
        let sql = "SELECT count(*) FROM pg_stat_activity \
                    WHERE application_name = 'pgbackupd' AND query LIKE 'DROP DATABASE%'";
        scene.cluster.psql(sql) == "1"
    });
    drop(holder);
    scene.start.open();
    let output = running.wait();
    assert_eq!(output.code, 143, "{output}");
    assert_eq!(databases(&scene.cluster), ["app"], "{output}");
    assert!(scene.start.reached.exists(), "{output}");
    assert_untouched(&scene.cluster, &scene.operator, "app");
}

#[test]
fn an_undoing_that_fails_starts_the_application_again() {
    let mut scene = Scene::new();
    scene.back_up("plain");
    scene.as_it_stands();
    scene.stop.open();
    scene.start.open();
    let output = scene.operator.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 0, "{output}");
    let before = databases(&scene.cluster);
    fs::remove_file(&scene.start.reached).unwrap();
    let stop = json!(["sh", "-c", "echo it hangs on >&2; exit 1"]);
    scene.operator.set_value("restore.stop", stop);
    let output = scene.operator.run(&["undo-restore", "--yes"]);
    assert_eq!(output.code, 69, "{output}");
    assert!(output.stderr.contains("it hangs on"), "{output}");
    assert!(scene.start.reached.exists(), "{output}");
    assert_eq!(databases(&scene.cluster), before);
    assert_eq!(value(&scene.cluster, "app"), "as backed up");
}

#[expect(
    clippy::too_many_lines,
    reason = "for each step, all that must hold afterwards"
)]
fn kill_at_every(steps: &[(Step, Left)], format: &str, suffix: &str) {
    let mut scene = Scene::new();
    let name = scene.back_up(format);
    let artifact = scene.operator.backups().join(format!("{name}.{suffix}"));
    for &(step, left) in steps {
        let is_begun = !matches!(step, Step::Reading | Step::Preflight);
        if step == Step::Roles {
            scene.cluster.psql("DROP ROLE extra");
        }
        scene.as_it_stands();
        let records = scene.operator.restore_log().len();

        scene.kill_at(step, &artifact);
        wait_until_no_session_is_left(&scene.cluster);
        scene.operator.assert_no_processes();
        let cluster = &scene.cluster;
        let case = format!("{format}, {step:?}");
        let stands = match left {
            Left::Nothing => {
                assert_untouched(cluster, &scene.operator, "app");
                "as it stands"
            }
            Left::HalfADatabase => {
                beginning_with(cluster, "app_restoring_");
                "as it stands"
            }
            Left::Restored => {
                let kept = beginning_with(cluster, "app_before_restore_");
                assert_eq!(value(cluster, &kept), "as it stands", "{case}");
                "as backed up"
            }
        };
        assert_eq!(value(cluster, "app"), stands, "{case}");
        // Roles come wholly or not at all.
        let roles = "SELECT count(*) FROM pg_roles WHERE rolname = 'extra'";
        let expected = if step == Step::Roles { "0" } else { "1" };
        assert_eq!(cluster.psql(roles), expected, "{case}");
        assert_eq!(
            scene.operator.restore_log().len(),
            records + usize::from(is_begun)
        );
        let status = scene.operator.run(&["status", "--json"]);
        assert_eq!(
            status.stdout.contains("was cut short"),
            is_begun,
            "{case}: {status}"
        );

        // What stands is the database's state; the command is run again.
        scene.as_it_stands();
        scene.stop.open();
        scene.start.open();
        let output = scene
            .operator
            .run(&["restore", "--latest", "--yes", "--drop-old"]);
        assert_eq!(output.code, 0, "{case}: {output}");
        assert_eq!(value(cluster, "app"), "as backed up", "{case}");
        let told = match left {
            _ if !is_begun => None,
            Left::Nothing => Some("nothing of it is left"),
            Left::HalfADatabase => Some("is what had been loaded"),
            Left::Restored => Some("is the restored database"),
        };
        let expected = told.unwrap_or_default();
        assert!(output.stderr.contains(expected), "{case}: {output}");
        assert_eq!(
            output
                .stderr
                .contains("the application may still be stopped: sh -c"),
            is_begun,
            "{case}: {output}"
        );
        let mut names = databases(cluster);
        if left == Left::Restored {
            // What it had replaced is the operator's.
            cluster.psql(&format!("DROP DATABASE {}", names.pop().unwrap()));
        }
        assert_eq!(names, ["app"], "{case}");
        let log = scene.operator.restore_log();
        let events: Vec<&Value> = log[records..]
            .iter()
            .map(|record| &record["event"])
            .collect();
        let expected: &[&str] = if is_begun {
            &["started", "interrupted", "started", "succeeded"]
        } else {
            &["started", "succeeded"]
        };
        assert_eq!(events, expected, "{case}");
        let status = scene.operator.run(&["status", "--json"]);
        assert!(!status.stdout.contains("was cut short"), "{case}: {status}");
    }
    // It was dropped at one of them.
    let member = "SELECT rolcanlogin, pg_has_role('extra', 'team', 'MEMBER') FROM pg_roles \
                   WHERE rolname = 'extra'";
    assert_eq!(scene.cluster.psql(member), "t|t");
}

#[test]
fn a_server_that_crashes_leaves_what_stands_and_the_application_is_started() {
    let mut scene = Scene::new();
    scene.back_up("plain");
    let reached = scene.operator.path("reached");
    // One of its processes is killed while the dump is loaded: it cuts all sessions, and recovers.
    scene.as_it_stands();
    scene.stop.open();
    scene.start.open();
    scene.operator.stand_in(
        "psql",
        "(cat; : > \"$directory/reached\"; until test -e \"$directory/killed\"; do sleep 0.02; done; \
         echo 'SELECT 1;') | exec \"$real\" \"$@\"",
    );
    let running = scene.operator.spawn(&["restore", "--latest", "--yes"]);
    wait_until("the dump is loaded", || reached.exists());
    let new = beginning_with(&scene.cluster, "app_restoring_");
    let pid = scene.cluster.psql(&format!(
        "SELECT pid FROM pg_stat_activity WHERE datname = '{new}'"
    ));
    let killed = Command::new("kill").args(["-KILL", &pid]).status().unwrap();
    assert!(killed.success());
    // psql hears of it at the next word.
    fs::write(scene.operator.path("killed"), "").unwrap();
    let output = running.wait();
    assert_eq!(output.code, 69, "{output}");
    scene.operator.send_stand_ins_home();
    assert!(scene.start.reached.exists(), "{output}");
    assert_untouched(&scene.cluster, &scene.operator, "app");
}

#[test]
fn a_server_that_stops_leaves_what_stands_and_the_application_is_started() {
    let mut scene = Scene::new();
    scene.back_up("plain");
    for at in [Step::Stopping, Step::BetweenTheNames] {
        scene.as_it_stands();
        scene.start.open();
        let running = scene.operator.spawn(&["restore", "--latest", "--yes"]);
        scene.stop.wait();
        let new = beginning_with(&scene.cluster, "app_restoring_");
        if at == Step::BetweenTheNames {
            let sql = format!("COMMENT ON DATABASE {new} IS 'x'");
            let holder = Holder::of(&scene.cluster, "postgres", &sql);
            scene.stop.open();
            holder.wait_for_us();
            std::mem::forget(holder);
        }
        scene.cluster.stop();
        scene.stop.open();
        let output = running.wait();
        assert_eq!(output.code, 69, "{at:?}: {output}");
        assert!(
            output
                .stderr
                .contains(&format!("the database {new} remains")),
            "{output}"
        );
        assert!(scene.start.reached.exists(), "{at:?}: {output}");
        assert_eq!(
            scene.operator.restore_log().pop().unwrap()["event"],
            "failed"
        );
        scene.cluster.restart();
        assert_eq!(value(&scene.cluster, "app"), "as it stands", "{at:?}");
        let output = scene
            .operator
            .run(&["restore", "--latest", "--yes", "--drop-old"]);
        assert_eq!(output.code, 0, "{at:?}: {output}");
        assert_eq!(databases(&scene.cluster), ["app"], "{at:?}");
    }
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario, each step on what the one before has left"
)]
fn a_full_disk_of_the_server_or_of_the_backups_leaves_what_stands() {
    let (Some(servers), Some(ours)) = (
        Filesystem::in_memory("size=3m"),
        Filesystem::in_memory("size=256k"),
    ) else {
        return;
    };
    let mut scene = Scene::new();
    let owner = scene.cluster.data_directory().metadata().unwrap();
    let small = servers.path().join("tablespace");
    fs::create_dir(&small).unwrap();
    chown(&small, Some(owner.uid()), Some(owner.gid())).unwrap();
    scene.cluster.psql(&format!(
        "CREATE TABLESPACE small LOCATION '{}'",
        small.display()
    ));
    scene.cluster.psql_in(
        "app",
        "CREATE TABLE filler TABLESPACE small AS SELECT repeat(md5(i::text), 60) AS text \
           FROM generate_series(1, 900) AS i",
    );
    scene
        .operator
        .set("directory", ours.path().join("backups").display());
    scene.back_up("plain");
    scene.as_it_stands();
    scene.stop.open();
    scene.start.open();
    let output = scene.operator.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 69, "{output}");
    assert!(
        output.stderr.contains("No space left on device"),
        "{output}"
    );
    assert!(scene.start.reached.exists(), "{output}");
    assert_untouched(&scene.cluster, &scene.operator, "app");

    // Nothing is begun that cannot be recorded.
    scene.cluster.psql_in("app", "DROP TABLE filler");
    scene.back_up("plain");
    scene.as_it_stands();
    let filler = ours.path().join("filler");
    let ledger = scene.operator.backups().join("restore.log");
    fill(&filler, &ledger);
    let output = scene.operator.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 73, "{output}");
    assert!(output.stderr.contains("nothing was restored"), "{output}");
    assert!(!scene.stop.reached.exists(), "{output}");
    assert_untouched(&scene.cluster, &scene.operator, "app");
    // What has begun comes to its end.
    fs::remove_file(&filler).unwrap();
    scene.start.open();
    let running = scene
        .operator
        .spawn(&["restore", "--latest", "--yes", "--drop-old"]);
    scene.stop.wait();
    fill(&filler, &ledger);
    scene.stop.open();
    let output = running.wait();
    assert_eq!(output.code, 0, "{output}");
    assert!(
        output
            .stderr
            .contains("the end of the restore could not be written"),
        "{output}"
    );
    assert_eq!(value(&scene.cluster, "app"), "as backed up");
}

/// Takes all the space that there is, and what is left of the ledger's last block by a line that is
/// no record.
fn fill(path: &Path, ledger: &Path) {
    let block = 4096;
    let used = usize::try_from(ledger.metadata().unwrap().len()).unwrap() % block;
    let line = format!("{:1$}\n", "", block - used - 1);
    let mut file = OpenOptions::new().append(true).open(ledger).unwrap();
    std::io::Write::write_all(&mut file, line.as_bytes()).unwrap();
    let mut file = File::create(path).unwrap();
    while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    while std::io::Write::write_all(&mut file, &[0]).is_ok() {}
}

#[test]
fn nobody_of_many_who_keep_connecting_takes_the_old_database_for_the_new_one() {
    let cluster = Cluster::start();
    let operator = small(&cluster, "app");
    let stop = operator.path("stop");
    // Each notes what it saw, and when the server began to look; or how it was refused.
    let again = "while ! test -e \"$1\"; do psql -XqAt -c \"BEGIN; SELECT extract(epoch FROM clock_timestamp()), v, pg_sleep(0.02) FROM t; COMMIT\" 2>&1; done";
    let mut clients = Vec::new();
    for number in 0..8 {
        let seen = operator.path(&format!("seen-{number}"));
        let client = Command::new("bash")
            .args(["-c", again, "bash", stop.to_str().unwrap()])
            .env_clear()
            .envs(cluster.environment())
            .env("PGDATABASE", "app")
            .stdout(File::create(&seen).unwrap())
            .spawn()
            .unwrap();
        clients.push((client, seen));
    }
    wait_until("all are connected", || {
        let sql = "SELECT count(*) > 3 FROM pg_stat_activity WHERE datname = 'app'";
        cluster.psql(sql) == "t"
    });
    let output = operator.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 0, "{output}");
    wait_until("all have seen the restored one", || {
        let mut seen = clients
            .iter()
            .map(|(_, seen)| fs::read_to_string(seen).unwrap());
        seen.all(|seen| seen.contains("as backed up"))
    });
    fs::write(&stop, "").unwrap();
    let (mut newest_old, mut oldest_new) = (0.0_f64, f64::MAX);
    let mut missing = 0;
    for (mut client, seen) in clients {
        client.wait().unwrap();
        for line in fs::read_to_string(seen).unwrap().lines() {
            missing += usize::from(line.contains("does not exist"));
            let mut columns = line.split('|');
            let moment = columns.next().and_then(|text| text.parse().ok());
            match (moment, columns.next()) {
                (Some(moment), Some("as it stands")) => newest_old = newest_old.max(moment),
                (Some(moment), Some("as backed up")) => oldest_new = oldest_new.min(moment),
                _ => {}
            }
        }
    }
    assert!(newest_old > 0.0 && oldest_new < f64::MAX);
    assert!(
        newest_old < oldest_new,
        "{newest_old} is after {oldest_new}"
    );
    // Who waited for the moment is refused once, and nobody later.
    assert!(
        missing <= 8,
        "{missing} were told that there is no such database"
    );
}
