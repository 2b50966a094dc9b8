# shellcheck shell=bash
# A temporary PostgreSQL: one directory, one unix socket, no network. Sourced by the scripts of
# packaging/.
#
#   cluster_start PROGRAMS DIRECTORY    makes a cluster in DIRECTORY, which must not exist, with
#                                       the server of the directory PROGRAMS, and starts it
#   cluster_stop                        stops the last one and removes its directory
#
# After cluster_start, PGHOST, PGPORT and PGUSER lead to it. The server refuses to run as root, so
# for root it runs as the user postgres, or as nobody where there is none. Whoever can read the
# directory is a superuser of the cluster; nobody else can.

cluster_programs=
cluster_directory=

cluster_start() {
    cluster_programs=$1
    cluster_directory=$2
    mkdir -m 0700 "$cluster_directory"
    if ((EUID == 0)); then
        chown "$(server_user):" "$cluster_directory"
    fi

    as_server_user "$cluster_programs/initdb" --pgdata="$cluster_directory/pgdata" \
        --username=postgres --auth=trust --encoding=UTF8 --locale=C --no-sync >/dev/null
    # Nothing in here has to survive a power cut.
    if ! as_server_user "$cluster_programs/pg_ctl" start --silent --wait \
        --pgdata="$cluster_directory/pgdata" --log="$cluster_directory/server.log" \
        --options="-c listen_addresses= -c unix_socket_directories=$cluster_directory -c fsync=off" \
        >/dev/null; then
        cat "$cluster_directory/server.log" >&2
        return 1
    fi

    # What the caller's environment says about another server must not lead there.
    unset PGHOSTADDR PGSERVICE PGSERVICEFILE PGDATABASE PGPASSWORD PGPASSFILE PGOPTIONS PGSSLMODE
    export PGHOST=$cluster_directory PGPORT=5432 PGUSER=postgres
}

cluster_stop() {
    [[ -n $cluster_directory ]] || return 0
    if [[ -f $cluster_directory/pgdata/postmaster.pid ]]; then
        as_server_user "$cluster_programs/pg_ctl" stop --silent --wait --mode=immediate \
            --pgdata="$cluster_directory/pgdata" >/dev/null || true
    fi
    rm -rf "$cluster_directory"
    cluster_directory=
}

# The programs of the newest PostgreSQL server that is installed.
newest_installed_server() {
    local initdb
    initdb=$(compgen -G '/usr/lib/postgresql/*/bin/initdb' | sort --version-sort | tail -n 1) ||
        initdb=$(command -v initdb)
    dirname "$(realpath "$initdb")"
}

server_user() {
    if id postgres >/dev/null 2>&1; then echo postgres; else echo nobody; fi
}

as_server_user() {
    if ((EUID == 0)); then
        # From a directory that the user can be in.
        (cd / && setpriv --reuid="$(server_user)" --regid="$(id -g "$(server_user)")" \
            --clear-groups -- "$@")
    else
        "$@"
    fi
}
