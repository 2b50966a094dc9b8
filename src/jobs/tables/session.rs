//! What our transaction sets, and what it runs of a text by `pg_dump`.

use crate::pipeline::sql::statements;

/// How values are read and written, as `pg_dump` has it; rows that a policy hides are an error.
pub(super) const SESSION: &str = "SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; \
     SET extra_float_digits = 3; SET bytea_output = 'hex'; \
     SET standard_conforming_strings = on; SET array_nulls = on; SET transform_null_equals = off; \
     SET quote_all_identifiers = off; SET xmloption = 'content'; SET row_security = off; \
     SET check_function_bodies = false; SET client_min_messages = 'warning'";

/// The statements of a text by `pg_dump` that are run in our transaction: settings of its session are
/// ours, but for those that say where and how a table stands.
pub(super) fn to_run(text: &str) -> Vec<String> {
    const KEPT: [&str; 2] = [
        "SET default_tablespace ",
        "SET default_table_access_method ",
    ];
    statements(text.as_bytes())
        .into_iter()
        .map(|range| &text[range])
        .filter(|statement| {
            let setting = statement.starts_with("SET ")
                && !statement.starts_with("SET SESSION AUTHORIZATION ")
                && !KEPT.iter().any(|kept| statement.starts_with(kept));
            !setting && !statement.starts_with("COPY ")
        })
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::to_run;

    #[test]
    fn statements_are_run_and_settings_of_the_session_are_ours() {
        let text = "--\n\\restrict x\nSET statement_timeout = 0;\nSET transaction_timeout = 0;\n\
            SELECT pg_catalog.set_config('search_path', '', false);\n\
            SET default_tablespace = fast;\nCREATE TABLE a.b (c text DEFAULT ';');\n\
            COPY a.b (c) FROM stdin;\n\\.\nSELECT pg_catalog.setval('a.b_seq', 7, true);\n\
            SET SESSION AUTHORIZATION bob;\nGRANT SELECT ON TABLE a.b TO c;\n\\unrestrict x\n";
        assert_eq!(
            to_run(text),
            [
                "SELECT pg_catalog.set_config('search_path', '', false);",
                "SET default_tablespace = fast;",
                "CREATE TABLE a.b (c text DEFAULT ';');",
                "SELECT pg_catalog.setval('a.b_seq', 7, true);",
                "SET SESSION AUTHORIZATION bob;",
                "GRANT SELECT ON TABLE a.b TO c;",
            ]
        );
    }
}
