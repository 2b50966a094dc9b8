//! Connection strings: libpq's keyword strings and URIs, taken apart into parameters.
//!
//! Source: the chapter "Connection Strings" of libpq's manual; where it is silent, libpq's own
//! behaviour (for example: of a parameter that stands twice, the last one counts).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::keyword;

/// Parameters by keyword, as they stand in one place, checked for known keywords only.
pub(super) type Parameters = BTreeMap<String, String>;

/// Why a text is no connection string. The text itself is never shown, as it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// A keyword that libpq does not know.
    #[error("{0:?} is no connection parameter of libpq{hint}", hint = did_you_mean(.0))]
    UnknownKeyword(String),
    /// A keyword without a value.
    #[error("the parameter {0:?} has no value: write {0}=…")]
    MissingValue(String),
    /// A value whose closing quote is missing.
    #[error("the quotes around the value of {0:?} are not closed")]
    OpenQuote(String),
    /// A `%` that does not introduce two hexadecimal digits, or `%00`, or bytes that are no UTF-8.
    #[error(
        "the percent sign or the characters after it make no sense in the URI's {0}: \
         write a literal % as %25"
    )]
    BadEncoding(&'static str),
    /// `[` without `]`, or nothing between them, or something odd after them.
    #[error(
        "an IPv6 address in the URI must stand between [ and ], followed by a port or the path"
    )]
    BadAddress,
    /// A second `@` before the path: it belongs to the password.
    #[error("the URI has more than one @ before the path: write the password's own @ as %40")]
    SurplusAt,
    /// `?a=b=c`.
    #[error("the URI's parameter {0:?} has more than one equals sign: write it as %3D in a value")]
    SurplusEquals(String),
}

fn did_you_mean(name: &str) -> String {
    let mut hint = String::new();
    if let Some(near) = keyword::nearest(name) {
        // Writing to a String cannot fail.
        let _ = write!(hint, "; did you mean {near:?}?");
    }
    hint
}

/// Takes a connection string apart.
pub(super) fn connection_string(text: &str) -> Result<Parameters, ParseError> {
    match text
        .strip_prefix("postgresql://")
        .or_else(|| text.strip_prefix("postgres://"))
    {
        Some(rest) => uri(rest),
        None => keyword_string(text),
    }
}

/// `host=localhost user = 'a b' password='it\'s'`
fn keyword_string(text: &str) -> Result<Parameters, ParseError> {
    let mut parameters = Parameters::new();
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        let end = rest.find(|c| c == '=' || is_space(c)).unwrap_or(rest.len());
        let (name, tail) = rest.split_at(end);
        let Some(tail) = tail.trim_start_matches(is_space).strip_prefix('=') else {
            return Err(if keyword::find(name).is_some() {
                ParseError::MissingValue(name.to_owned())
            } else {
                // Not shown: it may be the tail of a password that lacks its quotes.
                ParseError::UnknownKeyword("…".to_owned())
            });
        };
        let (value, tail) = keyword_value(name, tail.trim_start_matches(is_space))?;
        store(&mut parameters, name, value)?;
        rest = tail.trim_start_matches(is_space);
    }
    Ok(parameters)
}

/// The value at the head of the text, and what follows it.
fn keyword_value<'a>(name: &str, text: &'a str) -> Result<(String, &'a str), ParseError> {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut chars = text.char_indices().skip(usize::from(quoted));
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Ok((value, &text[at + 1..])),
            c if !quoted && is_space(c) => return Ok((value, &text[at..])),
            c => value.push(c),
        }
    }
    if quoted {
        return Err(ParseError::OpenQuote(name.to_owned()));
    }
    Ok((value, ""))
}

/// The blanks of C's `isspace`, which libpq asks.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

/// What follows `postgresql://`: `[user[:password]@][host][:port][,…][/dbname][?name=value[&…]]`.
fn uri(text: &str) -> Result<Parameters, ParseError> {
    let mut parameters = Parameters::new();
    let mut rest = text;
    // The first @ or / decides; one of them in a password must be percent-encoded.
    if let Some(at) = rest.find(['@', '/'])
        && rest[at..].starts_with('@')
    {
        let (user, password) = match rest[..at].split_once(':') {
            Some((user, password)) => (user, password),
            None => (&rest[..at], ""),
        };
        store_part(&mut parameters, "user", "user name", user)?;
        store_part(&mut parameters, "password", "password", password)?;
        rest = &rest[at + 1..];
    }
    rest = uri_hosts(&mut parameters, rest)?;
    if let Some(path) = rest.strip_prefix('/') {
        let end = path.find('?').unwrap_or(path.len());
        store_part(&mut parameters, "dbname", "database name", &path[..end])?;
        rest = &path[end..];
    }
    if let Some(query) = rest.strip_prefix('?') {
        uri_query(&mut parameters, query)?;
    }
    Ok(parameters)
}

/// `host:port,[::1]:port`; returns what follows. Hosts and ports become comma-separated lists.
fn uri_hosts<'a>(parameters: &mut Parameters, text: &'a str) -> Result<&'a str, ParseError> {
    let mut rest = text;
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    loop {
        let host;
        if let Some(bracketed) = rest.strip_prefix('[') {
            let end = bracketed.find(']').ok_or(ParseError::BadAddress)?;
            host = &bracketed[..end];
            rest = &bracketed[end + 1..];
            if host.is_empty() || !(rest.is_empty() || rest.starts_with([':', '/', '?', ','])) {
                return Err(ParseError::BadAddress);
            }
        } else {
            let end = rest.find([':', '/', '?', ',']).unwrap_or(rest.len());
            (host, rest) = rest.split_at(end);
        }
        hosts.push(host);
        let mut port = "";
        if let Some(tail) = rest.strip_prefix(':') {
            let end = tail.find(['/', '?', ',']).unwrap_or(tail.len());
            (port, rest) = tail.split_at(end);
        }
        ports.push(port);
        match rest.strip_prefix(',') {
            Some(tail) => rest = tail,
            None => break,
        }
    }
    let hosts = hosts.join(",");
    if hosts.contains('@') {
        return Err(ParseError::SurplusAt);
    }
    store_part(parameters, "host", "host", &hosts)?;
    if ports.iter().any(|port| !port.is_empty()) {
        store_part(parameters, "port", "port", &ports.join(","))?;
    }
    Ok(rest)
}

/// `name=value&name=value`
fn uri_query(parameters: &mut Parameters, query: &str) -> Result<(), ParseError> {
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = match pair.split_once('=') {
            Some((name, value)) => (decode("parameters", name)?, value),
            None => return Err(ParseError::MissingValue(decode("parameters", pair)?)),
        };
        if value.contains('=') {
            return Err(ParseError::SurplusEquals(name));
        }
        let value = decode("parameters", value)?;
        // libpq accepts this one spelling of JDBC's.
        if name == "ssl" && value == "true" {
            store(parameters, "sslmode", "require".to_owned())?;
        } else {
            store(parameters, &name, value)?;
        }
    }
    Ok(())
}

fn store_part(
    parameters: &mut Parameters,
    name: &str,
    part: &'static str,
    encoded: &str,
) -> Result<(), ParseError> {
    if encoded.is_empty() {
        return Ok(());
    }
    store(parameters, name, decode(part, encoded)?)
}

fn decode(part: &'static str, text: &str) -> Result<String, ParseError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = tail;
            continue;
        }
        let digit = |at: usize| tail.get(at).and_then(|&byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(0), digit(1)) else {
            return Err(ParseError::BadEncoding(part));
        };
        match u8::try_from(high * 16 + low) {
            Ok(byte) if byte != 0 => bytes.push(byte),
            _ => return Err(ParseError::BadEncoding(part)),
        }
        rest = &tail[2..];
    }
    String::from_utf8(bytes).map_err(|_| ParseError::BadEncoding(part))
}

fn store(parameters: &mut Parameters, name: &str, value: String) -> Result<(), ParseError> {
    if keyword::find(name).is_none() {
        // After a password without quotes, it may be the password's tail.
        let shown = !parameters.contains_key("password") || keyword::nearest(name).is_some();
        let name = if shown { name } else { "…" };
        return Err(ParseError::UnknownKeyword(name.to_owned()));
    }
    parameters.insert(name.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<(String, String)> {
        match connection_string(text) {
            Ok(parameters) => parameters.into_iter().collect(),
            Err(error) => panic!("{text:?}: {error}"),
        }
    }

    #[test]
    fn a_keyword_string_is_taken_apart_as_libpq_does() {
        let table: &[(&str, &[(&str, &str)])] = &[
            ("", &[]),
            ("  ", &[]),
            ("host=a", &[("host", "a")]),
            (
                "host = a  port=\t5433\n",
                &[("host", "a"), ("port", "5433")],
            ),
            ("user='a b' dbname=c", &[("dbname", "c"), ("user", "a b")]),
            (
                r"user='it\'s' password=a\ b\\c",
                &[("password", r"a b\c"), ("user", "it's")],
            ),
            ("user=a user=b", &[("user", "b")]),
            ("host='' port=1", &[("host", ""), ("port", "1")]),
            ("host= port=1", &[("host", "port=1")]),
            ("dbname='ق ل'", &[("dbname", "ق ل")]),
            ("dbname=postgresql://x", &[("dbname", "postgresql://x")]),
        ];
        for (text, expected) in table {
            let expected: Vec<_> = expected
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            assert_eq!(parsed(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_uri_is_taken_apart_as_libpq_does() {
        let table: &[(&str, &[(&str, &str)])] = &[
            ("postgresql://", &[]),
            ("postgres://h", &[("host", "h")]),
            (
                "postgresql://h:1/d",
                &[("dbname", "d"), ("host", "h"), ("port", "1")],
            ),
            ("postgresql://u@h", &[("host", "h"), ("user", "u")]),
            (
                "postgresql://u:p%40%3a@/d",
                &[("dbname", "d"), ("password", "p@:"), ("user", "u")],
            ),
            (
                "postgresql:///d?host=/tmp",
                &[("dbname", "d"), ("host", "/tmp")],
            ),
            (
                "postgresql://%2Fvar%2Frun:7/",
                &[("host", "/var/run"), ("port", "7")],
            ),
            ("postgresql://[::1]:9", &[("host", "::1"), ("port", "9")]),
            (
                "postgresql://a:1,b,[fe80::1]",
                &[("host", "a,b,fe80::1"), ("port", "1,,")],
            ),
            (
                "postgresql://h?sslmode=disable&",
                &[("host", "h"), ("sslmode", "disable")],
            ),
            (
                "postgresql://h/?ssl=true",
                &[("host", "h"), ("sslmode", "require")],
            ),
            (
                "postgresql:///%D9%82?options=-c%20a%3D1",
                &[("dbname", "ق"), ("options", "-c a=1")],
            ),
            ("postgresql://h/d/e", &[("dbname", "d/e"), ("host", "h")]),
        ];
        for (text, expected) in table {
            let expected: Vec<_> = expected
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            assert_eq!(parsed(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_text_that_is_no_connection_string_is_refused() {
        let name = |text: &str| text.to_owned();
        let table = [
            ("hots=a", ParseError::UnknownKeyword(name("hots"))),
            ("host", ParseError::MissingValue(name("host"))),
            ("password=a b", ParseError::UnknownKeyword(name("…"))),
            ("user='a", ParseError::OpenQuote(name("user"))),
            ("postgresql://u%", ParseError::BadEncoding("host")),
            ("postgresql://%00@h", ParseError::BadEncoding("user name")),
            (
                "postgresql://h/%FF",
                ParseError::BadEncoding("database name"),
            ),
            ("postgresql://u:p@ss@h/d", ParseError::SurplusAt),
            ("postgresql://[::1", ParseError::BadAddress),
            ("postgresql://[]", ParseError::BadAddress),
            ("postgresql://[::1]x", ParseError::BadAddress),
            (
                "postgresql://h?user",
                ParseError::MissingValue(name("user")),
            ),
            (
                "postgresql://h?user=a=b",
                ParseError::SurplusEquals(name("user")),
            ),
            (
                "postgresql://h?colour=red",
                ParseError::UnknownKeyword(name("colour")),
            ),
        ];
        for (text, expected) in table {
            assert_eq!(connection_string(text), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn no_error_shows_a_password() {
        for text in [
            "password=hidden hidden",
            "password='hidden",
            "postgresql://u:hidden%zz@h",
            "user=u password=x\\ hidden hidden=hidden hidden",
            "postgresql://u:x@hidden@h",
        ] {
            let error = connection_string(text).expect_err(text);
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("hidden"), "{text:?}: {shown}");
        }
    }
}
