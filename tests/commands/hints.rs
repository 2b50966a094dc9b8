//! The commands that errors and reports print.

use std::fs;
use std::time::{Duration, SystemTime};

use crate::support::operator::{Operator, Running};

#[test]
fn commands_that_are_printed_name_the_configuration_that_an_option_gave() {
    let mut operator = Operator::without_server("postgres");
    operator.unset("database");
    operator.set("databases", "all");
    // So old that a backup was due.
    let written = fs::File::options()
        .write(true)
        .open(operator.configuration());
    let long_ago = SystemTime::now() - Duration::from_secs(400 * 86_400);
    written.unwrap().set_modified(long_ago).unwrap();
    let file = operator.configuration().display().to_string();
    let given = format!("`pgbackupd --config {file} ");
    for (arguments, code) in [(&["status"][..], 2), (&["release", "x"][..], 64)] {
        let by_variable = operator.run(arguments);
        assert!(
            !by_variable.to_string().contains("--config"),
            "{by_variable}"
        );
        let by_option = operator.run(&[&["--config", &file], arguments].concat());
        assert_eq!(by_variable.code, code, "{by_variable}");
        // The variable says the same, so the option adds nothing.
        assert!(!by_option.to_string().contains("--config"), "{by_option}");

        let mut command = operator.command(&[&["--config", &file], arguments].concat());
        command.env_remove("PGBACKUPD_CONFIG");
        let output = Running::start(command).wait();
        assert_eq!(output.code, code, "{output}");
        let printed = output.to_string();
        // Lines are broken where they are long.
        let printed = printed.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(printed.contains(&given), "{output}");
        assert!(
            !printed.replace(&given, "").contains("`pgbackupd "),
            "{output}"
        );
    }
}
