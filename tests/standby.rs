//! Backups of a standby: what its primary does may end them, and that is known as what it is.

use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::cluster::{Cluster, wait_until};
use crate::support::operator::{HeldLock, Operator, make_big_table};

/// Where the words for it do not help, our own session sees that the server is a standby.
#[test]
fn a_backup_that_a_standby_ends_for_its_primary_is_a_passing_failure() {
    let primary = Cluster::start();
    let is_german = primary.speaks_german();
    primary.psql("CREATE ROLE reader LOGIN; GRANT pg_read_all_data TO reader");
    make_big_table(&primary, "postgres", "big");
    if is_german {
        primary.psql("ALTER SYSTEM SET lc_messages = 'de_DE.UTF-8'");
    }
    let standby = Cluster::standby_of(&primary);
    let mut operator = Operator::of(&standby, "postgres");
    // A superuser may ask for English.
    for (user, word) in [("postgres", "ERROR:"), ("reader", "FEHLER:")] {
        if user == "reader" && !is_german {
            continue;
        }
        operator.set("connection.user", user);
        primary.psql("CREATE TABLE later (i int)");
        let before = operator.standing();
        let lock = HeldLock::on(&primary, "postgres", "big");
        standby.wait_for_replay(&primary);
        let (running, _) = operator.halted_midway_behind(lock, &standby);
        primary.psql("DROP TABLE later");
        let at = primary.psql("SELECT pg_switch_wal()");
        let received = format!("SELECT pg_last_wal_receive_lsn() >= '{at}'");
        wait_until("the standby has it", || standby.psql(&received) == "t");
        // No view shows that it has asked the session to end; it does so at once.
        thread::sleep(Duration::from_secs(1));
        running.signal(Signal::CONT);
        let output = running.wait();
        assert_eq!(output.code, 69, "{output}");
        for expected in ["the server is a standby", "hot_standby_feedback = on", word] {
            assert!(output.stderr.contains(expected), "{expected}: {output}");
        }
        // Details of the server are for the terminal.
        let message = operator.ledger().last().unwrap()["message"].to_string();
        assert!(message.contains("the server is a standby"), "{message}");
        assert!(!message.contains("DETAIL:"), "{message}");
        operator.assert_nothing_new(&before);
        operator.assert_next_run_succeeds();
    }
}
