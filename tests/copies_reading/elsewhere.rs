//! Reading on a machine that has nothing: no configuration, no state, only the address and the keys.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::support::cluster::Cluster;
use crate::support::operator::{Operator, Output, PROGRAM, Running, wait_for_the_next_second};
use crate::support::restored::small;
use crate::support::sftp::SftpServer;
use crate::support::stores::{BUCKET, ID, SECRET, SeaweedFs};

use super::{Far, backups_in, copy};

/// Runs the program with libpq's variables alone, on stdin what is given.
fn bare(cluster: &Cluster, operator: &Operator, words: &[&str]) -> Output {
    bare_with(cluster, operator, &[], words)
}

/// The same with further variables.
fn bare_with(
    cluster: &Cluster,
    operator: &Operator,
    more: &[(&str, &str)],
    words: &[&str],
) -> Output {
    let path = |name: &str| operator.path(name);
    let mut command = Command::new(PROGRAM);
    command
        .args(words)
        .env_clear()
        .envs(cluster.environment())
        .env_remove("PGDATABASE")
        .env("PGBACKUPD_CONFIG", "/dev/null")
        .env("PGBACKUPD_DIRECTORY", path("nowhere"))
        .env("PGBACKUPD_DAEMON__RUNTIME_DIRECTORY", path("run"))
        .env("PGBACKUPD_DAEMON__STATE_DIRECTORY", path("bare-state"))
        .envs(more.iter().copied())
        .stdin(match fs::File::open(path("key.txt")) {
            Ok(file) => Stdio::from(file),
            Err(_) => Stdio::null(),
        });
    Running::start(command).wait()
}

/// The fingerprint in an error that lists those who have signed.
fn fingerprint(output: &Output) -> String {
    let words = output.stderr.split_whitespace();
    let mut found = words.filter(|word| word.starts_with("SHA256:"));
    found.next().expect("a fingerprint").to_owned()
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one command after the other, on one machine"
)]
fn p20_a_machine_without_anything_restores_with_address_signer_and_key() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    let far = Far::of(&mut operator, true);
    copy(&operator);
    let url = far.url();
    let run = |words: &[&str]| bare(&cluster, &operator, words);

    // Nobody is trusted by himself, nor by --yes.
    let base = [
        "restore",
        "--latest",
        "--from",
        &url,
        "--identity",
        "-",
        "--into",
        "new",
    ];
    let asked = run(&[&base[..], &["--yes"]].concat());
    assert_eq!(asked.code, 64, "{asked}");
    let signer = fingerprint(&asked);
    for line in asked.stderr.lines() {
        assert!(line.replace(&url, "").chars().count() <= 80, "{line}");
    }
    let unknown = format!("SHA256:{}", "A".repeat(43));
    let refused = run(&[&base[..], &["--signer", &unknown]].concat());
    assert_eq!(refused.code, 65, "{refused}");
    assert!(refused.stderr.contains(&signer), "{refused}");

    let listed = run(&["list", "--from", &url, "--signer", &signer]);
    assert_eq!(listed.code, 0, "{listed}");
    assert!(listed.stdout.contains("encrypted"), "{listed}");

    let restored = run(&[&base[..], &["--signer", &signer]].concat());
    assert_eq!(restored.code, 0, "{restored}");
    assert_eq!(cluster.psql_in("new", "SELECT v FROM t"), "as backed up");
    let fetched = operator.path("bare-state/fetched");
    assert_eq!(fs::read_dir(fetched).unwrap().count(), 0);

    // Where nothing of the system's can be written, a directory of one's own is enough.
    let blocked = operator.path("blocked");
    fs::write(&blocked, "").unwrap();
    let blocked = blocked.display().to_string();
    let home = operator.path("home").display().to_string();
    let state = [
        ("PGBACKUPD_DAEMON__STATE_DIRECTORY", blocked.as_str()),
        ("HOME", &home),
    ];
    let words = [&base[..6], &["--into", "newer", "--signer", &signer]].concat();
    let restored = bare_with(&cluster, &operator, &state, &words);
    assert_eq!(restored.code, 0, "{restored}");
    assert_eq!(cluster.psql_in("newer", "SELECT v FROM t"), "as backed up");
    let left = fs::read_dir(operator.path("home/.local/state/pgbackupd/fetched")).unwrap();
    let left: Vec<String> = left
        .map(|one| one.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(left.iter().any(|name| name == "restore.log"), "{left:?}");
    assert!(
        !left.iter().any(|name| name.starts_with("pgbackupd-")),
        "{left:?}"
    );

    let to = operator.path("to");
    let words = [
        "fetch",
        "--latest",
        "--from",
        &url,
        "--identity",
        "-",
        "--any-signer",
        "--to",
    ];
    let output = run(&[&words[..], &[to.to_str().unwrap()]].concat());
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(backups_in(&to), backups_in(&operator.backups()));
}

#[test]
fn two_hosts_with_a_database_of_the_same_name_are_two() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    let far = Far::of(&mut operator, false);
    copy(&operator);
    cluster.psql_in("app", "UPDATE t SET v = 'of the second host'");
    operator.set("name", "db2");
    operator.set("daemon.state_directory", operator.path("state2").display());
    operator.back_up();
    copy(&operator);
    let url = far.url();
    let base = [
        "restore",
        "--latest",
        "--from",
        &url,
        "--any-signer",
        "--into",
    ];
    let run = |words: &[&str]| bare(&cluster, &operator, &[&base[..], words].concat());

    let asked = run(&["new"]);
    assert_eq!(asked.code, 64, "{asked}");
    for said in ["host db1: main/app", "host db2: main/app", "--host db1"] {
        assert!(asked.stderr.contains(said), "{asked}");
    }
    let none = run(&["new", "--host", "db3"]);
    assert_eq!(none.code, 69, "{none}");

    // The first host had one backup, the second the same and a newer one.
    for (host, into, expected) in [
        ("db1", "one", "as backed up"),
        ("db2", "two", "of the second host"),
    ] {
        let restored = run(&[into, "--host", host]);
        assert_eq!(restored.code, 0, "{restored}");
        assert_eq!(cluster.psql_in(into, "SELECT v FROM t"), expected);
    }

    // A signer is of one host: by its name in the configuration, each host trusts its own alone.
    let listed = operator.run(&["list", "--from", "far", "--host", "db1"]);
    assert_eq!(listed.code, 0, "{listed}");
    assert!(listed.stdout.contains("0 copies"), "{listed}");
    assert!(listed.stdout.contains("does not count"), "{listed}");
}

#[test]
fn a_destination_that_is_not_there_or_empty_is_named() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    let far = Far::of(&mut operator, false);
    let to = operator.path("to").display().to_string();
    let fetch = |from: &str| {
        operator.run(&[
            "fetch",
            "--latest",
            "--from",
            from,
            "--any-signer",
            "--to",
            &to,
        ])
    };
    let empty = fetch(&far.url());
    assert_eq!(empty.code, 69, "{empty}");
    assert!(empty.stderr.contains("there are no copies"), "{empty}");
    let unknown = fetch("near");
    assert_eq!(unknown.code, 64, "{unknown}");
    assert!(unknown.stderr.contains("configured are far"), "{unknown}");
    let wrong = fetch("ftp://host/x");
    assert_eq!(wrong.code, 64, "{wrong}");
}

#[test]
fn p21_a_machine_without_anything_restores_from_a_store_that_speaks_s3() {
    let Some(store) = SeaweedFs::start(true) else {
        return;
    };
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    let secret = operator.path("secret");
    fs::write(&secret, SECRET).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let url = format!("s3://{BUCKET}/db");
    let endpoint = format!("http://127.0.0.1:{}", store.port());
    operator.set("name", "db1");
    operator.set("destinations.offsite.url", &url);
    operator.set("destinations.offsite.endpoint", &endpoint);
    operator.set("destinations.offsite.access_key_id", ID);
    operator.set("destinations.offsite.secret_key_file", secret.display());
    operator.set_value("destinations.offsite.plain", true);
    copy(&operator);

    let read = |more: &[(&str, &str)], words: &[&str]| {
        let path = |name: &str| operator.path(name);
        let mut command = Command::new(PROGRAM);
        command
            .args(words)
            .env_clear()
            .envs(cluster.environment())
            .env_remove("PGDATABASE")
            .env("PGBACKUPD_CONFIG", "/dev/null")
            .env("PGBACKUPD_DIRECTORY", path("nowhere"))
            .env("PGBACKUPD_DAEMON__RUNTIME_DIRECTORY", path("run"))
            .env("PGBACKUPD_DAEMON__STATE_DIRECTORY", path("bare-state"))
            .env("AWS_ENDPOINT_URL", &endpoint)
            .env("AWS_ACCESS_KEY_ID", ID)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .envs(more.iter().copied())
            .stdin(Stdio::null());
        Running::start(command).wait()
    };
    let base = ["restore", "--latest", "--from", &url, "--into", "new"];
    let asked = read(&[], &base);
    assert_eq!(asked.code, 64, "{asked}");
    let signer = fingerprint(&asked);
    let trusting = [&base[..], &["--signer", &signer]].concat();
    let refused = read(&[("AWS_SECRET_ACCESS_KEY", "wrong")], &trusting);
    assert_eq!(refused.code, 69, "{refused}");
    assert!(!refused.stderr.contains("wrong"), "{refused}");
    let restored = read(&[], &trusting);
    assert_eq!(restored.code, 0, "{restored}");
    assert_eq!(cluster.psql_in("new", "SELECT v FROM t"), "as backed up");
    let verified = read(&[], &["verify", "--from", &url, "--signer", &signer]);
    assert_eq!(verified.code, 0, "{verified}");
}

#[test]
fn a_backup_is_not_put_among_those_of_another_database() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    let far = Far::of(&mut operator, false);
    copy(&operator);
    let to = operator.path("to").display().to_string();
    let base = [
        "fetch",
        "--latest",
        "--from",
        "far",
        "--to",
        &to,
        "--database",
    ];
    let first = operator.run(&[&base[..], &["app"]].concat());
    assert_eq!(first.code, 0, "{first}");
    cluster.create_database("other");
    operator.set("database", "other");
    wait_for_the_next_second();
    operator.back_up();
    copy(&operator);
    let second = operator.run(&[&base[..], &["other"]].concat());
    assert_eq!(second.code, 64, "{second}");
    assert!(
        second.stderr.contains("holds backups of database"),
        "{second}"
    );
    assert_eq!(far.ending(".json").len(), 2);
}

#[test]
fn p21_a_machine_without_anything_restores_from_an_sftp_server() {
    let Some(server) = SftpServer::start() else {
        return;
    };
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    let url = server.url(&server.root().display().to_string());
    let (identity, known) = (server.file("client"), server.file("known_hosts"));
    Far::of(&mut operator, true);
    operator.set("destinations.far.url", &url);
    operator.set("destinations.far.identity_file", identity.display());
    operator.set("destinations.far.known_hosts_file", known.display());
    let checked = operator.run(&["config", "check"]);
    assert_eq!(checked.code, 0, "{checked}");
    // What a killed put has left is in nobody's way, and is completed once nobody can be writing it.
    let text = server.root().join("v1/RESTORE.txt");
    fs::create_dir(server.root().join("v1")).unwrap();
    fs::write(&text, "").unwrap();
    copy(&operator);
    assert_eq!(text.metadata().unwrap().len(), 0);
    let ago = SystemTime::now() - Duration::from_secs(2 * 24 * 60 * 60);
    let file = fs::File::options().write(true).open(&text).unwrap();
    file.set_modified(ago).unwrap();
    assert_eq!(operator.json(&["copy"])[0]["copies"], serde_json::json!([]));
    assert!(text.metadata().unwrap().len() > 500);
    let shown = operator.run(&["status"]);
    assert!(shown.stdout.contains("opened"), "{shown}");

    // By its name, on the machine that has it.
    let key = operator.path("key.txt").display().to_string();
    let from = ["--from", "far", "--identity", &key];
    let listed = operator.run(&["list", "--from", "far"]);
    assert_eq!(listed.code, 0, "{listed}");
    let verified = operator.run(&[&["verify"], &from[..]].concat());
    assert_eq!(verified.code, 0, "{verified}");
    let to = operator.path("to").display().to_string();
    let fetched = [&["fetch", "--latest", "--to", &to], &from[..]].concat();
    let fetched = operator.run(&fetched);
    assert_eq!(fetched.code, 0, "{fetched}");
    let made = backups_in(&operator.backups());
    assert_eq!(backups_in(&operator.path("to")), made);

    // By its address, on one that has nothing.
    let (identity, known) = (identity.display().to_string(), known.display().to_string());
    let variables = [
        ("SFTP_IDENTITY_FILE", identity.as_str()),
        ("SFTP_KNOWN_HOSTS_FILE", known.as_str()),
    ];
    let base = ["restore", "--latest", "--from", &url, "--into", "new"];
    let opening = [&base[..], &["--identity", "-"]].concat();
    let asked = bare_with(&cluster, &operator, &variables, &opening);
    assert_eq!(asked.code, 64, "{asked}");
    let signer = fingerprint(&asked);
    let trusting = [&opening[..], &["--signer", &signer]].concat();
    let unknown = bare_with(&cluster, &operator, &variables[..1], &trusting);
    assert_eq!(unknown.code, 78, "{unknown}");
    assert!(unknown.stderr.contains("ssh-keyscan"), "{unknown}");
    let restored = bare_with(&cluster, &operator, &variables, &trusting);
    assert_eq!(restored.code, 0, "{restored}");
    assert_eq!(cluster.psql_in("new", "SELECT v FROM t"), "as backed up");
}
