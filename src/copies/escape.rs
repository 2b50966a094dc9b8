//! How any name becomes one segment of a key: every byte that is not harmless is `=` and two hexadecimal
//! digits. No two names become the same segment.

/// Writes a name as a segment of a key: every byte but `A-Za-z0-9._-` becomes `=` and two lower-case
/// hexadecimal digits. The names `.` and `..` are paths on a disk, so their dots are escaped too. An empty
/// name stays empty, which is no segment.
pub(super) fn escape(name: &str) -> String {
    use std::fmt::Write as _;

    let is_path = matches!(name, "." | "..");
    let mut segment = String::with_capacity(name.len());
    for byte in name.bytes() {
        let is_harmless = byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if is_harmless && !is_path {
            segment.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(segment, "={byte:02x}");
        }
    }
    segment
}

/// The way back from [`escape`]. None for a segment that `escape` does not write: each name has one spelling.
pub(super) fn unescape(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'=' {
            let (high, low) = (rest.next()?, rest.next()?);
            bytes.push(digit(high)? << 4 | digit(low)?);
        } else {
            bytes.push(byte);
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    (!name.is_empty() && escape(&name) == segment).then_some(name)
}

fn digit(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{escape, unescape};
    use crate::destination::Key;

    #[test]
    fn every_byte_but_the_harmless_is_escaped() {
        for (name, segment) in [
            ("app", "app"),
            ("app.v2_x-1", "app.v2_x-1"),
            ("a/b", "a=2fb"),
            ("a=b", "a=3db"),
            ("a b", "a=20b"),
            ("ä", "=c3=a4"),
            (".", "=2e"),
            ("..", "=2e=2e"),
            ("...", "..."),
            ("a\n", "a=0a"),
        ] {
            assert_eq!(escape(name), segment);
            assert_eq!(unescape(segment).as_deref(), Some(name));
        }
    }

    #[test]
    fn a_segment_in_another_spelling_is_refused() {
        for segment in [
            "", ".", "..", "=2E", "=61", "=c3", "=", "=2", "a b", "=zz", "a/b", "ä", "=2f=",
        ] {
            assert_eq!(unescape(segment), None, "{segment:?}");
        }
    }

    proptest! {
        #[test]
        fn any_name_is_one_segment_and_reads_back(name in any::<String>()) {
            prop_assume!(!name.is_empty() && name.len() < 300);
            let segment = escape(&name);
            prop_assert!(Key::new(&segment).is_ok() && !segment.contains('/'));
            prop_assert_eq!(unescape(&segment), Some(name));
        }

        #[test]
        fn any_segment_that_reads_is_the_one_spelling(segment in "[a=b2./]{0,9}|\\PC{0,9}") {
            if let Some(name) = unescape(&segment) {
                prop_assert_eq!(escape(&name), segment);
            }
        }
    }
}
