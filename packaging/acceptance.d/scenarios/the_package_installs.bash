# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of packaging/acceptance.d/group and the files it sources
# What an operator meets first: the package as it comes.

installs_and_waits() {
    expect "install the package" inside dpkg --install /root/pgbackupd.deb
    expect_text "what installing says" "$output" 'database'
    expect_equal "the unit is enabled" "$(inside systemctl is-enabled pgbackupd)" enabled
    expect_status 3 "the unit is not started" inside systemctl is-active pgbackupd
    expect_equal "the unit did not fail" "$(property Result)" success
    expect_equal "backups already" "$(inside find /var/backups -mindepth 1)" ""
    expect_text "the package's files" "$(inside dpkg --listfiles pgbackupd)" 'man1/pgbackupd\.1\.gz'
    expect_text "the package's files" "$(inside dpkg --listfiles pgbackupd)" 'man5/pgbackupd\.toml\.5\.gz'
    expect_equal "the service's user, and nobody else, reads the configuration" \
        "$(inside stat --format='%U %G %a' "$main_configuration")" "root postgres 640"
}
scenario "a fresh package is enabled, and not started before a database is named" installs_and_waits

start_without_a_database() {
    journal_begin
    if inside systemctl start pgbackupd; then
        fail "the service started without a database"
    fi
    wait_for 10 "the reason in the journal" journal_says 'database'
    expect_equal "its exit status" "$(property ExecMainStatus)" 78
    expect_equal "it is not tried again and again" "$(property NRestarts)" 0
}
scenario "a start without a database ends with the sentence that says so, and is not repeated" \
    start_without_a_database

broken_configuration() {
    expect "purge the package" inside dpkg --purge pgbackupd
    inside mkdir --parents /etc/pgbackupd/conf.d
    inside tee /etc/pgbackupd/conf.d/sample.toml <<<'databse = "sample"' >/dev/null
    expect "install it beside a broken configuration" inside dpkg --install /root/pgbackupd.deb
    expect_text "what installing says" "$output" '/etc/pgbackupd/conf.d/sample.toml:1:'
    expect_text "what installing says" "$output" 'databse: unknown setting'
    expect_status 3 "the unit is not started" inside systemctl is-active pgbackupd
    journal_begin
    if inside systemctl start pgbackupd; then
        fail "the service started with a broken configuration"
    fi
    wait_for 10 "file and line in the journal" journal_says '/etc/pgbackupd/conf.d/sample.toml:1:'
    wait_for 10 "the key in the journal" journal_says 'databse: unknown setting'
    expect_equal "its exit status" "$(property ExecMainStatus)" 78
    inside rm /etc/pgbackupd/conf.d/sample.toml
}
scenario "a broken configuration is named with file, line and key, at installation and at start" \
    broken_configuration

unit_is_sound() {
    local unit
    for unit in pgbackupd.service pgbackupd-directories.path pgbackupd-directories.service; do
        expect "verify $unit" inside systemd-analyze --recursive-errors=no --man=no verify \
            "/lib/systemd/system/$unit"
        expect_equal "what systemd says of $unit" "$output" ""
    done
}
scenario "systemd finds nothing wrong with the units" unit_is_sound

unit_is_hardened() {
    local exposure
    expect "look at the unit" inside systemd-analyze security --no-pager pgbackupd.service
    exposure=$(sed -n 's/.*Overall exposure level for pgbackupd.service: \([0-9.]*\).*/\1/p' <<<"$output")
    [[ $exposure =~ ^[0-9]+\.[0-9]+$ ]] || fail "no exposure level" "$output"
    (($(bc <<<"$exposure <= 1.5"))) || fail "the exposure is $exposure, above 1.5" "$output"
    echo "exposure $exposure"
}
scenario "the unit's exposure is 1.5 or less" unit_is_hardened
