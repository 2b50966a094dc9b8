# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of packaging/acceptance.d/group and the files it sources
# A temporary cluster of the service's own, within the rights that its unit has.

test_restore() {
    service_fresh
    configure <<TOML
database = "sample"
timezone = "UTC"
[jobs.drill]
schedule = "$(once_soon 15)"
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
    expect_text "status" "$(pgbackupd_as postgres status)" 'last drill'
}
drill_has_ended() {
    [[ -n $(journal_fields "MESSAGE_ID=$1" JOB=drill) ]]
}
scenario "a test restore under the hardened unit proves a backup, row for row" test_restore

# A function that runs while the dump is loaded, as the service's user: who may write the backups, and
# whom the server of this machine lets in. It tries what it can, and fails with what came of it.
hostile_dump() {
    service_fresh
    configure <<TOML
database = "sample"
timezone = "UTC"
[jobs.drill]
schedule = "$(once_soon 15)"
TOML
    sql sample "CREATE EXTENSION dblink"
    sql sample "CREATE FUNCTION tries(integer) RETURNS boolean LANGUAGE plpgsql AS \$body\$
        DECLARE attempt text; told text := '';
        BEGIN
            IF current_setting('data_directory') !~ 'pgbackupd-drill-' THEN RETURN true; END IF;
            FOREACH attempt IN ARRAY ARRAY[
                'COPY (SELECT 1) TO PROGRAM ''cat > /var/backups/sample/taken''',
                'COPY (SELECT 1) TO ''/var/backups/sample/taken''',
                'SELECT pg_read_file(''/var/backups/sample/backup.log'')',
                'SELECT pg_read_file(''/etc/pgbackupd/pgbackupd.toml'')',
                'SELECT pg_read_file(''$(sql postgres 'SHOW data_directory')/PG_VERSION'')',
                'SELECT public.dblink_connect(''host=/var/run/postgresql user=postgres dbname=postgres'')'
            ] LOOP
                BEGIN
                    EXECUTE attempt;
                    told := told || 'DONE ' || attempt || '; ';
                EXCEPTION WHEN OTHERS THEN told := told || 'refused; ';
                END;
            END LOOP;
            -- Of what a function raises, records have the code alone.
            RAISE EXCEPTION 'ATTEMPTS %', told
                USING ERRCODE = CASE WHEN told LIKE '%DONE%' THEN 'ATSOM' ELSE 'ATNON' END;
        END \$body\$"
    sql sample "CREATE TABLE hostile (n integer CHECK (tries(n)))"
    sql sample "INSERT INTO hostile VALUES (1)"
    journal_begin
    service_start
    expect "back up" pgbackupd_as postgres backup
    wait_for 100 "a test restore that fails" drill_has_ended "$run_failed"
    sql sample "DROP TABLE hostile; DROP FUNCTION tries; DROP EXTENSION dblink"
    local message
    message=$(inside cat /var/backups/sample/restore.log |
        jq --raw-output 'select(.event=="failed").message' | head -n 1)
    expect_text "what came of the attempts" "$message" \
        'SQLSTATE ATNON'
    expect_status 2 "what the dump was to leave" inside ls /var/backups/sample/taken
    expect_text "what is in force, in the journal" "$(journal)" \
        'drills are confined: files and signals by Landlock .*; network and system calls by a filter'
}
scenario "a hostile dump under the hardened unit reaches neither backups nor the real server" hostile_dump
