# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of packaging/acceptance.d/group and the files it sources
# Root restores a database by command while the service runs and wants to back it up; as root, because
# there is no polkit that would let the service's user stop an application.

# A role that root and the service both log in as, since Debian's server knows root as nobody.
keeper_exists() {
    sql postgres "SET password_encryption = 'scram-sha-256';
        DROP ROLE IF EXISTS keeper;
        CREATE ROLE keeper LOGIN SUPERUSER PASSWORD 'S3cret of the day'"
    inside sh -c 'umask 077; echo "127.0.0.1:*:*:keeper:S3cret of the day" >/etc/pgbackupd/pgpass
        chown postgres: /etc/pgbackupd/pgpass'
}

# due_at SCHEDULE
due_at() {
    configure <<TOML
database = "sample"
timezone = "UTC"
[connection]
host = "127.0.0.1"
user = "keeper"
passfile = "/etc/pgbackupd/pgpass"
[restore]
stop = ["sh", "-c", "systemctl stop shop; until test -e /run/go-on; do sleep 0.1; done"]
start = ["systemctl", "start", "shop"]
[jobs.daily]
schedule = "$1"
TOML
}

# An application that does not let go of its connection, and comes back when it is ended.
application_runs() {
    inside tee /etc/systemd/system/shop.service >/dev/null <<'UNIT'
[Unit]
StartLimitIntervalSec=0
[Service]
User=postgres
ExecStart=psql --no-psqlrc --dbname=sample --command="SELECT pg_sleep(600)"
Restart=always
RestartSec=100ms
UNIT
    inside systemctl daemon-reload
    inside systemctl start shop
}

application_is_connected() {
    [[ $(sql postgres "SELECT count(*) FROM pg_stat_activity
        WHERE datname = 'sample' AND query LIKE '%pg_sleep%'") == 1 ]]
}

restore_has_stopped_the_application() {
    [[ $(inside systemctl is-active shop) == inactive ]]
}

backup_was_told_to_wait() {
    [[ $(ledger "$backups/sample" 'select(.event == "skipped") | .message') == *"a restore by root"* ]]
}

backup_succeeds_again() {
    [[ $(ledger "$backups/sample" 'select(.operation == "backup") | .event' | tail -n 1) == succeeded ]]
}

# A schedule that is not due while the scenario runs.
not_today() {
    once_soon $((12 * 3600))
}

restored_by_command() {
    service_fresh
    inside rm -f /run/go-on
    keeper_exists
    due_at "$(not_today)"
    application_runs
    journal_begin
    service_start
    expect "back up" pgbackupd_as postgres backup
    # Root is the first who writes to it.
    inside rm -f "$backups/sample/restore.log" "$backups/sample/.lock"
    sql sample "DELETE FROM filler"
    wait_for 10 "the application" application_is_connected
    local restoring=$group_directory/restoring
    inside pgbackupd restore --latest --yes --as-me >"$restoring" 2>&1 </dev/null &
    local pid=$!
    wait_for 30 "the application to be stopped" restore_has_stopped_the_application
    due_at "$(once_soon)"
    expect "reload the service" inside systemctl reload pgbackupd
    wait_for 75 "a backup that is due" backup_was_told_to_wait
    journal_says 'a restore by root' || fail "the journal does not tell of it" "$(journal)"
    expect_text "status" "$(pgbackupd_as postgres status || true)" 'restore'
    expect_equal "the rows meanwhile" "$(sql sample 'SELECT count(*) FROM filler')" 0
    inside touch /run/go-on
    wait "$pid" || fail "the restore failed" "$(<"$restoring")"
    expect_text "what it says" "$(<"$restoring")" 'undo-restore'
    expect_equal "the rows" "$(sql sample 'SELECT count(*) FROM filler')" 120000
    expect_equal "the application" "$(inside systemctl is-active shop)" active
    wait_for 10 "the application" application_is_connected
    expect_equal "the owners of what root wrote" \
        "$(inside stat --format=%U "$backups"/sample/{restore.log,.lock} | sort -u)" postgres
    wait_for 75 "the backup that waited" backup_succeeds_again
    expect "a test restore" pgbackupd_as postgres drill
    # When the definitions are tried is the service's own affair.
    expect_equal "what is on record" \
        "$(inside cat "$backups/sample/restore.log" | jq --raw-output .operation |
            grep --invert-match definitions | uniq | paste -s -d ' ')" \
        "restore drill"
    expect "undo it" inside pgbackupd undo-restore --yes --as-me
    expect_equal "the rows" "$(sql sample 'SELECT count(*) FROM filler')" 0
    expect_equal "the application" "$(inside systemctl is-active shop)" active
    inside systemctl stop shop
    expect_nothing_half "$backups/sample"
}
scenario "root restores while the service runs: its backup waits, the application is back, and it can be undone" \
    restored_by_command

# What is told of a restore whose process was killed, and by whom.
killed_by_force() {
    service_fresh
    inside rm -f /run/go-on
    keeper_exists
    due_at "$(not_today)"
    application_runs
    service_start
    expect "back up" pgbackupd_as postgres backup
    inside pgbackupd restore --latest --yes --as-me >/dev/null 2>&1 </dev/null &
    wait_for 30 "the application to be stopped" restore_has_stopped_the_application
    inside pkill -KILL -f 'pgbackupd restore'
    wait
    expect_status 2 "status" pgbackupd_as postgres status --json
    expect_text "status" "$output" 'was cut short.*the application may still be stopped: systemctl start shop'
    journal_begin
    inside systemctl restart pgbackupd
    journal_tells "$interrupted_run_found" 'may still be stopped' ||
        fail "the journal does not tell of it" "$(journal)"
    inside touch /run/go-on
    expect "restore again" inside pgbackupd restore --latest --yes --drop-old --as-me
    expect_equal "what is left beside it" \
        "$(sql postgres "SELECT count(*) FROM pg_database WHERE datname LIKE 'sample_restoring%'")" 0
    expect_equal "the application" "$(inside systemctl is-active shop)" active
    expect_status 0 "status" pgbackupd_as postgres status
    inside systemctl stop shop
}
scenario "status and the journal tell of a restore that was killed, and the next one sweeps up" killed_by_force
