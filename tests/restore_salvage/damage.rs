//! Files that are damaged.

use super::{drop_copy, hard, pairs, salvage};
use crate::support::cluster::Cluster;
use crate::support::operator::{Operator, wait_for_the_next_second};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// A file that is cut or damaged anywhere gives all that comes before, and the damage is named.
#[test]
fn a_damaged_file_is_read_up_to_the_damage() {
    let cluster = Cluster::start();
    hard(
        &cluster,
        "CREATE TABLE z (i int, t text); INSERT INTO z SELECT i, repeat(md5(i::text), 10) FROM generate_series(1, 20000) i",
    );
    let mut operator = Operator::of(&cluster, "hard");
    for (format, compression) in [
        ("plain", "gzip"),
        ("plain", "zstd"),
        ("custom", "none"),
        ("directory", "none"),
    ] {
        operator.set("dump.format", format);
        operator.set("dump.compression", compression);
        wait_for_the_next_second();
        let backup = operator.back_up();
        let suffixes = [".sql.gz", ".sql.zst", ".dump", ".dir"];
        let is_artifact = |name: &String| {
            name.starts_with(&backup) && suffixes.iter().any(|suffix| name.ends_with(suffix))
        };
        let artifact = operator.artifacts().into_iter().find(is_artifact).unwrap();
        cut(&operator.backups().join(&artifact));
        // Neither the backup by its name nor anything else restores it, and the error names what does.
        let output = operator.run(&["restore", &backup, "--into", "copy"]);
        assert_eq!(output.code, 65, "{output}");
        assert!(output.stderr.contains(" --salvage --into "), "{output}");
        let (report, output) = salvage(&operator, &backup, 65);
        assert!(report["damage"].is_string(), "{format}: {output}");
        assert_eq!(
            cluster.psql_in("copy", "SELECT count(*) FROM fine"),
            "1000",
            "{format}: {output}"
        );
        let rows: u64 = cluster
            .psql_in("copy", "SELECT count(*) FROM z")
            .parse()
            .unwrap();
        assert!(rows < 20_000, "{format}");
        if format == "plain" {
            assert!(rows > 1000, "{format}: {rows}");
        }
        assert_eq!(report["rows"], 1000 + rows, "{output}");
        assert_eq!(report["expected_rows"], 21_000, "{output}");
        drop_copy(&cluster);
    }
}

/// Cuts a file in its second half; of a directory the largest file.
fn cut(path: &Path) {
    let path = if path.is_dir() {
        let files = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        files
            .max_by_key(|path| path.metadata().unwrap().len())
            .unwrap()
    } else {
        path.to_owned()
    };
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length * 2 / 3).unwrap();
}

/// On a tar archive that is cut, `pg_restore` itself never comes to an end.
#[test]
fn of_a_tar_archive_that_is_cut_what_comes_before_is_there_and_a_restore_refuses_it() {
    let cluster = Cluster::start();
    hard(
        &cluster,
        "CREATE TABLE middle (i int, t text); CREATE INDEX of_middle ON middle (i); \
         INSERT INTO middle SELECT i, md5(i::text) FROM generate_series(1, 20000) i; \
         CREATE TABLE zz (i int PRIMARY KEY); INSERT INTO zz VALUES (7)",
    );
    let operator = Operator::of(&cluster, "hard");
    let dumped = cluster
        .command("pg_dump")
        .args(["--format=tar", "hard"])
        .output()
        .unwrap();
    assert!(dumped.status.success());
    let tar = &dumped.stdout[..dumped.stdout.len() / 2];
    let path = operator.path("hard.tar");
    let gzip = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let packed = gzip(&dumped.stdout);
    for bytes in [tar.to_vec(), gzip(tar), packed[..packed.len() / 2].to_vec()] {
        fs::write(&path, bytes).unwrap();
        let path = path.to_str().unwrap();
        let began = Instant::now();
        let output = operator.run(&["restore", path, "--into", "copy"]);
        assert_eq!(output.code, 65, "{output}");
        assert!(output.stderr.contains(" --salvage --into "), "{output}");
        let (report, output) = salvage(&operator, path, 65);
        assert!(began.elapsed() < Duration::from_secs(90), "{output}");
        let damage = report["damage"].as_str().unwrap();
        assert!(damage.contains("breaks off in its member"), "{output}");
        let fine = "SELECT count(*) FROM fine";
        assert_eq!(cluster.psql_in("copy", fine), "1000", "{output}");
        let middle: u64 = cluster
            .psql_in("copy", "SELECT count(*) FROM middle")
            .parse()
            .unwrap();
        assert!((1000..20_000).contains(&middle), "{middle}: {output}");
        assert_eq!(report["rows"], 1000 + middle, "{output}");
        drop_copy(&cluster);
    }
    fs::write(&path, tar).unwrap();
    let (report, output) = salvage(&operator, path.to_str().unwrap(), 65);
    let rows = |table: &str| ("rows_missing".to_owned(), format!("rows of public.{table}"));
    assert_eq!(
        pairs(&report["missing"]),
        [rows("middle"), rows("zz")],
        "{output}"
    );
    let indexes = "SELECT count(*) FROM pg_indexes WHERE indexname IN ('of_middle', 'zz_pkey')";
    assert_eq!(cluster.psql_in("copy", indexes), "2", "{output}");
}

/// In an archive one damaged table does not stand before the others.
#[test]
fn of_an_archive_the_tables_behind_the_damaged_one_come() {
    let cluster = Cluster::start();
    hard(
        &cluster,
        "CREATE TABLE bad (t text); INSERT INTO bad SELECT md5(i::text) FROM generate_series(1, 50000) i; \
         CREATE TABLE zz (i int PRIMARY KEY); INSERT INTO zz SELECT generate_series(1, 500)",
    );
    let mut operator = Operator::of(&cluster, "hard");
    operator.set("dump.format", "directory");
    let backup = operator.back_up();
    let directory = operator.backups().join(format!("{backup}.dir"));
    cut(&directory);
    let (report, output) = salvage(&operator, &backup, 65);
    assert_eq!(
        cluster.psql_in("copy", "SELECT count(*) FROM fine"),
        "1000",
        "{output}"
    );
    let zz = "SELECT count(*) FROM zz JOIN pg_indexes ON indexname = 'zz_pkey'";
    assert_eq!(cluster.psql_in("copy", zz), "500", "{output}");
    let missing = pairs(&report["missing"]);
    assert_eq!(
        missing,
        [("rows_missing".to_owned(), "rows of public.bad".to_owned())],
        "{output}"
    );
}

/// What a text without a manifest says of its statements is an error of the restore that names the salvage.
#[test]
fn the_error_of_a_restore_names_the_command_that_brings_back_the_rest() {
    let cluster = Cluster::start();
    hard(
        &cluster,
        "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (p int REFERENCES parent); \
         SET session_replication_role = replica; INSERT INTO child VALUES (99)",
    );
    let operator = Operator::of(&cluster, "hard");
    let backup = operator.back_up();
    let output = operator.run(&["restore", &backup, "--into", "copy"]);
    assert_ne!(output.code, 0, "{output}");
    let hint = format!("{backup} --salvage --into copy_salvaged");
    assert!(output.stderr.contains(&hint), "{output}");
}

/// A backup whose dump is intact gives all its rows; that another part of it cannot be used is reported.
#[test]
fn of_a_backup_whose_census_or_roles_are_damaged_everything_comes_and_the_damage_is_named() {
    let cluster = Cluster::start();
    hard(&cluster, "CREATE TABLE v AS SELECT 1 AS i");
    let mut operator = Operator::of(&cluster, "hard");
    for format in ["plain", "custom"] {
        operator.set("dump.format", format);
        for (suffix, part) in [
            (".census.gz", "census of the backup"),
            (".globals.gz", "roles of the backup"),
        ] {
            wait_for_the_next_second();
            let backup = operator.back_up();
            cut(&operator.backups().join(format!("{backup}{suffix}")));
            let (report, output) = salvage(&operator, &backup, 65);
            let missing = [("missing".to_owned(), part.to_owned())];
            assert_eq!(pairs(&report["missing"]), missing, "{output}");
            assert_eq!(report["rows"], 1001, "{output}");
            assert_eq!(cluster.psql_in("copy", "SELECT count(*) FROM fine"), "1000");
            drop_copy(&cluster);
        }
    }
}

/// Files of another backup are not this one's, although they can be read.
#[test]
fn files_that_changed_places_with_those_of_another_backup_are_named() {
    let cluster = Cluster::start();
    hard(&cluster, "SELECT 1");
    let mut operator = Operator::of(&cluster, "hard");
    operator.set("dump.format", "directory");
    let older = operator.back_up();
    cluster.psql("CREATE ROLE newer");
    wait_for_the_next_second();
    let backup = operator.back_up();
    let at = |name: &str| operator.backups().join(name);
    fs::copy(
        at(&format!("{older}.globals.gz")),
        at(&format!("{backup}.globals.gz")),
    )
    .unwrap();
    fs::copy(
        at(&format!("{older}.dir/toc.dat")),
        at(&format!("{backup}.dir/toc.dat")),
    )
    .unwrap();
    let (report, output) = salvage(&operator, &backup, 65);
    let missing = ["dump of the backup", "roles of the backup"];
    let missing = missing.map(|part| ("missing".to_owned(), part.to_owned()));
    assert_eq!(pairs(&report["missing"]), missing, "{output}");
    assert_eq!(report["rows"], 1000, "{output}");
}
