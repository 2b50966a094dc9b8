# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of packaging/acceptance.d/group and the files it sources
# Root and the service's user type the same commands, on Debian's own server, which knows no role root.

runs_as_postgres="running as postgres, the service's user"

# commands_work USER: what the guide has people type, from a directory that only root can be in.
commands_work() {
    local user=$1 command
    for command in "config check" "backup" "verify" "drill" "restore --latest --into sample_$1 --yes" \
        "emergency --to $backups/rescue_$1"; do
        # shellcheck disable=SC2086 # words of a command
        expect "$command as $user" in_roots_home "$user" $command
        expect_no_text "a hint in $command as $user" "$output" 'CREATE ROLE|CREATE DATABASE|sudo'
        case $user:$command in
        root:verify | root:drill | postgres:*)
            expect_no_text "who carries out $command as $user" "$output" "$runs_as_postgres" ;;
        *) expect_text "who carries out $command as $user" "$output" "$runs_as_postgres" ;;
        esac
    done
    expect_equal "the rows that came back" "$(sql "sample_$user" 'SELECT count(*) FROM filler')" 120000
    sql postgres "DROP DATABASE sample_$user"
}

in_roots_home() {
    local user=$1
    shift
    if [[ $user == root ]]; then
        inside bash -c 'cd && exec pgbackupd "$@"' - "$@" </dev/null
    else
        pgbackupd_as "$user" "$@" </dev/null
    fi
}

root_is_logged_in() {
    service_fresh
    configure <<<'database = "sample"'
    service_start
    # The service would be one of several databases' directories there.
    inside install --directory --owner=postgres --mode=0700 "$backups"/rescue_{root,postgres}
    commands_work root
    commands_work postgres
    expect_equal "whose the files are" \
        "$(inside find "$backups"/{sample,rescue_root,rescue_postgres} ! -user postgres)" ""
    expect_equal "who asked, and as whom it ran" \
        "$(ledger "$backups/sample" 'select(.event == "started" and .operation == "backup") | .requested_by | "\(.user) \(.ran_as)"' | sort -u)" \
        $'postgres null\nroot postgres'

    # A restore, and its way back as it is printed.
    sql sample "DELETE FROM filler"
    expect "restore as root" in_roots_home root restore --latest --yes
    expect_text "what it says" "$output" 'pgbackupd undo-restore'
    expect_equal "the rows" "$(sql sample 'SELECT count(*) FROM filler')" 120000
    expect "undo it as root" in_roots_home root undo-restore --yes
    expect_equal "the rows" "$(sql sample 'SELECT count(*) FROM filler')" 0
}
scenario "root and the service's user type the same commands, and each hint works for who reads it" \
    root_is_logged_in

# hinted COMMAND: carries out the command that begins so in the hint of the last output.
hinted() {
    # shellcheck disable=SC2016 # the hint's own quotes
    inside sh -c "$(sed -n 's/.*`\('"$1"' [^`]*\)`.*/\1/p' <<<"$output")"
}

what_is_in_the_way_is_named() {
    service_fresh
    configure <<<''
    expect_status 78 "a configuration without a database" inside pgbackupd backup
    expect_text "the file" "$output" "at the top of $main_configuration:"
    configure <<<'database = "sample"'
    # The service has never run, and nobody has made the directory.
    expect_status 73 "a backup without a directory" inside pgbackupd backup
    hinted "install -d"
    expect "a backup" inside pgbackupd backup
    service_start
    expect_status 69 "a backup as root itself" inside pgbackupd backup --as-me
    expect_text "the way out" "$output" 'leave out --as-me'
    expect_no_text "the way out" "$output" 'CREATE ROLE'

    inside sh -c 'umask 077; touch /root/dump.sql'
    expect_status 78 "a file in root's home" inside pgbackupd restore /root/dump.sql --into new
    expect_text "the file" "$output" 'postgres.* cannot read /root/dump.sql: Permission denied'

    inside chmod 0600 "$main_configuration"
    inside chown root: "$main_configuration"
    expect_status 78 "a configuration that is root's alone" inside pgbackupd config check
    expect_text "the way out" "$output" "chgrp postgres $main_configuration && chmod 0640"
    hinted chgrp
    expect "the way out" inside pgbackupd config check

    # A password in the configuration, which others can read; and one in a file of root's.
    configure <<<$'database = "sample"\n[connection]\npassword = "correct horse"'
    inside chmod 0644 "$main_configuration"
    expect_status 78 "a password that others can read" inside pgbackupd config check
    hinted chmod
    expect "the way out" inside pgbackupd config check --connect
    expect_text "connecting" "$output" 'server main: connected to 1 database: sample'
    configure <<<$'database = "smaple"\n[connection]\npassword_file = "/etc/pgbackupd/secret"'
    expect_status 78 "a password file that is not there" inside pgbackupd config check
    hinted install <<<"correct horse"
    expect "the way out" inside pgbackupd config check
    inside chown root:root /etc/pgbackupd/secret
    inside chmod 0600 /etc/pgbackupd/secret
    expect_status 78 "a password file that is root's alone" inside pgbackupd config check
    hinted chgrp
    expect_status 78 "a database that is not there" inside pgbackupd config check --connect
    expect_text "what may be meant" "$output" 'did you mean "sample"'
    inside rm /etc/pgbackupd/secret
    configure <<<'database = "sample"'

    # Whom a drop-in names counts, and not whom the package names.
    drop_in user <<<$'[Service]\nUser=daemon\nGroup=postgres'
    expect "another user" inside pgbackupd config check
    expect_text "another user" "$output" 'running as daemon'
    drop_in user <<<$'[Service]\nUser=nobody-there'
    expect_status 78 "a user who is not there" inside pgbackupd backup
    expect_text "a user who is not there" "$output" 'nobody-there'
}
scenario "what keeps the service's user from root's command is named, with a way out that works" \
    what_is_in_the_way_is_named
