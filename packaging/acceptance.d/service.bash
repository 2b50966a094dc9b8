# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # variables of, and for, the files that go with it
# The words of the scenarios: the PostgreSQL and the service in the container. Sourced by
# packaging/acceptance.d/group.

main_configuration=/etc/pgbackupd/pgbackupd.toml
backups=/var/backups

# MESSAGE_IDs, of docs/messages.md.
job_changed=25f7f82ce4d54af8a5b3bc5d5631696b
configuration_refused=e0d3ca3337e24879894e405b93904848
run_succeeded=ee3a9db5af9e47b1bbfc5b45cd41885a
run_failed=0a9e98685f5649e1a91ceb62eb5b4541
run_interrupted=b87a830458ee4ba98fa8844199e262b7
interrupted_run_found=9f47b6d74baa45e8991b7722944792f9
server_unreachable=53a486cc7abc4e39ad42a62091585368

# --- PostgreSQL -----------------------------------------------------------------------------------

# A cluster with Debian's defaults, peer authentication by socket among them, and a database to back
# up: some megabytes that compress badly, and a sequence.
postgresql_start() {
    local version
    version=$(server_version)
    postgresql_unit=postgresql@$version-main
    # Nothing in here has to survive a power cut.
    inside pg_createcluster "$version" main --pgoption fsync=off -- --no-sync >/dev/null
    inside systemctl start "$postgresql_unit"
    sql postgres "CREATE DATABASE sample"
    sql sample "CREATE TABLE filler AS
        SELECT n, md5(n::text) AS a, md5((-n)::text) AS b FROM generate_series(1, 120000) AS n"
    sql sample "SELECT lo_from_bytea(0, 'after the tables')" >/dev/null
}

server_version() {
    inside ls /usr/lib/postgresql | sort --version-sort | tail -n 1
}

lose_the_server() {
    inside pg_dropcluster --stop "$(server_version)" main
}

# What Debian's package does when it is installed.
make_a_server() {
    inside pg_createcluster "$(server_version)" main --pgoption fsync=off --start -- --no-sync >/dev/null
}

# sql DATABASE STATEMENT: as superuser; prints the rows.
sql() {
    inside_as postgres psql --no-psqlrc --quiet --tuples-only --no-align \
        --set=ON_ERROR_STOP=1 --dbname="$1" --command="$2" </dev/null
}

# Holds every dump of the database sample in its middle until dumps_release: pg_dump reads large
# objects after the tables' data, and locks the table that they are in only then.
dumps_hold() {
    inside_as postgres psql --no-psqlrc --quiet --dbname=sample \
        --command="SET application_name = 'holder'" --command="BEGIN" \
        --command="LOCK TABLE pg_catalog.pg_largeobject" \
        --command="SELECT pg_sleep(600)" </dev/null >/dev/null 2>&1 &
    wait_for 10 "the large objects to be locked" large_objects_are_locked
}

large_objects_are_locked() {
    [[ $(sql sample "SELECT count(*) FROM pg_locks
        WHERE relation = 'pg_largeobject'::regclass AND mode = 'AccessExclusiveLock' AND granted") == 1 ]]
}

dumps_release() {
    sql postgres "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE application_name = 'holder'" >/dev/null
}

# pg_dump waits for the large objects, and the tables' data is in a temporary file.
dump_is_held() {
    [[ $(sql sample "SELECT count(*) FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND application_name <> 'holder'") == 1 ]] &&
        [[ -n $(inside find "$backups" -name '.pgbackupd-*' -size +256k) ]]
}

# --- The service ----------------------------------------------------------------------------------

# The service as after the package's installation, whatever an earlier scenario did to it.
service_fresh() {
    inside systemctl start "$postgresql_unit"
    dumps_release
    if ! inside test -e /usr/bin/pgbackupd; then
        expect "install the package" inside dpkg --install /root/pgbackupd.deb
    fi
    inside systemctl stop pgbackupd-directories.path pgbackupd-directories.service pgbackupd.service
    inside rm -rf /etc/systemd/system/pgbackupd.service.d /var/lib/pgbackupd /var/log/pgbackupd
    inside find "$backups" /srv/small -mindepth 1 -delete
    inside systemctl daemon-reload
    inside systemctl reset-failed 'pgbackupd*' 2>/dev/null || true
}

# configure: the configuration, from stdin.
configure() {
    inside tee "$main_configuration" >/dev/null
}

# drop_in NAME: an addition to the unit, from stdin.
drop_in() {
    inside mkdir -p /etc/systemd/system/pgbackupd.service.d
    inside tee "/etc/systemd/system/pgbackupd.service.d/$1.conf" >/dev/null
    inside systemctl daemon-reload
}

# service_start: and insists that it runs when systemctl comes back.
service_start() {
    expect "start the service" inside systemctl start pgbackupd
    service_is_running || fail "systemctl start came back before READY" "$(inside systemctl status pgbackupd)"
}

service_is_running() {
    [[ $(property ActiveState)/$(property SubState) == active/running ]]
}

# property NAME [UNIT]: of the unit, as systemd has it.
property() {
    inside systemctl show --property="$1" --value "${2:-pgbackupd.service}"
}

# The service runs, in another process than PID.
service_is_back() {
    service_is_running && [[ $(property MainPID) != "$1" ]]
}

# journal [MATCH...]: the messages of the scenario so far that match, one a line.
# shellcheck disable=SC2120 # some ask for all of them
journal() {
    inside journalctl --quiet --no-pager --output=cat --unit=pgbackupd "--cursor=$journal_cursor" "$@"
}

# journal_fields [MATCH...]: the same with all fields, a JSON object a line.
journal_fields() {
    inside journalctl --quiet --no-pager --output=json --all --unit=pgbackupd \
        "--cursor=$journal_cursor" "$@"
}

# From here on. The cursor is that of a message of our own: --after-cursor with a match would pass
# over the first message that matches (systemd 252), and --cursor does not.
journal_begin() {
    inside systemd-cat --identifier=acceptance echo "a scenario begins"
    inside journalctl --sync
    journal_cursor=$(inside journalctl --quiet --no-pager --identifier=acceptance --lines=1 \
        --show-cursor | sed -n 's/^-- cursor: //p')
}

# journal_tells MESSAGE_ID PATTERN
journal_tells() {
    journal "MESSAGE_ID=$1" | grep --quiet --extended-regexp -- "$2"
}

journal_says() {
    # shellcheck disable=SC2119 # all of them
    journal | grep --quiet --extended-regexp -- "$1"
}

# processes_left: every program of ours and every one that it starts.
processes_left() {
    inside ps -o pid=,args= -C pgbackupd,pg_dump,pg_dumpall,pg_restore || true
}

# schedule_in_force JOB: as the daemon has it.
schedule_in_force() {
    inside cat /run/pgbackupd/daemon.json |
        jq --raw-output --arg job "$1" '.jobs[] | select(.job == $job) | .schedule'
}

# daily_schedule_is SCHEDULE
daily_schedule_is() {
    [[ $(schedule_in_force daily) == "$1" ]]
}

# next_run JOB: its time of day and the zone's offset, as in 02:00+03:00. On which day that is
# depends on the day of the test.
next_run() {
    inside cat /run/pgbackupd/daemon.json |
        jq --raw-output --arg job "$1" '.jobs[] | select(.job == $job) | .next[11:16] + .next[19:]'
}

# The status names the run that comes first by the daemon's own state. Which job's that is depends
# on the day of the test, and for some seconds of it a run may be in its place.
status_names_what_is_next() {
    local state job next
    state=$(inside cat /run/pgbackupd/daemon.json)
    job=$(jq --raw-output '.jobs[0].job' <<<"$state")
    next=$(jq --raw-output '.jobs[0].next | .[0:10] + " " + .[11:16]' <<<"$state")
    status_says "next: $job at [A-Z][a-z]{2} $next "
}

# status_says PATTERN
status_says() {
    grep --quiet --extended-regexp -- "$1" <<<"$(property StatusText)"
}

# --- Time -----------------------------------------------------------------------------------------

# A schedule that is due once: at the next full minute that is at least SECONDS away (5 unless
# given). The configuration's zone has to be UTC.
once_soon() {
    date --utc --date="@$((EPOCHSECONDS + ${1:-5} + 60))" '+%-M %-H * * *'
}

# --- Backups --------------------------------------------------------------------------------------

# backup_count DIRECTORY: how many have a manifest.
backup_count() {
    inside find "$1" -maxdepth 1 -name '*.json' | wc -l
}

# has_backups NUMBER DIRECTORY: at least so many.
has_backups() {
    inside test -d "$2" && (($(backup_count "$2") >= $1))
}

# expect_nothing_half DIRECTORY: no file of a backup without its manifest, and no temporary file but
# those of a run that goes on now, which takes some seconds.
expect_nothing_half() {
    local stray
    wait_for 30 "the temporary files in $1 to be gone" nothing_temporary "$1"
    # shellcheck disable=SC2016 # for the shell in the container
    stray=$(inside find "$1" -mindepth 1 -maxdepth 1 -type f ! -name '*.json' ! -name 'incident_*.md' ! -name '*.log' ! -name '.lock' \
        -exec sh -c 'for f; do [ -e "${f%%.*}.json" ] || echo "$f"; done' - {} +)
    expect_equal "files without a manifest in $1" "$stray" ""
}

# nothing_temporary DIRECTORY
nothing_temporary() {
    [[ -z $(inside find "$1" -mindepth 1 -name '.pgbackupd-*') ]]
}

# ledger DIRECTORY FILTER: what jq's filter makes of the records of backup.log.
ledger() {
    inside cat "$1/backup.log" | jq --raw-output "$2"
}

# pgbackupd_as USER ARGUMENT...
pgbackupd_as() {
    inside_as "$1" pgbackupd "${@:2}"
}

# expect_sound: every backup there is passes the check, and the list has as many as there are.
expect_sound() {
    expect "verify all backups" pgbackupd_as postgres verify --all
}
