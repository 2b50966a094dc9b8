//! What stands in the globals of a backup: roles, memberships, tablespaces and rights on parameters, as
//! `pg_dumpall --globals-only` writes them, and nothing else. Pure.

use super::finding::{Finding, Reason, shown};
use super::of_oddity;
use super::tokens::{Token, Tokens};
use crate::pipeline::sql::Lexer;

/// The first thing in globals that `pg_dumpall` does not write, if there is any.
pub fn judge_globals(script: &[u8]) -> Option<Finding> {
    let (mut at, mut line) = (0, 1);
    let mut backslash_escapes = false;
    let found = |line, text: &[u8], reason| {
        Some(Finding {
            line,
            statement: shown(text),
            reason,
            of_a_cluster: false,
        })
    };
    if memchr::memchr(0, script).is_some() {
        return found(line, b";", Reason::Zero);
    }
    while at < script.len() {
        let rest = &script[at..];
        let (length, outcome) = match rest[0] {
            b'\r' => (1, Err(Reason::LineEnds)),
            byte if byte.is_ascii_whitespace() => (1, Ok(())),
            b'-' | b'\\' => {
                let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
                (length, line_between(&rest[..length]))
            }
            _ => {
                let mut lexer = Lexer::new(backslash_escapes);
                let length = lexer.push(rest);
                let text = &rest[..length.unwrap_or(rest.len())];
                let outcome = match lexer.oddity() {
                    Some(oddity) => Err(of_oddity(oddity)),
                    None if length.is_none() => Err(Reason::Ambiguous),
                    None => statement(text, backslash_escapes),
                };
                // What psql would read in the old way up to the line's end.
                if text.starts_with(b"SET standard_conforming_strings = off") {
                    backslash_escapes = true;
                } else if text.starts_with(b"SET standard_conforming_strings = on") {
                    backslash_escapes = false;
                }
                (text.len(), outcome)
            }
        };
        if let Err(reason) = outcome {
            return found(line, &rest[..length], reason);
        }
        line += memchr::memchr_iter(b'\n', &rest[..length]).count() as u64;
        at += length;
    }
    None
}

fn line_between(line: &[u8]) -> Result<(), Reason> {
    if line.contains(&b'\r') {
        return Err(Reason::LineEnds);
    }
    let allowed = [b"--".as_slice(), b"\\restrict ", b"\\unrestrict "];
    if allowed.iter().any(|head| line.starts_with(head)) {
        Ok(())
    } else {
        Err(Reason::Command)
    }
}

fn statement(text: &[u8], backslash_escapes: bool) -> Result<(), Reason> {
    let mut tokens = Tokens::of(text, backslash_escapes);
    let is_known = match tokens.next() {
        Some(verb) if verb.is("create") => {
            role(&mut tokens) && tokens.is_at_end() || tablespace(&mut tokens)
        }
        Some(verb) if verb.is("alter") => {
            if tokens.accept("tablespace") {
                tokens.accept_name() && (tokens.accept("set") || tokens.accept_all("owner to"))
            } else {
                role(&mut tokens) && alters_a_role(&mut tokens)
            }
        }
        Some(verb) if verb.is("comment") => {
            tokens.accept("on") && (role(&mut tokens) || named(&mut tokens, "tablespace"))
        }
        Some(verb) if verb.is("security") => {
            tokens.accept_all("label for")
                && tokens.next().is_some_and(Token::is_name)
                && tokens.accept("on")
                && (role(&mut tokens) || named(&mut tokens, "tablespace"))
        }
        Some(verb) if verb.is("grant") || verb.is("revoke") => granted(&mut tokens),
        Some(verb) if verb.is("set") => {
            return super::statement::judge_statement(&super::written::Written {
                text,
                is_complete: true,
                backslash_escapes,
                openings: 0,
                values: None,
            })
            .map(drop)
            .or_else(|reason| match reason {
                // pg_dumpall sets this one for itself.
                Reason::Unexpected if text.starts_with(b"SET default_transaction_read_only =") => {
                    Ok(())
                }
                reason => Err(reason),
            });
        }
        Some(verb) if verb.is("reset") => text == b"RESET SESSION AUTHORIZATION;",
        _ => false,
    };
    if is_known {
        Ok(())
    } else {
        Err(Reason::Unexpected)
    }
}

/// A word and a name.
fn named(tokens: &mut Tokens<'_>, kind: &str) -> bool {
    tokens.accept(kind) && tokens.next().is_some_and(Token::is_name)
}

/// `ROLE name`; no statement that is about all roles.
fn role(tokens: &mut Tokens<'_>) -> bool {
    tokens.accept("role")
        && tokens
            .next()
            .is_some_and(|name| name.is_name() && !name.is("all"))
}

/// What `ALTER ROLE name` goes on with: attributes, or a setting.
fn alters_a_role(tokens: &mut Tokens<'_>) -> bool {
    if tokens.accept_all("in database") && !tokens.next().is_some_and(Token::is_name) {
        return false;
    }
    tokens.accept("with") || tokens.accept("set")
}

/// `TABLESPACE name OWNER role LOCATION 'directory';`
fn tablespace(tokens: &mut Tokens<'_>) -> bool {
    named(tokens, "tablespace")
        && named(tokens, "owner")
        && tokens.accept("location")
        && matches!(tokens.next(), Some(Token::String(_)))
        && tokens.is_at_end()
}

/// A membership, or a right on a tablespace or a parameter.
fn granted(tokens: &mut Tokens<'_>) -> bool {
    for token in tokens.by_ref() {
        if token.is("on") {
            break;
        }
        if token.is("to") || token.is("from") {
            return true;
        }
    }
    tokens.accept("tablespace") || tokens.accept("parameter")
}
