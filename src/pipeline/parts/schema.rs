//! The whole schema in a dump: every statement as it stands, but no row, no large object and no state that
//! rows bring about. What a server makes of it is the reference for what it made of the whole.

use super::event_triggers::hold_event_triggers;
use super::held::Held;
use super::settings::is_known;
use crate::pipeline::census::{ObjectId, Tap};
use crate::pipeline::sql::{Meaning, clears_in_vain, meaning};

/// Passes the schema of a dump on as SQL text, each statement followed by a line break.
#[derive(Debug)]
pub struct Schema {
    server_major: u32,
    held: Held,
}

impl Schema {
    /// For a server of this major version.
    pub fn new(server_major: u32) -> Self {
        Self {
            server_major,
            held: Held::new(),
        }
    }

    /// What has been passed on since the last time.
    pub fn take(&mut self) -> Vec<u8> {
        self.held.take()
    }

    fn complete(&mut self, text: &[u8]) {
        let is_wanted = match meaning(text) {
            Meaning::Object | Meaning::Grantor(_) => true,
            Meaning::Setting { name, .. } => is_known(name, self.server_major),
            Meaning::Copy { .. }
            | Meaning::OpenLargeObject(_)
            | Meaning::WriteLargeObject(_)
            | Meaning::CloseLargeObject
            | Meaning::AboutLargeObject(_)
            | Meaning::PlannerStatistics => false,
        };
        if is_wanted {
            self.held.out.extend_from_slice(text);
            let held = hold_event_triggers(text, self.server_major);
            self.held.out.extend_from_slice(held.unwrap_or_default());
            self.held.out.push(b'\n');
        }
    }
}

impl Tap for Schema {
    fn statement(&mut self, object: &ObjectId, bytes: &[u8], ends: bool) {
        if object.is_content() {
            self.held.leave_out();
        }
        if let Some(text) = self.held.push(bytes, ends)
            && !(object.is_none() && clears_in_vain(&text))
        {
            self.complete(&text);
        }
    }

    fn rows_begin(&mut self, _: &[u8], _: &[Vec<u8>]) {}

    fn rows(&mut self, _: &[u8], _: bool) {}

    fn command(&mut self, _: &[u8]) {
        // The dump's own restricted mode ends with its own token.
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Text, take_parts};
    use super::*;
    use crate::pipeline::Progress;

    const DUMP: &str = "--\n-- PostgreSQL database dump\n--\n\n\\restrict x\n\
        SET client_encoding = 'UTF8';\nSET transaction_timeout = 0;\n\
        -- Name: t; Type: TABLE; Schema: public; Owner: o\nCREATE TABLE public.t (a int);\n\
        ALTER TABLE public.t OWNER TO o;\n\
        -- Name: 7; Type: BLOB; Schema: -; Owner: o\nSELECT pg_catalog.lo_create('7');\nALTER LARGE OBJECT 7 OWNER TO o;\n\
        -- Data for Name: t; Type: TABLE DATA; Schema: public; Owner: o\nCOPY public.t (a) FROM stdin;\n1\n\\.\n\n\
        -- Data for Name: BLOBS; Type: BLOBS; Schema: -; Owner: -\nBEGIN;\nSELECT pg_catalog.lo_open('7', 131072);\n\
        SELECT pg_catalog.lowrite(0, '\\xdead');\nSELECT pg_catalog.lo_close(0);\nCOMMIT;\n\
        -- Name: s; Type: SEQUENCE SET; Schema: public; Owner: o\nSELECT pg_catalog.setval('public.s', 7, true);\n\
        -- Name: e; Type: EVENT TRIGGER; Schema: -; Owner: o\nCREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION public.f();\n\
        -- Name: TABLE t; Type: ACL; Schema: public; Owner: o\nSET SESSION AUTHORIZATION g;\nGRANT ALL ON TABLE public.t TO r;\nRESET SESSION AUTHORIZATION;\n\
        -- Name: LARGE OBJECT 7; Type: ACL; Schema: -; Owner: o\nGRANT ALL ON LARGE OBJECT 7 TO r;\n\
        -- Name: m; Type: MATERIALIZED VIEW DATA; Schema: public; Owner: o\nREFRESH MATERIALIZED VIEW public.m;\n\
        --\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict x\n";

    fn schema(dump: &str, server_major: u32) -> String {
        let mut text = Vec::new();
        let progress = Progress::default();
        let source = Text::of_program(dump.as_bytes());
        take_parts(source, Schema::new(server_major), true, &progress, |tap| {
            text.append(&mut tap.take());
            Ok(())
        })
        .unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn every_statement_comes_but_for_rows_large_objects_and_what_comes_of_rows() {
        let expected = "SET client_encoding = 'UTF8';\nSET transaction_timeout = 0;\n\
             CREATE TABLE public.t (a int);\nALTER TABLE public.t OWNER TO o;\n\
             CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION public.f();\n\
             SET SESSION AUTHORIZATION g;\nGRANT ALL ON TABLE public.t TO r;\n\
             RESET SESSION AUTHORIZATION;\n";
        assert_eq!(schema(DUMP, 17), expected);
        let without = expected.replace("SET transaction_timeout = 0;\n", "");
        assert_eq!(schema(DUMP, 15), without);
    }

    #[test]
    fn a_statement_too_long_to_hold_comes_whole() {
        let body = "x".repeat(3 << 20);
        let long = format!("COMMENT ON TABLE public.t IS '{body}';\nALTER TABLE");
        let dump = DUMP.replace("ALTER TABLE", &long);
        assert!(schema(&dump, 15).contains(&long));
    }
}
