# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # variables of, and for, the files that go with it
# Following a page of docs/ command by command. Sourced by packaging/acceptance.d/group.
#
#   guide_prepare                  what a page takes for granted of the machine
#   guide_follow PAGE [SECTION]    carries out the commands of the page, or of the section with that
#                                  heading; how many there were is in $guide_commands afterwards
#
# In console blocks a line that begins with "# " is a command for root's shell, "> " continues it, and
# what follows is its output. Each command must succeed. Of the output, each line must be found, in any
# order, whatever its numbers are; "…" stands for anything.

guide_commands=

guide_prepare() {
    # Nobody is there to say yes.
    echo 'APT::Get::Assume-Yes "true";' | inside tee /etc/apt/apt.conf.d/guide >/dev/null
}

# guide_steps PAGE SECTION DIRECTORY: writes each command and the output shown with it to files of
# their own, by number.
guide_steps() {
    awk -v section="$2" -v directory="$3" '
        /^## / { heading = substr($0, 4) }
        section != "" && heading != section { inside = 0; next }
        /^ *```console$/ { match($0, /^ */); indent = RLENGTH; inside = 1; next }
        /^ *```/ { inside = 0; next }
        !inside { next }
        { line = substr($0, indent + 1) }
        line ~ /^# / { number++; file = sprintf("%s/%03d", directory, number)
                print substr(line, 3) > (file ".command"); printf "" > (file ".shown"); next }
        line ~ /^> / { print substr(line, 3) > (file ".command"); next }
        { print line > (file ".shown") }
    ' "$1"
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

guide_follow() {
    local steps command place=/root shown output status count=0
    steps=$(mktemp -d "$group_directory/steps.XXXXXX")
    guide_steps "$1" "${2:-}" "$steps"
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
    guide_commands=$count
}
