# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of packaging/acceptance.d/group and the files it sources
# A minute in the life of the service.

# once_due DATABASE: a backup of it, at one minute of this day.
once_due() {
    configure <<TOML
database = "$1"
timezone = "UTC"
[jobs.daily]
schedule = "$(once_soon)"
TOML
}

due_job() {
    service_fresh
    once_due sample
    journal_begin
    echo "$journal_cursor" >"$group_directory/cursor"
    service_start
    wait_for 75 "a backup" has_backups 1 /var/backups/sample
    wait_for 20 "the run's end in the journal" run_has_ended
    local list
    list=$(pgbackupd_as postgres list --json)
    expect "the list has it" jq --exit-status 'tostring | test("backup_[0-9]{8}_[0-9]{6}")' <<<"$list"
    expect "verify it" pgbackupd_as postgres verify --all
    expect_nothing_half /var/backups/sample
    expect_text "on record" "$(ledger /var/backups/sample 'select(.event=="succeeded") | .job')" '^daily$'
    expect_equal "its slot is a full minute" \
        "$(ledger /var/backups/sample 'select(.event=="succeeded") | .due' | head -n 1 | cut -c 18-19)" 00
}
run_has_ended() {
    [[ -n $(journal_fields "MESSAGE_ID=$run_succeeded") ]]
}
scenario "a job due within a minute makes a verified backup under the hardened unit" due_job

journal_has_fields() {
    local record
    # Of the scenario before.
    journal_cursor=$(<"$group_directory/cursor")
    record=$(journal_fields "MESSAGE_ID=$run_succeeded" | head -n 1)
    expect_equal "JOB" "$(jq -r .JOB <<<"$record")" daily
    expect_equal "OUTCOME" "$(jq -r .OUTCOME <<<"$record")" succeeded
    expect_equal "DATABASE" "$(jq -r .DATABASE <<<"$record")" sample
    expect_equal "SERIES" "$(jq -r .SERIES <<<"$record")" daily
    expect_text "RUN_ID" "$(jq -r .RUN_ID <<<"$record")" '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-'
    expect_text "BYTES" "$(jq -r .BYTES <<<"$record")" '^[1-9][0-9]{5,}$'
    expect_text "SECONDS" "$(jq -r .SECONDS <<<"$record")" '^[0-9]+(\.[0-9]+)?$'
    expect_equal "the unit" "$(jq -r ._SYSTEMD_UNIT <<<"$record")" pgbackupd.service
    expect_equal "SYSLOG_IDENTIFIER" "$(jq -r .SYSLOG_IDENTIFIER <<<"$record")" pgbackupd
    expect_text "the sentence" "$(jq -r .MESSAGE <<<"$record")" 'sample'
    expect_equal "PRIORITY: notice" "$(jq -r .PRIORITY <<<"$record")" 5
    expect_equal "the run's id is the ledger's" \
        "$(ledger /var/backups/sample "select(.run==\"$(jq -r .RUN_ID <<<"$record")\" and .event==\"succeeded\") | .event")" \
        succeeded
    # The catalogue's text for it.
    expect "explain it" inside journalctl --quiet --no-pager --catalog --unit=pgbackupd \
        "MESSAGE_ID=$run_succeeded"
    expect_text "the catalogue's text" "$output" '^(░░|--) Subject: .'
    # Everything that the service tells by itself has an id, which the catalogue explains.
    local id known
    known=$(inside journalctl --list-catalog)
    for id in $(journal_fields _TRANSPORT=journal | jq -r '.MESSAGE_ID // "none"' | sort -u); do
        expect_text "the catalogue" "$known" "^$id "
    done
}
scenario "the journal has the run with its fields, and explains it" journal_has_fields

failure_has_priority() {
    service_fresh
    once_due missing
    journal_begin
    service_start
    wait_for 75 "the failure" failed_run
    expect_equal "PRIORITY: err" "$(journal_fields "MESSAGE_ID=$run_failed" | jq -r .PRIORITY | sort -u)" 3
    expect_text "the sentence" "$(journal PRIORITY=3)" 'missing'
    expect_text "the outcome" "$(journal_fields OUTCOME=failed | jq -r .DATABASE | sort -u)" '^missing$'
    expect_equal "backups" "$(inside find /var/backups -name '*.json')" ""
}
failed_run() {
    [[ -n $(journal_fields "MESSAGE_ID=$run_failed") ]]
}
scenario "a run that fails is an error in the journal" failure_has_priority
