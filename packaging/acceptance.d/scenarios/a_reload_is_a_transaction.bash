# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of packaging/acceptance.d/group and the files it sources
# `systemctl reload`: all of a new configuration, or nothing of it.

configuration='database = "sample"
timezone = "UTC"
'

good_reload() {
    service_fresh
    configure <<<"$configuration"
    service_start
    local pid
    pid=$(property MainPID)
    journal_begin
    configure <<<"$configuration
[jobs.daily]
schedule = \"30 1 * * *\""
    expect "reload" inside systemctl reload pgbackupd
    # systemd comes back when the signal is sent, if it has not heard of the reload by then.
    wait_for 10 "the new schedule in force" daily_schedule_is '30 1 * * *'
    expect_equal "when the job daily comes next" "$(next_run daily)" 01:30Z
    wait_for 30 "what comes next in the status" status_names_what_is_next
    wait_for 10 "the change in words" journal_tells "$job_changed" 'daily.*0 2 \* \* \*.*30 1 \* \* \*'
    expect_equal "the same process" "$(property MainPID)" "$pid"
    service_is_running || fail "the service does not run"
}
scenario "a good reload says in words what changed, and it is in force" good_reload

bad_reload() {
    service_fresh
    configure <<<"$configuration"
    service_start
    journal_begin
    configure <<<"$configuration
[jobs.daily]
schedul = \"30 1 * * *\""
    # Whether reload itself fails is left to the unit; what is in force is not.
    inside systemctl reload pgbackupd || true
    wait_for 10 "the error with its file, line and key" refusal_is_logged
    wait_for 5 "the refusal in the status" status_says 'schedul:'
    service_is_running || fail "the service does not run"
    expect_equal "the schedule in force" "$(schedule_in_force daily)" '0 2 * * *'
    expect_status 78 "status names it too" pgbackupd_as postgres status
    expect_text "what status says" "$output" '/etc/pgbackupd/pgbackupd.toml:5:'
    configure <<<"$configuration"
    expect "reload" inside systemctl reload pgbackupd
    wait_for 30 "the refusal gone from the status" status_is_in_order
}
refusal_is_logged() {
    # The broken line is the fifth.
    journal_tells "$configuration_refused" '/etc/pgbackupd/pgbackupd.toml:5:' &&
        journal_tells "$configuration_refused" 'jobs.daily.schedul:'
}
status_is_in_order() {
    ! status_says 'schedul:' && status_names_what_is_next
}
scenario "a bad reload changes nothing, names file, line and key, and stays in the status until fixed" \
    bad_reload

undisturbed_run() {
    service_fresh
    configure <<<"$configuration
[limits]
lock_wait = \"10 minutes\"
[jobs.daily]
schedule = \"$(once_soon)\""
    service_start
    dumps_hold
    wait_for 75 "a dump in the middle" dump_is_held
    # The database is not even configured any more.
    configure <<<'database = "postgres"
timezone = "UTC"'
    expect "reload" inside systemctl reload pgbackupd
    wait_for 10 "the new database's directory" inside test -d /var/backups/postgres
    sleep 1
    dump_is_held || fail "the reload disturbed the run"
    dumps_release
    wait_for 30 "the backup" has_backups 1 /var/backups/sample
    expect_nothing_half /var/backups/sample
}
scenario "a reload does not disturb a running job" undisturbed_run

storm() {
    service_fresh
    configure <<<"$configuration"
    service_start
    local pid
    pid=$(property MainPID)
    journal_begin
    # Half of them read another configuration.
    # shellcheck disable=SC2016 # for the shell in the container
    inside bash -c '
        file=/etc/pgbackupd/pgbackupd.toml
        for ((i = 1; i <= 1000; i++)); do
            if ((i % 2)); then hour=5; else hour=4; fi
            printf "database = \"sample\"\ntimezone = \"UTC\"\n[jobs.daily]\nschedule = \"0 %d * * *\"\n" $hour >$file.new
            mv $file.new $file
            kill -HUP '"$pid"' || exit 1
        done'
    wait_for 20 "the last configuration in force" daily_schedule_is '0 4 * * *'
    sleep 2
    expect_equal "the same process" "$(property MainPID)" "$pid"
    expect_equal "the schedule in force, once" "$(schedule_in_force daily)" '0 4 * * *'
    expect_equal "a refused configuration" "$(inside cat /run/pgbackupd/daemon.json | jq -r .refused)" null
}
scenario "a storm of 1,000 SIGHUPs leaves one schedule: the last" storm
