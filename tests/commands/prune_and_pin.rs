//! `prune`, `pin` and `unpin`: what retention says and does, also when the clock looks wrong.

use std::fs;

use crate::support::clock::run_at;
use crate::support::cluster::Cluster;
use crate::support::operator::{Operator, Output};

/// Runs a command at a moment in UTC, and expects success. The moment stands still, so that names are
/// the same however slow the machine is.
fn at(operator: &Operator, moment: &str, arguments: &[&str]) -> Output {
    let output = run_at(operator, moment, arguments);
    assert_eq!(output.code, 0, "{output}");
    output
}

/// Somebody with six daily backups, of the first days of 2025.
fn with_six_old_backups(cluster: &Cluster) -> Operator {
    let mut operator = Operator::of(cluster, "postgres");
    operator.set_value("dump.globals", false);
    for day in 1..=6 {
        at(&operator, &format!("2025-01-0{day} 02:00:00"), &["backup"]);
    }
    operator
}

/// The names of the daily backups of these dates; runs at 02:00 UTC are at 05:00 in Riyadh.
fn of(dates: &[&str]) -> Vec<String> {
    let name = |date: &&str| format!("backup_{date}_050000");
    dates.iter().map(name).collect()
}

const JANUARY: [&str; 6] = [
    "20250101", "20250102", "20250103", "20250104", "20250105", "20250106",
];

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario, each step on what the one before has left"
)]
fn prune_says_what_it_would_do_and_then_does_that() {
    let cluster = Cluster::start();
    let operator = with_six_old_backups(&cluster);
    let february = "2025-02-10 02:00:00";
    let run = |arguments: &[&str]| at(&operator, february, arguments).stdout;
    assert_eq!(
        run(&["pin", "backup_20250102_050000"]),
        "backup_20250102_050000: pinned: retention keeps it until it is unpinned\n"
    );
    let would = run(&["prune", "--dry-run"]);
    let (head, rest) = would.split_once('\n').unwrap();
    assert!(
        head.starts_with("database postgres: 2 backups would be removed, "),
        "{head}"
    );
    assert_eq!(
        rest,
        "  keep backup_20250106_050000: one of the 3 verified backups that always stay\n  \
           keep backup_20250105_050000: one of the 3 verified backups that always stay\n  \
           keep backup_20250104_050000: one of the 3 verified backups that always stay\n  \
           remove backup_20250103_050000: older than 30 days\n  \
           keep backup_20250102_050000: pinned\n  \
           remove backup_20250101_050000: older than 30 days\n"
    );
    assert_eq!(operator.list(), of(&JANUARY), "nothing was removed");

    let done = run(&["prune"]);
    let (head, rest) = done.split_once('\n').unwrap();
    assert!(
        head.starts_with("database postgres: 2 backups removed, "),
        "{head}"
    );
    assert_eq!(
        rest,
        "  removed backup_20250103_050000: older than 30 days\n  \
           removed backup_20250101_050000: older than 30 days\n"
    );
    let left = of(&["20250102", "20250104", "20250105", "20250106"]);
    assert_eq!(operator.list(), left);
    assert!(
        operator
            .artifacts()
            .iter()
            .all(|file| left.iter().any(|name| file.starts_with(name)))
    );
    assert_eq!(
        run(&["prune"]),
        "database postgres: 0 backups removed, 0 B\n"
    );

    // A backup takes the place of the oldest that always stays, and says so.
    assert_eq!(
        run(&["unpin", "backup_20250102_050000"]),
        "backup_20250102_050000: no longer pinned: retention may remove it\n"
    );
    let backup = run(&["backup"]);
    assert!(
        backup.ends_with(
            "\n  backup_20250104_050000 removed by retention\n  backup_20250102_050000 removed by retention\n"
        ) || backup.ends_with(
            "\n  backup_20250102_050000 removed by retention\n  backup_20250104_050000 removed by retention\n"
        ),
        "{backup}"
    );
    assert_eq!(operator.list(), of(&["20250105", "20250106", "20250210"]));
    operator.assert_all_whole();
}

#[test]
fn a_clock_that_jumps_removes_nothing_and_is_reported() {
    let cluster = Cluster::start();
    let operator = with_six_old_backups(&cluster);
    let advice = "so the clock looks wrong and nothing is removed: set it right, or, if it is \
                  right, run `pgbackupd prune --trust-clock`";
    for (moment, doubt) in [
        (
            "2099-02-10 02:00:00",
            "27063 days lie between backup backup_20250106_050000 and the next one, \
             backup_20990210_050000",
        ),
        (
            "1970-01-02 02:00:00",
            "the clock says 1970-01-02 02:00 UTC, but backup backup_20990210_050000 is dated \
             2099-02-10 02:00 UTC, which is later",
        ),
        (
            "2025-02-10 02:00:00",
            "the clock says 2025-02-10 02:00 UTC, but backup backup_20990210_050000 is dated \
             2099-02-10 02:00 UTC, which is later",
        ),
    ] {
        let before = operator.list();
        for command in ["backup", "prune"] {
            let output = at(&operator, moment, &[command]);
            assert_eq!(
                output.stderr,
                format!(" WARN series daily: {doubt}, {advice}\n"),
                "{command} at {moment}"
            );
        }
        let after = operator.list();
        assert!(before.iter().all(|name| after.contains(name)), "{after:?}");
        assert_eq!(after.len(), before.len() + 1);
    }
    let all = [&["19700102"], &JANUARY[..], &["20250210", "20990210"]].concat();
    assert_eq!(operator.list(), of(&all));
    operator.assert_all_whole();

    // The backup of a wrong date can be set aside by hand; then the rules act again.
    let right = "2025-02-10 02:10:00";
    at(&operator, right, &["pin", "backup_20990210_050000"]);
    at(&operator, right, &["pin", "backup_19700102_050000"]);
    let output = at(&operator, right, &["prune"]);
    assert_eq!(output.stderr, "");
    let left = of(&["19700102", "20250105", "20250106", "20250210", "20990210"]);
    assert_eq!(operator.list(), left);
}

#[test]
fn pins_are_reported_and_need_one_backup() {
    let cluster = Cluster::start();
    let operator = Operator::of(&cluster, "postgres");
    operator.back_up();
    let name = operator.list().pop().unwrap();
    for (command, told) in [
        ("unpin", "not pinned"),
        ("pin", "pinned: retention keeps it until it is unpinned"),
        ("pin", "pinned already"),
    ] {
        let output = operator.run(&[command, &name]);
        assert_eq!((output.code, output.stderr.as_str()), (0, ""));
        assert_eq!(output.stdout, format!("{name}: {told}\n"));
    }
    let listed = operator.run(&["list"]).stdout;
    assert!(listed.contains("[pinned]"), "{listed}");
    operator.assert_all_whole();
}

#[test]
fn a_backup_lets_retention_loose_on_its_own_series_alone() {
    let cluster = Cluster::start();
    let operator = with_six_old_backups(&cluster);
    let weekly = ["backup", "--series=weekly"];
    at(&operator, "2025-02-10 02:00:00", &weekly);
    let dailies = || {
        let mut names = operator.list();
        names.retain(|name| name.starts_with("backup_"));
        names
    };
    assert_eq!(dailies(), of(&JANUARY));
    at(&operator, "2025-02-10 02:00:00", &["backup"]);
    assert_eq!(dailies(), of(&["20250105", "20250106", "20250210"]));
}

/// One that was found damaged stays as evidence, and the floor counts the sound ones.
#[test]
fn a_damaged_backup_takes_no_place_in_the_floor() {
    let cluster = Cluster::start();
    let operator = with_six_old_backups(&cluster);
    let [newest] = of(&["20250106"]).try_into().unwrap();
    fs::write(operator.backups().join(format!("{newest}.sql.gz")), "torn").unwrap();
    assert_eq!(operator.run(&["verify", &newest]).code, 65);
    at(&operator, "2025-02-10 02:00:00", &["prune"]);
    let kept = ["20250103", "20250104", "20250105", "20250106"];
    assert_eq!(operator.list(), of(&kept));
}

/// Nobody knows whether one that could not be read is still good; the floor counts those that were.
#[test]
fn a_backup_that_cannot_be_read_takes_no_place_in_the_floor() {
    let cluster = Cluster::start();
    let operator = with_six_old_backups(&cluster);
    // A directory cannot be read, whoever tries.
    for newest in of(&["20250105", "20250106"]) {
        let dump = operator.backups().join(format!("{newest}.sql.gz"));
        fs::rename(&dump, operator.path(&newest)).unwrap();
        fs::create_dir(&dump).unwrap();
    }
    assert_eq!(operator.run(&["verify", "--all"]).code, 69);
    at(&operator, "2025-02-10 02:00:00", &["prune"]);
    let all_but_one = of(&JANUARY[1..]);
    assert_eq!(operator.list(), all_but_one);
    let told = at(&operator, "2025-02-10 02:00:00", &["prune", "--dry-run"]);
    assert!(
        told.stdout
            .contains("keep backup_20250106_050000: could not be read at its last check\n"),
        "{told}"
    );

    // Once it has been read, it counts again.
    for newest in of(&["20250105", "20250106"]) {
        let dump = operator.backups().join(format!("{newest}.sql.gz"));
        fs::remove_dir(&dump).unwrap();
        fs::rename(operator.path(&newest), &dump).unwrap();
    }
    assert_eq!(operator.run(&["verify", "--all"]).code, 0);
    at(&operator, "2025-02-10 02:00:00", &["prune"]);
    assert_eq!(operator.list(), of(&JANUARY[3..]));
}
