# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of packaging/acceptance.d/group and the files it sources
# docs/guide.md, command by command: every one succeeds, and what the guide shows of its output is
# there.
#
# In the guide's console blocks a line that begins with "# " is a command for root's shell, "> "
# continues it, and what follows is its output. Of the output, each line must be found, in any
# order, whatever its numbers are; "…" stands for anything.

guide=docs/guide.md

# What the guide takes for granted: its databases, a server by the name that it uses, which is the
# same server reached by TCP with a password, and the packages.
prepare_guide() {
    inside systemctl start "$postgresql_unit"
    sql postgres "CREATE DATABASE sales"
    sql sales "CREATE TABLE orders AS SELECT n, md5(n::text) AS content FROM generate_series(1, 20000) AS n"
    sql postgres "CREATE DATABASE reports"
    sql reports "CREATE TABLE pages AS SELECT n, md5(n::text) AS content FROM generate_series(1, 10000) AS n"
    sql postgres "SET password_encryption = 'scram-sha-256';
        CREATE ROLE pgbackup LOGIN SUPERUSER PASSWORD 'correct horse battery staple'"
    printf '127.0.0.1 reports.example.org %s\n' "$container_name" | inside tee --append /etc/hosts >/dev/null
    inside cp /root/pgbackupd.deb /root/pgbackupd_0.1.0-1_amd64.deb
    another_guide_version 0.1.1-1
    # Nobody is there to say yes, and there is nothing to download.
    echo 'APT::Get::Assume-Yes "true";' | inside tee /etc/apt/apt.conf.d/guide >/dev/null
    inside test -e /usr/bin/sudo || stand_in_for_sudo
}

another_guide_version() {
    local directory=$group_directory/package
    dpkg-deb --raw-extract "$package" "$directory"
    sed --in-place "s/^Version: .*/Version: $1/" "$directory/DEBIAN/control"
    dpkg-deb --root-owner-group -Znone --build "$directory" \
        "$container_directory/root/root/pgbackupd_$1_amd64.deb" >/dev/null
    rm -r "$directory"
}

# For containers without sudo: as much of it as `sudo -u USER COMMAND` needs.
stand_in_for_sudo() {
    inside tee /usr/bin/sudo >/dev/null <<'SUDO'
#!/bin/bash
exec setpriv --reuid="$2" --regid="$2" --init-groups --reset-env -- "${@:3}"
SUDO
    inside chmod 0755 /usr/bin/sudo
}

# guide_steps: writes each command of the guide and the output shown with it to files of their own,
# by number.
guide_steps() {
    awk -v directory="$1" '
        /^```console$/ { inside = 1; next }
        /^```/ { inside = 0; next }
        !inside { next }
        /^# / { number++; file = sprintf("%s/%03d", directory, number)
                print substr($0, 3) > (file ".command"); printf "" > (file ".shown"); next }
        /^> / { print substr($0, 3) > (file ".command"); next }
        { print > (file ".shown") }
    ' "$guide"
}

# Lines without what differs from run to run: numbers, which names of backups are made of too, and
# how many blanks stand beside them; and without the carriage returns of a terminal, which apt
# gives dpkg.
masked() {
    sed --regexp-extended 's/\r//g; s/[0-9][0-9,.]*/N/g; s/[[:blank:]]+/ /g; s/ $//'
}

# shown_is_there SHOWN ACTUAL: each line of the one is in the other.
shown_is_there() {
    local line pattern actual
    actual=$(masked <<<"$2")
    while IFS= read -r line; do
        [[ -n $line && $line != … ]] || continue
        # Every character but … means itself.
        pattern=$(masked <<<"$line" | sed 's/[][\.*^$+?(){}|/]/\\&/g; s/…/.*/g')
        if ! grep --quiet --extended-regexp --line-regexp -- "$pattern" <<<"$actual"; then
            fail "the guide shows: $line" "$2"
        fi
    done <<<"$1"
}

follow_guide() {
    local steps=$group_directory/steps command place=/root shown output status count=0
    mkdir "$steps"
    guide_steps "$steps"
    prepare_guide
    for command in "$steps"/*.command; do
        shown=$(<"${command%.command}.shown")
        # What was logged is to be in the journal when it is asked.
        inside journalctl --sync
        # One shell for each, in the directory where the one before it was left.
        status=0
        # shellcheck disable=SC2016 # for the shell in the container
        output=$(inside bash -c 'cd "$1" && eval "$2"; status=$?; pwd >/root/place; exit $status' \
            - "$place" "$(<"$command")" 2>&1 </dev/null) || status=$?
        place=$(inside cat /root/place)
        {
            printf '# %s\n' "$(<"$command")"
            printf '%s\n' "$output"
        } >>"${GUIDE_TRANSCRIPT:-$group_directory/transcript}"
        ((status == 0)) || fail "exit status $status: $(<"$command")" "$output"
        shown_is_there "$shown" "$output"
        count=$((count + 1))
    done
    # A guide whose blocks are not found would be followed in no time.
    ((count > 40)) || fail "only $count commands were found in $guide"
    expect_text "what a purge leaves" "$(inside find /var/backups/sales -name '*.json')" backup_
    expect_equal "the restored table" "$(sql sales_restored 'SELECT count(*) FROM orders')" 20000
}
scenario "the operator's guide holds, command by command" follow_guide
