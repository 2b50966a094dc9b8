//! Making the foreign keys of a partial backup, whose tables may lack the rows that others refer to.

/// What makes a foreign key as a dump has it; if rows are missing that it refers to, without validating it,
/// so that it holds for all that is written from then on. None for another statement, and for a key that the
/// dump itself does not validate.
pub fn make_key_or_leave_it_unvalidated(statement: &[u8]) -> Option<Vec<u8>> {
    const QUOTE: &[u8] = b"$pgbackupd$";
    let holds = |words: &[u8]| memchr::memmem::find(statement, words).is_some();
    let adds_key = statement.starts_with(b"ALTER TABLE ")
        && holds(b" ADD CONSTRAINT ")
        && holds(b" FOREIGN KEY (");
    let text = statement.trim_ascii_end().strip_suffix(b";")?;
    let is_validated = !text.ends_with(b" NOT VALID");
    (adds_key && is_validated && !holds(QUOTE)).then(|| {
        [
            b"DO $pgbackupd$ BEGIN ",
            text,
            b"; EXCEPTION WHEN foreign_key_violation THEN ",
            text,
            b" NOT VALID; END $pgbackupd$;\n",
        ]
        .concat()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_key_that_is_validated_is_made_in_either_way() {
        let key = "ALTER TABLE ONLY public.c\n    ADD CONSTRAINT k FOREIGN KEY (p) REFERENCES public.p(id)";
        let made = make_key_or_leave_it_unvalidated(format!("{key};").as_bytes()).unwrap();
        let expected = format!(
            "DO $pgbackupd$ BEGIN {key}; EXCEPTION WHEN foreign_key_violation THEN {key} NOT VALID; END \
             $pgbackupd$;\n"
        );
        assert_eq!(String::from_utf8(made).unwrap(), expected);
        for other in [
            format!("{key} NOT VALID;"),
            "ALTER TABLE ONLY public.c\n    ADD CONSTRAINT k PRIMARY KEY (id);".to_owned(),
            "CREATE TABLE c (p int REFERENCES p);".to_owned(),
            format!("{key} -- $pgbackupd$\n;"),
        ] {
            assert_eq!(make_key_or_leave_it_unvalidated(other.as_bytes()), None);
        }
    }
}
