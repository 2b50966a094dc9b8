# shellcheck shell=bash
# shellcheck disable=SC2154 # packaging/campaign has the variables that these files share
# What has to hold whatever was failed, killed or damaged. Sourced by packaging/campaign.

# Prints what does not hold after a case; nothing if all does.
look() {
    local kind=$1 command=$2 format=$3
    if grep --quiet --fixed-strings 'panicked at' "$work/log/output"; then
        echo "it panicked;"
    fi
    if [[ $kind == call ]] && ((code == 137)); then
        echo "it hung for $longest seconds;"
    fi
    # Killed by a signal that nobody sent, or an exit code that is not documented.
    case $code in
    0 | 1 | 2 | 6[4-9] | 7[3-8]) ;;
    137) [[ $kind == kill ]] || ((code == 137)) ;;
    *) echo "it ended with status $code;" ;;
    esac
    if [[ $kind == file ]]; then
        damage_is_found "$@"
        return
    fi
    no_backup_is_blamed "$format"
    no_backup_is_lost "$command" "$format"
    success_is_true "$command" "$format"
    nothing_is_left "$command" "$format"
}

backups() {
    run "$1" list --json 2>>"$work/log/output" | jq "[.[].backups[]] | $2"
}

# A machine that fails is no fault of a backup's.
no_backup_is_blamed() {
    local blamed
    blamed=$(backups "$1" 'map(select(.damaged != null or .unrestorable != null) | .name) | join(", ")')
    [[ $blamed == '""' ]] || echo "found bad by a failing machine: $blamed;"
    [[ ! -d $work/b/shop/quarantine ]] || [[ -z $(ls "$work/b/shop/quarantine") ]] || echo "something is in quarantine;"
}

# Every backup that a manifest stands for is intact, and those that were there before are there still.
no_backup_is_lost() {
    local command=$1 format=$2 fewest=3 number
    [[ $command != prune ]] || fewest=1
    run "$format" verify --all >>"$work/log/output" 2>&1 || echo "verify --all ended with status $?;"
    number=$(backups "$format" length)
    ((number >= fewest)) || echo "$number backups are left;"
    # The newest is pinned.
    [[ -f $work/b/shop/$(basename "$(compgen -G "$work/template-$format/shop/backup_*.json" | sort | tail -n 1)") ]] ||
        echo "the pinned backup is gone;"
}

# Who exits with 0 has done what was asked for.
success_is_true() {
    local command=$1 format=$2
    ((code == 0)) || return 0
    case $command in
    backup) (($(backups "$format" length) == 4)) || echo "it made no backup, and succeeded;" ;;
    copy) (($(copies "$format" length) == 3)) || echo "not all is copied, and it succeeded;" ;;
    # One whose state cannot be read counts for no floor, so that another one stays.
    prune) (($(backups "$format" length) < 3)) || echo "it removed nothing, and succeeded;" ;;
    drill)
        tail -n 1 "$work/b/shop/restore.log" | jq --exit-status '.event == "succeeded"' >/dev/null ||
            echo "the ledger has no success;"
        ;;
    restore | salvage)
        [[ $(sql shop_copy 'SELECT (SELECT count(*) FROM item), (SELECT count(*) > 2000 FROM sale)') == '2000|t' ]] ||
            echo "the restored database lacks rows;"
        ;;
    esac
}

# What a failed run could not remove, the next one does.
nothing_is_left() {
    local command=$1 format=$2 left
    case $command in
    backup | prune)
        run "$format" backup >>"$work/log/output" 2>&1 || echo "the next backup ended with status $?;"
        left=$(find "$work/b" -name '.pgbackupd-*')
        [[ -z $left ]] || echo "left behind: $left;"
        ;;
    copy) the_next_copy_completes "$format" ;;
    drill)
        # What has no lock may be about to be made, until it is a minute old.
        find "$work/d" -mindepth 1 -maxdepth 1 -exec touch --date='5 minutes ago' {} +
        [[ -z $(ls -A "$work/d") ]] || run "$format" drill >>"$work/log/output" 2>&1 ||
            echo "the next drill ended with status $?;"
        [[ -z $(ls -A "$work/d") ]] || echo "left behind: $(ls -A "$work/d");"
        ;;
    restore | salvage)
        sql postgres "DROP DATABASE IF EXISTS shop_copy WITH (FORCE)" 2>/dev/null
        [[ -z $(left_databases) ]] || run "$format" restore --latest --into shop_copy --yes \
            >>"$work/log/output" 2>&1 || echo "the next restore ended with status $?;"
        left=$(left_databases)
        [[ -z $left ]] || echo "left behind: $left;"
        ;;
    esac
}

# Copies at the destination whose signature and volumes are there.
copies() {
    run "$1" list --from far --json 2>>"$work/log/output" | jq "[.. | .copies? // empty | .[]] | $2"
}

# Nothing that is there is changed, the rest is sent, and all of it opens.
the_next_copy_completes() {
    local format=$1 lacking before
    lacking=$(copies "$format" 'map(.missing_volumes // 0) | add // 0')
    # With nothing there, there is no list.
    ((${lacking:-0} == 0)) || echo "a manifest lacks volumes;"
    before=$(cd "$work/far" && find . -type f ! -name '.*' -exec sha256sum {} +)
    run "$format" copy >>"$work/log/output" 2>&1 || echo "the next copy ended with status $?;"
    [[ -z $before ]] || (cd "$work/far" && sha256sum --quiet --check <<<"$before") || echo "an object was changed;"
    (($(copies "$format" length) == 3)) || echo "the next copy did not copy all;"
    run "$format" verify --from far --identity "$tools/identity" >>"$work/log/output" 2>&1 ||
        echo "verify --from ended with status $?;"
}

left_databases() {
    sql postgres "SELECT datname FROM pg_database WHERE datname LIKE 'shop\\_%' AND datname <> 'shop_copy'"
}

# A file that is not what was written is noticed by whoever reads it; the state of a backup, by `status`.
damage_is_found() {
    local command=$2 format=$3
    [[ $is_changed ]] || return 0
    ((code == 0)) || return 0
    case $command in
    verify)
        # A state that was changed is reported and written again.
        if ! grep --quiet 'note: its state was lost' "$work/log/output" &&
            run "$format" status >>"$work/log/output" 2>&1; then
            echo "neither verify nor status has noticed;"
        fi
        ;;
    *)
        files_of "$format" | sed -n "${5}p" | grep --quiet '\.state$' || echo "it succeeded;"
        ;;
    esac
}
