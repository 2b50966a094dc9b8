//! What a restore may send: a dump's text is judged statement by statement, and only what `pg_dump`
//! writes, and what belongs to the one database that is loaded, passes. What is not known is refused.
//!
//! Verbs and kinds of objects are on a list ([`kinds`]); what a statement says beyond that is looked at
//! where it could reach further ([`statement`]). Where psql and the server could read a text in two
//! ways, the lexer of the census notices, and nobody guesses. What functions of the dump do while it
//! is loaded, they do: no list can say.

mod cluster;
mod finding;
mod kinds;
mod session;
mod statement;
pub(super) mod tokens;
mod written;

use std::fmt::Write as _;

pub(super) use self::finding::shown;
use self::written::{Known, Written};
use super::sql::{Lexer, Oddity};

pub use cluster::judge_globals;
pub use finding::{Finding, Reason};

/// So many statements of unknown kinds are named; the rest is counted.
const NAMED: usize = 10;

/// What was found in a dump that is not simply sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The first thing that is never sent.
    pub refused: Option<Finding>,
    /// Statements of unknown kinds, the first ones.
    pub unexpected: Vec<Finding>,
    /// How many there are of those.
    pub unexpected_count: u64,
    /// Whether it holds rows and makes nothing, as `pg_dump --data-only` writes it.
    pub has_only_rows: bool,
}

impl Findings {
    /// What keeps the dump from being sent, if anything does; `accepts_unexpected` lets unknown verbs and
    /// kinds pass.
    pub fn refusal(&self, accepts_unexpected: bool) -> Option<&Finding> {
        let unexpected = self.unexpected.first().filter(|_| !accepts_unexpected);
        self.refused.as_ref().or(unexpected)
    }

    /// The statements of unknown kinds, one line each; none if there are none.
    pub fn display_unexpected(&self) -> Option<String> {
        self.unexpected.first()?;
        let lines = self.unexpected.iter().map(|one| format!("\n  {one}"));
        let mut text: String = lines.collect();
        let more = self.unexpected_count - self.unexpected.len() as u64;
        if more > 0 {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n  and {more} more");
        }
        Some(text)
    }
}

/// Judges what passes, in its order. Whoever splits the text tells it what it sees.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact about the text so far"
)]
pub(in crate::pipeline) struct Judge {
    findings: Findings,
    /// Within the transaction around large objects.
    in_transaction: bool,
    /// The word that ends restricted mode.
    restricted: Option<Vec<u8>>,
    /// Whether restricted mode has ended: only the end of the text follows.
    is_over: bool,
    is_of_a_cluster: bool,
    makes_subscriptions: bool,
    /// Whether it makes anything, and whether rows of any table have come.
    makes_objects: bool,
    has_rows: bool,
    backslash_escapes: bool,
    /// The line in which that was changed last: psql reads all of it in the old way.
    changed_in: u64,
    /// Whether the statement that has not ended is a query, which calls one function and no more.
    calls_one_function: bool,
    /// For whoever sends the rest although something is refused: what was refused last.
    latest: Option<Finding>,
    keeps_latest: bool,
}

/// A statement in a dump's text.
#[derive(Clone, Copy, Debug)]
pub(in crate::pipeline) struct Passing<'a> {
    /// Its text, or so much of it as is held.
    pub(in crate::pipeline) text: &'a [u8],
    /// What has seen all of it that was read so far.
    pub(in crate::pipeline) lexer: &'a Lexer,
    /// Whether that is all of it.
    pub(in crate::pipeline) is_complete: bool,
    /// The line in which it begins.
    pub(in crate::pipeline) line: u64,
    /// The line in which it ends.
    pub(in crate::pipeline) last_line: u64,
}

impl Judge {
    /// What was found so far.
    pub(in crate::pipeline) fn findings(&self) -> &Findings {
        &self.findings
    }

    /// The same, at the end of the text.
    pub(in crate::pipeline) fn take_findings(&mut self) -> Findings {
        std::mem::take(&mut self.findings)
    }

    /// Something that is never sent.
    pub(in crate::pipeline) fn refuse(&mut self, line: u64, text: &[u8], reason: Reason) {
        if self.findings.refused.is_some() && !self.keeps_latest {
            return;
        }
        let finding = self.finding(line, text, reason);
        if self.keeps_latest {
            self.latest = Some(finding.clone());
        }
        self.findings.refused.get_or_insert(finding);
    }

    /// Keeps what was refused last until it is asked for.
    pub(in crate::pipeline) fn keep_latest(&mut self) {
        self.keeps_latest = true;
    }

    /// What was refused since this was asked last, if anything was; only where it is kept.
    pub(in crate::pipeline) fn take_latest(&mut self) -> Option<Finding> {
        self.latest.take()
    }

    fn finding(&self, line: u64, text: &[u8], reason: Reason) -> Finding {
        Finding {
            line,
            statement: shown(text),
            reason,
            of_a_cluster: self.is_of_a_cluster,
        }
    }

    /// A line between statements: a comment, or a command of psql's.
    pub(in crate::pipeline) fn line(&mut self, text: &[u8], line: u64) {
        if text.starts_with(b"\\") {
            self.command(text, line);
        } else {
            self.comment(text, line);
        }
    }

    fn comment(&mut self, text: &[u8], line: u64) {
        if !text.starts_with(b"--") {
            self.refuse(line, text, Reason::Ambiguous);
        }
        self.is_of_a_cluster |= text.starts_with(b"-- PostgreSQL database cluster dump");
    }

    fn command(&mut self, text: &[u8], line: u64) {
        let words: Vec<&[u8]> = text
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty())
            .collect();
        let is_key = |key: &[u8]| !key.is_empty() && key.iter().all(u8::is_ascii_alphanumeric);
        let first = words.first().copied().unwrap_or_default();
        let reason = match words.as_slice() {
            [b"\\restrict", key] if is_key(key) && self.restricted.is_none() && !self.is_over => {
                self.restricted = Some(key.to_vec());
                return;
            }
            [b"\\unrestrict", key] if self.restricted.as_deref() == Some(*key) => {
                self.restricted = None;
                self.is_over = true;
                return;
            }
            [b"\\restrict" | b"\\unrestrict", ..] => Reason::Restriction,
            [b"\\connect" | b"\\c", ..] => Reason::Connect,
            _ => Reason::Command,
        };
        // What follows may be a connection string.
        self.refuse(line, &[first, b";"].concat(), reason);
    }

    /// Text outside of statements and rows: white space, or a part of a line.
    pub(in crate::pipeline) fn between(&mut self, text: &[u8], line: u64) {
        self.no_carriage_return(text, line);
    }

    /// A block of the text, before anything else is seen of it.
    pub(in crate::pipeline) fn bytes(&mut self, block: &[u8], line: u64) {
        if let Some(at) = memchr::memchr(0, block) {
            self.refuse(line + breaks(&block[..at]), b"", Reason::Zero);
        }
    }

    /// The byte behind the semicolon of a COPY: psql goes on with what else stands in that line when the
    /// rows have ended.
    pub(in crate::pipeline) fn behind_copy(&mut self, byte: u8, line: u64) {
        match byte {
            b'\n' => {}
            b'\r' => self.refuse(line, b"", Reason::LineEnds),
            _ => self.refuse(line, b"", Reason::Ambiguous),
        }
    }

    /// The next bytes of rows. In them a carriage return is written `\r`; with one in it, the line that
    /// ends them would be one to psql and none to us.
    pub(in crate::pipeline) fn rows(&mut self, bytes: &[u8], line: u64) {
        self.no_carriage_return(bytes, line);
    }

    /// Refuses a text that begins in a line, if a carriage return is in it.
    fn no_carriage_return(&mut self, text: &[u8], line: u64) {
        if let Some(at) = memchr::memchr(b'\r', text) {
            self.refuse(line + breaks(&text[..at]), b"", Reason::LineEnds);
        }
    }

    /// What the lexer has seen so far of a statement that has not ended, which began so.
    pub(in crate::pipeline) fn more(&mut self, text: &[u8], lexer: &Lexer, line: u64) {
        if let Some(oddity) = lexer.oddity() {
            self.refuse(line, text, of_oddity(oddity));
        } else if self.calls_one_function && lexer.openings() > 1 {
            self.refuse(line, text, Reason::Query);
        } else if lexer.values().is_some_and(|values| values.has_others) {
            self.refuse(line, text, Reason::Inserts);
        }
    }

    /// A statement: complete, or one that is too long to be held.
    pub(in crate::pipeline) fn statement(&mut self, passing: Passing<'_>) {
        let Passing {
            text, lexer, line, ..
        } = passing;
        // No other query of such a length passes.
        self.calls_one_function = !passing.is_complete && text.starts_with(b"SELECT ");
        let outcome = match lexer.oddity() {
            Some(oddity) => Err(of_oddity(oddity)),
            None if self.changed_in == line => Err(Reason::Ambiguous),
            None if self.is_over => Err(Reason::Restriction),
            None => statement::judge_statement(&Written {
                text,
                is_complete: passing.is_complete,
                backslash_escapes: self.backslash_escapes,
                openings: lexer.openings(),
                values: lexer.values(),
            }),
        };
        let reason = match outcome {
            Ok(known) => match self.follow(known, passing.last_line) {
                Ok(()) => return,
                Err(reason) => reason,
            },
            Err(reason) => reason,
        };
        if reason != Reason::Unexpected {
            return self.refuse(line, text, reason);
        }
        self.findings.unexpected_count += 1;
        if self.findings.unexpected.len() < NAMED || self.keeps_latest {
            let finding = self.finding(line, text, reason);
            if self.keeps_latest {
                self.latest = Some(finding.clone());
            }
            if self.findings.unexpected.len() < NAMED {
                self.findings.unexpected.push(finding);
            }
        }
    }

    /// What a statement means for those that follow it.
    fn follow(&mut self, known: Known, line: u64) -> Result<(), Reason> {
        if self.in_transaction && !matches!(known, Known::LargeObject | Known::Commit) {
            return Err(Reason::Transaction);
        }
        match known {
            Known::DropSubscription if self.makes_subscriptions => {
                return Err(Reason::Subscription);
            }
            Known::Ordinary | Known::LargeObject | Known::DropSubscription => {}
            Known::Made => self.makes_objects = true,
            Known::Rows => self.has_rows = true,
            Known::Subscription => {
                self.makes_objects = true;
                self.makes_subscriptions = true;
            }
            Known::BackslashEscapes(escapes) => {
                if self.backslash_escapes != escapes {
                    self.changed_in = line;
                }
                self.backslash_escapes = escapes;
            }
            Known::Begin => self.in_transaction = true,
            Known::Commit if !self.in_transaction => return Err(Reason::Transaction),
            Known::Commit => self.in_transaction = false,
        }
        Ok(())
    }

    /// The end of the text.
    pub(in crate::pipeline) fn end(&mut self, line: u64) {
        if self.in_transaction {
            self.refuse(line, b"", Reason::Transaction);
        }
        self.findings.has_only_rows = self.has_rows && !self.makes_objects;
    }
}

fn of_oddity(oddity: Oddity) -> Reason {
    match oddity {
        Oddity::Command => Reason::Command,
        Oddity::CarriageReturn => Reason::LineEnds,
        Oddity::Ambiguous => Reason::Ambiguous,
    }
}

/// How many lines end in a text.
fn breaks(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}

#[cfg(test)]
mod tests;
