# shellcheck shell=bash
# What a script needs and the machine may lack. Sourced by the scripts of packaging/.

# need COMMAND PACKAGE [COMMAND PACKAGE]...
#
# Installs the packages of the commands that are missing, as root on a machine that has apt-get.
# For anybody else it names them, and the script ends.
need() {
    local missing=()
    while (($#)); do
        has_command "$1" || missing+=("$2")
        shift 2
    done
    ((${#missing[@]})) || return 0

    if ((EUID != 0)) || ! has_command apt-get; then
        echo "These packages are needed and missing: ${missing[*]}" >&2
        echo "Have root install them first: apt-get install ${missing[*]}" >&2
        exit 69
    fi
    echo "installing ${missing[*]} ..."
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" \
        >/dev/null
}

# Whether a command is installed, also where Debian keeps it out of a user's PATH.
has_command() {
    PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null ||
        compgen -G "/usr/lib/postgresql/*/bin/$1" >/dev/null
}
