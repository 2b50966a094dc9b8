//! libpq's connection strings, as far as the configuration must know them: which keywords they use,
//! which database they name, and where a password stands in them (the manual's section 34.1.1).

use std::borrow::Cow;
use std::ops::Range;

/// libpq's keywords that may stand in a connection string.
pub(super) const KEYWORDS: [&str; 41] = [
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "dbname",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "options",
    "passfile",
    "password",
    "port",
    "require_auth",
    "requirepeer",
    "service",
    "servicefile",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslcrldir",
    "sslkey",
    "sslmode",
    "sslnegotiation",
    "sslrootcert",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
    "ssl",
];

/// What a connection string says, without its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conninfo {
    /// The keywords that it uses.
    pub(super) keywords: Vec<String>,
    /// The database that it names.
    pub(super) dbname: Option<String>,
    /// Its password, unquoted.
    pub(super) password: Option<String>,
    /// The string with the password cut out.
    pub(super) without_password: String,
}

/// Whether a connection string is a URI rather than a list of keywords.
pub(super) fn is_uri(text: &str) -> bool {
    text.starts_with("postgresql://") || text.starts_with("postgres://")
}

/// Reads a connection string of either form.
///
/// # Errors
///
/// A sentence that says what is wrong, and quotes nothing, for the text may hold a password.
pub(super) fn parse(text: &str) -> Result<Conninfo, String> {
    let pieces = if is_uri(text) {
        uri(text)?
    } else {
        keywords(text)?
    };
    let mut without_password = text.to_owned();
    let (mut dbname, mut password, mut names) = (None, None, Vec::new());
    for piece in pieces.into_iter().rev() {
        match piece.keyword.as_str() {
            "dbname" if dbname.is_none() && !piece.value.is_empty() => dbname = Some(piece.value),
            "password" => {
                without_password.replace_range(piece.place, "");
                if password.is_none() {
                    password = Some(piece.value);
                }
            }
            _ => {}
        }
        names.push(piece.keyword);
    }
    names.reverse();
    Ok(Conninfo {
        keywords: names,
        dbname,
        password,
        without_password,
    })
}

/// A keyword with its value.
struct Piece {
    keyword: String,
    value: String,
    /// What to cut out to be rid of it.
    place: Range<usize>,
}

/// `keyword = value` pairs; values may be quoted, and a backslash takes the next character as is.
fn keywords(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text.char_indices().peekable();
    loop {
        while rest.next_if(|(_, c)| c.is_whitespace()).is_some() {}
        let Some(&(start, _)) = rest.peek() else {
            return Ok(pieces);
        };
        let mut keyword = String::new();
        while let Some((_, c)) = rest.next_if(|(_, c)| *c != '=' && !c.is_whitespace()) {
            keyword.push(c);
        }
        while rest.next_if(|(_, c)| c.is_whitespace()).is_some() {}
        if rest.next_if(|(_, c)| *c == '=').is_none() {
            return Err("a keyword without = and a value in the connection string".to_owned());
        }
        while rest.next_if(|(_, c)| c.is_whitespace()).is_some() {}
        let quoted = rest.next_if(|(_, c)| *c == '\'').is_some();
        let mut value = String::new();
        loop {
            match rest.peek().map(|(_, c)| *c) {
                Some('\\') => {
                    rest.next();
                    value.extend(rest.next().map(|(_, c)| c));
                }
                Some('\'') if quoted => {
                    rest.next();
                    break;
                }
                None if quoted => {
                    return Err("a quote is never closed in the connection string".to_owned());
                }
                Some(c) if quoted || !c.is_whitespace() => {
                    value.push(c);
                    rest.next();
                }
                _ => break,
            }
        }
        let end = rest.peek().map_or(text.len(), |(index, _)| *index);
        pieces.push(Piece {
            keyword,
            value,
            place: start..end,
        });
    }
}

/// `postgresql://user:password@host:port,…/dbname?keyword=value&…`
fn uri(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let scheme = text.find("://").map_or(0, |at| at + 3);
    // libpq takes what stands before an @ in front of the first / as user and password. A password
    // with a bare / in it is wrong for libpq, but it must not be shown for that.
    let authority_end = text[scheme..]
        .find('/')
        .map_or(text.len(), |at| scheme + at);
    let query_start = text[scheme..]
        .find('?')
        .map_or(text.len(), |at| scheme + at);
    let at = text[..authority_end]
        .rfind('@')
        .or_else(|| text[..query_start].rfind('@'));
    let hosts = match at {
        Some(at) => {
            let user_end = text[scheme..at]
                .find(':')
                .map_or(at, |colon| scheme + colon);
            piece(
                &mut pieces,
                "user",
                &text[scheme..user_end],
                scheme..user_end,
            )?;
            if user_end < at {
                piece(
                    &mut pieces,
                    "password",
                    &text[user_end + 1..at],
                    user_end..at,
                )?;
            }
            at + 1
        }
        None => scheme,
    };
    let query = text[hosts..].find('?').map(|at| hosts + at);
    let path_end = query.unwrap_or(text.len());
    if let Some(slash) = text[hosts..path_end].find('/') {
        let start = hosts + slash + 1;
        piece(
            &mut pieces,
            "dbname",
            &text[start..path_end],
            start..path_end,
        )?;
    }
    if let Some(mark) = query {
        parameters(&mut pieces, text, mark + 1)?;
    }
    Ok(pieces)
}

/// `keyword=value&…`, which is the text from the start on
fn parameters(pieces: &mut Vec<Piece>, text: &str, mut start: usize) -> Result<(), String> {
    let last = text.len();
    for parameter in text[start..].split('&') {
        let end = start + parameter.len();
        if let Some((keyword, value)) = parameter.split_once('=') {
            // With the sign after it, or, for the last, with the sign before it.
            let place = if end < last {
                start..end + 1
            } else {
                start - 1..end
            };
            let keyword = percent_decoded(keyword)?.into_owned();
            piece(pieces, &keyword, value, place)?;
        } else if !parameter.is_empty() {
            return Err("a parameter without = and a value in the URI".to_owned());
        }
        start = end + 1;
    }
    Ok(())
}

fn piece(
    pieces: &mut Vec<Piece>,
    keyword: &str,
    value: &str,
    place: Range<usize>,
) -> Result<(), String> {
    let value = percent_decoded(value)?.into_owned();
    pieces.push(Piece {
        keyword: keyword.to_owned(),
        value,
        place,
    });
    Ok(())
}

fn percent_decoded(text: &str) -> Result<Cow<'_, str>, String> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let wrong =
        || "a % without two hexadecimal digits in the URI (a percent sign is %25)".to_owned();
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|b| char::from(b).to_digit(16));
        match (digit(bytes.next()), digit(bytes.next())) {
            (Some(high), Some(low)) => {
                decoded.push(u8::try_from(high * 16 + low).map_err(|_| wrong())?);
            }
            _ => return Err(wrong()),
        }
    }
    String::from_utf8(decoded)
        .map(Cow::Owned)
        .map_err(|_| "bytes that are not UTF-8 in the URI".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::parse;

    proptest! {
        #[test]
        fn no_text_is_too_strange_to_be_read_or_refused(
            text in "(postgres://)?[a-z:@/?&=%'\\\\ é\\[\\]0-9]{0,30}",
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

    #[test]
    fn the_database_and_the_keywords_are_found() {
        let uri = parse("postgresql://u@[::1]:5433/caf%C3%A9?sslmode=require").unwrap();
        assert_eq!(uri.dbname.as_deref(), Some("café"));
        assert_eq!(uri.keywords, ["user", "dbname", "sslmode"]);
        assert_eq!(
            parse("postgresql:///db?host=/run")
                .unwrap()
                .dbname
                .as_deref(),
            Some("db")
        );
        assert_eq!(parse("postgresql://h/").unwrap().dbname, None);
        assert_eq!(
            parse("host=h dbname='a b'").unwrap().dbname.as_deref(),
            Some("a b")
        );
    }

    #[test]
    fn what_cannot_be_read_is_refused_without_quoting_it() {
        for text in [
            "host",
            "host=h password='secret",
            "postgres://u:se%cret@h/db",
            "postgres://h?secret",
        ] {
            let error = parse(text).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
