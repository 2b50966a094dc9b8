//! Names and texts as SQL writes them. Whatever goes into a statement goes through one of these.

/// A name as SQL writes it.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL writes it, whatever `standard_conforming_strings` says.
pub(super) fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', r"\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::{identifier, literal};

    #[test]
    fn nothing_ends_a_name_or_a_text_before_its_end() {
        assert_eq!(identifier("a\"; DROP"), "\"a\"\"; DROP\"");
        assert_eq!(literal(r"it's a \ b"), r"E'it''s a \\ b'");
        assert_eq!(literal("\\'; DROP --"), "E'\\\\''; DROP --'");
    }
}
