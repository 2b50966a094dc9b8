# shellcheck shell=bash
# Ports of this machine for the servers of a script. Sourced by the scripts of packaging/.
#
#   free_ports NUMBER     prints as many ports that nobody listens on, below those that the kernel gives
#                         to connections: who tries one of these in turn may connect to itself
#   port_answers PORT     whether somebody listens there

free_ports() {
    local port=$((20000 + RANDOM % 5000)) found=()
    while ((${#found[@]} < $1)); do
        port=$((port + 1))
        port_answers "$port" || found+=("$port")
    done
    echo "${found[@]}"
}

port_answers() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}
