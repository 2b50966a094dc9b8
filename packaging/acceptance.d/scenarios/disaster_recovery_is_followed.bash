# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # variables of, and for, packaging/acceptance.d/group and the files it sources
# docs/disaster-recovery.md, command by command, from a machine on which nothing is left.

recovery_page=docs/disaster-recovery.md

# A database with an owner of its own, backed up; then a copy of its backups is all there is.
lose_the_machine() {
    service_fresh
    sql postgres "CREATE ROLE tracker LOGIN PASSWORD 'unforgotten'; CREATE ROLE reader;
        GRANT reader TO tracker;"
    sql postgres "CREATE DATABASE productivity_tracker OWNER tracker"
    sql productivity_tracker "CREATE EXTENSION pg_trgm;
        CREATE TABLE work AS SELECT n, md5(n::text) AS what FROM generate_series(1, 20000) AS n;
        ALTER TABLE work OWNER TO tracker; GRANT SELECT ON work TO reader;
        ALTER DATABASE productivity_tracker SET work_mem = '7MB'"
    configure <<<'database = "productivity_tracker"
timezone = "UTC"'
    service_start
    expect "back up" pgbackupd_as postgres backup
    inside mkdir -p /mnt/copy
    inside cp -r "$backups/productivity_tracker" "$main_configuration" /mnt/copy/
    inside systemctl stop pgbackupd
    expect "purge the package" inside dpkg --purge pgbackupd
    inside find "$backups" -mindepth 1 -delete
    lose_the_server
    # What Debian's package does when it is installed.
    make_a_server
    inside cp /root/pgbackupd.deb /root/pgbackupd_0.1.0-1_amd64.deb
    guide_prepare
}

expect_all_back() {
    expect_equal "the rows" "$(sql productivity_tracker 'SELECT count(*), sum(n) FROM work')" "20000|200010000"
    expect_equal "owner and setting" "$(sql productivity_tracker "SELECT tableowner, current_setting('work_mem'),
        pg_has_role('tracker', 'reader', 'MEMBER') FROM pg_tables WHERE tablename = 'work'")" "tracker|7MB|t"
    expect_equal "the password" \
        "$(inside env PGPASSWORD=unforgotten psql -XAtqh 127.0.0.1 -U tracker -d productivity_tracker -c 'SELECT 1')" 1
}

machine_lost() {
    lose_the_machine
    guide_follow "$recovery_page" "The machine is lost"
    ((guide_commands >= 7)) || fail "only $guide_commands commands were found"
    # The page goes on there from its second step: the server is made.
    lose_the_server
    guide_follow "$recovery_page" "The server is lost, the machine is not"
    ((guide_commands >= 9)) || fail "only $guide_commands commands were found"
    expect_all_back
    expect "verify the next backup" pgbackupd_as postgres verify --all

    # And once more, with a service that runs all the while.
    lose_the_server
    guide_follow "$recovery_page" "The server is lost, the machine is not"
    expect_all_back
    expect "the service" service_is_running
}
scenario "the disaster-recovery guide holds from an empty machine, command by command" machine_lost

# Without what an earlier scenario has left.
another_server() {
    lose_the_server
    make_a_server
}

configuration_lost() {
    another_server
    lose_the_machine
    expect "install the package" inside dpkg --install /root/pgbackupd.deb
    guide_follow "$recovery_page" "The configuration is lost too"
    ((guide_commands == 2)) || fail "$guide_commands commands were found"
    expect_all_back
    expect_equal "what is made in $backups" "$(inside find "$backups" -mindepth 1)" ""
    expect_equal "what is on record" \
        "$(inside cat /mnt/copy/productivity_tracker/restore.log | jq --raw-output .event | paste -s -d ' ')" \
        "started succeeded"

    # A plain dump that the service's user can read, in a directory that is root's.
    inside mkdir -p /mnt/old
    inside_as postgres pg_dump productivity_tracker | inside tee /mnt/old/dump.sql >/dev/null
    expect "restore it" inside pgbackupd restore /mnt/old/dump.sql --database from_a_file
    expect_equal "the rows" "$(sql from_a_file 'SELECT count(*) FROM work')" 20000
    expect "its record" inside test -s /var/lib/pgbackupd/restores/from_a_file/restore.log
    expect_equal "what is made in $backups" "$(inside find "$backups" -mindepth 1)" ""
}
scenario "a copy of the backups is enough for a machine without a configuration" configuration_lost

# The parts of the page for a server that is well, in one go.
mistakes() {
    another_server
    service_fresh
    sql postgres "CREATE DATABASE productivity_tracker"
    sql productivity_tracker "CREATE TABLE orders AS SELECT n FROM generate_series(1, 100) AS n"
    configure <<<'database = "productivity_tracker"
timezone = "UTC"'
    service_start
    expect "back up" inside pgbackupd backup
    guide_names="s/2026-11-22 14:30/$(inside date --utc --date='+1 minute' '+%F %T')/
        s/NAME/productivity_tracker/g"
    guide_answer=productivity_tracker

    sql productivity_tracker "DELETE FROM orders"
    guide_follow "$recovery_page" "The data is wrong, the server is running"
    ((guide_commands == 2)) || fail "$guide_commands commands were found"
    expect_equal "the rows, after the restore was undone" \
        "$(sql productivity_tracker 'SELECT count(*) FROM orders')" 0
    sql productivity_tracker "DROP TABLE orders"
    guide_follow "$recovery_page" "A table was dropped or damaged"
    ((guide_commands == 2)) || fail "$guide_commands commands were found"
    expect_equal "the rows" "$(sql productivity_tracker 'SELECT count(*) FROM orders')" 100

    inside mkdir -p /mnt/old
    inside_as postgres pg_dump --compress=5 productivity_tracker |
        inside tee /mnt/old/tracker.sql.gz >/dev/null
    inside_as postgres pg_dumpall | gzip | inside tee /mnt/old/all.sql.gz >/dev/null
    guide_names+="
        s/--of-database tracker/--of-database productivity_tracker/"
    guide_follow "$recovery_page" "Move a dump of another program in"
    ((guide_commands == 2)) || fail "$guide_commands commands were found"
    expect_equal "the rows of one database of all" \
        "$(sql tracker_new 'SELECT count(*) FROM orders')" 100
    guide_follow "$recovery_page" "When it is over"
    ((guide_commands == 2)) || fail "$guide_commands commands were found"
}
scenario "the disaster-recovery guide holds for mistakes on a server that is well" mistakes
