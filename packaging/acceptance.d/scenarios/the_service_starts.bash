# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of packaging/acceptance.d/group and the files it sources
# What has to be true when `systemctl start` comes back.

ready_means_ready() {
    service_fresh
    configure <<'TOML'
database = "sample"
TOML
    expect_equal "who owns /var/backups" "$(inside stat --format=%U /var/backups)" root
    service_start
    expect_equal "the database's directory" \
        "$(inside stat --format='%U %G %a' /var/backups/sample)" "postgres postgres 700"
    expect_equal "/var/backups is still root's" "$(inside stat --format=%U /var/backups)" root
    # Riyadh's: the policy's zone, whatever the machine's.
    expect_equal "when the job daily comes next" "$(next_run daily)" 02:00+03:00
    wait_for 30 "what comes next in the status" status_names_what_is_next
    expect_equal "the watchdog" "$(property WatchdogUSec)" 1min
    expect_equal "the runtime directory" \
        "$(inside stat --format='%U %a' /run/pgbackupd)" "postgres 750"
}
scenario "start comes back with the directory made and the next run in its status" ready_means_ready

limits_are_in_force() {
    local pid memory
    service_fresh
    configure <<<'database = "sample"'
    service_start
    pid=$(property MainPID)
    memory=$(inside sh -c "cat /sys/fs/cgroup/memory\$(sed -n 's/^[0-9]*:memory://p' /proc/$pid/cgroup)/memory.limit_in_bytes 2>/dev/null ||
        cat /sys/fs/cgroup\$(sed -n 's/^0:://p' /proc/$pid/cgroup)/memory.max")
    expect_equal "the memory that the kernel allows it" "$memory" "$(property MemoryMax)"
    expect_text "its user" "$(inside ps -o user= -p "$pid")" '^postgres$'
    expect_text "no new privileges" "$(inside cat "/proc/$pid/status")" 'NoNewPrivs:[[:space:]]*1'
    expect_text "no capability" "$(inside cat "/proc/$pid/status")" 'CapEff:[[:space:]]*0000000000000000'
}
scenario "the limits and rights of the unit are in force" limits_are_in_force

unusable_directory() {
    service_fresh
    # A file where the directory has to be.
    inside touch /srv/small/occupied
    configure <<'TOML'
database = "sample"
directory = "/srv/small/occupied"
TOML
    journal_begin
    if inside timeout 60 systemctl start pgbackupd; then
        fail "the service started without a directory for its backups"
    fi
    wait_for 10 "the directory in the journal" journal_says \
        'the directory /srv/small/occupied/sample .* cannot be used'
    expect_no_text "the service" "$(property ActiveState)" '^active$'
}
scenario "a directory that cannot be used keeps the service from starting, and is named" unusable_directory

unreachable_server() {
    service_fresh
    inside systemctl stop "$postgresql_unit"
    configure <<'TOML'
database = "sample"
TOML
    journal_begin
    service_start
    wait_for 20 "the warning" journal_tells "$server_unreachable" 'socket|connect|server'
    expect_equal "PRIORITY: warning" \
        "$(journal_fields "MESSAGE_ID=$server_unreachable" | jq -r .PRIORITY | sort -u)" 4
}
scenario "an unreachable server is a warning, and the service starts" unreachable_server

second_daemon() {
    service_fresh
    configure <<<'database = "sample"'
    service_start
    local pid
    pid=$(property MainPID)
    expect_status 75 "a second daemon" inside_as postgres timeout 20 pgbackupd daemon
    expect_text "what it says" "$output" "another pgbackupd daemon.*process $pid"
    expect_equal "the first one" "$(property MainPID)" "$pid"
    service_is_running || fail "the first daemon does not run any more"
}
scenario "a second daemon on the same configuration is refused" second_daemon
