//! Whether a statement is one that `pg_dump` writes, and reaches nothing but the database that it is
//! carried out in. Pure.

use super::finding::Reason;
use super::kinds::{Verb, kind};
use super::tokens::{Token, Tokens};
use crate::pipeline::sql::{Meaning, meaning};

/// What a statement of `pg_dump`'s is, as far as those that follow depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing depends on it.
    Ordinary,
    /// Makes a table that has rows of its own.
    Table,
    /// Rows follow.
    Rows,
    /// Makes a subscription.
    Subscription,
    /// Drops one, which ends what the server has at another one.
    DropSubscription,
    /// Says from here on whether a backslash escapes in plain strings.
    BackslashEscapes(bool),
    /// Is about a large object.
    LargeObject,
    /// Begins the transaction around large objects.
    Begin,
    /// Ends it.
    Commit,
}

/// A statement as it stands in the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written<'a> {
    /// Its text, or so much of it as is held.
    pub(super) text: &'a [u8],
    /// Whether that is all of it.
    pub(super) is_complete: bool,
    /// Whether a backslash escapes in plain strings.
    pub(super) backslash_escapes: bool,
    /// How many parentheses are opened in all of it.
    pub(super) openings: u32,
}

/// Verbs that `PostgreSQL` has and `pg_dump` does not write, with what they do.
const REFUSED: [(&str, Reason); 28] = [
    ("do", Reason::Code),
    ("call", Reason::Code),
    ("load", Reason::Code),
    ("select", Reason::Query),
    ("with", Reason::Query),
    ("values", Reason::Query),
    ("table", Reason::Query),
    ("update", Reason::Query),
    ("delete", Reason::Query),
    ("merge", Reason::Query),
    ("prepare", Reason::Query),
    ("execute", Reason::Query),
    ("explain", Reason::Query),
    ("declare", Reason::Query),
    ("fetch", Reason::Query),
    ("move", Reason::Query),
    ("insert", Reason::Inserts),
    ("copy", Reason::Copy),
    ("set", Reason::Setting),
    ("reset", Reason::Setting),
    ("discard", Reason::Setting),
    ("begin", Reason::Transaction),
    ("commit", Reason::Transaction),
    ("end", Reason::Transaction),
    ("abort", Reason::Transaction),
    ("rollback", Reason::Transaction),
    ("savepoint", Reason::Transaction),
    ("release", Reason::Transaction),
];

/// Judges one statement by itself.
///
/// # Errors
/// Why it is not sent.
pub(super) fn judge_statement(statement: &Written<'_>) -> Result<Known, Reason> {
    let mut tokens = Tokens::of(statement.text, statement.backslash_escapes);
    let first = tokens.next();
    let Some(Token::Word(verb)) = first else {
        // Nothing between two semicolons is sent by nobody; a parenthesis begins a query.
        return match first {
            Some(Token::Sign(b';')) => Ok(Known::Ordinary),
            Some(Token::Sign(b'(')) => Err(Reason::Query),
            _ => Err(Reason::Ambiguous),
        };
    };
    let verb = verb.to_ascii_lowercase();
    match verb.as_slice() {
        b"create" => create(tokens, statement),
        b"alter" => alter(tokens),
        b"drop" => drop_object(tokens),
        b"comment" => {
            if !tokens.accept("on") {
                return Err(Reason::Unexpected);
            }
            kind(&mut tokens, Verb::Comment).map(of_kind)
        }
        b"security" => label(tokens),
        b"grant" | b"revoke" => grant(tokens),
        b"refresh" if tokens.accept_all("materialized view") => Ok(Known::Ordinary),
        b"reassign" => Err(Reason::Owned),
        b"start" if tokens.accept("transaction") => Err(Reason::Transaction),
        // As pg_dump writes them and in no other way: others read them, too, and decide by them how
        // the text goes on.
        b"select" => select(statement),
        b"copy" => rows(tokens, statement),
        b"set" => setting(statement),
        b"reset" if statement.text == b"RESET SESSION AUTHORIZATION;" => Ok(Known::Ordinary),
        b"begin" if statement.text == b"BEGIN;" => Ok(Known::Begin),
        b"commit" if statement.text == b"COMMIT;" => Ok(Known::Commit),
        verb => {
            let refused = REFUSED.iter().find(|(word, _)| word.as_bytes() == verb);
            Err(refused.map_or(Reason::Unexpected, |(_, reason)| *reason))
        }
    }
}

fn of_kind(kind: &str) -> Known {
    match kind {
        "large object" => Known::LargeObject,
        _ => Known::Ordinary,
    }
}

fn create(mut tokens: Tokens<'_>, statement: &Written<'_>) -> Result<Known, Reason> {
    tokens.accept_all("or replace");
    for word in ["unique", "unlogged", "trusted", "default", "recursive"] {
        if tokens.accept(word) {
            break;
        }
    }
    // Else it is the kind of object.
    if tokens.clone().accept_all("constraint trigger") {
        tokens.accept("constraint");
    }
    let kind = kind(&mut tokens, Verb::Create)?;
    let is_complete = statement.is_complete;
    match kind {
        // What else it may make stands in it without a semicolon.
        "schema" => {
            tokens.accept_all("if not exists");
            (tokens.accept_name() && tokens.is_at_end())
                .then_some(Known::Ordinary)
                .ok_or(Reason::Unexpected)
        }
        _ if !is_complete && ["table", "materialized view", "subscription"].contains(&kind) => {
            Err(Reason::Ambiguous)
        }
        "table" => table(tokens),
        "materialized view" => {
            const END: [Token<'_>; 4] = [
                Token::Word(b"WITH"),
                Token::Word(b"NO"),
                Token::Word(b"DATA"),
                Token::Sign(b';'),
            ];
            ends_with(tokens, END)
                .then_some(Known::Ordinary)
                .ok_or(Reason::Query)
        }
        "subscription" => connects_nowhere(tokens)
            .then_some(Known::Subscription)
            .ok_or(Reason::Subscription),
        _ => Ok(Known::Ordinary),
    }
}

/// `CREATE TABLE`, but for one that is made of a query's rows.
fn table(tokens: Tokens<'_>) -> Result<Known, Reason> {
    let mut is_partitioned = false;
    let mut outside = outside_of_parentheses(tokens).peekable();
    while let Some(token) = outside.next() {
        if token.is("as") {
            return Err(Reason::Query);
        }
        is_partitioned |= token.is("partition") && outside.peek().is_some_and(|next| next.is("by"));
    }
    Ok(if is_partitioned {
        Known::Ordinary
    } else {
        Known::Table
    })
}

/// The tokens of a statement that stand in no parentheses.
fn outside_of_parentheses(tokens: Tokens<'_>) -> impl Iterator<Item = Token<'_>> {
    let mut depth = 0_u32;
    tokens.filter(move |token| {
        match token {
            Token::Sign(b'(') => depth += 1,
            Token::Sign(b')') => depth = depth.saturating_sub(1),
            _ => return depth == 0,
        }
        false
    })
}

fn ends_with<const N: usize>(tokens: Tokens<'_>, end: [Token<'_>; N]) -> bool {
    let all: Vec<Token<'_>> = tokens.collect();
    all.ends_with(&end)
}

/// Whether a `CREATE SUBSCRIPTION` says `connect = false` among its options, once.
fn connects_nowhere(mut tokens: Tokens<'_>) -> bool {
    if !(tokens.accept_name() && tokens.accept("connection")) {
        return false;
    }
    if !matches!(tokens.next(), Some(Token::String(_))) || !tokens.accept("publication") {
        return false;
    }
    loop {
        if !tokens.accept_name() {
            return false;
        }
        match tokens.next() {
            Some(Token::Sign(b',')) => {}
            Some(token) if token.is("with") => break,
            _ => return false,
        }
    }
    if tokens.next() != Some(Token::Sign(b'(')) {
        return false;
    }
    let mut said = Vec::new();
    loop {
        let (Some(Token::Word(name)), Some(Token::Sign(b'='))) = (tokens.next(), tokens.next())
        else {
            return false;
        };
        let Some(value @ (Token::Word(_) | Token::String(_) | Token::Number(_))) = tokens.next()
        else {
            return false;
        };
        if name.eq_ignore_ascii_case(b"connect") {
            said.push(value.is("false"));
        }
        match tokens.next() {
            Some(Token::Sign(b',')) => {}
            Some(Token::Sign(b')')) => break,
            _ => return false,
        }
    }
    said == [true] && tokens.is_at_end()
}

fn alter(mut tokens: Tokens<'_>) -> Result<Known, Reason> {
    let kind = kind(&mut tokens, Verb::Alter)?;
    match kind {
        "subscription" => {
            let is_owner = tokens.accept_name()
                && tokens.accept_all("owner to")
                && tokens.next().is_some_and(Token::is_name)
                && tokens.is_at_end();
            is_owner
                .then_some(Known::Ordinary)
                .ok_or(Reason::Subscription)
        }
        "table" | "index" | "materialized view" if tokens.accept_all("all in tablespace") => {
            Err(Reason::Unexpected)
        }
        "table" | "domain" => {
            let is_if_exists = tokens.accept_all("if exists");
            tokens.accept("only");
            // `pg_dump --clean`, which would find nothing to drop.
            let is_dropped = tokens.accept_name() && tokens.accept_all("drop constraint");
            if is_dropped && !is_if_exists && !tokens.accept_all("if exists") {
                return Err(Reason::Clean);
            }
            Ok(Known::Ordinary)
        }
        kind => Ok(of_kind(kind)),
    }
}

fn drop_object(mut tokens: Tokens<'_>) -> Result<Known, Reason> {
    let kind = kind(&mut tokens, Verb::Drop)?;
    if !tokens.accept_all("if exists") {
        return Err(Reason::Clean);
    }
    Ok(match kind {
        "subscription" => Known::DropSubscription,
        _ => Known::Ordinary,
    })
}

/// `SECURITY LABEL FOR provider ON kind …`
fn label(mut tokens: Tokens<'_>) -> Result<Known, Reason> {
    if !tokens.accept("label") {
        return Err(Reason::Unexpected);
    }
    if tokens.accept("for") {
        tokens.next();
    }
    if !tokens.accept("on") {
        return Err(Reason::Unexpected);
    }
    kind(&mut tokens, Verb::Label).map(of_kind)
}

/// `GRANT … ON kind …`; without ON it is a role that is granted.
fn grant(mut tokens: Tokens<'_>) -> Result<Known, Reason> {
    let mut depth = 0_u32;
    loop {
        match tokens.next().ok_or(Reason::Membership)? {
            Token::Sign(b'(') => depth += 1,
            Token::Sign(b')') => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            token if token.is("on") => break,
            token if token.is("to") || token.is("from") => return Err(Reason::Membership),
            _ => {}
        }
    }
    kind(&mut tokens, Verb::Grant).map(of_kind)
}

/// `COPY s.t (a, b) FROM stdin;`
fn rows(mut tokens: Tokens<'_>, statement: &Written<'_>) -> Result<Known, Reason> {
    let begins = statement.text.starts_with(b"COPY ");
    let ends = statement.text.ends_with(b" FROM stdin;");
    if !(begins && ends && statement.is_complete) {
        return Err(Reason::Copy);
    }
    let name = tokens.qualified_name().ok_or(Reason::Copy)?;
    if is_in_system_catalog(&name) {
        return Err(Reason::SystemCatalog);
    }
    if tokens.peek() == Some(Token::Sign(b'(')) {
        tokens.next();
        loop {
            if !tokens.next().is_some_and(Token::is_name) {
                return Err(Reason::Copy);
            }
            match tokens.next() {
                Some(Token::Sign(b',')) => {}
                Some(Token::Sign(b')')) => break,
                _ => return Err(Reason::Copy),
            }
        }
    }
    // By this the scanner of contents knows that rows follow.
    let is_known = matches!(meaning(statement.text), Meaning::Copy { .. });
    (tokens.accept_all("from stdin") && tokens.is_at_end() && is_known)
        .then_some(Known::Rows)
        .ok_or(Reason::Copy)
}

/// Whether a table is one of `PostgreSQL`'s own, some of which all databases share. Without a schema it
/// is looked for among them first.
fn is_in_system_catalog(name: &[Token<'_>]) -> bool {
    let text = |token: &Token<'_>| match *token {
        Token::Word(word) => word.to_ascii_lowercase(),
        Token::Quoted(name) => name[1..name.len() - 1].to_vec(),
        _ => Vec::new(),
    };
    match name {
        [table] => text(table).starts_with(b"pg_"),
        [.., schema, _] => {
            [b"pg_catalog".as_slice(), b"pg_toast"].contains(&text(schema).as_slice())
        }
        [] => true,
    }
}

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

fn select(statement: &Written<'_>) -> Result<Known, Reason> {
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

fn is_of_the_form(mut tokens: Tokens<'_>, form: &str) -> bool {
    let is_it = |word: &str| match (tokens.next(), word) {
        (Some(Token::String(_)), "S") | (Some(Token::Number(_)), "N") => true,
        (Some(token), "B") => token.is("true") || token.is("false"),
        (Some(Token::Sign(sign)), word) => word.as_bytes() == [sign],
        (Some(Token::Word(word)), expected) => word == expected.as_bytes(),
        _ => false,
    };
    form.split(' ').all(is_it) && tokens.next().is_none()
}

fn is_search_path(text: &[u8]) -> bool {
    text.starts_with(b"SELECT pg_catalog.set_config('search_path', '")
        && text.ends_with(b", false);")
}

/// `SELECT * FROM pg_catalog.pg_restore_relation_stats(…);` and its kin, of which every argument is a
/// string with a type: no other function is called in it.
fn statistics(mut tokens: Tokens<'_>, statement: &Written<'_>) -> Result<Known, Reason> {
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
fn setting(statement: &Written<'_>) -> Result<Known, Reason> {
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
fn values(mut tokens: Tokens<'_>) -> Option<Vec<Token<'_>>> {
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
