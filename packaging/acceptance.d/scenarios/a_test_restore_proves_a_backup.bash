# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of packaging/acceptance.d/group and the files it sources
# A throw-away server of the service's own, within the rights that its unit has.

test_restore() {
    service_fresh
    configure <<'TOML'
database = "sample"
timezone = "UTC"
[jobs.drill]
schedule = "* * * * *"
TOML
    journal_begin
    service_start
    expect "back up" pgbackupd_as postgres backup
    wait_for 100 "a test restore that proves the backup" drill_has_ended "$run_succeeded"
    local record
    record=$(inside cat /var/backups/sample/restore.log | jq --compact-output 'select(.event=="succeeded")' | head -n 1)
    expect_equal "the operation on record" "$(jq -r .operation <<<"$record")" drill
    expect_equal "the job on record" "$(jq -r .job <<<"$record")" drill
    expect_text "the phases on record" "$(jq -c .phases <<<"$record")" 'load'
    expect_equal "servers that are left" "$(inside pgrep --count --full pgbackupd-drill || true)" 0
    expect_text "status" "$(pgbackupd_as postgres status)" 'last test restore'
}
drill_has_ended() {
    [[ -n $(journal_fields "MESSAGE_ID=$1" JOB=drill) ]]
}
scenario "a test restore under the hardened unit proves a backup, row for row" test_restore
