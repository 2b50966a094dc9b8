# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of packaging/acceptance.d/group and the files it sources
# Other ways to the server than the socket and the superuser, and databases that come later.

password_by_credential() {
    service_fresh
    sql postgres "SET password_encryption = 'scram-sha-256';
        CREATE ROLE backup LOGIN SUPERUSER PASSWORD 'S3cret of the night'"
    inside sh -c 'umask 077; printf "%s\n" "S3cret of the night" >/root/password'
    drop_in credential <<<'[Service]
LoadCredential=pgbackupd-password:/root/password'
    configure <<TOML
database = "sample"
timezone = "UTC"
[connection]
host = "127.0.0.1"
user = "backup"
credential = "pgbackupd-password"
[jobs.daily]
schedule = "$(once_soon)"
TOML
    journal_begin
    service_start
    wait_for 75 "a backup" has_backups 1 /var/backups/sample
    expect_no_text "the journal" "$(journal_fields)" 'S3cret'
    expect_no_text "what stands beside the backup" "$(inside grep -ra S3cret /var/backups/sample /run/pgbackupd || true)" .
    expect_text "the server's rule for it" "$(sql postgres "SELECT auth_method FROM pg_hba_file_rules
        WHERE address = '127.0.0.1' AND 'all' = ANY (database)")" '^scram-sha-256$'
}
scenario "a password by LoadCredential opens the server over TCP with scram-sha-256, and shows nowhere" \
    password_by_credential

later_database() {
    service_fresh
    sql postgres "DROP DATABASE IF EXISTS later"
    configure <<<'databases = "all"
timezone = "UTC"
[jobs.daily]
schedule = "* * * * *"'
    service_start
    inside test -d /var/backups/sample || fail "no directory for sample at the start"
    sql postgres "CREATE DATABASE later"
    # Its first run may ask for the directory, and the second find it.
    wait_for 140 "the backup of the database that came later" has_backups 1 /var/backups/later
    expect_equal "its directory" "$(inside stat --format='%U %a' /var/backups/later)" "postgres 700"
    expect_nothing_half /var/backups/later
    sql postgres "DROP DATABASE later"
}
scenario "with databases = \"all\", one that is created later gets its directory and its backup" later_database

status_tells() {
    service_fresh
    configure <<<'database = "sample"'
    service_start
    inside systemctl stop "$postgresql_unit"
    expect_status 69 "a backup without a server" pgbackupd_as postgres backup
    expect_status 2 "status after it" inside pgbackupd status
    expect_text "what it says" "$output" 'needs? attention'
    inside systemctl start "$postgresql_unit"
    expect "make a backup" pgbackupd_as postgres backup
    expect_status 0 "status as postgres" pgbackupd_as postgres status
    expect_status 0 "status as root" inside pgbackupd status --json
    expect "what it says as JSON" jq --exit-status '.ok and .daemon.running' <<<"$output"
}
scenario "status ends with 2 while something critical needs attention, and with 0 when all is well" status_tells
