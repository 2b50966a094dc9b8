//! Whether a statement is one that `pg_dump` writes, and reaches nothing but the database that it is
//! carried out in. Pure.

use super::finding::Reason;
use super::kinds::{Verb, kind};
use super::session::{select, setting};
use super::tokens::{Token, Tokens};
use super::written::{Known, Written};
use crate::pipeline::sql::{Meaning, meaning};

/// Verbs that `PostgreSQL` has and `pg_dump` does not write, with what they do.
const REFUSED: [(&str, Reason); 27] = [
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
        b"insert" => inserts(tokens, statement),
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
                .then_some(Known::Made)
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
                .then_some(Known::Made)
                .ok_or(Reason::Query)
        }
        "subscription" => connects_nowhere(tokens)
            .then_some(Known::Subscription)
            .ok_or(Reason::Subscription),
        _ => Ok(Known::Made),
    }
}

/// `CREATE TABLE`, but for one that is made of a query's rows.
fn table(tokens: Tokens<'_>) -> Result<Known, Reason> {
    if outside_of_parentheses(tokens).any(|token| token.is("as")) {
        return Err(Reason::Query);
    }
    Ok(Known::Made)
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
    columns(&mut tokens).ok_or(Reason::Copy)?;
    // By this the scanner of contents knows that rows follow.
    let is_known = matches!(meaning(statement.text), Meaning::Copy { .. });
    (tokens.accept_all("from stdin") && tokens.is_at_end() && is_known)
        .then_some(Known::Rows)
        .ok_or(Reason::Copy)
}

/// Takes a list of columns in parentheses, if there is one.
fn columns(tokens: &mut Tokens<'_>) -> Option<()> {
    if tokens.peek() != Some(Token::Sign(b'(')) {
        return Some(());
    }
    tokens.next();
    loop {
        tokens.next().filter(|token| token.is_name())?;
        match tokens.next()? {
            Token::Sign(b',') => {}
            Token::Sign(b')') => return Some(()),
            _ => return None,
        }
    }
}

/// `INSERT INTO s.t (a, b) OVERRIDING SYSTEM VALUE VALUES (1, 'x') ON CONFLICT DO NOTHING;`, all of whose
/// values are constants: it calls nothing.
fn inserts(mut tokens: Tokens<'_>, statement: &Written<'_>) -> Result<Known, Reason> {
    let is_of_the_form = statement.text.starts_with(b"INSERT INTO ")
        && statement.values.is_some_and(|values| !values.has_others);
    if !is_of_the_form || !tokens.accept("into") {
        return Err(Reason::Inserts);
    }
    let name = tokens.qualified_name().ok_or(Reason::Inserts)?;
    if is_in_system_catalog(&name) {
        return Err(Reason::SystemCatalog);
    }
    columns(&mut tokens).ok_or(Reason::Inserts)?;
    tokens.accept_all("overriding system value");
    (tokens.accept_all("default values") || tokens.accept("values"))
        .then_some(Known::Rows)
        .ok_or(Reason::Inserts)
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
