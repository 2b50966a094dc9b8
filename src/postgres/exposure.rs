//! Whether others can read a file that holds a secret: the rule that libpq has for private keys.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

/// The permission bits of a file that is not closed to others; none for one that is.
///
/// Closed means: nothing for group and world; or owned by root, readable by its group, and nothing
/// more. Debian's `ssl-cert` keys are like the latter, and so are credentials of systemd 257, which
/// lets the service's user in by an access list.
pub(super) fn exposed_mode(metadata: &Metadata) -> Option<u32> {
    let mode = metadata.mode() & 0o7777;
    exposed(mode, metadata.uid()).then_some(mode)
}

fn exposed(mode: u32, owner: u32) -> bool {
    let others = mode & 0o077;
    others != 0 && !(owner == 0 && others == 0o040)
}

#[cfg(test)]
mod tests {
    use super::exposed;

    #[test]
    fn a_key_is_closed_as_libpq_has_it() {
        let table = [
            (0o600, 1000, false),
            (0o400, 1000, false),
            (0o640, 1000, true),
            (0o604, 1000, true),
            (0o640, 0, false),
            // A credential of systemd 257.
            (0o440, 0, false),
            (0o644, 0, true),
            (0o660, 0, true),
            (0o650, 0, true),
        ];
        for (mode, owner, expected) in table {
            assert_eq!(exposed(mode, owner), expected, "{mode:o} of {owner}");
        }
    }
}
