//! `config show` and `schedule`.

use crate::support::operator::Operator;

#[test]
fn the_configuration_and_the_schedule_are_shown_as_they_are_in_force() {
    let mut operator = Operator::without_server("sales");
    operator.set("connection.password", "s3cret");
    operator.set_variable("PGBACKUPD_JOBS__DAILY__SCHEDULE", "30 1 * * *");
    let checked = operator.run(&["config", "check"]);
    assert_eq!(checked.code, 0, "{checked}");
    let file = operator.configuration().display().to_string();
    let sound = format!("configuration OK ({file})\n");
    assert!(checked.stdout.starts_with(&sound), "{checked}");

    let shown = operator.run(&["config", "show"]);
    assert_eq!(shown.code, 0, "{shown}");
    assert!(!shown.stdout.contains("s3cret"), "{shown}");
    let line = |start: &str| {
        let found = shown.stdout.lines().find(|line| line.starts_with(start));
        found
            .unwrap_or_else(|| panic!("{start}: {shown}"))
            .to_owned()
    };
    assert!(line("database = \"sales\"").contains(&file), "{shown}");
    assert!(
        line("schedule = \"30 1 * * *\"").contains("PGBACKUPD_JOBS__DAILY__SCHEDULE"),
        "{shown}"
    );

    let schedule = operator.run(&["schedule", "--count=1"]);
    assert_eq!(schedule.code, 0, "{schedule}");
    assert!(
        schedule
            .stdout
            .starts_with("daily: a backup of the series daily "),
        "{schedule}"
    );

    operator.set("timezone", "Asia/Riad");
    let refused = operator.run(&["config", "check"]);
    assert_eq!(refused.code, 78, "{refused}");
    assert!(refused.stderr.contains("Asia/Riyadh"), "{refused}");
}

#[test]
fn what_every_run_would_refuse_of_a_connection_is_found_by_config_check() {
    for (conninfo, what) in [
        ("host=h port=99999", "sets port to \"99999\""),
        ("host=h sslmode=x", "sets sslmode to \"x\""),
        (
            "host=h connect_timeout=abc",
            "sets connect_timeout to \"abc\"",
        ),
        ("host=a,b port=1,2,3", "give one for each host"),
    ] {
        let mut operator = Operator::without_server("app");
        operator.set("connection.conninfo", conninfo);
        let refused = operator.run(&["config", "check"]);
        assert_eq!(refused.code, 78, "{refused}");
        assert!(refused.stderr.contains(what), "{refused}");
        assert!(
            refused.stderr.contains("connection of server main"),
            "{refused}"
        );
    }
}
