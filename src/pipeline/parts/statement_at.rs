//! The statement of a schema that stands at a line of it: what a server has refused is known by its line.

use super::schema::Schema;
use crate::pipeline::census::{ObjectId, Tap};

/// So much of a statement is kept.
const HEAD: usize = 400;

/// Counts the lines of what [`Schema`] passes on, and finds the statement at one of them.
#[derive(Debug)]
pub struct StatementAt {
    schema: Schema,
    line: u64,
    passed: u64,
    head: Vec<u8>,
    found: Option<FoundStatement>,
}

/// A statement of a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundStatement {
    /// The object that it is a part of.
    pub object: ObjectId,
    /// Its first bytes.
    pub head: Vec<u8>,
}

impl StatementAt {
    /// For what a server of this major version gets, whose lines count from 1.
    pub fn new(server_major: u32, line: u64) -> Self {
        Self {
            schema: Schema::new(server_major),
            line,
            passed: 0,
            head: Vec::new(),
            found: None,
        }
    }

    /// The statement, if the line was there.
    pub fn found(self) -> Option<FoundStatement> {
        self.found
    }
}

impl Tap for StatementAt {
    fn statement(&mut self, object: &ObjectId, bytes: &[u8], ends: bool) {
        if self.found.is_some() {
            return;
        }
        let room = HEAD.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
        self.schema.statement(object, bytes, ends);
        self.passed += memchr::memchr_iter(b'\n', &self.schema.take()).count() as u64;
        if self.passed >= self.line {
            self.found = Some(FoundStatement {
                object: object.clone(),
                head: std::mem::take(&mut self.head),
            });
        }
        if ends {
            self.head.clear();
        }
    }

    fn rows_begin(&mut self, _: &[u8], _: &[Vec<u8>]) {}

    fn rows(&mut self, _: &[u8], _: bool) {}

    fn command(&mut self, _: &[u8]) {}
}

#[cfg(test)]
mod tests {
    use super::super::{Text, take_parts};
    use super::*;
    use crate::pipeline::Progress;

    const DUMP: &str = "--\n-- PostgreSQL database dump\n--\n\nSET client_encoding = 'UTF8';\n\
        -- Name: t; Type: TABLE; Schema: public; Owner: o\nCREATE TABLE public.t (\n    a int,\n    b int\n);\n\
        ALTER TABLE public.t OWNER TO o;\n\
        -- Data for Name: t; Type: TABLE DATA; Schema: public; Owner: o\nCOPY public.t (a, b) FROM stdin;\n1\t2\n\\.\n\n\
        -- Name: t m; Type: TRIGGER; Schema: public; Owner: o\nCREATE TRIGGER m AFTER UPDATE ON public.t EXECUTE FUNCTION f();\n\
        --\n-- PostgreSQL database dump complete\n--\n\n";

    fn at(dump: &str, line: u64) -> Option<(String, String)> {
        let tap = StatementAt::new(15, line);
        let source = Text::of_program(dump.as_bytes());
        let tap = take_parts(source, tap, true, &Progress::default(), |_| Ok(())).unwrap();
        let found = tap.found()?;
        let head = String::from_utf8(found.head).unwrap();
        Some((found.object.to_string(), head))
    }

    #[test]
    fn the_statement_at_a_line_of_the_schema_is_found_without_counting_rows() {
        let table = "CREATE TABLE public.t (\n    a int,\n    b int\n);";
        for (line, object, head) in [
            (1, "the dump's head", "SET client_encoding = 'UTF8';"),
            (2, "table public.t", table),
            (5, "table public.t", table),
            (6, "table public.t", "ALTER TABLE public.t OWNER TO o;"),
            (
                7,
                "trigger public.t m",
                "CREATE TRIGGER m AFTER UPDATE ON public.t EXECUTE FUNCTION f();",
            ),
        ] {
            let found = at(DUMP, line).unwrap();
            assert_eq!(found, (object.to_owned(), head.to_owned()), "{line}");
        }
        assert_eq!(at(DUMP, 8), None);
    }

    #[test]
    fn of_a_long_statement_only_the_head_is_kept() {
        let body = "x\n".repeat(2 << 20);
        let dump = DUMP.replace(
            "CREATE TRIGGER",
            &format!("COMMENT ON TABLE t IS '{body}';\nCREATE TRIGGER"),
        );
        let (object, head) = at(&dump, 100).unwrap();
        assert_eq!((object.as_str(), head.len()), ("trigger public.t m", HEAD));
    }
}
