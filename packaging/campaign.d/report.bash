# shellcheck shell=bash
# The figures of the campaign in docs/reliability.md, between their two marks. Sourced by packaging/campaign.

# report RESULTS TOTALS PAGE
report() {
    local table
    table=$(mktemp)
    figures "$1" "$2" >"$table"
    sed -i -e '/^<!-- figures begin -->$/,/^<!-- figures end -->$/ {
        /^<!-- figures begin -->$/ r '"$table"'
        /^<!-- figures /!d
    }' "$3"
    rm -f "$table"
}

figures() {
    local version server
    version=$(sed -nE '0,/^version = /s/^version = "(.*)"/\1/p' Cargo.toml)
    server=$("$(newest_installed_server)/postgres" --version | sed -E 's/^postgres \(PostgreSQL\) ([^ ]+).*/\1/')
    echo
    echo "$(date --utc +%Y-%m-%d --reference="$1"), pgbackupd $version ($(git rev-parse --short HEAD)), PostgreSQL $server:"
    echo
    echo "| what | command | format | cases | tried | faults |"
    echo "|---|---|---|---|---|---|"
    awk -F'\t' -v OFS='\t' '
        NR == FNR { calls[$1, $2] = $3; next }
        {
            key = $1 SUBSEP $2 SUBSEP $3
            tried[key]++
            if ($7 ~ /^FAULT/) faults[key]++
        }
        END {
            what["call"] = "failed system calls"; what["kill"] = "kills"; what["file"] = "changed files"
            for (key in tried) {
                split(key, part, SUBSEP)
                total = part[2] == "copy" ? "200" : "100"
                if (part[1] == "call") {
                    step = part[2] ~ /^(drill|restore|salvage)$/ ? 7 : 1
                    total = 2 * int((calls[part[2], part[3]] + step - 1) / step)
                }
                if (part[1] == "file") total = "all"
                printf "%s|| %s | %s | %s | %s | %d | %d |\n", part[1] part[2] part[3], what[part[1]], part[2],
                    part[3], total, tried[key], faults[key]
            }
        }' "$2" "$1" | sort | sed 's/^[^|]*|//'
    echo
}
