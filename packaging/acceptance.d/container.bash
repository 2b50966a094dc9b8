# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of packaging/acceptance.d/group and the files it sources
# A container with a systemd of its own, on an overlay of this machine's root. Sourced by
# packaging/acceptance.
#
#   container_boot NAME DIRECTORY [OPTION...]   boots one; whatever it changes stays in DIRECTORY, on
#                                               a tmpfs; options are systemd-nspawn's
#   container_destroy                           ends it as a power cut does, with all that is in it
#   inside COMMAND...                           runs a command in it, as root
#   inside_as USER COMMAND...                   as another user
#
# It has a network of its own, with nothing but its loopback, and may not set the clock. The caller
# runs in a namespace of its own for mounts and another for processes: when it ends, however it
# ends, the kernel ends the container and takes the mounts away. Only its cgroups are left, which
# container_remove_cgroups takes away from outside.

container_directory=
container_name=
container_leader=

container_boot() {
    local root=${PGBACKUPD_ACCEPTANCE_ROOT:-/}
    container_name=$1
    container_directory=$2
    shift 2
    mkdir -p "$container_directory"
    # An overlay cannot keep its changes on the file system that it covers. The size is no more than
    # a limit, above the free space that the service wants to see.
    mount -t tmpfs -o size=20G,mode=0755 container "$container_directory"
    mkdir "$container_directory"/{changes,work,root}
    mount -t overlay -o "lowerdir=$root,upperdir=$container_directory/changes,workdir=$container_directory/work" \
        overlay "$container_directory/root"
    container_prepare "$container_directory/root"

    container_find_cgroups "$container_name"
    mkdir -p "${container_cgroups[@]}"
    # --register=no and --keep-unit: this machine may have no systemd to register the container
    # with, and the cgroups above are there to be kept. The capabilities and system calls are what
    # the container's systemd needs for IPAddressDeny= and the like, which nspawn keeps back.
    (
        local cgroup
        for cgroup in "${container_cgroups[@]}"; do
            echo "$BASHPID" >"$cgroup/cgroup.procs"
        done
        echo "$BASHPID" >"$container_directory/nspawn.pid"
        exec systemd-nspawn --quiet --boot --directory="$container_directory/root" \
            --machine="$container_name" --register=no --keep-unit --console=pipe \
            --private-network --capability=CAP_BPF,CAP_PERFMON,CAP_NET_ADMIN \
            --system-call-filter="bpf landlock_create_ruleset landlock_add_rule landlock_restrict_self" \
            "$@" </dev/null >"$container_directory/console" 2>&1
    ) &
    if ! wait_for 20 "the container's first process" container_find_leader ||
        ! wait_for 60 "the container's systemd" container_is_up; then
        tail -n 40 "$container_directory/console" >&2
        inside systemctl list-jobs --no-pager >&2
        inside journalctl --no-pager --lines=40 >&2
        return 1
    fi
    container_delegate
}

container_destroy() {
    local nspawn
    nspawn=$(<"$container_directory/nspawn.pid")
    kill -KILL "$container_leader"
    wait_for 10 "the container to be gone" container_is_gone "$nspawn"
    umount --recursive "$container_directory"
}

# container_is_gone PROCESS
container_is_gone() {
    ! kill -0 "$1" 2>/dev/null
}

# What this machine's root brings along and a container for a test must not run: the machine's own
# services, and the keeper of write-ahead logs that Debian's postgresql-common may start.
container_prepare() {
    local root=$1 unit
    rm -rf "$root"/etc/systemd/system/*.wants "$root"/var/log/journal \
        "$root"/etc/postgresql/* "$root"/var/lib/postgresql/* \
        "$root"/etc/pgbackupd "$root"/etc/systemd/system/pgbackupd* "$root"/var/backups/*
    ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
    for unit in systemd-timesyncd systemd-networkd systemd-resolved systemd-firstboot \
        systemd-update-utmp systemd-logind pg_receivewal@ prometheus prometheus-node-exporter \
        prometheus-alertmanager avahi-daemon; do
        ln -sf /dev/null "$root/etc/systemd/system/$unit.service"
    done
    # Every installation would build the index of this machine's manual pages anew.
    rm -f "$root/var/lib/man-db/auto-update"
    # It would be this machine's, and two machines with one identity confuse journals.
    echo uninitialized >"$root/etc/machine-id"
    rm -f "$root/usr/sbin/policy-rc.d" "$root/etc/fstab"
    # There is no network in there. Without lists, apt knows no newer versions than those that are
    # installed, and takes them for the newest.
    rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin
    echo "$container_name" >"$root/etc/hostname"
}

# container_find_cgroups NAME: a container's cgroup in each hierarchy that its systemd uses, below
# ours.
container_find_cgroups() {
    local controllers path parent
    container_cgroups=()
    while IFS=: read -r _ controllers path; do
        case $controllers in
        '')
            parent=/sys/fs/cgroup/unified
            [[ -d $parent ]] || parent=/sys/fs/cgroup
            [[ -e $parent/cgroup.procs ]] || continue
            ;;
        name=systemd) parent=/sys/fs/cgroup/systemd ;;
        memory | pids) parent=/sys/fs/cgroup/$controllers ;;
        *) continue ;;
        esac
        container_cgroups+=("$parent${path%/}/$1")
    done </proc/self/cgroup
}

# container_remove_cgroups NAME
container_remove_cgroups() {
    local cgroup
    container_find_cgroups "$1"
    for cgroup in "${container_cgroups[@]}"; do
        [[ -d $cgroup ]] || continue
        # The kernel counts a process for a moment after it is gone.
        wait_for 10 "the cgroup $cgroup to be empty" container_remove_cgroup "$cgroup" || true
    done
}

container_remove_cgroup() {
    find "$1" -depth -type d -exec rmdir {} + 2>/dev/null
}

# nspawn leaves version 1's controllers read-only, and MemoryMax= and TasksMax= without effect.
container_delegate() {
    local controller
    for controller in memory pids; do
        if inside test -d "/sys/fs/cgroup/$controller"; then
            inside mount -o remount,bind,rw "/sys/fs/cgroup/$controller"
        fi
    done
    inside systemctl daemon-reexec
}

# nspawn has another child before the one that becomes systemd.
container_find_leader() {
    [[ -s $container_directory/nspawn.pid ]] &&
        container_leader=$(pgrep --parent "$(<"$container_directory/nspawn.pid")" --exact systemd)
}

container_is_up() {
    local state
    state=$(inside systemctl is-system-running 2>/dev/null || true)
    [[ $state == running || $state == degraded ]]
}

inside() {
    nsenter --target "$container_leader" --all -- env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        HOME=/root LANG=C.UTF-8 SYSTEMD_COLORS=0 SYSTEMD_PAGER= "$@"
}

# Not by runuser, which asks PAM for a session.
inside_as() {
    local user=$1
    shift
    inside setpriv --reuid="$user" --regid="$user" --init-groups --reset-env -- "$@"
}
