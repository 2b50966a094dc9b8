//! Which verbs `pg_dump` has for which kinds of objects (`src/bin/pg_dump/pg_dump.c`, `dumputils.c` and
//! `pg_backup_archiver.c` of PostgreSQL 14 to 18). All of these belong to one database.

use super::finding::Reason;
use super::tokens::Tokens;

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Create,
    Alter,
    Drop,
    Comment,
    Label,
    /// GRANT and REVOKE.
    Grant,
}

/// The kinds, and the verbs with which they occur: C(reate), A(lter), D(rop), (co)M(ment), L(abel) and
/// G(rant). Where one kind begins with the words of another, the longer one comes first.
pub(super) const KINDS: [(&str, &str); 43] = [
    ("access method", "CDM"),
    ("aggregate", "CADML"),
    ("cast", "CDM"),
    ("collation", "CADM"),
    ("column", "ML"),
    ("constraint", "M"),
    ("conversion", "CADM"),
    ("default privileges", "A"),
    ("domain", "CADMLG"),
    ("event trigger", "CADML"),
    ("extension", "CDM"),
    ("foreign data wrapper", "CADMG"),
    ("foreign server", "G"),
    ("foreign table", "CADML"),
    ("function", "CADMLG"),
    ("index", "CADM"),
    ("language", "CADMLG"),
    ("large object", "AMLG"),
    ("materialized view", "CADML"),
    ("operator class", "CADM"),
    ("operator family", "CADM"),
    ("operator", "CADM"),
    ("policy", "CDM"),
    ("procedural language", "CADML"),
    ("procedure", "CADMLG"),
    ("publication", "CADML"),
    ("rule", "CDM"),
    ("schema", "CADMLG"),
    ("sequence", "CADMLG"),
    ("server", "CADM"),
    ("statistics", "CADM"),
    ("subscription", "CADML"),
    ("table", "CADMLG"),
    ("text search configuration", "CADM"),
    ("text search dictionary", "CADM"),
    ("text search parser", "CADM"),
    ("text search template", "CADM"),
    ("transform", "CDM"),
    ("trigger", "CADM"),
    ("type", "CADMLG"),
    ("user mapping", "CD"),
    ("view", "CADML"),
    // Not of pg_dump 14 to 18, which write FUNCTION and PROCEDURE; their grants name both so.
    ("routine", "MG"),
];

/// What belongs to the server, and not to one of its databases.
const OF_THE_SERVER: [(&str, Reason); 8] = [
    ("database", Reason::Database),
    ("role", Reason::Role),
    ("user", Reason::Role),
    ("group", Reason::Role),
    ("tablespace", Reason::Tablespace),
    ("system", Reason::Server),
    ("parameter", Reason::Server),
    ("owned", Reason::Owned),
];

impl Verb {
    fn letter(self) -> char {
        match self {
            Self::Create => 'C',
            Self::Alter => 'A',
            Self::Drop => 'D',
            Self::Comment => 'M',
            Self::Label => 'L',
            Self::Grant => 'G',
        }
    }
}

/// Takes the kind of object that a statement is about.
///
/// # Errors
/// When it belongs to the server, or is not known with this verb.
pub(super) fn kind(tokens: &mut Tokens<'_>, verb: Verb) -> Result<&'static str, Reason> {
    for (words, verbs) in KINDS {
        if tokens.accept_all(words) {
            return if verbs.contains(verb.letter()) {
                Ok(words)
            } else {
                Err(Reason::Unexpected)
            };
        }
    }
    for (word, reason) in OF_THE_SERVER {
        if tokens.accept(word) {
            return Err(reason);
        }
    }
    Err(Reason::Unexpected)
}
