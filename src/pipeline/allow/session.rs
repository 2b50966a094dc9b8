//! What a dump may say to the session that loads it: settings, calls of functions, and statistics.

use super::finding::Reason;
use super::tokens::{Token, Tokens};
use super::written::{Known, Written};

/// What a SELECT of `pg_dump`'s looks like: N stands for a number, S for a string, B for true or false.
const SELECTS: [&str; 9] = [
    "SELECT pg_catalog . set_config ( S , S , false ) ;",
    "SELECT pg_catalog . setval ( S , N , B ) ;",
    "SELECT pg_catalog . setval ( S , - N , B ) ;",
    "SELECT pg_catalog . lo_create ( S ) ;",
    "SELECT pg_catalog . lo_open ( S , N ) ;",
    "SELECT pg_catalog . lowrite ( N , S ) ;",
    "SELECT pg_catalog . lo_close ( N ) ;",
    "SELECT pg_catalog . lo_unlink ( S ) ;",
    "SELECT pg_catalog . lo_unlink ( oid ) FROM pg_catalog . pg_largeobject_metadata WHERE oid = S ;",
];

pub(super) fn select(statement: &Written<'_>) -> Result<Known, Reason> {
    let tokens = Tokens::of(statement.text, statement.backslash_escapes);
    if statement
        .text
        .starts_with(b"SELECT * FROM pg_catalog.pg_restore_")
    {
        return statistics(tokens, statement);
    }
    let found = SELECTS
        .iter()
        .position(|form| is_of_the_form(tokens.clone(), form));
    match found {
        Some(0) if is_search_path(statement.text) => Ok(Known::Ordinary),
        Some(1 | 2) => Ok(Known::Ordinary),
        // The scanner of contents knows them by their beginning.
        Some(3..) if statement.text.starts_with(b"SELECT pg_catalog.lo") => Ok(Known::LargeObject),
        _ => Err(Reason::Query),
    }
}

pub(super) fn is_of_the_form(mut tokens: Tokens<'_>, form: &str) -> bool {
    let is_it = |word: &str| match (tokens.next(), word) {
        (Some(Token::String(_)), "S") | (Some(Token::Number(_)), "N") => true,
        (Some(token), "B") => token.is("true") || token.is("false"),
        (Some(Token::Sign(sign)), word) => word.as_bytes() == [sign],
        (Some(Token::Word(word)), expected) => word == expected.as_bytes(),
        _ => false,
    };
    form.split(' ').all(is_it) && tokens.next().is_none()
}

pub(super) fn is_search_path(text: &[u8]) -> bool {
    text.starts_with(b"SELECT pg_catalog.set_config('search_path', '")
        && text.ends_with(b", false);")
}

/// `SELECT * FROM pg_catalog.pg_restore_relation_stats(…);` and its kin, of which every argument is a
/// string with a type: no other function is called in it.
pub(super) fn statistics(mut tokens: Tokens<'_>, statement: &Written<'_>) -> Result<Known, Reason> {
    const FUNCTIONS: [&[u8]; 2] = [b"pg_restore_relation_stats", b"pg_restore_attribute_stats"];
    // The words up to the function's schema, and the dot.
    for _ in 0..5 {
        tokens.next();
    }
    let Some(Token::Word(function)) = tokens.next() else {
        return Err(Reason::Query);
    };
    if tokens.next() != Some(Token::Sign(b'(')) || statement.openings != 1 {
        return Err(Reason::Query);
    }
    let known = if FUNCTIONS.contains(&function) {
        Ok(Known::Ordinary)
    } else {
        Err(Reason::Unexpected)
    };
    let is_argument = |token: Token<'_>| match token {
        Token::String(_) | Token::Word(_) | Token::Number(_) => true,
        Token::Sign(sign) => b",:[]-.)".contains(&sign),
        Token::Quoted(_) => false,
    };
    let mut last = None;
    while let Some(token) = tokens.next() {
        if token == Token::Sign(b';') {
            let is_end = last == Some(Token::Sign(b')')) && tokens.next().is_none();
            return if is_end { known } else { Err(Reason::Query) };
        }
        // Behind the last parenthesis nothing follows.
        if !is_argument(token) || last == Some(Token::Sign(b')')) {
            return Err(Reason::Query);
        }
        last = Some(token);
    }
    // What is not held has no other parenthesis.
    if statement.is_complete {
        Err(Reason::Query)
    } else {
        known
    }
}

/// Settings that `pg_dump` and `pg_restore` make for the session that loads.
const SETTINGS: [&[u8]; 20] = [
    b"bytea_output",
    b"check_function_bodies",
    b"client_encoding",
    b"client_min_messages",
    b"datestyle",
    b"default_table_access_method",
    b"default_tablespace",
    b"default_toast_compression",
    b"default_with_oids",
    b"escape_string_warning",
    b"extra_float_digits",
    b"idle_in_transaction_session_timeout",
    b"idle_session_timeout",
    b"intervalstyle",
    b"lock_timeout",
    b"row_security",
    b"search_path",
    b"standard_conforming_strings",
    b"statement_timeout",
    b"xmloption",
];

/// Known as well, and longer.
const NEWER_SETTINGS: [&[u8]; 1] = [b"transaction_timeout"];

/// Settings by which a dump would be carried out by somebody else, read in another way, or let at what
/// the server keeps from everybody. Names that end so, too.
const NEVER_SET: [&[u8]; 6] = [
    b"role",
    b"session_authorization",
    b"allow_system_table_mods",
    b"backslash_quote",
    b"preload_libraries",
    b"event_triggers",
];

/// The names of the encodings that a server can have, in which no byte of a character is one of ASCII
/// (`src/common/encnames.c`).
const ENCODINGS: [&[u8]; 35] = [
    b"SQL_ASCII",
    b"EUC_JP",
    b"EUC_CN",
    b"EUC_KR",
    b"EUC_TW",
    b"EUC_JIS_2004",
    b"UTF8",
    b"MULE_INTERNAL",
    b"LATIN1",
    b"LATIN2",
    b"LATIN3",
    b"LATIN4",
    b"LATIN5",
    b"LATIN6",
    b"LATIN7",
    b"LATIN8",
    b"LATIN9",
    b"LATIN10",
    b"WIN1256",
    b"WIN1258",
    b"WIN866",
    b"WIN874",
    b"KOI8R",
    b"WIN1251",
    b"WIN1252",
    b"ISO_8859_5",
    b"ISO_8859_6",
    b"ISO_8859_7",
    b"ISO_8859_8",
    b"WIN1250",
    b"WIN1253",
    b"WIN1254",
    b"WIN1255",
    b"WIN1257",
    b"KOI8U",
];

/// `SET name = value;` as `pg_dump` writes it.
pub(super) fn setting(statement: &Written<'_>) -> Result<Known, Reason> {
    let text = statement.text;
    let mut tokens = Tokens::of(text, statement.backslash_escapes);
    tokens.next();
    if text.starts_with(b"SET SESSION AUTHORIZATION ") {
        tokens.next();
        tokens.next();
        let role = tokens.next();
        let is_role = matches!(
            role,
            Some(Token::Word(_) | Token::Quoted(_) | Token::String(_))
        );
        return (is_role && tokens.is_at_end())
            .then_some(Known::Ordinary)
            .ok_or(Reason::Setting);
    }
    let (true, Some(Token::Word(name))) = (text.starts_with(b"SET "), tokens.next()) else {
        return Err(Reason::Setting);
    };
    let is_plain = |byte: &u8| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'0'..=b'9');
    let is_assigned = tokens.next() == Some(Token::Sign(b'='));
    if !is_assigned || !name.iter().all(is_plain) || NEVER_SET.iter().any(|it| name.ends_with(it)) {
        return Err(Reason::Setting);
    }
    let values = values(tokens).ok_or(Reason::Setting)?;
    match (name, values.as_slice()) {
        // By these very words others know it, too.
        (b"standard_conforming_strings", _) => match text {
            b"SET standard_conforming_strings = on;" => Ok(Known::BackslashEscapes(false)),
            b"SET standard_conforming_strings = off;" => Ok(Known::BackslashEscapes(true)),
            _ => Err(Reason::Setting),
        },
        (b"client_encoding", [Token::String(name)]) if ENCODINGS.contains(name) => {
            Ok(Known::Ordinary)
        }
        (b"client_encoding", _) => Err(Reason::Encoding),
        _ if SETTINGS.contains(&name) || NEWER_SETTINGS.contains(&name) => Ok(Known::Ordinary),
        _ => Err(Reason::Unexpected),
    }
}

/// The words of a setting's value, which ends with the statement.
pub(super) fn values(mut tokens: Tokens<'_>) -> Option<Vec<Token<'_>>> {
    let mut all = Vec::new();
    loop {
        let mut token = tokens.next()?;
        if token == Token::Sign(b'-') {
            token = tokens.next().filter(|it| matches!(it, Token::Number(_)))?;
        }
        if matches!(token, Token::Sign(_)) {
            return None;
        }
        all.push(token);
        match tokens.next()? {
            Token::Sign(b',') => {}
            Token::Sign(b';') if tokens.next().is_none() => {
                return Some(all);
            }
            _ => return None,
        }
    }
}
