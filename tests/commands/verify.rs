//! `verify`: which backups it checks.

use std::fs;
use std::process::Command;

use crate::support::cluster::Cluster;
use crate::support::operator::Operator;

#[test]
fn verify_checks_what_it_is_reported_to() {
    let cluster = Cluster::start();
    let operator = Operator::of(&cluster, "postgres");
    for arguments in [&["backup"][..], &["backup"], &["backup", "--series=weekly"]] {
        assert_eq!(operator.run(arguments).code, 0);
    }
    let names = operator.list();
    let [first, second, weekly] = &names[..] else {
        panic!("{names:?}")
    };
    let path = operator.backups().join(format!("{first}.sql.gz"));
    let manifest = format!("backups/postgres/{first}.json");
    let whole = |names: &[&String]| -> String {
        let line = |name: &&String| format!("{name}: intact, 0 rows\n");
        names.iter().map(line).collect::<Vec<_>>().concat()
    };
    for (arguments, checked) in [
        (&[][..], whole(&[weekly, second])),
        (&["--latest"], whole(&[weekly, second])),
        (&["--all"], whole(&[weekly, second, first])),
        (&[first.as_str()], whole(&[first])),
        (&[path.to_str().unwrap()], whole(&[first])),
        (&[&manifest, weekly.as_str()], whole(&[weekly, first])),
    ] {
        let output = operator.run(&[&["verify"], arguments].concat());
        assert_eq!(output.code, 0, "{output}");
        assert_eq!(output.stderr, "");
        assert_eq!(output.stdout, checked, "{arguments:?}");
    }
    for (arguments, sentence) in [
        (
            "x",
            "\"x\" is not the name of a backup\nhint: `pgbackupd list` shows the names",
        ),
        (
            "backup_20200101_000000",
            "there is no backup backup_20200101_000000\nhint: `pgbackupd list` shows the backups",
        ),
        (
            &format!("/nonexistent/{first}"),
            &format!(
                "there is no backup {first} in /nonexistent\nhint: `pgbackupd list` shows the backups"
            ),
        ),
    ] {
        let output = operator.run(&["verify", arguments]);
        assert_eq!(output.code, 64, "{output}");
        assert_eq!(output.stderr, format!("pgbackupd: {sentence}\n"));
    }
}

#[test]
fn verify_by_path_checks_that_file_and_no_other_of_the_same_name() {
    let cluster = Cluster::start();
    let operator = Operator::of(&cluster, "postgres");
    operator.back_up();
    let name = operator.list().pop().unwrap();
    let copy = operator.path("copy");
    let status = Command::new("cp")
        .arg("-r")
        .arg(operator.backups())
        .arg(&copy)
        .status();
    assert!(status.unwrap().success());
    let copied = copy.join(format!("{name}.sql.gz"));
    let output = operator.run(&["verify", copied.to_str().unwrap()]);
    assert_eq!(
        (output.code, output.stdout),
        (0, format!("{name}: intact, 0 rows\n"))
    );

    let mut bytes = fs::read(&copied).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&copied, bytes).unwrap();
    let output = operator.run(&["verify", copied.to_str().unwrap()]);
    assert_eq!(output.code, 65, "{output}");
    assert_eq!(
        output.stderr,
        "pgbackupd: database postgres: 1 backup is damaged\n"
    );
    assert!(
        output.stdout.starts_with(&format!("{name}: DAMAGED: ")),
        "{output}"
    );
    assert_eq!(operator.run(&["verify", &name]).code, 0);
}

#[test]
fn verify_of_nothing_is_no_success_where_something_was_named() {
    let cluster = Cluster::start();
    let operator = Operator::of(&cluster, "postgres");
    let output = operator.run(&["verify"]);
    assert_eq!(output.code, 0, "nothing was expected: {output}");
    let output = operator.run(&["verify", "-d", "postgres"]);
    assert_eq!(output.code, 69, "{output}");
    let sentence = "pgbackupd: database postgres: there is no backup to check in ";
    assert!(output.stderr.starts_with(sentence), "{output}");
    // A directory means all that are in it, wherever it is.
    let name = operator.back_up();
    let copy = operator.path("copy");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(operator.backups())
        .arg(&copy)
        .status();
    assert!(copied.unwrap().success());
    let output = operator.run(&["verify", copy.to_str().unwrap()]);
    let whole = format!("{name}: intact, 0 rows\n");
    assert_eq!((output.code, output.stdout), (0, whole));
    let empty = operator.path("empty");
    fs::create_dir(&empty).unwrap();
    let output = operator.run(&["verify", empty.to_str().unwrap()]);
    assert_eq!(output.code, 69, "{output}");
    assert!(
        output.stderr.contains("there is no backup to check in "),
        "{output}"
    );
    // What was checked a short time ago is not due, and that is well.
    let output = operator.run(&["verify", "-d", "postgres", "--older-than", "6 days"]);
    assert_eq!(output.code, 0, "{output}");
}
