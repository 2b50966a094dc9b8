//! What a dump has set for the session that loads it, for the sessions that help.

/// More than any dump sets; a dump that sets more is loaded by one session.
const MOST: usize = 256 * 1024;

/// The last setting of each name, in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct InForce {
    settings: Vec<Setting>,
    made: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Setting {
    name: Vec<u8>,
    text: Vec<u8>,
    /// Which one it was of all.
    number: u64,
}

impl InForce {
    /// Takes note of a setting.
    pub(super) fn set(&mut self, name: &[u8], text: &[u8]) {
        self.made += 1;
        if self.is_too_much() {
            return;
        }
        if let Some(at) = self.settings.iter().position(|one| one.name == name) {
            let old = self.settings.remove(at);
            self.bytes -= old.name.len() + old.text.len();
        }
        self.bytes += name.len() + text.len();
        self.settings.push(Setting {
            name: name.to_vec(),
            text: text.to_vec(),
            number: self.made,
        });
    }

    /// Whether it is more than can be kept.
    pub(super) fn is_too_much(&self) -> bool {
        self.bytes > MOST
    }

    /// So many were made.
    pub(super) fn made(&self) -> u64 {
        self.made
    }

    /// All of them, as one text.
    pub(super) fn text(&self) -> Vec<u8> {
        self.since(0)
            .flat_map(|text| [text, b" "])
            .flatten()
            .copied()
            .collect()
    }

    /// The statements that bring a session up to date that has seen the first so many.
    pub(super) fn since(&self, seen: u64) -> impl Iterator<Item = &[u8]> {
        let new = self.settings.partition_point(|one| one.number <= seen);
        self.settings[new..].iter().map(|one| one.text.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::{InForce, MOST};

    fn since(settings: &InForce, seen: u64) -> Vec<&[u8]> {
        settings.since(seen).collect()
    }

    #[test]
    fn a_session_gets_the_last_of_each_name_that_it_has_not_seen() {
        let mut settings = InForce::default();
        settings.set(b"a", b"SET a = 1;");
        settings.set(b"b", b"SET b = 1;");
        settings.set(b"a", b"SET a = 2;");
        assert_eq!(since(&settings, 0), [b"SET b = 1;", b"SET a = 2;"]);
        assert_eq!(since(&settings, 2), [b"SET a = 2;"]);
        assert_eq!(settings.text(), b"SET b = 1; SET a = 2; ");
        let seen = settings.made();
        assert!(since(&settings, seen).is_empty());
        settings.set(b"b", b"SET b = 3;");
        assert_eq!(since(&settings, seen), [b"SET b = 3;"]);
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let mut settings = InForce::default();
        let text = vec![b'x'; MOST / 10];
        for _ in 0..100 {
            settings.set(b"a", &text);
        }
        assert!(!settings.is_too_much());
        for name in 0..20_u8 {
            settings.set(&[name], &text);
        }
        assert!(settings.is_too_much());
        assert!(settings.bytes < 2 * MOST);
    }
}
