# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of packaging/acceptance.d/group and the files it sources
# The backup directory is on a disk of 32 MB.

full_disk() {
    service_fresh
    inside chown postgres: /srv/small
    inside fallocate -l 24M /srv/small/ballast
    configure <<<'database = "sample"
directory = "/srv/small"
timezone = "UTC"
[jobs.daily]
schedule = "* * * * *"'
    drop_in directory <<<'[Service]
ReadWritePaths=/srv/small'
    journal_begin
    service_start
    local pid
    pid=$(property MainPID)
    wait_for 75 "the failed run" disk_failure
    expect_text "the sentence" "$(journal PRIORITY=3)" '/srv/small.*([Nn]o space left|full)|([Nn]o space left|full).*/srv/small'
    expect_equal "the service stays" "$(property MainPID)" "$pid"
    expect_equal "backups" "$(backup_count /srv/small/sample)" 0
    expect_nothing_half /srv/small/sample
    inside rm /srv/small/ballast
    wait_for 75 "the next run" has_backups 1 /srv/small/sample
    expect_nothing_half /srv/small/sample
    expect_sound
}
disk_failure() {
    [[ -n $(journal_fields "MESSAGE_ID=$run_failed") ]]
}
scenario "a full disk fails the run and not the service, and the next run succeeds" full_disk
