//! Definitions that the server refuses while they are made in the scratch database: which of them the
//! tables need that are restored. Pure.

use memchr::memmem::find_iter;

use super::choose::{Name, flat};
use crate::jobs::JobError;
use crate::pipeline::Refusable;
use crate::postgres::{ServerError, Table};

/// So many are named; the rest is counted.
const NAMED: usize = 10;

/// What a table is made of besides itself, by the kinds of objects. Without an access list, a comment or a
/// label it is the same table.
const PARTS: [&[u8]; 11] = [
    b"CHECK CONSTRAINT",
    b"CONSTRAINT",
    b"DEFAULT",
    b"INDEX",
    b"POLICY",
    b"ROW SECURITY",
    b"RULE",
    b"SEQUENCE OWNED BY",
    b"STATISTICS",
    b"TABLE",
    b"TRIGGER",
];

/// With what words a statement names the table that it makes a part of.
const BEFORE_ITS_TABLE: [&[u8]; 10] = [
    b"ALTER TABLE ",
    b"ALTER TABLE ONLY ",
    b" ON ",
    b" ON ONLY ",
    b" TO ",
    b" FROM ",
    b" OWNED BY ",
    b"INHERITS (",
    b", ",
    b" PARTITION OF ",
];

/// A statement that the server has refused.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    /// What it was; none where it was too long to be held.
    pub(super) statement: Option<Refusable>,
    pub(super) error: ServerError,
    /// What the server says of it, with details and context.
    pub(super) said: String,
}

/// Gives a warning of those that none of the tables needs; `lacking` names extensions that were left out.
///
/// # Errors
/// When a table needs one: it is named with what the server says.
pub(super) fn judge(
    refused: &[Refused],
    tables: &[Table],
    missing: &[Name],
    lacking: &str,
) -> Result<Option<String>, JobError> {
    if refused.is_empty() {
        return Ok(None);
    }
    let (needed, others): (Vec<&Refused>, Vec<&Refused>) = refused
        .iter()
        .partition(|one| is_needed(one, tables, missing));
    if needed.is_empty() && missing.is_empty() {
        return Ok(Some(format!(
            "the server refuses definitions that none of the tables needs, and they were skipped:{}",
            listed(&others)
        )));
    }
    // What a table needs may be refused for lack of something else that was refused before.
    let mut message = format!(
        "the server refuses definitions that the tables need:{}",
        listed(&needed)
    );
    if !others.is_empty() {
        message.push_str("\nIt also refuses, perhaps for the same reason:");
        message.push_str(&listed(&others));
    }
    if !lacking.is_empty() {
        message.push_str("\nextensions that our user cannot install there are ");
        message.push_str(lacking);
    }
    message.push_str(
        "\nhint: make what is missing there, or restore the whole backup into another database, with --into",
    );
    let said = needed.iter().chain(&others).take(NAMED);
    let said: Vec<String> = said
        .map(|one| format!("{}: {}", one.name(), one.said))
        .collect();
    Err(JobError::Failed {
        message,
        detail: Some(said.join("\n")),
        may_pass: false,
    })
}

impl Refused {
    fn name(&self) -> String {
        match &self.statement {
            Some(statement) if statement.object.is_none() => "a setting of the dump".to_owned(),
            Some(statement) => statement.object.to_string(),
            None => "a statement".to_owned(),
        }
    }

    /// Without values.
    fn in_short(&self) -> String {
        let mut error = self.error.clone();
        error.line = None;
        format!("{}: {}", self.name(), error.in_short())
    }
}

fn listed(refused: &[&Refused]) -> String {
    let mut lines: Vec<String> = refused
        .iter()
        .take(NAMED)
        .map(|one| one.in_short())
        .collect();
    if refused.len() > NAMED {
        lines.push(format!("and {} more", refused.len() - NAMED));
    }
    lines.iter().flat_map(|line| ["\n  ", line]).collect()
}

/// Whether one of the tables would not be what it was without a statement.
fn is_needed(refused: &Refused, tables: &[Table], missing: &[Name]) -> bool {
    let Some(Refusable { object, text }) = &refused.statement else {
        return true;
    };
    if object.is_none() || text.starts_with(b"SET ") {
        return true;
    }
    let kind = object.kind();
    let name = (object.schema().to_vec(), object.name().to_vec());
    let is_ours = |other: &Name| *other == name;
    if kind == b"TABLE"
        && (missing.iter().any(is_ours) || tables.iter().any(|one| is_ours(&flat(&one.raw))))
    {
        return true;
    }
    let of = |words: &[&[u8]]| {
        tables
            .iter()
            .any(|table| names(text, words, &table.written))
    };
    match kind {
        // One to another table is left out in any case.
        b"FK CONSTRAINT" => of(&BEFORE_ITS_TABLE[..2]) && of(&[b" REFERENCES "]),
        // A partition by itself does not need its parent.
        b"TABLE ATTACH" => of(&BEFORE_ITS_TABLE[..2]),
        kind if PARTS.contains(&kind) => of(&BEFORE_ITS_TABLE),
        _ => false,
    }
}

/// Whether a name stands in a text behind one of these words.
fn names(text: &[u8], words: &[&[u8]], name: &[u8]) -> bool {
    find_iter(text, name).any(|at| {
        let next = text.get(at + name.len());
        let is_whole = !next.is_some_and(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'"') || *byte >= 0x80
        });
        is_whole && words.iter().any(|words| text[..at].ends_with(words))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::census::ObjectId;
    use crate::postgres::read_all_errors;

    fn table(schema: &str, name: &str) -> Table {
        Table {
            oid: 1,
            schema: schema.to_owned(),
            name: name.to_owned(),
            quoted: format!("{schema}.{name}"),
            raw: (schema.into(), name.into()),
            written: format!("{schema}.{name}").into_bytes(),
            is_partitioned: false,
            is_named: true,
            parents: Vec::new(),
        }
    }

    fn refused(kind: &str, name: &str, text: &str) -> Refused {
        let comment = format!("-- Name: {name}; Type: {kind}; Schema: s; Owner: o");
        let said =
            "psql:<stdin>:9: ERROR:  42883: operator does not exist\nDETAIL:  d\nCONTEXT:  c";
        let (error, said) = read_all_errors(said).remove(0);
        Refused {
            statement: Some(Refusable {
                object: ObjectId::from_comment(comment.as_bytes()).unwrap(),
                text: text.as_bytes().to_vec(),
            }),
            error,
            said,
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of cases")]
    fn a_table_needs_what_it_is_made_of_and_nothing_else() {
        let tables = [table("s", "t"), table("s", "u")];
        let missing = [(b"s".to_vec(), b"gone".to_vec())];
        for (kind, name, text, expected) in [
            ("TABLE", "t", "ALTER TABLE s.t OWNER TO o;", true),
            ("TABLE", "gone", "CREATE TABLE s.gone (a s.missing);", true),
            ("TABLE", "other", "CREATE TABLE s.other (a int);", false),
            (
                "TABLE",
                "child",
                "CREATE TABLE s.child (\n)\nINHERITS (s.t);",
                true,
            ),
            (
                "TABLE",
                "child",
                "CREATE TABLE s.child (\n)\nINHERITS (s.x, s.t);",
                true,
            ),
            (
                "TRIGGER",
                "t g",
                "CREATE TRIGGER g AFTER UPDATE ON s.t FOR EACH ROW EXECUTE FUNCTION s.f();",
                true,
            ),
            (
                "TRIGGER",
                "tt g",
                "CREATE TRIGGER g AFTER UPDATE ON s.tt FOR EACH ROW EXECUTE FUNCTION s.f();",
                false,
            ),
            (
                "RULE",
                "t r",
                "CREATE RULE r AS\n    ON INSERT TO s.t DO NOTHING;",
                true,
            ),
            (
                "POLICY",
                "t p",
                "CREATE POLICY p ON s.t USING (s.f());",
                true,
            ),
            (
                "INDEX",
                "i",
                "CREATE INDEX i ON ONLY s.t USING btree (a);",
                true,
            ),
            (
                "INDEX",
                "i",
                "CREATE INDEX i ON s.other USING btree (a);",
                false,
            ),
            (
                "STATISTICS",
                "x",
                "CREATE STATISTICS s.x ON a, b FROM s.t;",
                true,
            ),
            (
                "DEFAULT",
                "t a",
                "ALTER TABLE ONLY s.t ALTER COLUMN a SET DEFAULT s.f();",
                true,
            ),
            (
                "CONSTRAINT",
                "t p",
                "ALTER TABLE ONLY s.t\n    ADD CONSTRAINT p PRIMARY KEY (a);",
                true,
            ),
            (
                "CHECK CONSTRAINT",
                "other c",
                "ALTER TABLE s.other\n    ADD CONSTRAINT c CHECK (s.f('s.t'));",
                false,
            ),
            (
                "FK CONSTRAINT",
                "t f",
                "ALTER TABLE ONLY s.t\n    ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES s.u(a);",
                true,
            ),
            (
                "FK CONSTRAINT",
                "t f",
                "ALTER TABLE ONLY s.t\n    ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES s.other(a);",
                false,
            ),
            (
                "FK CONSTRAINT",
                "other f",
                "ALTER TABLE ONLY s.other\n    ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES s.t(a);",
                false,
            ),
            (
                "TABLE ATTACH",
                "p",
                "ALTER TABLE ONLY s.t ATTACH PARTITION s.p FOR VALUES IN (1);",
                true,
            ),
            (
                "TABLE ATTACH",
                "t",
                "ALTER TABLE ONLY s.parent ATTACH PARTITION s.t FOR VALUES IN (1);",
                false,
            ),
            (
                "SEQUENCE OWNED BY",
                "q",
                "ALTER SEQUENCE s.q OWNED BY s.t.a;",
                true,
            ),
            (
                "VIEW",
                "v",
                "CREATE VIEW s.v AS\n SELECT a FROM s.t;",
                false,
            ),
            (
                "FUNCTION",
                "f()",
                "CREATE FUNCTION s.f() RETURNS s.t;",
                false,
            ),
            ("ACL", "TABLE t", "GRANT SELECT ON TABLE s.t TO r;", false),
            ("COMMENT", "TABLE t", "COMMENT ON TABLE s.t IS 'x';", false),
            ("ACL", "TABLE t", "SET SESSION AUTHORIZATION r;", true),
        ] {
            let one = refused(kind, name, text);
            assert_eq!(is_needed(&one, &tables, &missing), expected, "{text}");
        }
    }

    #[test]
    fn what_is_needed_is_an_error_with_what_the_server_says_and_the_rest_a_warning() {
        let tables = [table("s", "t")];
        let other = refused("VIEW", "v", "CREATE VIEW s.v AS SELECT 1;");
        let warning = judge(std::slice::from_ref(&other), &tables, &[], "")
            .unwrap()
            .unwrap();
        assert!(
            warning.ends_with("skipped:\n  view s.v: operator does not exist (SQLSTATE 42883)"),
            "{warning}"
        );
        let mine = refused(
            "TRIGGER",
            "t g",
            "CREATE TRIGGER g AFTER UPDATE ON s.t EXECUTE FUNCTION s.f();",
        );
        let error = judge(&[other, mine], &tables, &[], "").unwrap_err();
        let message = error.to_string();
        for word in [
            "trigger s.t g: operator does not exist",
            "also refuses",
            "view s.v",
            "hint:",
        ] {
            assert!(message.contains(word), "{word}: {message}");
        }
        let said = error.detail().unwrap();
        let first = "trigger s.t g: ERROR:  operator does not exist\nDETAIL:  d\nCONTEXT:  c";
        assert!(said.starts_with(first), "{said}");
        assert!(judge(&[], &tables, &[], "").unwrap().is_none());
    }
}
