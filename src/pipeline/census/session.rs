//! The session that a dump is loaded in, as far as it bears on how its statements read.

/// The settings that the dump makes for its own loading and that bear on how it reads.
pub(super) struct Session {
    pub(super) backslash_escapes: bool,
    pub(super) tablespace: Vec<u8>,
    pub(super) access_method: Vec<u8>,
    /// Who grants, where that is not the owner.
    pub(super) grantor: Option<Vec<u8>>,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            backslash_escapes: false,
            tablespace: b"''".to_vec(),
            access_method: b"heap".to_vec(),
            grantor: None,
        }
    }
}

impl Session {
    /// Takes a setting in.
    pub(super) fn set(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"standard_conforming_strings" => self.backslash_escapes = value == b"off",
            b"default_tablespace" => self.tablespace = value.to_vec(),
            b"default_table_access_method" => self.access_method = value.to_vec(),
            _ => {}
        }
    }
}
