//! The body of an SQL-standard function, whose semicolons end no statement: how far it goes.

use super::{Lexer, Oddity, Opening};

/// Where in the body of an SQL-standard function a statement stands. psql counts words to know where that
/// ends, and the server parses it: they agree as long as every END that follows a semicolon ends the
/// body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// Before it.
    None,
    /// Behind BEGIN, which ATOMIC has to follow.
    Begun,
    /// Where one of its statements begins, or END.
    Between,
    /// Within one of its statements.
    Statement,
    /// Behind its END, where only the semicolon follows.
    Ended,
}

impl Lexer {
    /// Something else than a word in the body of a function.
    pub(super) fn body_goes_on(&mut self) {
        match self.body {
            Body::Between => self.body = Body::Statement,
            // A comment is as little in pg_dump's bodies.
            Body::Begun | Body::Ended => self.odd(Oddity::Ambiguous),
            Body::None | Body::Statement => {}
        }
    }

    /// A semicolon outside of parentheses, in the body of a function.
    pub(super) fn statement_of_the_body_ends(&mut self) {
        match self.body {
            Body::Between | Body::Statement => self.body = Body::Between,
            Body::None | Body::Begun | Body::Ended => self.odd(Oddity::Ambiguous),
        }
    }

    /// Counts the blocks of an SQL-standard function body, as psql does.
    pub(super) fn end_word_of_a_routine(&mut self) {
        let word = self.word.as_slice();
        let is_outside = self.parentheses == 0;
        match (word, self.body) {
            (b"atomic", Body::Begun) => self.body = Body::Between,
            (b"begin", Body::None) if is_outside => {
                self.blocks += 1;
                self.body = Body::Begun;
            }
            (b"begin", _) if is_outside => {
                self.blocks += 1;
                self.odd(Oddity::Ambiguous);
            }
            (b"end", body) if is_outside => {
                self.blocks = self.blocks.saturating_sub(1);
                let is_end = body == Body::Between;
                if is_end {
                    self.body = Body::Ended;
                }
                // An END that follows no semicolon is that of a CASE.
                if body != Body::None && is_end != (self.blocks == 0) {
                    self.odd(Oddity::Ambiguous);
                }
            }
            (word, body) => {
                if word == b"case" && is_outside && self.blocks > 0 {
                    self.blocks += 1;
                }
                if matches!(body, Body::Begun | Body::Ended) {
                    self.odd(Oddity::Ambiguous);
                } else if body == Body::Between {
                    self.body = Body::Statement;
                }
            }
        }
    }

    /// Whether the statement can have a body.
    pub(super) fn makes_a_routine(&self) -> bool {
        use Opening::{Create, Or, Replace, Routine};
        matches!(
            self.opening.as_slice(),
            [Create, Routine, ..] | [Create, Or, Replace, Routine]
        )
    }
}
