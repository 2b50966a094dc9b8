//! Which object a statement belongs to, by the comment before it, and what follows from its kind.

use std::fmt;

use super::printable;

/// Kinds of objects that are rows, large objects, or a state that rows bring about.
const CONTENT: [&[u8]; 9] = [
    b"BLOB",
    b"BLOB COMMENTS",
    b"BLOB DATA",
    b"BLOB METADATA",
    b"BLOBS",
    b"MATERIALIZED VIEW DATA",
    b"SEQUENCE SET",
    b"STATISTICS DATA",
    b"TABLE DATA",
];

/// Kinds of objects that are privileges, or text that comes back as it was given; and the head of a dump.
const WORD_FOR_WORD: [&[u8]; 9] = [
    b"",
    b"ACL",
    b"COMMENT",
    b"DATABASE",
    b"DATABASE PROPERTIES",
    b"DEFAULT ACL",
    b"SECURITY LABEL",
    b"SUBSCRIPTION TABLE",
    b"USER MAPPING",
];

/// Kinds of objects that a dump makes after its rows (`dbObjectTypePriority` in `pg_dump_sort.c`).
const AFTER_ROWS: [&[u8]; 16] = [
    b"CHECK CONSTRAINT",
    b"CONSTRAINT",
    b"EVENT TRIGGER",
    b"FK CONSTRAINT",
    b"INDEX",
    b"INDEX ATTACH",
    b"POLICY",
    b"PUBLICATION",
    b"PUBLICATION TABLE",
    b"PUBLICATION TABLES IN SCHEMA",
    b"ROW SECURITY",
    b"RULE",
    b"STATISTICS",
    b"SUBSCRIPTION",
    b"SUBSCRIPTION TABLE",
    b"TRIGGER",
];

/// Names an object the way `pg_dump` does in the comment before it: kind, schema and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectId {
    pub(super) kind: Box<[u8]>,
    pub(super) schema: Box<[u8]>,
    pub(super) name: Box<[u8]>,
}

impl ObjectId {
    /// What it is: `TABLE`, `FK CONSTRAINT`, …; empty at the head of a dump.
    pub fn kind(&self) -> &[u8] {
        &self.kind
    }

    /// The schema that it stands in; `-` for what stands in none.
    pub fn schema(&self) -> &[u8] {
        &self.schema
    }

    /// Its name. Of what something else has, such as a comment, what that is: `TABLE orders`.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Reads `-- Name: n; Type: T; Schema: s; Owner: o`, with or without words before `Name`.
    /// `pg_dump` takes line breaks out of names here, so that two objects can share an id; their
    /// statements are then counted together.
    pub fn from_comment(line: &[u8]) -> Option<Self> {
        let line = line.strip_prefix(b"-- ")?;
        let line = line
            .strip_prefix(b"Name: ")
            .or_else(|| line.strip_prefix(b"Data for Name: "))
            .or_else(|| line.strip_prefix(b"Statistics for Name: "))?;
        // From the back, since only a name can hold what looks like a separator.
        let (line, _owner) = rsplit(line, b"; Owner: ")?;
        let (line, schema) = rsplit(line, b"; Schema: ")?;
        let (name, kind) = rsplit(line, b"; Type: ")?;
        Some(Self {
            kind: kind.into(),
            schema: schema.into(),
            name: name.into(),
        })
    }

    /// Whether a statement belongs to no object: it stands before the first one.
    pub fn is_none(&self) -> bool {
        self.kind.is_empty()
    }

    /// Whether it is the value of a sequence.
    pub(super) fn is_value_of_sequence(&self) -> bool {
        *self.kind == *b"SEQUENCE SET"
    }

    /// The sequence whose value it is.
    pub(super) fn sequence(&self) -> Self {
        Self {
            kind: b"SEQUENCE".as_slice().into(),
            ..self.clone()
        }
    }

    /// Whether it is content of the database, which a dump without rows does not have.
    pub fn is_content(&self) -> bool {
        CONTENT.contains(&&*self.kind)
    }

    /// Whether it is made after the rows are loaded: functions that it calls may have read them by then.
    pub fn follows_rows(&self) -> bool {
        AFTER_ROWS.contains(&&*self.kind)
    }

    /// Whether it is a property of a large object: its access list, its comment or its label.
    pub(super) fn is_of_a_large_object(&self) -> bool {
        self.name.starts_with(b"LARGE OBJECT ")
    }

    /// Whether it is a definition, whose text the server writes again for every dump: expressions may be
    /// written differently then.
    pub(super) fn is_definition(&self) -> bool {
        !self.is_content() && !WORD_FOR_WORD.contains(&&*self.kind)
    }

    /// All parts, distinguished by a byte that no name holds.
    pub(super) fn key(&self) -> Vec<u8> {
        [&*self.kind, &*self.schema, &*self.name].join(&0)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind.is_empty() {
            return f.write_str("the dump's head");
        }
        let (schema, name) = (printable(&self.schema), printable(&self.name));
        let in_schema = *self.schema != *b"-";
        // Of what something else has, the name says what that is: `TABLE orders`.
        let had = match &*self.kind {
            b"ACL" => Some("the access list of"),
            b"COMMENT" => Some("the comment on"),
            b"SECURITY LABEL" => Some("the security label of"),
            _ => None,
        };
        if let Some(had) = had {
            write!(f, "{had} {name}")?;
            return if in_schema {
                write!(f, " in schema {schema}")
            } else {
                Ok(())
            };
        }
        match &*self.kind {
            b"SEQUENCE SET" => f.write_str("the value of sequence ")?,
            kind => write!(f, "{} ", printable(kind).to_lowercase())?,
        }
        if in_schema {
            write!(f, "{schema}.")?;
        }
        f.write_str(&name)
    }
}

fn rsplit<'a>(text: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = memchr::memmem::rfind(text, separator)?;
    Some((&text[..at], &text[at + separator.len()..]))
}
