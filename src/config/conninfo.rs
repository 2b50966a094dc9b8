//! Connection strings: libpq's keyword strings and URIs, taken apart into parameters.
//!
//! Source: the chapter "Connection Strings" of libpq's manual; where it is silent, libpq's own
//! behaviour (for example: of a parameter that stands twice, the last one counts). In one thing it is
//! more lenient: an `@` in the password of a URI need not be written as `%40`, and a `/` need not be `%2F`
//! where what comes before it is no port.

pub(crate) mod keyword;

use std::collections::BTreeMap;
use std::ops::Range;

/// Parameters by libpq's keyword.
pub(crate) type Parameters = BTreeMap<String, String>;

/// What a connection string says, without its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conninfo {
    /// Its parameters but the password.
    pub(super) parameters: Parameters,
    /// Its password, unquoted.
    pub(super) password: Option<String>,
    /// The string with the password cut out.
    pub(super) without_password: String,
}

/// Why a text is no connection string. The text itself is never shown, as it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// A keyword that libpq does not know; none where it may be a piece of a password.
    #[error("unknown libpq parameter{}", quoted(.0.as_deref()))]
    UnknownKeyword(Option<String>),
    /// A keyword without a value.
    #[error("the parameter {0:?} has no value: write {0}=…")]
    MissingValue(String),
    /// A value that has swallowed the password, since a blank, a comma or nothing at all stands before it.
    #[error(
        "the value of {0:?} would hold password=: write \'\' for an empty value, and a blank before each \
         parameter"
    )]
    SwallowedPassword(String),
    /// A port in a URI that is no number.
    #[error("the port in the URI is no number; user and password need an @ after them")]
    BadPort,
    /// A value whose closing quote is missing.
    #[error("the quotes around the value of {0:?} are not closed")]
    OpenQuote(String),
    /// A `%` that does not introduce two hexadecimal digits, or `%00`, or bytes that are no UTF-8.
    #[error("invalid percent-encoding in the URI's {0}: write a literal % as %25")]
    BadEncoding(&'static str),
    /// `[` without `]`, or nothing between them, or something odd after them.
    #[error("an IPv6 address in the URI must be between [ and ], followed by a port or the path")]
    BadAddress,
    /// `?a=b=c`.
    #[error("the URI's parameter {0:?} has more than one equals sign: write it as %3D in a value")]
    SurplusEquals(String),
}

impl ParseError {
    /// What was probably meant.
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownKeyword(Some(name)) => {
                keyword::nearest(name).map(|near| format!("did you mean {near}?"))
            }
            Self::UnknownKeyword(None) => Some(
                "write keyword=value pairs, with quotes around a value that holds blanks; or a URI that \
                 begins with postgresql://, with %XX for special characters in user and password"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

fn quoted(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| format!(" {name:?}"))
}

/// Where the rest of a URI begins.
fn scheme(text: &str) -> Option<usize> {
    ["postgresql://", "postgres://"]
        .iter()
        .find(|scheme| text.starts_with(**scheme))
        .map(|scheme| scheme.len())
}

/// Whether a connection string is a URI rather than a list of keywords.
pub(super) fn is_uri(text: &str) -> bool {
    scheme(text).is_some()
}

/// Reads a connection string of either form.
///
/// # Errors
///
/// It is none; nothing in the error can be the password.
pub(super) fn parse(text: &str) -> Result<Conninfo, ParseError> {
    let mut found = Found::default();
    match scheme(text) {
        Some(start) => uri(text, start, &mut found)?,
        None => keyword_string(text, &mut found)?,
    }
    let mut without_password = text.to_owned();
    let mut end = text.len();
    for place in found.passwords.into_iter().rev() {
        // Two next to each other both reach for the sign between them.
        without_password.replace_range(place.start..place.end.min(end), "");
        end = place.start;
    }
    let mut parameters = found.parameters;
    Ok(Conninfo {
        password: parameters.remove("password"),
        parameters,
        without_password,
    })
}

/// What has been read of a connection string.
#[derive(Default)]
struct Found {
    parameters: Parameters,
    /// What to cut out to be rid of each password.
    passwords: Vec<Range<usize>>,
}

impl Found {
    /// Takes a parameter in that stands in this place.
    fn store(&mut self, name: &str, value: String, place: Range<usize>) -> Result<(), ParseError> {
        if keyword::find(name).is_none() {
            // What is no word may be a whole URI; and after a password without quotes, even a word may be
            // the password's tail.
            let is_word = name
                .bytes()
                .all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
            let may_show =
                is_word && (self.passwords.is_empty() || keyword::nearest(name).is_some());
            return Err(ParseError::UnknownKeyword(
                may_show.then(|| name.to_owned()),
            ));
        }
        if name == "password" {
            self.passwords.push(place);
        }
        self.parameters.insert(name.to_owned(), value);
        Ok(())
    }

    /// Takes a part of a URI in, unless it is empty.
    fn store_part(
        &mut self,
        name: &'static str,
        encoded: &str,
        place: Range<usize>,
    ) -> Result<(), ParseError> {
        if encoded.is_empty() {
            return Ok(());
        }
        let part = match name {
            "user" => "user name",
            "dbname" => "database name",
            other => other,
        };
        self.store(name, decode(part, encoded)?, place)
    }
}

/// `host=localhost user = 'a b' password='it\'s'`
fn keyword_string(text: &str, found: &mut Found) -> Result<(), ParseError> {
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        let start = text.len() - rest.len();
        let end = rest.find(|c| c == '=' || is_space(c)).unwrap_or(rest.len());
        let (name, tail) = rest.split_at(end);
        let Some(tail) = tail.trim_start_matches(is_space).strip_prefix('=') else {
            return Err(missing_value(name));
        };
        let (value, tail) = keyword_value(name, tail.trim_start_matches(is_space))?;
        if name != "password" && value.contains("password=") {
            return Err(ParseError::SwallowedPassword(name.to_owned()));
        }
        found.store(name, value, start..text.len() - tail.len())?;
        rest = tail.trim_start_matches(is_space);
    }
    Ok(())
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
fn uri(text: &str, start: usize, found: &mut Found) -> Result<(), ParseError> {
    let mut rest = &text[start..];
    if let Some(at) = credentials_end(rest) {
        let (user, password) = rest[..at].split_once(':').unwrap_or((&rest[..at], ""));
        let (user_end, end) = (start + user.len(), start + at);
        found.store_part("user", user, start..user_end)?;
        found.store_part("password", password, user_end..end)?;
        rest = &rest[at + 1..];
    }
    rest = uri_hosts(found, rest)?;
    if let Some(path) = rest.strip_prefix('/') {
        let end = path.find('?').unwrap_or(path.len());
        found.store_part("dbname", &path[..end], 0..0)?;
        rest = &path[end..];
    }
    if rest.starts_with('?') {
        uri_query(text, text.len() - rest.len() + 1, found)?;
    }
    Ok(())
}

/// Where the `@` behind user and password stands. It is the last before the path; and one in the path where
/// what seems to be a port is none, which makes it and a `/` before it parts of a password.
fn credentials_end(rest: &str) -> Option<usize> {
    let path = rest.find('/').unwrap_or(rest.len());
    let query = rest.find('?').unwrap_or(rest.len());
    rest[..path].rfind('@').or_else(|| {
        let (_, port) = rest[..path].rsplit_once(':')?;
        let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
        (!is_port && path < query).then(|| rest[..query].rfind('@'))?
    })
}

/// `host:port,[::1]:port`; returns what follows. Hosts and ports become comma-separated lists.
fn uri_hosts<'a>(found: &mut Found, text: &'a str) -> Result<&'a str, ParseError> {
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
            // It may be a password.
            if !port.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(ParseError::BadPort);
            }
        }
        ports.push(port);
        match rest.strip_prefix(',') {
            Some(tail) => rest = tail,
            None => break,
        }
    }
    let hosts = hosts.join(",");
    found.store_part("host", &hosts, 0..0)?;
    if ports.iter().any(|port| !port.is_empty()) {
        found.store_part("port", &ports.join(","), 0..0)?;
    }
    Ok(rest)
}

/// `name=value&name=value`, which is the text from the start on.
fn uri_query(text: &str, mut start: usize, found: &mut Found) -> Result<(), ParseError> {
    for pair in text[start..].split('&') {
        let end = start + pair.len();
        // With the sign after it, or, for the last, with the sign before it.
        let place = if end < text.len() {
            start..end + 1
        } else {
            start - 1..end
        };
        start = end + 1;
        if pair.is_empty() {
            continue;
        }
        let (name, value) = match pair.split_once('=') {
            Some((name, value)) => (decode("parameters", name)?, value),
            None => return Err(missing_value(&decode("parameters", pair)?)),
        };
        if value.contains('=') {
            return Err(ParseError::SurplusEquals(name));
        }
        let value = decode("parameters", value)?;
        // libpq accepts this one spelling of JDBC's.
        if name == "ssl" && value == "true" {
            found.store("sslmode", "require".to_owned(), place)?;
        } else {
            found.store(&name, value, place)?;
        }
    }
    Ok(())
}

/// A word without a value, which is shown only if it is a keyword: it may be the tail of a password that
/// lacks its quotes.
fn missing_value(name: &str) -> ParseError {
    match keyword::find(name) {
        Some(_) => ParseError::MissingValue(name.to_owned()),
        None => ParseError::UnknownKeyword(None),
    }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Vec<(String, String)> {
        match parse(text) {
            Ok(read) => {
                let password = read.password.map(|value| ("password".to_owned(), value));
                let mut all: Vec<_> = read.parameters.into_iter().chain(password).collect();
                all.sort_unstable();
                all
            }
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
            ("postgresql://h/d@e", &[("dbname", "d@e"), ("host", "h")]),
            (
                "postgresql://h:1/d@e",
                &[("dbname", "d@e"), ("host", "h"), ("port", "1")],
            ),
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
            ("hots=a", ParseError::UnknownKeyword(Some(name("hots")))),
            ("host", ParseError::MissingValue(name("host"))),
            ("password=a b", ParseError::UnknownKeyword(None)),
            ("user='a", ParseError::OpenQuote(name("user"))),
            ("postgresql://u%", ParseError::BadEncoding("host")),
            ("postgresql://%00@h", ParseError::BadEncoding("user name")),
            (
                "postgresql://h/%FF",
                ParseError::BadEncoding("database name"),
            ),
            ("postgresql://u:hidden", ParseError::BadPort),
            ("postgresql://u:hidden/x", ParseError::BadPort),
            (
                "host= password=hidden",
                ParseError::SwallowedPassword(name("host")),
            ),
            (
                "host=h,password=hidden",
                ParseError::SwallowedPassword(name("host")),
            ),
            (
                "postgresql+asyncpg://u:hidden@h/d?sslmode=x",
                ParseError::UnknownKeyword(None),
            ),
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
                ParseError::UnknownKeyword(Some(name("colour"))),
            ),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn no_error_shows_a_password() {
        for text in [
            "password=hidden hidden",
            "password='hidden",
            "postgresql://u:hidden%zz@h",
            "user=u password=x\\ hidden hidden=hidden hidden",
        ] {
            let error = parse(text).expect_err(text);
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("hidden"), "{text:?}: {shown}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange_to_be_read_or_refused(
            text in "(postgres://)?([a-z:@/?&=%'\\\\ é\\[\\]0-9]|password=|&password=){0,30}",
        ) {
            if let Ok(read) = parse(&text) {
                prop_assert!(read.without_password.len() <= text.len());
            }
        }
    }

    #[test]
    fn the_password_is_cut_out_of_either_form() {
        let table = [
            (
                "postgresql://u:p%40ss@h:5432/db?sslmode=require",
                "p@ss",
                "postgresql://u@h:5432/db?sslmode=require",
            ),
            (
                "postgres://u@h/db?password=x&sslmode=require",
                "x",
                "postgres://u@h/db?sslmode=require",
            ),
            (
                "postgres://u@h/db?sslmode=require&password=x",
                "x",
                "postgres://u@h/db?sslmode=require",
            ),
            ("postgres://u@h/db?password=x", "x", "postgres://u@h/db"),
            ("postgres://u:p?w@h/db", "p?w", "postgres://u@h/db"),
            ("postgres://u:a/b@c@h/db", "a/b@c", "postgres://u@h/db"),
            ("postgres://u:p@ss@h/db", "p@ss", "postgres://u@h/db"),
            ("postgres://h/?password=a&password=b", "b", "postgres://h/?"),
            (
                "postgres://u:a@h/?password=b&password=c&port=1",
                "c",
                "postgres://u@h/?port=1",
            ),
            (
                "postgres://u:a@h/?password=b&port=1",
                "b",
                "postgres://u@h/?port=1",
            ),
            ("host=h password=x user=u", "x", "host=h  user=u"),
            ("host=h password = 'a b\\'c' ", "a b'c", "host=h  "),
            ("password=a\\ b", "a b", ""),
        ];
        for (text, password, rest) in table {
            let read = parse(text).unwrap();
            assert_eq!(read.password.as_deref(), Some(password), "{text}");
            assert_eq!(read.without_password, rest, "{text}");
        }
    }
}
