# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of packaging/acceptance.d/group and the files it sources
# What the acceptance test's scenarios are written with. Sourced by packaging/acceptance.
#
#   scenario SENTENCE FUNCTION                  runs one, prints how it went, and counts it
#   wait_for SECONDS WHAT COMMAND...            until the command succeeds, or four times the time it
#                                               should take is over: the groups share a few processors
#   expect WHAT COMMAND...                      the command succeeds
#   expect_status STATUS WHAT COMMAND...        it ends with this exit status; its output, stderr
#                                               included, is in $output afterwards
#   expect_equal WHAT ACTUAL EXPECTED
#   expect_text WHAT TEXT PATTERN               the text has the extended regular expression in it
#   expect_no_text WHAT TEXT PATTERN
#   fail SENTENCE
#
# A check that fails ends its scenario, and says what was seen.

output=

scenario() {
    local sentence=$1 began=$EPOCHREALTIME status log=$group_directory/scenario.log seconds
    # Only to the second, and one early: some of the journal too much rather than too little.
    local since=$((EPOCHSECONDS - 1))
    # In a shell of its own with its own -e: bash ignores -e inside a condition.
    set +e
    (
        set -e
        "$2"
    ) >"$log" 2>&1
    status=$?
    set -e
    seconds=$(printf '%.1f' "$(bc -l <<<"$EPOCHREALTIME - $began")")
    if ((status == 0)); then
        echo passed >>"$results"
        printf 'passed: %s, in %s s\n' "$sentence" "$seconds"
    else
        echo failed >>"$results"
        # All at once: other groups print at the same time.
        echo "FAILED: $sentence, after $seconds s
$(sed 's/^/    /' "$log")
    The journal of these seconds:
$(inside journalctl --no-pager --quiet --output=short-precise --since="@$since" --lines=60 2>&1 |
            sed 's/^/    | /')" >&2
    fi
}

wait_for() {
    local seconds=$((4 * $1)) what=$2
    local end=$((SECONDS + seconds))
    shift 2
    until "$@"; do
        if ((SECONDS >= end)); then
            echo "waited $seconds s in vain for $what" >&2
            return 1
        fi
        sleep 0.1
    done
}

expect() {
    local what=$1
    shift
    if ! output=$("$@" 2>&1); then
        fail "$what: failed: $*" "$output"
    fi
}

expect_status() {
    local expected=$1 what=$2 status=0
    shift 2
    output=$("$@" 2>&1) || status=$?
    ((status == expected)) || fail "$what: exit status $status instead of $expected: $*" "$output"
}

expect_equal() {
    [[ $2 == "$3" ]] || fail "$1: expected: $3" "$2"
}

expect_text() {
    grep --quiet --extended-regexp -- "$3" <<<"$2" || fail "$1: nothing matches: $3" "$2"
}

expect_no_text() {
    ! grep --quiet --extended-regexp -- "$3" <<<"$2" || fail "$1: this must not match: $3" "$2"
}

# fail SENTENCE [SEEN]
fail() {
    echo "$1"
    if (($# > 1)); then
        echo "what was seen:"
        echo "  ${2//$'\n'/$'\n'  }"
    fi
    exit 1
} >&2
