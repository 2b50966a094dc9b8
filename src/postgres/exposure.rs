//! Whether others can read a file that holds a secret: the rule that libpq has for private keys.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

/// The permission bits of a file that is not closed to others; none for one that is.
///
/// Closed means: nothing for group and world; or owned by root, readable by a group that we are in,
/// and nothing more (Debian's `ssl-cert` keys are like this).
pub(super) fn exposed_mode(metadata: &Metadata) -> Option<u32> {
    let mode = metadata.mode() & 0o7777;
    let ours = |group: u32| {
        rustix::process::getegid().as_raw() == group
            || rustix::process::getgroups()
                .is_ok_and(|groups| groups.iter().any(|gid| gid.as_raw() == group))
    };
    let open_to_others = mode & 0o077 != 0;
    let open_to_our_group_only = mode & 0o077 == 0o040 && ours(metadata.gid());
    let exposed = open_to_others && !(metadata.uid() == 0 && open_to_our_group_only);
    exposed.then_some(mode)
}
