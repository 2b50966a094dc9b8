# shellcheck shell=bash
# The databases that are measured. Sourced by the scripts of benches/.
#
#   make_database SHAPE MB    makes the database tracker, about so many MB as SQL text, on the server
#                             that PGHOST, PGPORT and PGUSER lead to:
#                               sample   the sample database, whose many small values keep the
#                                        server busy
#                               text     one table of running text, which keeps compressors busy

make_database() {
    echo "making a database of about $2 MB of text ..."
    case $1 in
    sample) packaging/sample/make --scale "$2" tracker ;;
    text) make_text "$2" ;;
    *) echo "${0##*/}: there is no shape $1" >&2 && exit 64 ;;
    esac
}

# One table of numbers, times and about 300 bytes of words each, frequent ones and rare ones.
make_text() {
    createdb tracker
    psql -X --quiet --set=ON_ERROR_STOP=1 --set=rows=$(($1 * 3125)) --dbname=tracker <<'SQL'
SELECT setseed(0.5) \gset
CREATE TABLE document (id bigint PRIMARY KEY, written timestamptz, author int, state text, body text);
CREATE FUNCTION pg_temp.fill(rows bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    words text[] := array(
        SELECT left(translate(md5(i::text), '0123456789', 'ghijklmnop'), 3 + i % 7)
        FROM generate_series(0, 4095) AS i);
BEGIN
    INSERT INTO document
    SELECT d, timestamptz '2025-01-01 00:00+00' + d * interval '37 seconds', (d * 7919) % 977,
        (array['open', 'review', 'done', 'archived'])[1 + d % 4],
        -- Asking for d makes it another text for each row.
        (SELECT string_agg(words[1 + (random() * random() * 4095)::int], ' ')
         FROM generate_series(1, 40 + (d % 1)::int))
    FROM generate_series(1, rows) AS d;
END $$;
SELECT pg_temp.fill(:rows) \gset
SQL
}
