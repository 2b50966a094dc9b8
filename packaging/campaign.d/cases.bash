# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # packaging/campaign has the variables that these files share
# The cases of the campaign: which there are, and carrying one out. Sourced by packaging/campaign.
#
# A case is words: KIND COMMAND FORMAT MODE POSITION, where KIND is
#   call      system call number POSITION fails; MODE is once or sticky
#   kill      the command is killed after POSITION percent of its time; MODE is -
#   file      COMMAND reads a backup whose file number POSITION has the change MODE

commands=(backup verify prune copy drill restore salvage)
kinds=(call kill file)
changes=(first quarter half three-quarters last empty cut-half cut-byte grow swap remove)

# What the command's line is.
words_of() {
    case $1 in
    backup) echo backup ;;
    verify) echo verify --all ;;
    prune) echo prune ;;
    copy) echo copy ;;
    drill) echo drill ;;
    restore) echo restore --latest --into shop_copy --yes ;;
    salvage) echo restore --latest --salvage --into shop_copy --yes ;;
    esac
}

# Only every so many-th call of those that start many programs.
step_of() {
    case $1 in drill | restore | salvage) echo 7 ;; *) echo 1 ;; esac
}

# The steps of its time at which a command is killed, in percent.
kill_step_of() {
    case $1 in copy) echo 0.5 ;; *) echo 1 ;; esac
}

# How many calls each command makes, and how many milliseconds it takes: once for all runs of the campaign.
count_positions() {
    local command format began took
    for command in "${commands[@]}"; do
        for format in "${formats[@]}"; do
            ! grep -q "^$command"$'\t'"$format"$'\t' "$totals" || continue
            reset "$format"
            began=$(date +%s%3N)
            # shellcheck disable=SC2046 # its words
            run "$format" $(words_of "$command") >/dev/null 2>&1
            took=$(($(date +%s%3N) - began))
            reset "$format"
            starter=("$tools/inject" "$work/log/calls" 0 0 once "$work")
            # shellcheck disable=SC2046 # its words
            run "$format" $(words_of "$command") >/dev/null 2>&1
            starter=()
            printf '%s\t%s\t%s\t%s\n' "$command" "$format" \
                "$(sed -nE 's/^TOTAL ([0-9]+) .*/\1/p' "$work/log/calls")" "$took" >>"$totals"
        done
    done
}

# All cases but those that were tried, in an order that mixes them and is always the same: of those that start
# a server or load a database, which take seconds, one comes after six others.
open_cases() {
    local only
    only=$(IFS='|' && echo "(${kinds[*]}) (${commands[*]})")
    all_cases | sort -u | grep --extended-regexp "^$only " | awk 'BEGIN { srand(7) } { print rand() "\t" $0 }' | sort | cut -f2- | grep --invert-match --line-regexp --fixed-strings \
        --file=<(cut -f1-5 "$results" | tr '\t' ' ') | awk '
        $2 ~ /^(drill|restore|salvage)$/ { dear[++last] = $0; next }
        { print; if (++cheap % 6 == 0 && given < last) print dear[++given] }
        END { while (given < last) print dear[++given] }'
}

all_cases() {
    local command format total took mode position change
    while IFS=$'\t' read -r command format total took; do
        for mode in once sticky; do
            seq -f "call $command $format $mode %.0f" 1 "$(step_of "$command")" "$total"
        done
        seq -f "kill $command $format - %g" 0 "$(kill_step_of "$command")" 100 | tail -n +2
    done <"$totals"
    for format in "${formats[@]}"; do
        for position in $(seq 1 "$(files_of "$format" | wc -l)"); do
            for change in "${changes[@]}"; do
                echo "file verify $format $change $position"
                case $change in half | cut-half | swap)
                    echo "file drill $format $change $position"
                    echo "file restore $format $change $position"
                    echo "file salvage $format $change $position"
                    ;;
                esac
            done
        done
    done
}

# The files of the newest backup, below the database's directory.
files_of() {
    local directory=$work/template-$1/shop newest
    newest=$(basename "$(compgen -G "$directory/backup_*.json" | sort | tail -n 1)" .json)
    (cd "$directory" && find . -path "./$newest*" -type f | sort)
}

# Everything as it was before the first case.
reset() {
    rm -rf "$work/b" "$work/state" "$work/d/"* "$work/far/"*
    cp -a "$work/template-$1" "$work/b"
    # What it remembers is of the backups of another case.
    install -d -m 0700 -o "$(server_user)" "$work/state"
    sql postgres "DROP DATABASE IF EXISTS shop_copy WITH (FORCE)" 2>/dev/null
}

try() {
    local kind=$1 command=$2 format=$3 mode=$4 position=$5 fault
    reset "$format"
    : >"$work/log/output"
    chmod 0666 "$work/log/output"
    code=0
    case $kind in
    call) fail_a_call "$@" ;;
    kill) kill_midway "$@" ;;
    file) change_a_file "$@" ;;
    esac
    fault=$(look "$@" 2>&1) || fault="the look ended with status $?: $fault"
    fault=$(tr '\n\t' '  ' <<<"$fault" | sed 's/ *$//')
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$kind" "$command" "$format" "$mode" "$position" "$code" \
        "${fault:+FAULT: $fault}" >>"$results"
    if [[ $fault ]]; then
        echo "FAULT: $*: $fault"
        { printf '%s\n\n' "$* ended with $code: $fault" && cat "$work/log/output"; } \
            >"$state/faults/$kind-$command-$format-$mode-$position.txt"
    fi
}

# The command itself, whose output and exit code are kept.
carry_out() {
    local format=$1
    shift
    run "$format" "$@" >>"$work/log/output" 2>&1 </dev/null || code=$?
}

fail_a_call() {
    local command=$2 format=$3 mode=$4 position=$5 error=5
    # EIO and ENOSPC take turns.
    ((position % 2)) || error=28
    starter=(timeout --signal=KILL "$longest" "$tools/inject" "$work/log/calls" "$position" "$error" "$mode" "$work")
    # shellcheck disable=SC2046 # its words
    carry_out "$format" $(words_of "$command")
    starter=()
    cat "$work/log/calls" >>"$work/log/output"
}

kill_midway() {
    local command=$2 format=$3 position=$5 took
    took=$(awk -F'\t' -v c="$command" -v f="$format" '$1 == c && $2 == f { print $4 }' "$totals")
    local after
    after=$(awk -v took="$took" -v percent="$position" 'BEGIN { printf "%.3f", took * percent / 100000 }')
    starter=(timeout --signal=KILL "$after")
    # shellcheck disable=SC2046 # its words
    carry_out "$format" $(words_of "$command")
    starter=()
    # What it started ends by itself.
    sleep 0.3
}

change_a_file() {
    local command=$2 format=$3 change=$4 position=$5 path size newest
    newest=$(newest_backup)
    path=$work/b/shop/$(files_of "$format" | sed -n "${position}p")
    size=$(stat --format=%s "$path")
    case $change in
    first) flip "$path" 0 ;;
    quarter) flip "$path" $((size / 4)) ;;
    half) flip "$path" $((size / 2)) ;;
    three-quarters) flip "$path" $((size * 3 / 4)) ;;
    last) flip "$path" $((size - 1)) ;;
    empty) truncate --size=0 "$path" ;;
    cut-half) truncate --size=$((size / 2)) "$path" ;;
    cut-byte) truncate --size=-1 "$path" ;;
    grow) printf x >>"$path" ;;
    remove) rm "$path" ;;
    swap)
        local other
        other=${path//$newest/$(older_backup)}
        [[ ! -f $other ]] || cp -p "$other" "$path"
        ;;
    esac
    is_changed=yes
    ! cmp --silent "$path" "$work/template-$format/shop/${path#"$work/b/shop/"}" || is_changed=
    case $command in
    verify) carry_out "$format" verify --all ;;
    drill) carry_out "$format" drill "$newest" ;;
    restore) carry_out "$format" restore "$newest" --into shop_copy --yes ;;
    salvage) carry_out "$format" restore "$newest" --salvage --into shop_copy --yes ;;
    esac
}

older_backup() {
    basename "$(compgen -G "$work/b/shop/backup_*.json" | sort | head -n 1)" .json
}

# Flips a bit of the byte at an offset; which one depends on the offset.
flip() {
    local byte
    byte=$(od --address-radix=n --format=u1 --skip-bytes="$2" --read-bytes=1 "$1")
    # shellcheck disable=SC2059 # a byte
    printf "\\x$(printf %x $((byte ^ (1 << ($2 % 8)))))" |
        dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
