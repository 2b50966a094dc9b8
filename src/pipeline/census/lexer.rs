//! Finding where a statement of a dump ends.
//!
//! The rules are those by which psql splits its input (the manual's chapter "SQL Syntax", "Lexical
//! Structure", and psql's own treatment of parentheses and of SQL-standard function bodies): a
//! semicolon ends a statement unless it stands in a string, an identifier, a comment, between
//! parentheses (`CREATE RULE`), or in the `BEGIN ATOMIC … END` of a function.

use memchr::{memchr, memchr2};

/// A dollar-quote tag is an identifier; the server cuts those at 63 bytes, and `pg_dump` writes
/// only short ones of its own. A longer run of letters after a dollar is taken as no tag.
const LONGEST_TAG: usize = 130;

/// Where in the text of a statement the next byte stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Plain,
    String {
        escapes: bool,
    },
    /// After a quote in a string: another one goes on with it.
    StringQuote {
        escapes: bool,
    },
    /// After a backslash in a string with escapes.
    StringEscape,
    Identifier,
    /// After a dollar that may start a tag: the tag so far, with that dollar.
    DollarTag(Vec<u8>),
    /// In a dollar-quoted string, with so many bytes of its closing tag matched.
    Dollar {
        tag: Vec<u8>,
        matched: usize,
    },
    LineComment,
    BlockComment {
        depth: u32,
        previous: u8,
    },
}

/// The state of the splitter inside one statement.
#[derive(Clone, Debug)]
pub(in crate::pipeline) struct Lexer {
    place: Place,
    /// The byte before, where it was plain.
    previous: u8,
    /// The unquoted word that the last bytes are part of, in lower case, cut to what any keyword
    /// of interest needs.
    word: Vec<u8>,
    parentheses: u32,
    /// How deep in `BEGIN … END` and `CASE … END` of an SQL-standard function body.
    blocks: u32,
    /// The first words of the statement: they tell whether it makes a function.
    opening: Vec<Opening>,
    /// Whether a backslash escapes in plain strings (`standard_conforming_strings` is off).
    backslash_escapes: bool,
    /// Whether a backslash stood in plain text, where it begins a command of psql's.
    has_command: bool,
    /// Whether a comma stood outside of all parentheses.
    has_list: bool,
}

/// The first words of a statement, as far as they can lead to a function's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    Create,
    Or,
    Replace,
    Routine,
    Other,
}

/// The longest word that matters, `procedure`, and one byte more to tell a longer word from it.
const WORD_KEPT: usize = 10;

impl Lexer {
    pub(in crate::pipeline) fn new(backslash_escapes: bool) -> Self {
        Self {
            place: Place::Plain,
            previous: b' ',
            word: Vec::with_capacity(WORD_KEPT),
            parentheses: 0,
            blocks: 0,
            opening: Vec::with_capacity(4),
            backslash_escapes,
            has_command: false,
            has_list: false,
        }
    }

    /// Whether psql has found a command of its own in the statement so far.
    pub(in crate::pipeline) fn has_command(&self) -> bool {
        self.has_command
    }

    /// Whether the statement so far says several things, with a comma between them.
    pub(in crate::pipeline) fn has_list(&self) -> bool {
        self.has_list
    }

    /// Takes the next bytes; gives how many belong to the statement, its semicolon included, if it
    /// ends among them.
    pub(in crate::pipeline) fn push(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            // Most bytes stand in strings and comments, where only one or two values matter.
            let skip = match &self.place {
                Place::String { escapes: false } => memchr(b'\'', &bytes[at..]),
                Place::String { escapes: true } => memchr2(b'\'', b'\\', &bytes[at..]),
                Place::Identifier => memchr(b'"', &bytes[at..]),
                Place::Dollar { matched: 0, .. } => memchr(b'$', &bytes[at..]),
                Place::LineComment => memchr(b'\n', &bytes[at..]),
                _ => Some(0),
            };
            match skip {
                None => return None,
                Some(skip) => at += skip,
            }
            if self.step(bytes[at]) {
                return Some(at + 1);
            }
            at += 1;
        }
        None
    }

    /// Takes one byte; gives whether it ends the statement.
    fn step(&mut self, byte: u8) -> bool {
        match &mut self.place {
            Place::Plain => return self.step_plain(byte),
            Place::String { escapes } => {
                let escapes = *escapes;
                if byte == b'\'' {
                    self.place = Place::StringQuote { escapes };
                } else if byte == b'\\' && escapes {
                    self.place = Place::StringEscape;
                }
            }
            Place::StringEscape => self.place = Place::String { escapes: true },
            Place::StringQuote { escapes } => {
                if byte == b'\'' {
                    self.place = Place::String { escapes: *escapes };
                } else {
                    return self.back_to_plain(byte);
                }
            }
            // A doubled quote ends one identifier and starts another: the same to us.
            Place::Identifier => {
                if byte == b'"' {
                    self.place = Place::Plain;
                    self.previous = b'"';
                }
            }
            Place::DollarTag(tag) => {
                if byte == b'$' {
                    tag.push(byte);
                    let tag = std::mem::take(tag);
                    self.place = Place::Dollar { tag, matched: 0 };
                } else if is_tag_byte(byte, tag.len() == 1) && tag.len() < LONGEST_TAG {
                    tag.push(byte);
                } else {
                    return self.back_to_plain(byte);
                }
            }
            Place::Dollar { tag, matched } => {
                if byte == tag[*matched] {
                    *matched += 1;
                    if *matched == tag.len() {
                        self.place = Place::Plain;
                        self.previous = b'$';
                    }
                } else {
                    // A tag has dollars only at its ends, so a dollar can only start it anew.
                    *matched = usize::from(byte == b'$');
                }
            }
            Place::LineComment => {
                if byte == b'\n' {
                    self.place = Place::Plain;
                    self.previous = b'\n';
                }
            }
            Place::BlockComment { depth, previous } => {
                if *previous == b'*' && byte == b'/' {
                    *depth -= 1;
                    *previous = b' ';
                } else if *previous == b'/' && byte == b'*' {
                    *depth += 1;
                    *previous = b' ';
                } else {
                    *previous = byte;
                }
                if *depth == 0 {
                    self.place = Place::Plain;
                    self.previous = b' ';
                }
            }
        }
        false
    }

    fn back_to_plain(&mut self, byte: u8) -> bool {
        self.place = Place::Plain;
        self.previous = b' ';
        self.step_plain(byte)
    }

    fn step_plain(&mut self, byte: u8) -> bool {
        if is_word_byte(byte) && !(byte == b'$' && self.word.is_empty()) {
            if self.word.len() < WORD_KEPT {
                self.word.push(byte.to_ascii_lowercase());
            }
            self.previous = byte;
            return false;
        }
        let escape_string = self.word == b"e";
        self.end_word();
        let previous = std::mem::replace(&mut self.previous, byte);
        match byte {
            b'\'' => {
                self.place = Place::String {
                    escapes: escape_string || self.backslash_escapes,
                };
            }
            b'"' => self.place = Place::Identifier,
            b'\\' => self.has_command = true,
            b'$' => self.place = Place::DollarTag(vec![b'$']),
            b'-' if previous == b'-' => self.place = Place::LineComment,
            b'*' if previous == b'/' => {
                self.place = Place::BlockComment {
                    depth: 1,
                    previous: b' ',
                };
            }
            b'(' => self.parentheses += 1,
            b',' => self.has_list |= self.parentheses == 0,
            b')' => self.parentheses = self.parentheses.saturating_sub(1),
            b';' => return self.parentheses == 0 && self.blocks == 0,
            _ => {}
        }
        false
    }

    /// Counts the blocks of an SQL-standard function body, as psql does.
    fn end_word(&mut self) {
        if self.word.is_empty() {
            return;
        }
        let word = self.word.as_slice();
        if self.opening.len() < 4 {
            self.opening.push(match word {
                b"create" => Opening::Create,
                b"or" => Opening::Or,
                b"replace" => Opening::Replace,
                b"function" | b"procedure" => Opening::Routine,
                _ => Opening::Other,
            });
        }
        if self.parentheses == 0 && self.makes_a_routine() {
            match word {
                b"begin" => self.blocks += 1,
                b"case" if self.blocks > 0 => self.blocks += 1,
                b"end" => self.blocks = self.blocks.saturating_sub(1),
                _ => {}
            }
        }
        self.word.clear();
    }

    fn makes_a_routine(&self) -> bool {
        use Opening::{Create, Or, Replace, Routine};
        matches!(
            self.opening.as_slice(),
            [Create, Routine, ..] | [Create, Or, Replace, Routine]
        )
    }
}

/// Whether a byte can be part of an unquoted word. Bytes above 127 are letters in every encoding
/// that a server can have.
fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

fn is_tag_byte(byte: u8, first: bool) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80 || (byte.is_ascii_digit() && !first)
}

#[cfg(test)]
mod tests {
    use super::Lexer;

    /// The statements that a text is split into, however it is cut.
    fn split(text: &str, piece: usize, backslash_escapes: bool) -> Vec<String> {
        let mut lexer = Lexer::new(backslash_escapes);
        let mut statements = Vec::new();
        let mut current = Vec::new();
        for mut part in text.as_bytes().chunks(piece) {
            while let Some(used) = lexer.push(part) {
                current.extend_from_slice(&part[..used]);
                statements.push(String::from_utf8(std::mem::take(&mut current)).unwrap());
                lexer = Lexer::new(backslash_escapes);
                part = &part[used..];
            }
            current.extend_from_slice(part);
        }
        assert!(
            current.is_empty(),
            "left over: {:?}",
            String::from_utf8_lossy(&current)
        );
        statements
    }

    #[test]
    fn a_semicolon_ends_a_statement_only_in_plain_text() {
        for statement in [
            "SELECT 1;",
            "SELECT ';';",
            "SELECT 'it''s; fine';",
            r"SELECT E'it\'s; ''fine''';",
            r"SELECT '\';",
            r#"SELECT ";""a;";"#,
            "SELECT $$ ; $$;",
            "SELECT $a$ ; $$ ; $b$ ; $a $a$;",
            "SELECT $a$ $$a$;",
            "SELECT a$1, $1;",
            "SELECT 1 -- ; '\n;",
            "SELECT 1 /* ; /* ; */ ; ' */;",
            "SELECT 1 - 1 / 2 * 3;",
            "CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; SELECT 2;);",
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 1 END; END;",
            "CREATE OR REPLACE PROCEDURE p()\n    BEGIN ATOMIC\n INSERT INTO t VALUES (1);\nEND;",
            "CREATE TABLE begin_end (\"begin\" int);",
            "CREATE FUNCTION \"begin\"() RETURNS int LANGUAGE sql AS $_$ select ';' $_$;",
            "COMMENT ON TABLE t IS 'type E';",
        ] {
            for piece in 1..=statement.len() {
                assert_eq!(
                    split(statement, piece, false),
                    [statement],
                    "pieces of {piece}"
                );
            }
        }
    }

    #[test]
    fn a_word_that_ends_in_e_starts_no_escape_string() {
        assert_eq!(
            split(r"SELECT type'\';SELECT 2;", 100, false),
            [r"SELECT type'\';", "SELECT 2;"]
        );
    }

    #[test]
    fn backslashes_escape_where_the_server_says_so() {
        assert_eq!(
            split(r"SELECT '\';';SELECT 2;", 100, true),
            [r"SELECT '\';';", "SELECT 2;"]
        );
    }

    #[test]
    fn begin_starts_a_block_only_where_a_routine_is_made() {
        assert_eq!(split("BEGIN;COMMIT;", 100, false), ["BEGIN;", "COMMIT;"]);
    }
}
