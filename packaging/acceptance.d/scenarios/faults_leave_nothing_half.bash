# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of packaging/acceptance.d/group and the files it sources
# The service hangs, is killed, and is stopped in the middle of a dump.

# held_configuration SCHEDULE
held_configuration() {
    configure <<<"database = \"sample\"
timezone = \"UTC\"
[limits]
lock_wait = \"10 minutes\"
[daemon]
catch_up_delay = \"0 seconds\"
[jobs.daily]
schedule = \"$1\""
}

watchdog() {
    service_fresh
    configure <<<'database = "sample"'
    drop_in watchdog <<<'[Service]
WatchdogSec=3
TimeoutAbortSec=2
RestartSec=1'
    journal_begin
    service_start
    local pid
    pid=$(property MainPID)
    # It lives on for longer than the watchdog's time, when nothing hangs.
    sleep 7
    expect_equal "the process after 7 s" "$(property MainPID)" "$pid"
    # Hangs the loop and nothing else: the process, its threads and the scheduler live on. A program
    # built for tests has this signal; it is compiled out of the released one.
    inside kill -USR2 "$pid"
    wait_for 20 "the service to come back" service_is_back "$pid"
    expect_text "what systemd says" \
        "$(inside journalctl --quiet --no-pager --output=cat "--cursor=$journal_cursor" _PID=1 UNIT=pgbackupd.service)" \
        'Watchdog timeout'
}
scenario "the watchdog ends a service that hangs, and it comes back" watchdog

killed() {
    service_fresh
    # Due once today: what is there afterwards can only be a catch-up run.
    held_configuration "$(once_soon 10)"
    drop_in restart <<<'[Service]
RestartSec=1'
    service_start
    dumps_hold
    wait_for 80 "a dump in the middle" dump_is_held
    local pid
    pid=$(property MainPID)
    journal_begin
    inside kill -KILL "$pid"
    wait_for 20 "the service to come back" service_is_back "$pid"
    dumps_release
    wait_for 40 "the missed backup" has_backups 1 /var/backups/sample
    expect_equal "backups" "$(backup_count /var/backups/sample)" 1
    expect_nothing_half /var/backups/sample
    expect_sound
    expect_equal "the runs on record" \
        "$(ledger /var/backups/sample 'select(.operation=="backup") | .event' | paste -s -d ' ')" \
        "started interrupted started succeeded"
    journal_tells "$interrupted_run_found" sample || fail "the journal does not tell of it" "$(journal)"
    expect_text "the one slot of both" \
        "$(ledger /var/backups/sample 'select(.operation=="backup" and .event=="started") | .due' | sort -u | paste -s -d ' ')" \
        '^[^ ]+$'
}
scenario "after SIGKILL in the middle of a dump the missed backup is caught up, and nothing half is left" killed

stopped() {
    service_fresh
    held_configuration "$(once_soon)"
    service_start
    dumps_hold
    wait_for 75 "a dump in the middle" dump_is_held
    journal_begin
    local began=$EPOCHREALTIME
    expect "stop the service" inside systemctl stop pgbackupd
    (($(bc <<<"$EPOCHREALTIME - $began < 10"))) || fail "stopping took 10 s or more"
    expect_equal "the service's result" "$(property Result)" success
    expect_equal "processes left" "$(processes_left)" ""
    expect_nothing_half /var/backups/sample
    expect_equal "the runs on record" \
        "$(ledger /var/backups/sample 'select(.operation=="backup") | .event' | paste -s -d ' ')" \
        "started interrupted"
    journal_tells "$run_interrupted" sample || fail "the journal does not tell of it" "$(journal)"
    # pg_dump's session in the server is gone as well.
    wait_for 10 "the dump's session to end" no_session_left
}
no_session_left() {
    [[ $(sql postgres "SELECT count(*) FROM pg_stat_activity WHERE datname = 'sample'
        AND application_name <> 'holder'") == 0 ]]
}
scenario "stop ends a dump within 10 s: no process, no temporary file, and the run on record" stopped
