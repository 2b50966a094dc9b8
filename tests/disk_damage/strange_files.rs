//! What stands in a directory and should not, or is missing there: it is named, and left alone.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{DATABASE, cluster_with_a_small_database, content};
use crate::support::cluster::Cluster;
use crate::support::operator::Operator;

/// The files that are no backups, each with what `list` says about it.
fn problems(operator: &Operator) -> BTreeMap<String, String> {
    let listed = operator.json(&["list"]);
    let problems = listed[0]["problems"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    problems
        .iter()
        .map(|problem| (text(&problem["file"]), text(&problem["what"])))
        .collect()
}

/// Puts files into the directory that are no backup's, and links to one that is outside.
fn put_others(directory: &Path, outside: &Path) {
    for name in [
        "backup_20010101_020000.sql.gz",
        "weekly_backup_20010101_020000.sql.zst",
        "manual_x_20010101_020000.dump",
        "notes.txt",
        "backup_20010101.sql.gz",
        "backup.sql.gz",
        "backup_20010101_020000.sql.gz.part",
        ".pgbackupd-notes",
        ".pgbackupd-01890a5d-ac96-774b-bcce-b302099a8057.notes",
        "strange\nname",
    ] {
        fs::write(directory.join(name), "theirs").unwrap();
    }
    for name in [
        "backup_20010102_020000.json",
        "backup_20010103_020000.dir",
        "old",
    ] {
        fs::create_dir(directory.join(name)).unwrap();
        fs::write(directory.join(name).join("theirs"), "theirs").unwrap();
    }
    symlink(outside, directory.join("backup_20010104_020000.json")).unwrap();
    symlink(outside, directory.join("backup_20010105_020000.sql.gz")).unwrap();
    symlink("nowhere", directory.join("backup_20010106_020000.json")).unwrap();
}

/// What is reported of these.
fn problems_with_others() -> BTreeMap<String, String> {
    let orphan = "it has no manifest, so it is not a backup of pgbackupd's, and retention never \
                  touches it";
    let no_manifest = "it cannot be understood: expected ident at line 1 column 2";
    let expected = [
        ("backup_20010101_020000.sql.gz", orphan),
        (
            "backup_20010102_020000.json",
            "cannot read it: Is a directory (os error 21)",
        ),
        ("backup_20010103_020000.dir", orphan),
        ("backup_20010104_020000.json", no_manifest),
        ("backup_20010105_020000.sql.gz", orphan),
        (
            "backup_20010106_020000.json",
            "cannot read it: No such file or directory (os error 2)",
        ),
        ("manual_x_20010101_020000.dump", orphan),
        ("weekly_backup_20010101_020000.sql.zst", orphan),
    ];
    expected
        .map(|(file, what)| (file.to_owned(), what.to_owned()))
        .into()
}

#[test]
fn foreign_files_are_named_and_never_touched() {
    let cluster = cluster_with_a_small_database();
    let mut operator = Operator::of(&cluster, DATABASE);
    // As greedy as retention can be.
    operator.set_value("series.daily.keep_last", 1);
    operator.set_value("series.daily.keep", false);
    operator.set_value("retention.floor", 1);
    operator.back_up();
    let directory = operator.backups();
    let outside = operator.path("outside.json");
    fs::write(&outside, "theirs").unwrap();
    put_others(&directory, &outside);
    let ours = operator.list();
    let mut foreign = content(&directory);
    foreign.retain(|path, _| {
        let path = path.to_str().unwrap();
        !path.contains(&ours[0]) && !path.ends_with("/backup.log") && !path.ends_with("/.lock")
    });

    let expected = problems_with_others();
    assert_eq!(problems(&operator), expected);
    let told = operator.run(&["list"]);
    for (file, what) in &expected {
        let line = format!("{file}: {what}");
        assert!(told.words().contains(&line), "{told}");
    }

    // The next backup, retention with it, a clean-up and a verification.
    let newest = operator.back_up();
    let output = operator.run(&["prune"]);
    assert_eq!(output.code, 0, "{output}");
    // What has a manifest's name may have been one.
    let output = operator.run(&["verify", "--all"]);
    assert_eq!(output.code, 65, "{output}");
    let unreadable = "cannot be used: cannot read it: Is a directory (os error 21)";
    let directory_line = format!(
        "backup_20010102_020000: UNCHECKED: the manifest {}/backup_20010102_020000.json \
         {unreadable}",
        directory.display()
    );
    assert!(output.words().contains(&directory_line), "{output}");
    assert_eq!(operator.list(), [newest.as_str()]);
    let mut after = content(&directory);
    after.retain(|path, _| foreign.contains_key(path));
    assert_eq!(after, foreign);
    assert_eq!(fs::read_to_string(outside).unwrap(), "theirs");
    assert_eq!(problems(&operator), expected);
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario, each step on what the one before has left"
)]
fn a_manifest_that_is_of_no_use_is_reported_and_neither_counted_nor_removed() {
    let cluster = cluster_with_a_small_database();
    let mut operator = Operator::of(&cluster, DATABASE);
    let names: Vec<String> = (0..5).map(|_| operator.back_up()).collect();
    let directory = operator.backups();
    let manifest = |name: &str| directory.join(format!("{name}.json"));
    let edit = |name: &str, edit: &dyn Fn(String) -> String| {
        let text = fs::read_to_string(manifest(name)).unwrap();
        fs::write(manifest(name), edit(text)).unwrap();
    };
    edit(&names[0], &|_| "no JSON".to_owned());
    edit(&names[1], &|text| text[..text.len() / 2].to_owned());
    edit(&names[2], &|text| {
        let changed = text.replacen("\"rows\": 200", "\"rows\": 201", 1);
        assert_ne!(changed, text);
        changed
    });
    edit(&names[3], &|text| {
        text.replacen("\"format\": 1", "\"format\": 4", 1)
    });
    // The fifth remains; a copy of it under another name is none.
    let renamed = "backup_20010101_020000";
    for entry in fs::read_dir(&directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(end) = name.strip_prefix(names[4].as_str()) {
            fs::copy(
                directory.join(&name),
                directory.join(format!("{renamed}{end}")),
            )
            .unwrap();
        }
    }
    let found = problems(&operator);
    for (name, what) in [
        (
            names[0].as_str(),
            "it cannot be understood: expected ident at line 1 column 2",
        ),
        (&names[1], "it cannot be understood: EOF while parsing"),
        (
            &names[2],
            "it has been changed since it was written: its checksum does not match",
        ),
        (
            &names[3],
            "it has format 4, which is newer than this program: upgrade pgbackupd",
        ),
        (
            renamed,
            &format!("it is the manifest of {:?}: it has been renamed", names[4]),
        ),
    ] {
        let told = &found[&format!("{name}.json")];
        assert!(told.starts_with(what), "{name}: {told}");
    }
    assert_eq!(found.len(), 5);

    // The other one stays usable, and whoever verifies hears of the rest.
    assert_eq!(operator.list(), [names[4].as_str()]);
    for choice in ["--all", "--latest"] {
        let output = operator.run(&["verify", choice]);
        assert_eq!(output.code, 65, "{output}");
        assert_eq!(
            output.stderr,
            format!("pgbackupd: database {DATABASE}: 4 backups are damaged\n")
        );
        let whole = format!("{}: intact, 200 rows\n", names[4]);
        assert!(output.stdout.starts_with(&whole), "{output}");
        for (file, what) in &found {
            let name = file.strip_suffix(".json").unwrap();
            let outcome = if *name == names[3] {
                "UNCHECKED"
            } else {
                "DAMAGED"
            };
            let line = format!(
                "{name}: {outcome}: the manifest {}/{file} cannot be used: {what}",
                directory.display()
            );
            assert!(output.words().contains(&line), "{line}\n{output}");
        }
    }
    // Nobody reads one that is too long.
    let intact = fs::read(manifest(&names[4])).unwrap();
    let long = fs::File::options().write(true).open(manifest(&names[4]));
    long.unwrap().set_len((64 << 20) + 1).unwrap();
    let output = operator.run(&["verify", &names[4]]);
    assert_eq!(output.code, 65, "{output}");
    let what = "cannot be used: it is longer than a manifest can be, 64.0 MiB";
    assert!(output.words().contains(what), "{output}");
    fs::write(manifest(&names[4]), intact).unwrap();
    // So does whoever names it.
    for (name, code) in [(&names[2], 65), (&names[3], 69), (&names[4], 0)] {
        let output = operator.run(&["verify", name]);
        assert_eq!(output.code, code, "{output}");
    }

    // With a floor of one the greediest retention keeps exactly one that is of use.
    let before = operator.artifacts();
    operator.set_value("series.daily.keep_last", 1);
    operator.set_value("series.daily.keep", false);
    operator.set_value("retention.floor", 1);
    let newest = operator.back_up();
    assert_eq!(operator.list(), [newest.as_str()]);
    let after = operator.artifacts();
    for file in before {
        assert_eq!(
            after.contains(&file),
            !file.starts_with(&names[4]),
            "{file} is of no backup that retention knows"
        );
    }
    assert_eq!(problems(&operator), found);
}

#[test]
fn a_missing_file_and_one_too_many_are_found() {
    let cluster = cluster_with_a_small_database();
    let mut operator = Operator::of(&cluster, DATABASE);
    operator.set("dump.format", "directory");
    let name = operator.back_up();
    let directory = operator.backups();
    let verify = |damage: &str| {
        let output = operator.run(&["verify", "--all"]);
        assert_eq!(output.code, 65, "{output}");
        let start = format!("{name}: DAMAGED: {damage}");
        assert!(output.words().starts_with(&start), "{output}");
    };
    let extra = directory.join(format!("{name}.dir/extra"));
    fs::write(&extra, "").unwrap();
    verify("its dump has been changed: ");
    fs::remove_file(extra).unwrap();
    operator.assert_all_whole();
    for (suffix, damage) in [
        (
            "globals.gz",
            format!("{name}.globals.gz: cannot read: No such file or directory (os error 2)"),
        ),
        (
            "census.gz",
            "its census cannot be used: cannot read the census: No such file or directory (os \
             error 2)"
                .to_owned(),
        ),
    ] {
        let file = directory.join(format!("{name}.{suffix}"));
        let aside = operator.path("aside");
        fs::rename(&file, &aside).unwrap();
        verify(&damage);
        fs::rename(&aside, &file).unwrap();
        operator.assert_all_whole();
    }
    // Without its dump there is no backup.
    fs::rename(directory.join(format!("{name}.dir")), operator.path("dump")).unwrap();
    assert_eq!(operator.list(), Vec::<String>::new());
    assert_eq!(
        problems(&operator),
        [(
            format!("{name}.json"),
            format!("its dump {name}.dir is gone")
        )]
        .into()
    );
    let output = operator.run(&["verify", &name]);
    assert_eq!(output.code, 65, "{output}");
    assert_eq!(
        output.words(),
        format!("{name}: DAMAGED: its dump: cannot read: No such file or directory (os error 2)")
    );
}

#[test]
fn a_directory_whose_only_manifest_is_spoilt_is_not_passed_over_where_all_are_backed_up() {
    let cluster = cluster_with_a_small_database();
    let mut operator = Operator::of(&cluster, DATABASE);
    operator.unset("database");
    operator.set("databases", "all");
    operator.set_value("include", vec![DATABASE]);
    let name = operator.back_up();
    let manifest = operator.backups().join(format!("{name}.json"));
    fs::write(&manifest, "").unwrap();
    let file = format!("{name}.json");
    assert_eq!(problems(&operator).into_keys().collect::<Vec<_>>(), [file]);
    let output = operator.run(&["verify", "--all"]);
    assert_eq!(output.code, 65, "{output}");
    let line = format!(
        "{DATABASE}: {name}: DAMAGED: the manifest {}",
        manifest.display()
    );
    assert!(output.words().starts_with(&line), "{output}");
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario, each step on what the one before has left"
)]
fn pipes_and_devices_under_the_names_of_our_files_make_nobody_wait() {
    let cluster = Cluster::start();
    let operator = Operator::of(&cluster, "postgres");
    operator.assert_next_run_succeeds();
    let directory = operator.backups();
    let ours = operator.list();
    let pipe = |name: &str| {
        let made = Command::new("mkfifo").arg(directory.join(name)).status();
        assert!(made.unwrap().success());
    };
    for ending in ["json", "state", "sql.gz", "globals.gz", "census.gz"] {
        pipe(&format!("backup_20250101_000000.{ending}"));
    }
    let endless = directory.join("backup_20250102_000000.json");
    symlink("/dev/zero", endless).unwrap();
    let state = format!("{}.state", ours[0]);
    fs::remove_file(directory.join(&state)).unwrap();
    pipe(&state);
    pipe("restore.log");
    // Without the mending, each of these waits for ever, or reads until the memory is full.
    let run = |arguments: &[&str]| {
        let limits = [
            "timeout",
            "--signal=KILL",
            "60",
            "prlimit",
            "--as=2000000000",
        ];
        operator.run_under(&limits, arguments)
    };
    let no_file = "it is a pipe or a device, and no file";
    for (command, code) in [
        (["list"].as_slice(), 0),
        (&["status"], 2),
        (&["prune"], 0),
        (&["verify", "--all"], 69),
        (&["verify", "backup_20250101_000000"], 69),
        (&["backup"], 0),
    ] {
        let output = run(command);
        assert_eq!(output.code, code, "{command:?}: {output}");
    }
    let listed = run(&["list"]);
    for (name, what) in [
        ("backup_20250101_000000", "it cannot be understood:"),
        (
            "backup_20250102_000000",
            "it is longer than a manifest can be, 64.0 MiB",
        ),
    ] {
        let problem = format!("{name}.json: {what}");
        assert!(listed.words().contains(&problem), "{listed}");
    }
    // One whose state cannot be read stays listed, and counts as pinned.
    assert_eq!(operator.list().len(), ours.len() + 1);
    let told = format!("its state {state} cannot be used: {no_file}; it counts as pinned");
    assert!(listed.words().contains(&told), "{listed}");
    fs::remove_file(directory.join(&state)).unwrap();
    assert_eq!(operator.list().len(), ours.len() + 1);
    // The record and the lock are needed: there the sentence says which file it is.
    for (name, what) in [
        (".lock", "cannot lock"),
        ("backup.log", "could not be recorded in"),
    ] {
        let aside = directory.join("aside");
        fs::rename(directory.join(name), &aside).unwrap();
        pipe(name);
        let output = run(&["backup"]);
        assert_eq!(output.code, 73, "{name}: {output}");
        let end = format!("{what} {}: {no_file}\n", directory.join(name).display());
        assert!(output.stderr.ends_with(&end), "{output}");
        assert_eq!(run(&["list"]).code, 0);
        fs::rename(aside, directory.join(name)).unwrap();
    }
}
