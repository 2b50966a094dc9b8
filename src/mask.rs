//! Text that other programs wrote, without the passwords in it. A password is known by where it
//! stands: behind `password=`, in a URI, in a line of a password file. What only reads like it, a role
//! or a directory of the same name, is left as it is.

use std::fmt::Write as _;
use std::ops::Range;

const STARS: &str = "********";

/// The keys of libpq, and the word of SQL, behind which a password stands. In lower case.
const KEYS: [&str; 3] = ["sslpassword", "pgpassword", "password"];

/// A password of so many characters, with letters and digits mixed, is no word of any text.
const NO_WORD: usize = 12;

/// The text with every password starred out, also those that are not among the known ones.
pub(crate) fn mask(text: &str, known: &[&str]) -> String {
    let mut hidden = Vec::new();
    assigned(text, &mut hidden);
    in_uris(text, &mut hidden);
    for secret in known.iter().filter(|secret| !secret.is_empty()) {
        in_passfile_lines(text, secret, &mut hidden);
        if is_no_word(secret) {
            for form in [
                (*secret).to_owned(),
                escaped(secret, &['\\', '\'']),
                percent(secret),
            ] {
                let found = text.match_indices(&form);
                hidden.extend(found.map(|(at, _)| at..at + form.len()));
            }
        }
    }
    starred(text, hidden)
}

/// The text with the passwords of URIs starred out.
pub(crate) fn mask_uris(text: &str) -> String {
    let mut hidden = Vec::new();
    in_uris(text, &mut hidden);
    starred(text, hidden)
}

fn starred(text: &str, mut hidden: Vec<Range<usize>>) -> String {
    hidden.retain(|range| !range.is_empty());
    hidden.sort_by_key(|range| range.start);
    let mut masked = String::with_capacity(text.len());
    let mut at = 0;
    for range in hidden {
        if range.start >= at {
            masked.push_str(&text[at..range.start]);
            masked.push_str(STARS);
        }
        at = at.max(range.end);
    }
    masked.push_str(&text[at..]);
    masked
}

/// Values behind `password =`, quoted or not, in a connection string or a URI's query, and literals
/// behind SQL's PASSWORD.
fn assigned(text: &str, hidden: &mut Vec<Range<usize>>) {
    let lower = text.to_ascii_lowercase();
    let mut from = 0;
    while let Some(found) = lower[from..].find("password") {
        let end = from + found + "password".len();
        from = end;
        let word = lower[..end].rfind(|c: char| !is_of_word(c));
        let start = word.map_or(0, |at| {
            at + lower[at..].chars().next().map_or(1, char::len_utf8)
        });
        if !KEYS.contains(&&lower[start..end]) {
            continue;
        }
        let rest = &text[end..];
        let spaces = rest.len() - rest.trim_start().len();
        let behind = &rest[spaces..];
        let value = if let Some(value) = behind.strip_prefix('=') {
            let gap = value.len() - value.trim_start_matches(' ').len();
            end + spaces + 1 + gap
        } else {
            // SQL's literal, or the name of a user in a sentence.
            let literal = behind.strip_prefix(['E', 'e']).unwrap_or(behind);
            if spaces == 0 || !literal.starts_with('\'') {
                continue;
            }
            text.len() - literal.len()
        };
        let is_of_query = text[..start].ends_with(['?', '&']);
        let range = value_at(text, value, is_of_query);
        from = from.max(range.end);
        hidden.push(range);
    }
}

/// The value that begins here, without its quotes.
fn value_at(text: &str, start: usize, is_of_query: bool) -> Range<usize> {
    let rest = &text[start..];
    if let Some(quoted) = rest.strip_prefix('\'') {
        let mut is_escaped = false;
        let end = quoted.find(|c| {
            let ends = c == '\'' && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            ends
        });
        return start + 1..start + 1 + end.unwrap_or(quoted.len());
    }
    let mut is_escaped = false;
    let end = rest.find(|c: char| {
        let ends =
            !is_escaped && (c.is_whitespace() || is_of_query && matches!(c, '&' | '"' | '\''));
        is_escaped = c == '\\' && !is_escaped;
        ends
    });
    start..start + end.unwrap_or(rest.len())
}

/// What stands between user and host of a URI.
fn in_uris(text: &str, hidden: &mut Vec<Range<usize>>) {
    for (at, found) in text.match_indices("://") {
        let scheme = text[..at].to_ascii_lowercase();
        if !(scheme.ends_with("postgres") || scheme.ends_with("postgresql")) {
            continue;
        }
        let start = at + found.len();
        let uri = &text[start..];
        let end = uri.find(|c: char| c.is_whitespace() || c == '"');
        let uri = &uri[..end.unwrap_or(uri.len())];
        hidden.extend(password_of(uri).map(|range| start + range.start..start + range.end));
    }
}

/// Where the password of a URI is, behind its `://`. One that is not encoded may have a slash, a question
/// mark or a hash in it, where libpq takes the rest for something else: what is before the last `@` is
/// hidden all the same.
pub(crate) fn password_of(uri: &str) -> Option<Range<usize>> {
    let is_of_authority = |c: char| !matches!(c, '/' | '?' | '#');
    let authority = &uri[..uri.find(|c| !is_of_authority(c)).unwrap_or(uri.len())];
    let user_end = authority.rfind('@').or_else(|| uri.rfind('@'))?;
    let colon = authority[..user_end.min(authority.len())].find(':')?;
    Some(colon + 1..user_end)
}

/// A known password as the last field of `host:port:database:user:password`.
fn in_passfile_lines(text: &str, secret: &str, hidden: &mut Vec<Range<usize>>) {
    for form in [secret.to_owned(), escaped(secret, &['\\', ':'])] {
        let behind_colon = format!(":{form}");
        for (at, found) in text.match_indices(&behind_colon) {
            let end = at + found.len();
            let line = &text[text[..at].rfind('\n').map_or(0, |line| line + 1)..at];
            let is_last = text[end..]
                .chars()
                .next()
                .is_none_or(|c| c.is_whitespace() || matches!(c, '"' | '\''));
            if is_last && ends_with_four_fields(line) {
                hidden.push(at + 1..end);
            }
        }
    }
}

/// Whether a line ends with host, port, database and user of a password file.
fn ends_with_four_fields(line: &str) -> bool {
    let mut fields = Vec::new();
    let (mut field, mut is_escaped) = (String::new(), false);
    for c in line.chars() {
        if c == ':' && !is_escaped {
            fields.push(std::mem::take(&mut field));
        } else {
            field.push(c);
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    fields.push(field);
    let [.., host, port, database, user] = fields.as_slice() else {
        return false;
    };
    let is_port = port == "*" || !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    is_port && [host, database, user].iter().all(|field| !field.is_empty())
}

/// Whether nobody writes this by chance.
fn is_no_word(secret: &str) -> bool {
    let kinds: Vec<(bool, bool)> = secret
        .chars()
        .map(|c| (c.is_alphabetic(), c.is_numeric()))
        .collect();
    let is_mixed = |pair: &&[(bool, bool)]| pair[0].0 && pair[1].1 || pair[0].1 && pair[1].0;
    kinds.len() >= NO_WORD && kinds.windows(2).filter(is_mixed).count() >= 3
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn escaped(text: &str, special: &[char]) -> String {
    text.chars()
        .flat_map(|c| special.contains(&c).then_some('\\').into_iter().chain([c]))
        .collect()
}

fn percent(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::mask;

    const STRONG: &str = "k7Qz2m:9vX'4p\\x";

    #[test]
    fn a_password_is_hidden_in_every_form_in_which_it_occurs() {
        for (text, shown) in [
            (
                "host=a password=secret user=u",
                "host=a password=******** user=u",
            ),
            ("password = secret", "password = ********"),
            ("PGPASSWORD=x psql", "PGPASSWORD=******** psql"),
            (r"password='it\'s one' port=1", "password='********' port=1"),
            (r"password=a\ b port=1", "password=******** port=1"),
            ("sslpassword=abc", "sslpassword=********"),
            ("dbname=a password=", "dbname=a password="),
            (
                "postgresql://u:se%63ret@h:5432/d?sslpassword=y&port=1",
                "postgresql://u:********@h:5432/d?sslpassword=********&port=1",
            ),
            ("\"postgres://u:p:q@h\"", "\"postgres://u:********@h\""),
            ("postgres://u:123/PW@h/d", "postgres://u:********@h/d"),
            ("postgres://u:a#b@h/d", "postgres://u:********@h/d"),
            (
                "\"postgres://u:a?b/c@h:1\" is",
                "\"postgres://u:********@h:1\" is",
            ),
            (
                "postgres:///d?user=u&password=p%20q&host=h",
                "postgres:///d?user=u&password=********&host=h",
            ),
            (
                "db.example:5432:*:backup:secret",
                "db.example:5432:*:backup:********",
            ),
            (
                "wrong line \"h:*:my db:u:secret\" in the file",
                "wrong line \"h:*:my db:u:********\" in the file",
            ),
            (r"h:1:d:u:with\:colon", "h:1:d:u:********"),
            (
                "ALTER ROLE a PASSWORD 'SCRAM-SHA-256$4096:x==$y';",
                "ALTER ROLE a PASSWORD '********';",
            ),
            (
                "line 1\npassword=secret\nline 3",
                "line 1\npassword=********\nline 3",
            ),
        ] {
            assert_eq!(mask(text, &["secret", "with:colon"]), shown, "{text}");
        }
        // One that is no word of any text is hidden wherever it is.
        for text in [
            STRONG.to_owned(),
            format!("xx{STRONG}yy"),
            r"'k7Qz2m:9vX\'4p\\x'".to_owned(),
            "k7Qz2m%3A9vX%274p%5Cx".to_owned(),
        ] {
            let shown = mask(&text, &[STRONG]);
            assert!(
                shown.contains("********") && !shown.contains("9vX"),
                "{shown}"
            );
        }
    }

    #[test]
    fn words_that_are_no_password_stay() {
        let known = ["postgres", "a", "5432", "sales", "15"];
        for text in [
            "role \"postgres\" does not exist",
            "FATAL: password authentication failed for user \"postgres\"",
            "no password supplied",
            "password_encryption = scram-sha-256",
            "the setting password_required=false of the foreign server",
            "connection to server at \"localhost\" (127.0.0.1), port 5432 failed",
            "/usr/lib/postgresql/15/bin/pg_dump: error: a query failed",
            "2025-07-09 12:00:00.123 UTC [1] sales:sales",
            "postgresql://host:5432/sales and https://a:b@c",
            "postgres://u@host:5432/sales?application_name=x",
            "COPY public.sales (a) FROM stdin",
            "(passwort=ä) ünïcode password",
        ] {
            assert_eq!(mask(text, &known), text);
        }
    }
}
