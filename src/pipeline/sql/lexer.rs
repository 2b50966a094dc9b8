//! Finding where a statement of a dump ends.
//!
//! The rules are those by which psql splits its input (the manual's chapter "SQL Syntax", "Lexical
//! Structure", and psql's own treatment of parentheses and of SQL-standard function bodies): a
//! semicolon ends a statement unless it stands in a string, an identifier, a comment, between
//! parentheses (`CREATE RULE`), or in the `BEGIN ATOMIC … END` of a function.

mod body;

use memchr::{memchr, memchr2};

use body::Body;

/// Something in the text of a statement outside of strings and names that `pg_dump` does not write, and
/// about whose meaning psql, the server and we could be of different minds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum Oddity {
    /// A backslash, where it begins a command of psql's.
    Command,
    /// A carriage return, which ends a comment for psql and the server.
    CarriageReturn,
    /// Anything else.
    Ambiguous,
}

/// A dollar-quote tag is an identifier; the server cuts those at 63 bytes, and `pg_dump` writes
/// only short ones of its own. A longer run of letters after a dollar is an oddity.
const LONGEST_TAG: usize = 130;

/// Where in the text of a statement the next byte stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum LexerState {
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
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact about the text so far"
)]
pub(in crate::pipeline) struct Lexer {
    state: LexerState,
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
    /// The first oddity.
    oddity: Option<Oddity>,
    /// Whether a comma stood outside of all parentheses.
    has_list: bool,
    /// How many parentheses were opened.
    openings: u32,
    /// Where in the body of an SQL-standard function it stands.
    body: Body,
    /// Whether nothing but white space and comments has come since a string.
    after_string: bool,
    /// Whether the word began with a digit and has the letter of an exponent.
    has_exponent: bool,
    /// Whether the byte before was the second colon of a cast.
    after_cast: bool,
    /// What an INSERT gives, from its VALUES on.
    values: Option<Values>,
}

/// What stands behind the VALUES of an INSERT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::pipeline) struct Values {
    /// How many rows, each in parentheses.
    pub(in crate::pipeline) rows: u64,
    /// Whether a word is among them that is no constant, or a name in quotes.
    pub(in crate::pipeline) has_others: bool,
}

/// The words that `pg_dump --inserts` writes among the values and behind them. The letters stand before
/// strings.
const WORDS_OF_VALUES: [&[u8]; 11] = [
    b"null",
    b"true",
    b"false",
    b"default",
    b"b",
    b"e",
    b"x",
    b"on",
    b"conflict",
    b"do",
    b"nothing",
];

/// The first words of a statement, as far as they can lead to a function's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    Create,
    Or,
    Replace,
    Routine,
    Insert,
    Other,
}

/// The longest word that matters, `procedure`, and one byte more to tell a longer word from it.
const WORD_KEPT: usize = 10;

impl Lexer {
    pub(in crate::pipeline) fn new(backslash_escapes: bool) -> Self {
        Self {
            state: LexerState::Plain,
            previous: b' ',
            word: Vec::with_capacity(WORD_KEPT),
            parentheses: 0,
            blocks: 0,
            opening: Vec::with_capacity(4),
            backslash_escapes,
            oddity: None,
            has_list: false,
            openings: 0,
            body: Body::None,
            after_string: false,
            has_exponent: false,
            after_cast: false,
            values: None,
        }
    }

    /// What the statement so far inserts; none before the VALUES of an INSERT.
    pub(in crate::pipeline) fn values(&self) -> Option<Values> {
        self.values
    }

    /// The first thing in the statement so far about which minds could differ.
    pub(in crate::pipeline) fn oddity(&self) -> Option<Oddity> {
        self.oddity
    }

    /// How many parentheses were opened in the statement so far.
    pub(in crate::pipeline) fn openings(&self) -> u32 {
        self.openings
    }

    fn odd(&mut self, oddity: Oddity) {
        self.oddity.get_or_insert(oddity);
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
            let skip = match &self.state {
                LexerState::String { escapes: false } => memchr(b'\'', &bytes[at..]),
                LexerState::String { escapes: true } => memchr2(b'\'', b'\\', &bytes[at..]),
                LexerState::Identifier => memchr(b'"', &bytes[at..]),
                LexerState::Dollar { matched: 0, .. } => memchr(b'$', &bytes[at..]),
                LexerState::LineComment => memchr2(b'\n', b'\r', &bytes[at..]),
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
    #[expect(
        clippy::too_many_lines,
        reason = "one arm for each place that a byte can be in"
    )]
    fn step(&mut self, byte: u8) -> bool {
        match &mut self.state {
            LexerState::Plain => return self.step_plain(byte),
            LexerState::String { escapes } => {
                let escapes = *escapes;
                if byte == b'\'' {
                    self.state = LexerState::StringQuote { escapes };
                } else if byte == b'\\' && escapes {
                    self.state = LexerState::StringEscape;
                }
            }
            LexerState::StringEscape => self.state = LexerState::String { escapes: true },
            LexerState::StringQuote { escapes } => {
                if byte == b'\'' {
                    self.state = LexerState::String { escapes: *escapes };
                } else {
                    self.after_string = true;
                    return self.back_to_plain(byte);
                }
            }
            // A doubled quote ends one identifier and starts another: the same to us.
            LexerState::Identifier => {
                if byte == b'"' {
                    self.state = LexerState::Plain;
                    self.previous = b'"';
                }
            }
            LexerState::DollarTag(tag) => {
                if byte == b'$' {
                    tag.push(byte);
                    let tag = std::mem::take(tag);
                    self.state = LexerState::Dollar { tag, matched: 0 };
                } else if is_tag_byte(byte, tag.len() == 1) && tag.len() < LONGEST_TAG {
                    tag.push(byte);
                } else {
                    // Only a parameter's number follows a dollar otherwise.
                    if tag.len() > 1 || !byte.is_ascii_digit() {
                        self.odd(Oddity::Ambiguous);
                    }
                    return self.back_to_plain(byte);
                }
            }
            LexerState::Dollar { tag, matched } => {
                if byte == tag[*matched] {
                    *matched += 1;
                    if *matched == tag.len() {
                        self.state = LexerState::Plain;
                        self.previous = b'$';
                    }
                } else {
                    // A tag has dollars only at its ends, so a dollar can only start it again.
                    *matched = usize::from(byte == b'$');
                }
            }
            LexerState::LineComment => {
                if byte == b'\r' {
                    self.odd(Oddity::CarriageReturn);
                } else if byte == b'\n' {
                    self.state = LexerState::Plain;
                    self.previous = b'\n';
                }
            }
            LexerState::BlockComment { depth, previous } => {
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
                    self.state = LexerState::Plain;
                    self.previous = b' ';
                }
            }
        }
        false
    }

    fn back_to_plain(&mut self, byte: u8) -> bool {
        self.state = LexerState::Plain;
        self.previous = b' ';
        self.step_plain(byte)
    }

    fn step_plain(&mut self, byte: u8) -> bool {
        if is_word_byte(byte) && !(byte == b'$' && self.word.is_empty()) {
            self.step_word(byte);
            return false;
        }
        let prefix = if self.word.len() == 1 {
            self.word[0]
        } else {
            b' '
        };
        self.end_word(byte);
        let previous = std::mem::replace(&mut self.previous, byte);
        if !byte.is_ascii_whitespace() && byte != b';' {
            self.body_goes_on();
        }
        match byte {
            b' ' | b'\n' | b'\t' | b'-' => {}
            b'\'' => {
                // A string that goes on in another line does so in the way in which it began. Of those
                // with bits none has escapes.
                let is_of_bits =
                    self.backslash_escapes && (matches!(prefix, b'b' | b'x') || previous == b'&');
                if self.after_string || is_of_bits {
                    self.odd(Oddity::Ambiguous);
                }
                self.after_string = false;
                self.after_cast = false;
                self.state = LexerState::String {
                    escapes: prefix == b'e' || self.backslash_escapes,
                };
                return false;
            }
            _ => self.after_string = false,
        }
        self.after_cast = byte == b':' && previous == b':' && !self.after_cast;
        match byte {
            b'"' => {
                self.state = LexerState::Identifier;
                self.no_constant();
            }
            b'\\' => self.odd(Oddity::Command),
            b'\r' => self.odd(Oddity::CarriageReturn),
            b'$' => self.state = LexerState::DollarTag(vec![b'$']),
            b'-' if previous == b'-' => self.state = LexerState::LineComment,
            b'*' if previous == b'/' => {
                self.state = LexerState::BlockComment {
                    depth: 1,
                    previous: b' ',
                };
            }
            b'(' => self.open(),
            b',' => self.has_list |= self.parentheses == 0,
            b')' => self.parentheses = self.parentheses.saturating_sub(1),
            b';' => return self.step_semicolon(),
            _ if byte.is_ascii_control() && !byte.is_ascii_whitespace() => {
                self.odd(Oddity::Ambiguous);
            }
            _ => {}
        }
        false
    }

    /// A parenthesis; in an INSERT's values, the outermost hold a row each.
    fn open(&mut self) {
        if let Some(values) = self.values.as_mut().filter(|_| self.parentheses == 0) {
            values.rows += 1;
        }
        self.parentheses += 1;
        self.openings = self.openings.saturating_add(1);
    }

    /// Something else than a constant, which counts among an INSERT's values.
    fn no_constant(&mut self) {
        if let Some(values) = &mut self.values {
            values.has_others = true;
        }
    }

    /// Takes a byte of an unquoted word or a number.
    fn step_word(&mut self, byte: u8) {
        self.after_string = false;
        match self.word.first() {
            None => {
                self.has_exponent = false;
                // psql would put the value of a variable of its own there, whose names are in capitals.
                if self.previous == b':' && !self.after_cast && byte.is_ascii_uppercase() {
                    self.odd(Oddity::Ambiguous);
                }
            }
            // psql and the server part a number from what follows it in ways that have changed.
            Some(first) if first.is_ascii_digit() && !byte.is_ascii_digit() => {
                if matches!(byte, b'e' | b'E') && !self.has_exponent {
                    self.has_exponent = true;
                } else {
                    self.odd(Oddity::Ambiguous);
                }
            }
            Some(_) => {}
        }
        if self.word.len() < WORD_KEPT {
            self.word.push(byte.to_ascii_lowercase());
        }
        self.previous = byte;
        self.after_cast = false;
    }

    fn step_semicolon(&mut self) -> bool {
        if self.parentheses > 0 {
            return false;
        }
        if self.blocks > 0 {
            self.statement_of_the_body_ends();
            return false;
        }
        true
    }

    /// Takes a word as a whole: one has ended where something else comes next.
    fn end_word(&mut self, next: u8) {
        if self.word.is_empty() {
            return;
        }
        if self.has_exponent
            && self.word[0].is_ascii_digit()
            && !self.previous.is_ascii_digit()
            && !matches!(next, b'+' | b'-')
        {
            self.odd(Oddity::Ambiguous);
        }
        let word = self.word.as_slice();
        if self.opening.len() < 4 {
            self.opening.push(match word {
                b"create" => Opening::Create,
                b"or" => Opening::Or,
                b"replace" => Opening::Replace,
                b"function" | b"procedure" => Opening::Routine,
                b"insert" => Opening::Insert,
                _ => Opening::Other,
            });
        }
        if self.makes_a_routine() {
            self.end_word_of_a_routine();
        } else if self.opening.first() == Some(&Opening::Insert) {
            self.end_word_of_an_insert();
        }
        self.word.clear();
    }

    fn end_word_of_an_insert(&mut self) {
        let word = self.word.as_slice();
        match &mut self.values {
            Some(values) => {
                let is_number = word[0].is_ascii_digit();
                values.has_others |= !is_number && !WORDS_OF_VALUES.contains(&word);
            }
            None if word == b"values" && self.parentheses == 0 => {
                self.values = Some(Values::default());
            }
            None => {}
        }
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
    fn the_rows_of_an_insert_are_counted_and_what_is_no_constant_is_noticed() {
        for (text, expected) in [
            (
                "INSERT INTO t VALUES (1, -2.5e+10, 'a;b', NULL, true, B'101', E'x', DEFAULT);",
                Some((1, false)),
            ),
            (
                "INSERT INTO s.t (a, \"values\") VALUES\n\t(1, 'x)'),\n\t(2, '(') ON CONFLICT DO NOTHING;",
                Some((2, false)),
            ),
            (
                "INSERT INTO t OVERRIDING SYSTEM VALUE VALUES (1);",
                Some((1, false)),
            ),
            ("INSERT INTO t DEFAULT VALUES;", Some((0, false))),
            ("INSERT INTO t VALUES (f());", Some((1, true))),
            ("INSERT INTO t VALUES ((SELECT 1));", Some((1, true))),
            ("INSERT INTO t VALUES (\"f\"(1));", Some((1, true))),
            ("INSERT INTO t VALUES ('a'::regclass);", Some((1, true))),
            ("INSERT INTO t VALUES (1) RETURNING 1;", Some((1, true))),
            (
                "INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 1;",
                Some((2, true)),
            ),
            ("INSERT INTO t SELECT * FROM (VALUES (1)) v;", None),
            ("INSERT INTO t SELECT 1;", None),
            ("SELECT * FROM t, (VALUES (1)) v;", None),
            ("COMMENT ON TABLE t IS 'INSERT INTO t VALUES (1)';", None),
        ] {
            for piece in 1..=text.len() {
                let mut lexer = Lexer::new(false);
                for part in text.as_bytes().chunks(piece) {
                    lexer.push(part);
                }
                let found = lexer.values().map(|it| (it.rows, it.has_others));
                assert_eq!(found, expected, "{text} by {piece}");
            }
        }
    }

    #[test]
    fn begin_starts_a_block_only_where_a_routine_is_made() {
        assert_eq!(split("BEGIN;COMMIT;", 100, false), ["BEGIN;", "COMMIT;"]);
    }
}
