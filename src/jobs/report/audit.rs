//! Whether all files of backups belong to whom they should, and are closed to others (P19).

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::display::one_line;
use crate::identity::user_name;
use crate::jobs::target::BackupDirectory;
use crate::policy::AuditFacts;
use crate::responsiveness::{PATIENCE, outlast};

/// So many findings are named.
const NAMED: usize = 3;

/// So deep below a database's directory there are files: quarantine, backup, its parts.
const DEPTH: u32 = 3;

/// The permissions of everybody but the owner.
const OTHERS: u32 = 0o077;

/// Looks at the directories with everything in them. `untracked` is how many files look like backups
/// and have no manifest.
pub(super) fn audit(directories: &[BackupDirectory], untracked: u64) -> AuditFacts {
    let mut audit = AuditFacts {
        untracked,
        ..AuditFacts::default()
    };
    for directory in directories {
        let path = directory.repository.directory();
        let looked = outlast(path, PATIENCE, |path| {
            let mut found = AuditFacts::default();
            look(path, (None, DEPTH), &mut found).map(|()| found)
        });
        match looked.flatten() {
            Ok(found) => {
                audit.looked_at += found.looked_at;
                audit.more += found.more;
                found
                    .wrong
                    .into_iter()
                    .for_each(|one| note(&mut audit, one));
            }
            // No backup was made yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let path = one_line(&path.display().to_string());
                note(&mut audit, format!("{path} cannot be read: {error}"));
            }
        }
    }
    audit
}

/// Looks at a file or a directory; `owner` is whose it should be.
fn look(path: &Path, (owner, depth): (Option<u32>, u32), audit: &mut AuditFacts) -> io::Result<()> {
    let about = fs::symlink_metadata(path)?;
    audit.looked_at += 1;
    let shown = || one_line(&path.display().to_string());
    // The mode of a link means nothing.
    if !about.is_symlink() && about.mode() & OTHERS != 0 {
        let mode = about.mode() & 0o7777;
        note(
            audit,
            format!("{} is open to others (mode {mode:04o})", shown()),
        );
    }
    if let Some(owner) = owner.filter(|owner| *owner != about.uid()) {
        let (is, wanted) = (user_name(about.uid()), user_name(owner));
        note(
            audit,
            format!("{} belongs to {is}, not to {wanted}", shown()),
        );
    }
    if about.is_dir() && depth > 0 {
        for entry in fs::read_dir(path)? {
            let below = (Some(owner.unwrap_or(about.uid())), depth - 1);
            match look(&entry?.path(), below, audit) {
                // It was removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                looked => looked?,
            }
        }
    }
    Ok(())
}

fn note(audit: &mut AuditFacts, finding: String) {
    if audit.wrong.len() < NAMED {
        audit.wrong.push(finding);
    } else {
        audit.more += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::{DEPTH, look};
    use crate::policy::AuditFacts;

    #[test]
    fn what_is_open_to_others_is_named_and_the_rest_counted() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("app");
        fs::create_dir(&root).unwrap();
        fs::set_permissions(&root, Permissions::from_mode(0o700)).unwrap();
        let mut modes = vec![("a", 0o600), ("b", 0o640)];
        modes.extend([("c", 0o604), ("d", 0o666), ("e", 0o777)]);
        for (name, mode) in modes {
            fs::write(root.join(name), "").unwrap();
            fs::set_permissions(root.join(name), Permissions::from_mode(mode)).unwrap();
        }
        let mut audit = AuditFacts::default();
        look(&root, (None, DEPTH), &mut audit).unwrap();
        assert_eq!((audit.looked_at, audit.wrong.len(), audit.more), (6, 3, 1));
        let all = audit.wrong.join("; ");
        assert!(all.contains("is open to others (mode 06"), "{all}");
        assert!(!all.contains("app/a "), "{all}");
    }
}
