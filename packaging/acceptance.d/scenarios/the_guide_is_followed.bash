# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of packaging/acceptance.d/group and the files it sources
# docs/guide.md, command by command: every one succeeds, and what the guide shows of its output is
# there.

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
    guide_prepare
}

another_guide_version() {
    local directory=$group_directory/package
    dpkg-deb --raw-extract "$package" "$directory"
    sed --in-place "s/^Version: .*/Version: $1/" "$directory/DEBIAN/control"
    dpkg-deb --root-owner-group -Znone --build "$directory" \
        "$container_directory/root/root/pgbackupd_$1_amd64.deb" >/dev/null
    rm -r "$directory"
}

follow_guide() {
    prepare_guide
    guide_follow docs/guide.md
    # A guide whose blocks are not found would be followed in no time.
    ((guide_commands > 35)) || fail "only $guide_commands commands were found in docs/guide.md"
    expect_text "what a purge leaves" "$(inside find /var/backups/sales -name '*.json')" backup_
    expect_equal "the restored table" "$(sql sales_restored 'SELECT count(*) FROM orders')" 20000
}
scenario "the operator's guide holds, command by command" follow_guide
