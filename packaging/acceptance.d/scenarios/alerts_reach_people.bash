# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of packaging/acceptance.d/group and the files it sources
# What needs a person reaches one from the hardened unit, by mail and webhook, and again when it is over.

# Servers of mail and of HTTP that keep what they receive in /run/receivers.
receivers_start() {
    inside rm -rf /run/receivers
    inside mkdir -m 755 /run/receivers
    inside tee /run/receivers.py >/dev/null <tests/fixtures/receivers.py
    inside openssl req -x509 -newkey rsa:2048 -nodes -days 3 -subj /CN=localhost \
        -keyout /run/receivers/server.key -out /run/receivers/server.crt 2>/dev/null
    # They end when their input does.
    inside systemd-run --quiet --unit=receivers --property=StandardError=journal \
        --property=StandardOutput=file:/run/receivers/ports \
        /bin/sh -c 'sleep infinity | /usr/bin/python3 /run/receivers.py /run/receivers'
    wait_for 20 "the receivers" inside test -s /run/receivers/ports
}

receivers_stop() {
    inside systemctl stop receivers
}

# port NAME
port() {
    inside jq --exit-status ".$1" /run/receivers/ports
}

# was_sent FILE TEXT: whether a message with this text has come.
was_sent() {
    inside grep --quiet --extended-regexp "$2" "/run/receivers/$1"
}

# configure_alerts SCHEDULE
configure_alerts() {
    configure <<TOML
database = "sample"
timezone = "UTC"
[jobs.daily]
schedule = "$1"
window = "10 seconds"
[metrics]
file = "/var/lib/pgbackupd/pgbackupd.prom"
[alerts.hook]
type = "webhook"
url = "http://127.0.0.1:$(port http)/hook"
[alerts.mail]
type = "email"
to = ["dba@localhost"]
from = "pgbackupd@localhost"
smtp = "localhost:$(port smtp)"
tls = "none"
TOML
    # The address of a webhook is a secret.
    inside chgrp postgres "$main_configuration"
    inside chmod 0640 "$main_configuration"
}

failure_and_recovery() {
    service_fresh
    receivers_start
    configure_alerts "$(once_soon)"
    expect "check the configuration" pgbackupd_as postgres config check
    journal_begin
    service_start
    expect "send a test" pgbackupd_as postgres alerts test
    inside systemctl stop "$postgresql_unit"
    wait_for 120 "the webhook to be sent the failure" was_sent requests.jsonl '\\"kind\\": ?\\"failed\\"'
    wait_for 20 "a mail about it" was_sent mails.jsonl 'daily backup failed'
    expect_text "the journal" "$(journal)" 'alert failed-[0-9a-f]{10} \(critical\)'
    expect_text "status" "$(pgbackupd_as postgres alerts list || true)" 'sent to hook at .*, mail at '
    expect_text "the metrics" "$(inside cat /var/lib/pgbackupd/pgbackupd.prom)" \
        'pgbackupd_backup_last_failure_timestamp_seconds\{server="main",database="sample",series="daily"\} '

    inside systemctl start "$postgresql_unit"
    configure_alerts "$(once_soon)"
    inside systemctl reload pgbackupd
    wait_for 120 "the webhook to be sent its end" was_sent requests.jsonl '\\"change\\": ?\\"resolved\\"'
    wait_for 20 "a mail about its end" was_sent mails.jsonl 'RESOLVED'
    expect_status 0 "status" pgbackupd_as postgres status
    receivers_stop
}
scenario "a failing backup alerts by mail and webhook from the hardened unit, and its recovery resolves it" \
    failure_and_recovery

# fetch PATH: what the page answers on its socket: the status, then the rest.
fetch() {
    inside /usr/bin/python3 -c '
import http.client, socket, sys
connection = http.client.HTTPConnection("localhost")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect("/run/pgbackupd/web.sock")
connection.request("GET", sys.argv[1])
answer = connection.getresponse()
print(answer.status)
print(answer.read().decode())' "$1"
}

page_has_the_backup() {
    fetch /database/main/sample 2>/dev/null | grep --quiet --extended-regexp 'backup_[0-9]{8}_[0-9]{6}'
}

page_answers() {
    service_fresh
    configure <<'TOML'
database = "sample"
timezone = "UTC"
[web]
listen = "/run/pgbackupd/web.sock"
TOML
    service_start
    expect "back up" pgbackupd_as postgres backup
    # The service judges at once then.
    inside systemctl reload pgbackupd
    wait_for 60 "the backup on the page of its database" page_has_the_backup
    expect_text "the page" "$(fetch /)" 'All is well with 1 database'
    expect_text "the health" "$(fetch /healthz)" '^200$'
    expect_text "the metrics" "$(fetch /metrics)" 'pgbackupd_backup_bytes\{server="main",database="sample",series="daily"\} '
    expect_text "the socket" "$(inside stat --format='%a %U:%G' /run/pgbackupd/web.sock)" '^660 postgres:postgres$'
}
scenario "the page and the metrics answer on a socket of the hardened unit" page_answers
