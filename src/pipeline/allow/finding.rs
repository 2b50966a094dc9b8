//! What a dump holds that a restore does not send: where it stands, why it is refused, and the way out.

use std::fmt::{self, Write as _};

/// So many characters of a statement are shown.
const SHOWN: usize = 60;

/// A statement, or a line, that is not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The line of the dump's text in which it begins, counted from 1.
    pub line: u64,
    /// Its first words, fit to be shown: without values, and without anything that a terminal would
    /// carry out. Empty where it is not the words that count.
    pub statement: String,
    /// Why it is not sent.
    pub reason: Reason,
    /// Whether the text calls itself the output of `pg_dumpall`.
    pub of_a_cluster: bool,
}

/// Why something is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A verb, or a kind of object, that is not known.
    Unexpected,
    /// Makes, changes or drops a database, or gives it something.
    Database,
    /// The same with a role.
    Role,
    /// The same with a tablespace.
    Tablespace,
    /// Changes the server's settings, or who may.
    Server,
    /// Makes one role a member of another one.
    Membership,
    /// Changes everything that a role owns.
    Owned,
    /// Lets the server connect to another one.
    Subscription,
    /// Connects to another database.
    Connect,
    /// A command of psql's own.
    Command,
    /// A COPY that is none of `pg_dump`'s.
    Copy,
    /// Rows, or a change, of a table of `PostgreSQL`'s own.
    SystemCatalog,
    /// Code that is carried out at once.
    Code,
    /// A query, or a change of rows.
    Query,
    /// An INSERT of other things than constants.
    Inserts,
    /// Drops what the new database does not have.
    Clean,
    /// A transaction around other things than large objects.
    Transaction,
    /// A setting that changes who carries out the rest, or how it is read.
    Setting,
    /// An encoding in which a byte of a character can look like a quote or a backslash.
    Encoding,
    /// A line that puts psql in restricted mode, or ends that, where it does not belong.
    Restriction,
    /// Text that psql and the server, or another psql, may read differently.
    Ambiguous,
    /// Lines that end as on Windows.
    LineEnds,
    /// A byte that is in no text.
    Zero,
}

impl Finding {
    /// What can be done about it.
    pub fn hint(&self) -> &'static str {
        if self.of_a_cluster {
            return "the file is the output of pg_dumpall, and holds no database: read it, and run by hand, \
                    with psql, what you need of its roles; then restore the dump of the database";
        }
        match self.reason {
            Reason::Database | Reason::Connect => {
                "make the dump again without --create (-C), or load the file by hand with psql, on a \
                 server that holds nothing else"
            }
            Reason::Role | Reason::Tablespace | Reason::Membership | Reason::Owned => {
                "if the file holds roles alone, as pg_dumpall --globals-only writes them, read it and \
                 run by hand, with psql, what you need of it; then restore the dump of the database"
            }
            Reason::Clean => {
                "make the dump again without --clean (-c), or with --clean --if-exists, or load the file by \
                 hand into a new database: createdb NAME && psql -X -d NAME -f FILE, and overlook the errors \
                 of its DROP statements"
            }
            Reason::Encoding => "make the dump again without --encoding (-E)",
            Reason::Zero => {
                "if it is an archive of pg_dump's that is compressed once more, unpack it (gunzip, zstd -d), \
                 and restore that; of its tar format, make a text of it: pg_restore -f NEW.sql FILE, and restore \
                 NEW.sql"
            }
            Reason::LineEnds => {
                "give the lines their ends back: sed 's/\\r$//' FILE > NEW, and restore NEW"
            }
            Reason::Unexpected => {
                "if a newer pg_dump has written it, a newer pgbackupd may know it; look at the statement, \
                 and load the dump by hand if it is harmless: createdb NAME && psql -X -v ON_ERROR_STOP=1 -d \
                 NAME -f FILE"
            }
            _ => {
                "pg_dump does not write that: find out who has changed the dump; if the statement is \
                 harmless, take it out of the text, and restore that"
            }
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        if !self.statement.is_empty() {
            write!(f, ", {}", self.statement)?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unexpected => {
                "not among the statements that the pg_dump of PostgreSQL 14 to 18 writes"
            }
            Self::Database => "reaches a database, and not something in the new one",
            Self::Role => "reaches a role, which belongs to all databases of the server",
            Self::Tablespace => {
                "reaches a tablespace, which belongs to all databases of the server"
            }
            Self::Server => "reaches the settings of the server",
            Self::Membership => "makes a role a member of another one, or ends that",
            Self::Owned => "reaches everything that a role owns",
            Self::Subscription => "lets the server connect to another one",
            Self::Connect => "connects to another database",
            Self::Command => "a command of psql's own, which can run programs and reach files",
            Self::Copy => "a COPY other than of rows in the dump",
            Self::SystemCatalog => "changes rows of a table of PostgreSQL's own",
            Self::Code => "code that is executed at once",
            Self::Query => "a query, or a change of rows, that pg_dump does not write",
            Self::Inserts => "inserts something other than constants",
            Self::Clean => "drops what a new database does not have",
            Self::Transaction => "a transaction other than around large objects",
            Self::Setting => "changes who executes the rest of the dump, or how it is read",
            Self::Encoding => "an encoding in which a byte of a letter can look like a backslash",
            Self::Restriction => "is where pg_dump does not write it",
            Self::Ambiguous => "psql and the server may read it differently",
            Self::LineEnds => "the line ends as on Windows (CR LF)",
            Self::Zero => "a zero byte, which is in no text",
        })
    }
}

/// The first words of a statement for a terminal: up to the first value, and with no character that
/// does not print.
pub(in crate::pipeline) fn shown(text: &[u8]) -> String {
    let end = text
        .iter()
        .position(|byte| matches!(byte, b'\'' | b'(' | b'$' | b';'));
    let (text, mut is_cut) = match end {
        Some(end) => (&text[..end], text[end] != b';'),
        None => (text, !text.is_empty()),
    };
    let mut shown = String::new();
    let mut count = 0;
    let mut was_blank = true;
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            if count == SHOWN {
                is_cut = true;
                break;
            }
            if c.is_whitespace() {
                if !was_blank {
                    shown.push(' ');
                    count += 1;
                }
                was_blank = true;
                continue;
            }
            was_blank = false;
            count += 1;
            if c.is_control() || is_invisible(c) {
                shown.extend(c.escape_unicode());
            } else {
                shown.push(c);
            }
        }
        for byte in chunk.invalid() {
            if count < SHOWN {
                count += 1;
                // Writing to a string cannot fail.
                let _ = write!(shown, "\\x{byte:02x}");
            }
        }
    }
    let shown = shown.trim_end();
    if is_cut {
        format!("{shown} …")
    } else {
        shown.to_owned()
    }
}

/// Characters that change the direction or the place of others, and show nothing.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn a_statement_is_shown_short_without_values_and_without_what_a_terminal_carries_out() {
        for (text, expected) in [
            ("DROP DATABASE live;", "DROP DATABASE live"),
            (
                "ALTER ROLE a WITH PASSWORD 'secret';",
                "ALTER ROLE a WITH PASSWORD …",
            ),
            ("MERGE\n INTO  t\tVALUES (1, 2);", "MERGE INTO t VALUES …"),
            ("DO $$ BEGIN END $$;", "DO …"),
            (
                "CREATE ROLE \"\u{1b}[2J\u{202e}x\";",
                "CREATE ROLE \"\\u{1b}[2J\\u{202e}x\"",
            ),
        ] {
            assert_eq!(shown(text.as_bytes()), expected);
        }
        assert_eq!(shown(b"CREATE ROLE a\xff;"), "CREATE ROLE a\\xff");
        let long = "x".repeat(1000);
        assert_eq!(shown(long.as_bytes()).chars().count(), 62);
    }
}
