//! The words of a statement, as the server reads them: without comments and white space.

use memchr::{memchr, memmem};

/// One of them. What cannot be known (the text was cut there) ends the statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum Token<'a> {
    /// A keyword, or a name without quotes.
    Word(&'a [u8]),
    /// A name in quotes, with them.
    Quoted(&'a [u8]),
    /// What stands between the quotes of a string, as it is written.
    String(&'a [u8]),
    /// Begins with a digit, or with a dollar: a number or a parameter.
    Number(&'a [u8]),
    /// Any other character.
    Sign(u8),
}

impl Token<'_> {
    /// Whether it is this keyword, which is given in lower case.
    pub(in crate::pipeline) fn is(self, keyword: &str) -> bool {
        matches!(self, Self::Word(word) if word.eq_ignore_ascii_case(keyword.as_bytes()))
    }

    /// Whether it is a name.
    pub(in crate::pipeline) fn is_name(self) -> bool {
        matches!(self, Self::Word(_) | Self::Quoted(_))
    }
}

/// The tokens of a text that begins outside of all quotes. That the text has nothing in it about
/// which psql and the server might think differently, the lexer has seen before.
#[derive(Clone, Debug)]
pub(in crate::pipeline) struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
    /// Whether a backslash escapes in plain strings.
    backslash_escapes: bool,
}

impl<'a> Tokens<'a> {
    pub(in crate::pipeline) fn of(text: &'a [u8], backslash_escapes: bool) -> Self {
        Self {
            text,
            at: 0,
            backslash_escapes,
        }
    }

    /// The next one, which stays.
    pub(in crate::pipeline) fn peek(&self) -> Option<Token<'a>> {
        self.clone().next()
    }

    /// Takes the next one if it is this keyword.
    pub(in crate::pipeline) fn accept(&mut self, keyword: &str) -> bool {
        let is_it = self.peek().is_some_and(|token| token.is(keyword));
        if is_it {
            self.next();
        }
        is_it
    }

    /// Takes these keywords, all of them or none.
    pub(in crate::pipeline) fn accept_all(&mut self, keywords: &str) -> bool {
        let mut ahead = self.clone();
        let are_there = keywords.split(' ').all(|keyword| ahead.accept(keyword));
        if are_there {
            *self = ahead;
        }
        are_there
    }

    /// Takes a name with or without a schema before it; whether there was one.
    pub(in crate::pipeline) fn accept_name(&mut self) -> bool {
        self.qualified_name().is_some()
    }

    /// Takes such a name; gives its parts.
    pub(in crate::pipeline) fn qualified_name(&mut self) -> Option<Vec<Token<'a>>> {
        let mut parts = Vec::new();
        loop {
            parts.push(self.next().filter(|token| token.is_name())?);
            if self.peek() != Some(Token::Sign(b'.')) {
                return Some(parts);
            }
            self.next();
        }
    }

    /// Whether nothing but the semicolon is left.
    pub(in crate::pipeline) fn is_at_end(&self) -> bool {
        let mut ahead = self.clone();
        ahead.next() == Some(Token::Sign(b';')) && ahead.next().is_none()
    }

    fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    fn skip_blanks(&mut self) -> Option<()> {
        loop {
            let rest = self.rest();
            if rest.starts_with(b"--") {
                self.at += memchr(b'\n', rest)? + 1;
            } else if rest.starts_with(b"/*") {
                self.at += comment(rest)?;
            } else if rest.first()?.is_ascii_whitespace() {
                self.at += 1;
            } else {
                return Some(());
            }
        }
    }

    /// The string whose first quote stands at an offset of the rest.
    fn string(&mut self, quote: usize, escapes: bool) -> Option<Token<'a>> {
        let rest = self.rest();
        let start = quote + 1;
        let mut at = start;
        loop {
            match *rest.get(at)? {
                b'\\' if escapes => at += 2,
                b'\'' if rest.get(at + 1) == Some(&b'\'') => at += 2,
                b'\'' => break,
                _ => at += 1,
            }
        }
        self.at += at + 1;
        Some(Token::String(&rest[start..at]))
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_blanks()?;
        let rest = self.rest();
        match rest[0] {
            b'\'' => self.string(0, self.backslash_escapes),
            b'e' | b'E' if rest.get(1) == Some(&b'\'') => self.string(1, true),
            b'"' => {
                let mut end = 1 + memchr(b'"', &rest[1..])?;
                while rest.get(end + 1) == Some(&b'"') {
                    end += 2 + memchr(b'"', &rest[end + 2..])?;
                }
                self.at += end + 1;
                Some(Token::Quoted(&rest[..=end]))
            }
            b'$' if !rest.get(1).is_some_and(u8::is_ascii_digit) => {
                let tag = 1 + memchr(b'$', &rest[1..])?;
                let tag = &rest[..=tag];
                let length = memmem::find(&rest[tag.len()..], tag)?;
                self.at += 2 * tag.len() + length;
                Some(Token::String(&rest[tag.len()..tag.len() + length]))
            }
            byte if is_word_byte(byte) => {
                let end = rest.iter().position(|byte| !is_word_byte(*byte));
                // A word may go on where the text was cut.
                let end = end?;
                self.at += end;
                Some(if byte.is_ascii_digit() || byte == b'$' {
                    Token::Number(&rest[..end])
                } else {
                    Token::Word(&rest[..end])
                })
            }
            byte => {
                self.at += 1;
                Some(Token::Sign(byte))
            }
        }
    }
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// How long the comment is with which a text begins.
fn comment(text: &[u8]) -> Option<usize> {
    let (mut depth, mut at) = (1_u32, 2);
    while depth > 0 {
        match text.get(at..at + 2)? {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::{Token, Tokens};

    #[test]
    fn a_text_is_read_as_the_server_reads_it() {
        let text = br#"COPY /* a /* b */ ; */ "x ""y".t -- c;
            (a$1) $1 1e+06 'it''s' E'\';' $q$ $$ '; $q$ ::"T";"#;
        let tokens: Vec<Token<'_>> = Tokens::of(text, false).collect();
        assert_eq!(
            tokens,
            [
                Token::Word(b"COPY"),
                Token::Quoted(br#""x ""y""#),
                Token::Sign(b'.'),
                Token::Word(b"t"),
                Token::Sign(b'('),
                Token::Word(b"a$1"),
                Token::Sign(b')'),
                Token::Number(b"$1"),
                Token::Number(b"1e"),
                Token::Sign(b'+'),
                Token::Number(b"06"),
                Token::String(b"it''s"),
                Token::String(br"\';"),
                Token::String(b" $$ '; "),
                Token::Sign(b':'),
                Token::Sign(b':'),
                Token::Quoted(b"\"T\""),
                Token::Sign(b';'),
            ]
        );
    }

    #[test]
    fn what_was_cut_is_no_token() {
        for text in ["a", "'a", "\"a", "$$ a", "$a", "/* a", "-- a", "E'\\'"] {
            assert_eq!(Tokens::of(text.as_bytes(), false).next(), None, "{text}");
        }
    }
}
