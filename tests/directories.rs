//! The directories that root makes for the user of the service: made, given and closed where that is
//! safe, and never anywhere else; and what root's commands write in them, which is that user's too. Giving something away takes root; for anybody else these tests
//! have nothing to do and say so.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::cluster::Cluster;
use crate::support::operator::{HeldLock, Operator, PROGRAM, server_user};
use pgbackupd::repository::{Level, Owner, provide};
use serde_json::Value;
use tempfile::TempDir;

/// A user that every system has and that owns nothing.
const OWNER: &str = "daemon";

/// A machine to make directories on: everything is below one directory, as `/` is for real.
struct Scene {
    directory: TempDir,
    owner: Owner,
}

impl Scene {
    /// None when we are not root.
    fn set() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: only root can give directories away");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        open(directory.path());
        let owner = Owner::named(OWNER).unwrap();
        let scene = Self { directory, owner };
        fs::create_dir(scene.path("backups")).unwrap();
        open(&scene.path("backups"));
        Some(scene)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn configure(&self, text: &str) {
        let backups = self.path("backups");
        let text = format!("directory = '{}'\n{text}", backups.display());
        let file = self.path("pgbackupd.toml");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        chown(&file, Some(0), Some(self.owner.gid)).unwrap();
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .args(["directories", "--config"])
            .arg(self.path("pgbackupd.toml"))
            .env_clear()
            .env("PATH", "/usr/bin:/bin");
        command
    }

    /// The command as the unit has it.
    fn run(&self) -> Output {
        self.command(Path::new(PROGRAM))
            .args(["--owner", OWNER])
            .output()
            .unwrap()
    }

    /// Owner and mode of a directory.
    fn state(&self, name: &str) -> (u32, u32) {
        state(&self.path(name))
    }

    /// What a directory of the owner's is to be.
    fn owned(&self) -> (u32, u32) {
        (self.owner.uid, 0o700)
    }
}

fn state(path: &Path) -> (u32, u32) {
    let metadata = fs::symlink_metadata(path).unwrap();
    (metadata.uid(), metadata.mode() & 0o7777)
}

fn open(path: &Path) {
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn every_configured_database_gets_a_directory_and_a_second_run_changes_nothing() {
    let Some(scene) = Scene::set() else { return };
    let audit = scene.path("far/away/audit");
    scene.configure(&format!(
        "databases = ['sales', {{ name = 'audit', directory = '{}' }}]\n\
         [servers.reports]\ndatabase = 'a b'\n",
        audit.display()
    ));
    let output = scene.run();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output).lines().count(), 5, "{}", stdout(&output));
    for name in [
        "backups/sales",
        "backups/reports",
        "backups/reports/a%20b",
        "far/away/audit",
    ] {
        assert_eq!(scene.state(name), scene.owned(), "{name}");
    }
    for name in ["backups", "far", "far/away"] {
        assert_eq!(scene.state(name), (0, 0o755), "{name} is root's");
    }
    let output = scene.run();
    assert_eq!(stdout(&output), "4 directories are ready\n");
}

#[test]
fn what_was_opened_to_others_is_closed_and_what_was_left_empty_is_given() {
    let Some(scene) = Scene::set() else { return };
    scene.configure("databases = ['opened', 'empty']\n");
    for name in ["backups/opened", "backups/empty"] {
        fs::create_dir(scene.path(name)).unwrap();
        open(&scene.path(name));
    }
    fs::write(scene.path("backups/opened/backup.log"), "").unwrap();
    chown(scene.path("backups/opened"), Some(scene.owner.uid), None).unwrap();
    let output = scene
        .command(Path::new(PROGRAM))
        .args(["--owner", OWNER, "--json"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(scene.state("backups/opened"), scene.owned());
    assert_eq!(scene.state("backups/empty"), scene.owned());
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    let changes: Vec<_> = shown
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["change"])
        .collect();
    assert_eq!(changes, ["given", "closed"]);
}

#[test]
fn what_belongs_to_somebody_else_is_left_alone_and_keeps_nobody_from_a_directory() {
    let Some(scene) = Scene::set() else { return };
    scene.configure("databases = ['foreign', 'roots', 'file', 'sound']\n");
    let other = 12_345;
    fs::create_dir(scene.path("backups/foreign")).unwrap();
    chown(scene.path("backups/foreign"), Some(other), None).unwrap();
    open(&scene.path("backups/foreign"));
    fs::create_dir(scene.path("backups/roots")).unwrap();
    open(&scene.path("backups/roots"));
    fs::write(scene.path("backups/roots/backup.log"), "").unwrap();
    fs::write(scene.path("backups/file"), "").unwrap();
    let output = scene.run();
    assert_eq!(output.status.code(), Some(73));
    assert_eq!(scene.state("backups/foreign"), (other, 0o755));
    assert_eq!(scene.state("backups/roots"), (0, 0o755));
    assert_eq!(scene.state("backups/sound"), scene.owned());
    let said = stderr(&output);
    assert_eq!(said.matches("pgbackupd: ").count(), 3, "{said}");
    for sentence in [
        "foreign belongs to the user of number 12345, not to daemon",
        "roots belongs to root, not to daemon\nhint: if what is in it is daemon's, run `chown",
        "file exists and is not a directory",
    ] {
        assert!(said.contains(sentence), "{said}");
    }
}

#[test]
fn a_symbolic_link_in_the_place_of_a_directory_is_not_followed() {
    let Some(scene) = Scene::set() else { return };
    scene.configure("[servers.reports]\ndatabases = ['planted', 'sound']\n");
    let level = scene.path("backups/reports");
    fs::create_dir(&level).unwrap();
    chown(&level, Some(scene.owner.uid), None).unwrap();
    fs::create_dir(scene.path("victim")).unwrap();
    open(&scene.path("victim"));
    symlink(scene.path("victim"), level.join("planted")).unwrap();
    let output = scene.run();
    assert_eq!(output.status.code(), Some(73));
    assert!(
        stderr(&output).contains("planted is a symbolic link"),
        "{}",
        stderr(&output)
    );
    assert_eq!(scene.state("victim"), (0, 0o755));
    assert_eq!(scene.state("backups/reports/sound"), scene.owned());
}

#[test]
fn a_symbolic_link_above_is_followed_only_when_root_alone_can_have_put_it_there() {
    let Some(scene) = Scene::set() else { return };
    fs::create_dir(scene.path("disk")).unwrap();
    open(&scene.path("disk"));
    fs::remove_dir(scene.path("backups")).unwrap();
    // Relative, and through the level above.
    symlink(
        "../".to_owned() + &dir_name(&scene) + "/disk",
        scene.path("backups"),
    )
    .unwrap();
    scene.configure("database = 'sales'\n");
    let output = scene.run();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(scene.state("disk/sales"), scene.owned());

    lchown(scene.path("backups"), Some(scene.owner.uid), None).unwrap();
    let output = scene.run();
    assert_eq!(output.status.code(), Some(73));
    assert!(
        stderr(&output).contains("backups is a symbolic link"),
        "{}",
        stderr(&output)
    );

    lchown(scene.path("backups"), Some(0), None).unwrap();
    fs::set_permissions(scene.directory.path(), Permissions::from_mode(0o777)).unwrap();
    // The configuration is there too, which others could replace then.
    assert_eq!(scene.run().status.code(), Some(78));
}

fn dir_name(scene: &Scene) -> String {
    let name = scene.directory.path().file_name().unwrap();
    name.to_str().unwrap().to_owned()
}

#[test]
fn links_in_a_ring_end_with_an_error() {
    let Some(scene) = Scene::set() else { return };
    fs::remove_dir(scene.path("backups")).unwrap();
    symlink("backups", scene.path("backups")).unwrap();
    scene.configure("database = 'sales'\n");
    assert_eq!(scene.run().status.code(), Some(73));
}

#[test]
fn whoever_exchanges_directory_and_link_in_a_race_gains_nothing() {
    let Some(scene) = Scene::set() else { return };
    let level = scene.path("level");
    fs::create_dir(&level).unwrap();
    chown(&level, Some(scene.owner.uid), None).unwrap();
    let (target, victim) = (level.join("target"), scene.path("victim"));
    fs::create_dir(&victim).unwrap();
    open(&victim);
    let stop = AtomicBool::new(false);
    let (done, moved) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // The owner's own level: it may do there as it likes.
                let _ = fs::remove_dir(&target);
                let _ = symlink(&victim, &target);
                let _ = fs::remove_file(&target);
            }
        });
        let (mut done, mut moved, mut rounds) = (0, false, 0);
        // On a busy machine the two may hardly meet, so it goes on until they have.
        let end = Instant::now() + Duration::from_secs(60);
        while !moved && (rounds < 20_000 || done < 100) && Instant::now() < end {
            rounds += 1;
            done += u32::from(provide(&target, Level::Database, &scene.owner).is_ok());
            moved = state(&victim) != (0, 0o755);
        }
        // A panic before this would leave the other thread at work for ever.
        stop.store(true, Ordering::Relaxed);
        (done, moved)
    });
    assert!(!moved, "after {done} successes the victim changed hands");
    assert!(
        done >= 100,
        "only {done} directories were made: there was no race"
    );
}

#[test]
fn a_wrong_configuration_makes_nothing_and_says_where_it_is_wrong() {
    let Some(scene) = Scene::set() else { return };
    scene.configure("databse = 'sales'\n");
    let output = scene.run();
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("databse"), "{}", stderr(&output));
    assert_eq!(fs::read_dir(scene.path("backups")).unwrap().count(), 0);
}

#[test]
fn a_user_makes_directories_for_itself_and_for_nobody_else() {
    let Some(scene) = Scene::set() else { return };
    scene.configure("database = 'sales'\n");
    chown(scene.path("backups"), Some(scene.owner.uid), None).unwrap();
    let program = program_for_all(&scene);
    let as_owner = |arguments: &[&str]| {
        use std::os::unix::process::CommandExt as _;
        scene
            .command(&program)
            .args(arguments)
            .uid(scene.owner.uid)
            .gid(scene.owner.gid)
            .output()
            .unwrap()
    };
    let output = as_owner(&["--owner", "root"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(stderr(&output).contains("only root"), "{}", stderr(&output));
    assert_eq!(
        as_owner(&["--owner", "no such user"]).status.code(),
        Some(64)
    );
    let output = as_owner(&[]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(scene.state("backups/sales"), scene.owned());
    assert_eq!(
        stdout(&as_owner(&["--owner", OWNER])),
        "1 directory is ready\n"
    );
}

/// The program where everybody can run it; the build directory may be root's alone.
fn program_for_all(scene: &Scene) -> PathBuf {
    let program = scene.path("pgbackupd");
    fs::copy(PROGRAM, &program).unwrap();
    open(&program);
    program
}

#[test]
fn a_server_is_asked_for_its_databases_by_the_owner_whom_it_knows() {
    let Some(scene) = Scene::set() else { return };
    let cluster = Cluster::start();
    fs::set_permissions(cluster.socket_directory(), Permissions::from_mode(0o711)).unwrap();
    cluster.psql(&format!("CREATE ROLE {OWNER} LOGIN"));
    cluster.create_database("sales");
    cluster.create_database("sales_test");
    // Root is nobody there, and the owner needs no password.
    cluster.set_hba(&format!("local all {OWNER} peer\n"));
    scene.configure(&format!(
        "databases = 'all'\nexclude = ['*_test', 'postgres']\n\
         [connection]\nhost = '{}'\nport = {}\n",
        cluster.socket_directory().display(),
        cluster.port()
    ));
    let output = scene
        .command(&program_for_all(&scene))
        .args(["--owner", OWNER])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    assert_eq!(scene.state("backups/sales"), scene.owned());
    assert_eq!(fs::read_dir(scene.path("backups")).unwrap().count(), 1);
}

#[test]
fn a_server_that_does_not_answer_is_a_warning_and_the_others_get_their_directories() {
    let Some(scene) = Scene::set() else { return };
    scene.configure(
        "database = 'sales'\n\
         [servers.reports]\ndatabases = 'all'\nconnection = { host = '/nonexistent' }\n",
    );
    let output = scene
        .command(&program_for_all(&scene))
        .args(["--owner", OWNER])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(
        said.contains("WARN the directories of server reports's databases are not known"),
        "{said}"
    );
    assert_eq!(scene.state("backups/sales"), scene.owned());
}

/// An operator with a directory for backups that the service's user owns, or none when we are not
/// root.
fn with_the_services_directory(cluster: &Cluster) -> Option<Operator> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give a directory away");
        return None;
    }
    let operator = Operator::of(cluster, "postgres");
    let service = server_user();
    fs::create_dir(operator.path("backups")).unwrap();
    let (user, group) = (service.uid(), service.primary_group_id());
    chown(operator.path("backups"), Some(user), Some(group)).unwrap();
    Some(operator)
}

/// All that is below a directory and not the service's, with its owner.
fn not_the_services(directory: &Path) -> Vec<(PathBuf, u32)> {
    let service = server_user().uid();
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            found.extend(not_the_services(&path));
        }
        if metadata.uid() != service {
            found.push((path, metadata.uid()));
        }
    }
    found
}

#[test]
fn what_root_writes_in_the_services_directory_is_the_services_in_every_format() {
    let cluster = Cluster::start();
    cluster.psql("CREATE TABLE t AS SELECT i FROM generate_series(1, 1000) AS i");
    let Some(mut operator) = with_the_services_directory(&cluster) else {
        return;
    };
    for format in ["plain", "custom", "directory"] {
        operator.set("dump.format", format);
        let output = operator.run(&["backup", "--as-me"]);
        assert_eq!(output.code, 0, "{format}: {output}");
    }
    // What is not a backup: states, the ledgers, the quarantine, an incident report.
    let names = operator.list();
    let output = operator.run(&["pin", &names[0]]);
    assert_eq!(output.code, 0, "{output}");
    let output = operator.run(&["drill", &names[1]]);
    assert_eq!(output.code, 0, "{output}");
    let restore = [
        "restore", "--latest", "--into", "beside", "--yes", "--as-me",
    ];
    let output = operator.run(&restore);
    assert_eq!(output.code, 0, "{output}");
    let directory = operator.backups();
    fs::write(directory.join(format!("{}.globals.gz", names[1])), "").unwrap();
    let output = operator.run(&["verify", "--all", "--quarantine"]);
    assert_eq!(output.code, 65, "{output}");
    assert!(directory.join("quarantine").join(&names[1]).is_dir());
    let reports = fs::read_dir(&directory).unwrap();
    let is_a_report = |path: PathBuf| path.extension().is_some_and(|ending| ending == "md");
    assert!(
        reports
            .into_iter()
            .any(|entry| is_a_report(entry.unwrap().path()))
    );
    assert_eq!(not_the_services(&operator.path("backups")), []);

    // The service goes on with all of it.
    let output = operator.run_as_server_user(&["verify", "--all"]);
    assert_eq!(output.code, 0, "{output}");
    let output = operator.run_as_server_user(&["backup"]);
    assert_eq!(output.code, 0, "{output}");
}

#[test]
fn the_service_sweeps_up_what_a_killed_run_of_roots_left() {
    let cluster = Cluster::start();
    cluster.psql("CREATE TABLE t AS SELECT i FROM generate_series(1, 1000) AS i");
    let Some(mut operator) = with_the_services_directory(&cluster) else {
        return;
    };
    for format in ["custom", "directory"] {
        operator.set("dump.format", format);
        let lock = HeldLock::on(&cluster, "postgres", "t");
        let running = operator.spawn(&["backup", "--as-me"]);
        lock.wait_for_another();
        running.signal(rustix::process::Signal::KILL);
        let output = running.wait();
        assert_eq!(output.code, 137, "{output}");
        drop(lock);
        assert_ne!(operator.temporaries().len(), 0);
        let output = operator.run_as_server_user(&["backup"]);
        assert_eq!(output.code, 0, "{format}: {output}");
        assert_eq!(operator.temporaries().len(), 0);
    }
}
