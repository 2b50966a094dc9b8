//! The address of a database's page. Any name that PostgreSQL accepts has one of its own. Pure.

use std::fmt::Write as _;

/// The path of a database's page.
pub(super) fn of_database(server: &str, database: &str) -> String {
    format!("/database/{}/{}", segment(server), segment(database))
}

/// The name in a segment that is decoded already.
pub(super) fn name(segment: &str) -> &str {
    segment.strip_prefix('=').unwrap_or(segment)
}

/// A name as one segment of a path. Browsers take `.` and `..` for directories even where they are
/// encoded, so these begin with a sign; and so do the names that begin with it.
fn segment(name: &str) -> String {
    let mut segment = String::with_capacity(name.len());
    if matches!(name, "." | "..") || name.starts_with('=') {
        segment.push('=');
    }
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'=' => {
                segment.push(char::from(byte));
            }
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(segment, "%{byte:02X}");
            }
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_an_address_of_its_own() {
        for (name, expected) in [
            ("sales", "/database/main/sales"),
            ("a/b", "/database/main/a%2Fb"),
            ("a%2Fb", "/database/main/a%252Fb"),
            ("?#&\"<>", "/database/main/%3F%23%26%22%3C%3E"),
            (
                "مبيعات",
                "/database/main/%D9%85%D8%A8%D9%8A%D8%B9%D8%A7%D8%AA",
            ),
            ("a\nb c", "/database/main/a%0Ab%20c"),
            (".", "/database/main/=."),
            ("..", "/database/main/=.."),
            ("...", "/database/main/..."),
            ("=..", "/database/main/==.."),
        ] {
            assert_eq!(of_database("main", name), expected);
        }
        for name in [".", "..", "=", "=..", "==", "a=", "sales"] {
            assert_eq!(super::name(&segment(name)), name);
        }
    }
}
