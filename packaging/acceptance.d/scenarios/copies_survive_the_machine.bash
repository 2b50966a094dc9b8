# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # variables of, and for, packaging/acceptance.d/group and the files it sources
# Copies in a store that speaks S3: the service makes them with a credential of systemd's, the machine is gone,
# and docs/disaster-recovery.md brings everything back on another one, command by command.

# The store is on the machines themselves, which have no network; what it holds is outside.
store_start() {
    cp "$store_program" "$container_directory/root/usr/local/bin/weed"
    inside systemd-run --quiet --unit=store /usr/local/bin/weed server -dir=/srv/store -ip=127.0.0.1 -ip.bind=127.0.0.1 \
        -s3 -s3.config=/srv/store/identities.json -volume.max=20 -master.volumeSizeLimitMB=64 \
        -master.volumePreallocate=false
    wait_for 30 "the store" store_has_the_bucket
}

# A request to make it: 200, or 409 where it is there.
store_has_the_bucket() {
    local status
    status=$(inside curl --silent --output /dev/null --write-out '%{http_code}' --max-time 5 --request PUT \
        --aws-sigv4 aws:amz:us-east-1:s3 --user AKIASTORE:hunter3hunter3 http://127.0.0.1:8333/backups)
    [[ $status == 200 || $status == 409 ]]
}

store_program=target/stores/bin/weed
if [[ ! -x $store_program ]]; then
    store_program=$(type -P weed || true)
fi

# has_copies DATABASE
has_copies() {
    ledger "$backups/$1" 'select(.operation == "copy" and .event == "succeeded") | .run' 2>/dev/null | grep --quiet .
}

nightly_copy() {
    jq --null-input '{identities: [{name: "store", actions: ["Admin"],
        credentials: [{accessKey: "AKIASTORE", secretKey: "hunter3hunter3"}]}, {name: "backups",
        credentials: [{accessKey: "AKIAACCEPTANCE", secretKey: "hunter2hunter2hunter2"}],
        actions: ["Read", "Write", "List"]}]}' >"$group_directory/store/identities.json"
    store_start
    service_fresh
    sql postgres "CREATE ROLE tracker LOGIN PASSWORD 'unforgotten'"
    sql postgres "CREATE DATABASE productivity_tracker OWNER tracker"
    sql productivity_tracker "CREATE TABLE work AS SELECT n, md5(n::text) AS what
        FROM generate_series(1, 20000) AS n; ALTER TABLE work OWNER TO tracker"

    # As docs/copies.md and docs/keys.md have it: the identity is kept elsewhere, the secret is root's alone.
    local recipient
    expect "make a key" inside pgbackupd key generate --output /root/identity.txt
    recipient=$(inside grep --only-matching --max-count=1 'age1[0-9a-z]*' /root/identity.txt)
    inside cat /root/identity.txt >"$group_directory/identity.txt"
    inside rm /root/identity.txt
    inside sh -c 'umask 077 && echo hunter2hunter2hunter2 >/root/s3-secret-key'
    # So is the key that signs.
    rm --force "$group_directory"/copies-signer*
    ssh-keygen -q -t ed25519 -N '' -f "$group_directory/copies-signer"
    inside sh -c 'umask 077 && cat >/root/copies-signer' <"$group_directory/copies-signer"
    drop_in store <<<'[Service]
LoadCredential=s3-secret-key:/root/s3-secret-key
LoadCredential=copies-signer:/root/copies-signer'
    configure <<<"name = \"db1\"
database = \"productivity_tracker\"
timezone = \"UTC\"
[encryption]
recipients = [\"$recipient\"]
signer_credential = \"copies-signer\"
[destinations.offsite]
url = \"s3://backups/db\"
endpoint = \"http://127.0.0.1:8333\"
access_key_id = \"AKIAACCEPTANCE\"
credential = \"s3-secret-key\"
[jobs.daily]
schedule = \"$(once_soon)\""
    journal_begin
    service_start
    wait_for 120 "the copy" has_copies productivity_tracker
    expect_equal "what is on record" "$(ledger "$backups/productivity_tracker" \
        'select(.operation == "copy" and .event == "succeeded") | .destination + " " + .copy')" "offsite opened"
    expect_no_text "the journal" "$(journal)" "hunter2"
    local exposure
    exposure=$(inside systemd-analyze security pgbackupd.service --no-pager | tail -n 1)
    expect_text "exposure" "$exposure" ": (0|1)\.[0-5] "

    # A command has no credential of the service's, and says what to do; with one, it reads the copies.
    expect_status 78 "list without the credential" inside pgbackupd list --from offsite
    expect_text "the way out" "$output" "hint:"
    inside pgbackupd key show --json | jq --raw-output .signer.fingerprint >"$group_directory/signer"
    expect_equal "the fingerprint" "$(<"$group_directory/signer")" \
        "$(ssh-keygen -lf "$group_directory/copies-signer.pub" | cut --delimiter=' ' --fields=2)"
    expect_status 1 "look for a key in the state directory" inside test -e /var/lib/pgbackupd/signer
    expect_status 78 "copy without the credential" inside pgbackupd copy
    expect_text "the way out" "$output" "LoadCredential=copies-signer:"
}
scenario "the nightly backup is encrypted, copied to a store and read back there, with a credential of systemd's" nightly_copy

# The machine is gone: all that is left is the store, the key and the page for the safe.
container_destroy
container_boot "$container_name" "$group_directory/another" --bind="$group_directory/store:/srv/store"
cp "$package" "$container_directory/root/root/pgbackupd_0.1.0-1_amd64.deb"

machine_gone() {
    store_start
    # No server, no configuration and no package.
    expect_status 1 "look for the program" inside test -e /usr/bin/pgbackupd
    expect_status 1 "look for the configuration" inside test -e /etc/pgbackupd
    make_a_server
    inside tee /root/key.txt <"$group_directory/identity.txt" >/dev/null
    guide_prepare
    guide_names="s|AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… AWS_REGION=eu-central-1|AWS_ACCESS_KEY_ID=AKIAACCEPTANCE \
AWS_SECRET_ACCESS_KEY=hunter2hunter2hunter2 AWS_REGION=us-east-1 AWS_ENDPOINT_URL=http://127.0.0.1:8333|
        s|SHA256:…|$(<"$group_directory/signer")|"
    guide_follow docs/disaster-recovery.md "The machine is gone"
    ((guide_commands >= 4)) || fail "only $guide_commands commands were found"
    expect_equal "the rows" "$(sql productivity_tracker 'SELECT count(*), sum(n) FROM work')" "20000|200010000"
    expect_equal "owner" "$(sql productivity_tracker \
        "SELECT tableowner FROM pg_tables WHERE tablename = 'work'")" tracker
    expect_equal "the password" \
        "$(inside env PGPASSWORD=unforgotten psql -XAtqh 127.0.0.1 -U tracker -d productivity_tracker -c 'SELECT 1')" 1
}
scenario "a machine with the package, the address and the key brings everything back, by the guide" machine_gone
