//! Newer backups that cannot be chosen: none is passed over without a word, and going back to an older
//! one has to be meant.

use std::fs;
use std::path::Path;

use crate::support::cluster::Cluster;
use crate::support::operator::Operator;
use crate::support::restored::{databases, small, value};

/// What can be wrong with the newest backup: how it comes about, what is said of it, and what `list`
/// then has no more.
type Fault = (fn(&Path, &str), &'static str);

fn set_drill_failure(directory: &Path, name: &str) {
    // As an older program wrote it, without a seal.
    let state = r#"{"drilled": {"at": "2026-01-01T02:00:00+03:00", "failure": "row 7 differs"}}"#;
    fs::write(directory.join(format!("{name}.state")), state).unwrap();
}

fn set_damage(directory: &Path, name: &str) {
    let state = r#"{"checked": {"at": "2026-01-01T02:00:00+03:00", "damage": "it is torn"}}"#;
    fs::write(directory.join(format!("{name}.state")), state).unwrap();
}

fn damage_the_manifest(directory: &Path, name: &str) {
    let path = directory.join(format!("{name}.json"));
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path, text.replacen("\"rows\"", "\"rowt\"", 1)).unwrap();
}

fn lose_the_manifest(directory: &Path, name: &str) {
    fs::remove_file(directory.join(format!("{name}.json"))).unwrap();
}

fn quarantine(directory: &Path, name: &str) {
    let aside = directory.join("quarantine").join(name);
    fs::create_dir_all(&aside).unwrap();
    for entry in fs::read_dir(directory).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        if file.starts_with(name) {
            fs::rename(directory.join(&file), aside.join(&file)).unwrap();
        }
    }
}

/// A copy of a directory of backups, to come back to.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn a_newer_backup_that_cannot_be_chosen_is_named_and_going_back_has_to_be_meant() {
    let cluster = Cluster::start();
    let operator = small(&cluster, "app");
    let newest = operator.back_up();
    let older = operator.list()[0].clone();
    let (directory, kept) = (operator.backups(), operator.path("kept"));
    copy(&directory, &kept);
    let standing = databases(&cluster);
    let faults: [Fault; 5] = [
        (
            set_drill_failure,
            "did not come back intact in a drill: row 7 differs",
        ),
        (set_damage, "it is damaged: it is torn"),
        (damage_the_manifest, "its manifest cannot be used: "),
        (lose_the_manifest, "is lost, so it counts for no backup"),
        (quarantine, "is in quarantine"),
    ];
    for (spoil, why) in faults {
        fs::remove_dir_all(&directory).unwrap();
        copy(&kept, &directory);
        spoil(&directory, &newest);
        let named = format!("{newest} is newer and skipped: ");
        for (arguments, code) in [
            (["restore", "--latest", "--yes"].as_slice(), 65),
            (&["restore", "--latest", "--into", "look"], 65),
            (&["restore", "--latest", "--table", "t", "--yes"], 65),
            (&["restore", "--series", "daily", "--yes"], 65),
            (&["restore", "--before", "2999-01-01", "--yes"], 65),
            (&["restore", "--latest", "--plan"], 0),
            (&["restore", "--latest", "--table", "t", "--plan"], 0),
            (&["restore"], 64),
        ] {
            let output = operator.run(arguments);
            assert_eq!(output.code, code, "{arguments:?}: {output}");
            assert!(output.stderr.contains(&named), "{arguments:?}: {output}");
            assert!(output.stderr.contains(why), "{arguments:?}: {output}");
            if code == 65 {
                let hint = "hint: name a backup, or give --accept-older to go back to";
                assert!(output.stderr.contains(hint), "{output}");
            }
        }
        assert_eq!(databases(&cluster), standing, "nothing was touched");
        assert_eq!(value(&cluster, "app"), "as it stands");
        // What does not fit is not passed over.
        let before = operator.run(&["restore", "--before", "2000-01-01"]);
        assert!(!before.stderr.contains(&named), "{before}");
    }

    // The last of them, meant: it is in the plan, in the result and in the incident report.
    let plan = operator.json(&["restore", "--latest", "--plan"]);
    let is_named = |sentence: &str| sentence.starts_with(&format!("{newest} is newer"));
    assert!(is_named(plan["warnings"][0].as_str().unwrap()), "{plan}");
    let back = ["restore", "--latest", "--accept-older", "--into", "look"];
    let restored = operator.json(&back);
    assert_eq!(restored["backup"], older);
    assert!(
        is_named(restored["warnings"][0].as_str().unwrap()),
        "{restored}"
    );
    assert_eq!(value(&cluster, "look"), "as backed up");
    let report = fs::read_to_string(restored["incident"].as_str().unwrap()).unwrap();
    assert!(report.contains(&format!("{newest} is newer")), "{report}");
}

#[test]
fn at_a_terminal_the_question_names_what_is_passed_over() {
    let cluster = Cluster::start();
    let operator = small(&cluster, "app");
    let newest = operator.back_up();
    set_drill_failure(&operator.backups(), &newest);
    let into = ["restore", "--latest", "--yes", "--into", "look"];
    let named = format!("{newest} is newer and skipped: it did not come back intact");
    let refused = operator.run_at_a_terminal(&into, "yes");
    assert_eq!(refused.code, 64, "{refused}");
    let what = "is not the newest backup of database app; ";
    assert!(refused.stdout.contains(what), "{refused}");
    assert!(refused.stdout.contains(&named), "{refused}");
    assert!(
        refused.stdout.contains("Type the name of the database"),
        "{refused}"
    );
    let given = operator.run_at_a_terminal(&into, "look");
    assert_eq!(given.code, 0, "{given}");
    assert_eq!(value(&cluster, "look"), "as backed up");
    // By its name it is restored without a question.
    let by_name = operator.run(&["restore", &newest, "--into", "newest"]);
    assert_eq!(by_name.code, 0, "{by_name}");
    assert_eq!(value(&cluster, "newest"), "as it stands");
}

#[test]
fn only_what_fits_is_passed_over_and_a_dump_without_a_manifest_comes_back_by_its_path() {
    let cluster = Cluster::start();
    let operator = small(&cluster, "app");
    let weekly = operator.json(&["backup", "--series", "weekly"]);
    let weekly = weekly[0]["backup"].as_str().unwrap();
    set_drill_failure(&operator.backups(), weekly);
    let of_daily = ["restore", "--series", "daily", "--into", "daily"];
    let output = operator.run(&of_daily);
    assert_eq!(
        (output.code, output.stderr.contains(weekly)),
        (0, false),
        "{output}"
    );
    // An older one that is bad is none that is passed over.
    operator.back_up();
    let output = operator.run(&["restore", "--latest", "--into", "newest"]);
    assert_eq!(
        (output.code, output.stderr.contains(weekly)),
        (0, false),
        "{output}"
    );
    assert_eq!(value(&cluster, "newest"), "as it stands");

    for (spoil, into) in [
        (damage_the_manifest as fn(&Path, &str), "damaged"),
        (lose_the_manifest, "lost"),
    ] {
        let newest = operator.back_up();
        spoil(&operator.backups(), &newest);
        let dump = operator.backups().join(format!("{newest}.sql.gz"));
        let by_path = ["restore", dump.to_str().unwrap(), "--into", into];
        let output = operator.run(&by_path);
        assert_eq!(output.code, 0, "{output}");
        assert_eq!(value(&cluster, into), "as it stands");
    }
}

/// A drill chooses as a restore does, and says so.
#[test]
fn a_drill_names_what_it_passes_over() {
    let cluster = Cluster::start();
    let (operator, _place) = crate::support::drill::operator(&cluster, "postgres");
    operator.back_up();
    let newest = operator.back_up();
    lose_the_manifest(&operator.backups(), &newest);
    let output = operator.run(&["drill"]);
    assert_eq!(output.code, 0, "{output}");
    let named = format!("{newest} is newer and skipped: its manifest {newest}.json is lost");
    assert!(output.stderr.contains(&named), "{output}");
}

#[test]
fn backups_of_which_none_is_good_are_all_listed_and_the_error_names_a_command_that_salvages() {
    let cluster = Cluster::start();
    let operator = small(&cluster, "app");
    let newest = operator.back_up();
    let older = operator.list()[0].clone();
    set_drill_failure(&operator.backups(), &newest);
    set_damage(&operator.backups(), &older);

    let output = operator.run(&["restore"]);
    assert_eq!(output.code, 65, "{output}");
    for (name, state) in [(&newest, "DOES NOT RESTORE"), (&older, "DAMAGED")] {
        let mut rows = output.stdout.lines();
        let row = rows.find(|row| row.split_whitespace().next() == Some(name.as_str()));
        assert!(row.unwrap().ends_with(state), "{output}");
        let skipped = format!("{name} is skipped: ");
        assert!(output.stderr.contains(&skipped), "{output}");
    }
    assert!(
        output.stdout.lines().all(|line| line.len() <= 80),
        "{output}"
    );
    let listed = operator.json(&["restore"]);
    assert_eq!(listed[0]["unrestorable"], "row 7 differs", "{listed}");
    assert_eq!(listed[1]["damage"], "it is torn", "{listed}");

    let hint = output.stderr.split("hint: `").nth(1).unwrap();
    let command = hint.split('`').next().unwrap();
    let words = command.split(' ').skip_while(|word| *word != "restore");
    let salvaged = operator.run(&words.collect::<Vec<_>>());
    assert_eq!(salvaged.code, 0, "{salvaged}");
    assert_eq!(value(&cluster, "app_salvaged"), "as it stands");
}

#[test]
fn backups_of_several_databases_are_listed_by_database() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    cluster.create_database("other");
    operator.unset("database");
    operator.set_value("databases", vec!["app", "other"]);
    let output = operator.run(&["backup"]);
    assert_eq!(output.code, 0, "{output}");
    let output = operator.run(&["restore"]);
    assert_eq!(output.code, 64, "{output}");
    for database in ["app", "other"] {
        let title = format!("database {database}\n BACKUP ");
        assert!(output.stdout.contains(&title), "{output}");
    }
}

/// Everybody else's test of a database that is restored by an operator without faults.
#[test]
fn nothing_is_passed_over_where_the_newest_is_intact() {
    let cluster = Cluster::start();
    let operator: Operator = small(&cluster, "app");
    operator.back_up();
    let output = operator.run(&["restore", "--latest", "--plan"]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output}");
}
