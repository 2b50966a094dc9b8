# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # variables of, and for, the files that go with it
# Following a page of docs/ command by command. Sourced by packaging/acceptance.d/group.
#
#   guide_prepare                  what a page takes for granted of the machine
#   guide_follow PAGE [SECTION]    carries out the commands of the page, or of the section with that
#                                  heading; how many there were is in $guide_commands afterwards
#
# In console blocks a line that begins with "# " is a command for root's shell, "> " continues it, and
# what follows is its output. In sh blocks every line is a command. Each command must succeed. Of the
# output, each line must be found, in any order, whatever its numbers are; "…" stands for anything.
#
# A page names a database and a moment as examples: $guide_names is the sed program that puts what there
# is in their place. Where $guide_answer is set, commands run at a terminal and it is typed there.

guide_commands=
guide_names=
guide_answer=

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
        /^ *```(console|sh)$/ { match($0, /^ */); indent = RLENGTH; inside = 1; plain = /sh$/; next }
        /^ *```/ { inside = 0; next }
        !inside { next }
        { line = substr($0, indent + 1) }
        plain { number++; file = sprintf("%s/%03d", directory, number)
                print line > (file ".command"); printf "" > (file ".shown"); next }
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

# shown_missing SHOWN ACTUAL: prints the first line of the one that is not in the other, if any.
shown_missing() {
    local line pattern actual
    actual=$(masked <<<"$2")
    while IFS= read -r line; do
        [[ -n $line && $line != … ]] || continue
        # Every character but … means itself.
        pattern=$(masked <<<"$line" | sed 's/[][\.*^$+?(){}|/]/\\&/g; s/…/.*/g')
        if ! grep --quiet --extended-regexp --line-regexp -- "$pattern" <<<"$actual"; then
            printf '%s\n' "$line"
            return
        fi
    done <<<"$1"
}

# guide_run PLACE COMMAND: in one shell, from that directory, which is left in /root/place. What is exported is
# left in /root/exported for the next one.
guide_run() {
    # On one line, as `script` needs it.
    # shellcheck disable=SC2016 # for the shell in the container
    local run='! [ -e /root/exported ] || . /root/exported; cd "$1" && eval "$2"; status=$?; pwd >/root/place; export -p >/root/exported; exit $status'
    if [[ -z $guide_answer ]]; then
        inside bash -c "$run" - "$@" </dev/null
    else
        # What is typed waits for the question; the end of the input would end the terminal.
        { echo "$guide_answer" && sleep 2; } |
            inside script --quiet --return --command "$(printf '%q ' bash -c "$run" - "$@")" /dev/null
    fi
}

guide_follow() {
    local steps command place=/root shown output status count=0 said missing deadline
    inside rm -f /root/exported
    steps=$(mktemp -d "$group_directory/steps.XXXXXX")
    guide_steps "$1" "${2:-}" "$steps"
    for command in "$steps"/*.command; do
        shown=$(<"${command%.command}.shown")
        said=$(sed "$guide_names" "$command")
        # What was logged is to be in the journal when it is asked.
        inside journalctl --sync
        deadline=$((SECONDS + 120))
        while :; do
            # One shell for each, in the directory where the one before it was left.
            status=0
            output=$(guide_run "$place" "$said" 2>&1) || status=$?
            missing=$(shown_missing "$shown" "$output")
            # `systemctl reload` comes back before the service has read its configuration.
            if [[ -z $missing || $said != journalctl* ]] || ((SECONDS >= deadline)); then
                break
            fi
            sleep 1
        done
        place=$(inside cat /root/place)
        {
            printf '# %s\n' "$said"
            printf '%s\n' "$output"
        } >>"${GUIDE_TRANSCRIPT:-$group_directory/transcript}"
        ((status == 0)) || fail "exit status $status: $said" "$output"
        [[ -z $missing ]] || fail "the guide shows: $missing" "$output"
        count=$((count + 1))
    done
    guide_commands=$count
}
