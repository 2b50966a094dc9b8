# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of packaging/acceptance.d/group and the files it sources
# Upgrade, removal and purge: whatever happens to the package, every backup stays.

# Every file under /var/backups, with its contents.
fingerprint() {
    inside find /var/backups -type f -name '*backup_*' -exec sha256sum {} + | sort
}

prepare_backup() {
    service_fresh
    configure <<<'database = "sample"
timezone = "UTC"'
    service_start
    expect "make a backup" pgbackupd_as postgres backup
    before=$(fingerprint)
    expect_text "the backup's files" "$before" 'sql.gz'
}

# another_version NUMBER: the package again, as a higher version.
another_version() {
    local directory=$group_directory/package-$1
    dpkg-deb --raw-extract "$package" "$directory"
    sed --in-place "s/^Version: .*/&+$1/" "$directory/DEBIAN/control"
    dpkg-deb --root-owner-group -Znone --build "$directory" \
        "$container_directory/root/root/upgrade-$1.deb" >/dev/null
    rm -r "$directory"
}

upgraded() {
    prepare_backup
    local pid
    pid=$(property MainPID)
    another_version 1
    expect "upgrade" inside dpkg --install /root/upgrade-1.deb
    expect_no_text "questions about the configuration" "$output" 'Configuration file'
    service_is_running || fail "the service does not run after the upgrade" "$output"
    [[ $(property MainPID) != "$pid" ]] || fail "the service still is the old one"
    expect_text "the version" "$(inside dpkg-query --show pgbackupd)" '\+1$'
    expect_equal "the configuration" "$(inside cat "$main_configuration" | head -n 1)" 'database = "sample"'
    expect_equal "the backups" "$(fingerprint)" "$before"
    expect_sound
}
scenario "an upgrade keeps configuration and backups, and the service runs the new version" upgraded

upgraded_during_a_dump() {
    service_fresh
    configure <<<"database = \"sample\"
timezone = \"UTC\"
[limits]
lock_wait = \"10 minutes\"
[daemon]
catch_up_delay = \"0 seconds\"
[jobs.daily]
schedule = \"$(once_soon)\""
    service_start
    dumps_hold
    wait_for 75 "a dump in the middle" dump_is_held
    another_version 2
    expect "upgrade" inside dpkg --install /root/upgrade-2.deb
    service_is_running || fail "the service does not run after the upgrade" "$output"
    dumps_release
    wait_for 40 "the interrupted backup, caught up" has_backups 1 /var/backups/sample
    expect_nothing_half /var/backups/sample
}
scenario "an interrupted backup is caught up after an upgrade in the middle of a dump" upgraded_during_a_dump

removed_and_purged() {
    prepare_backup
    expect "remove" inside dpkg --remove pgbackupd
    expect_equal "processes left" "$(processes_left)" ""
    expect "the configuration stays" inside test -f "$main_configuration"
    expect_equal "the backups" "$(fingerprint)" "$before"
    expect "purge" inside dpkg --purge pgbackupd
    expect_status 1 "the configuration" inside test -e /etc/pgbackupd
    expect_equal "the backups" "$(fingerprint)" "$before"
    expect_equal "files of the package" "$(inside find /etc /lib/systemd /usr/bin /var/lib/pgbackupd /var/lib/systemd \
        -name '*pgbackupd*' -not -name 'pgbackupd.deb' 2>/dev/null)" ""
    # And again: what is there is taken over.
    expect "install again" inside dpkg --install /root/pgbackupd.deb
    configure <<<'database = "sample"
timezone = "UTC"'
    service_start
    expect "list the old backups" pgbackupd_as postgres list
    expect_text "the list" "$output" 'backup_|daily|manual'
    expect_sound
}
scenario "removal and purge leave every backup, and a new installation takes them over" removed_and_purged
