//! Files that hold secrets: whether others can read one, and how it is closed to them without being
//! closed to the service too.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Access, access};

use crate::display::shell_word;
use crate::identity::{self, group_name, in_shell_of_root, user_name};

/// A file whose owner, group and mode let others read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileMode {
    /// The permission bits.
    pub(crate) mode: u32,
    /// Who owns it.
    owner: u32,
    /// The number of its group.
    group: u32,
    /// Whether it has to be the reader's own.
    is_own: bool,
}

impl FileMode {
    /// None for a file that is closed to others.
    ///
    /// The rule is libpq's for private keys. Closed means: nothing for group and world; or owned by
    /// root, readable by its group, and nothing more. Debian's `ssl-cert` keys are like the latter, so
    /// is the packaged configuration, and so are credentials of systemd 257, which lets the service's
    /// user in by an access list.
    pub(crate) fn of(metadata: &Metadata) -> Option<Self> {
        let mode = metadata.mode() & 0o7777;
        let is_read = metadata.is_file() && is_exposed(mode, metadata.uid());
        is_read.then(|| Self {
            mode,
            owner: metadata.uid(),
            group: metadata.gid(),
            is_own: false,
        })
    }

    /// The same of a password file of libpq's form, for which libpq has no exception for root.
    pub(crate) fn of_password_file(metadata: &Metadata) -> Option<Self> {
        let mode = metadata.mode() & 0o7777;
        (mode & 0o077 != 0).then(|| Self {
            mode,
            owner: metadata.uid(),
            group: metadata.gid(),
            is_own: true,
        })
    }

    /// The advice that closes the file to all but its owner and whoever reads it, as a command.
    pub(crate) fn closing_advice(&self, path: &Path) -> String {
        let change = change((self.owner, self.group), identity::reader(), self.is_own);
        advice(path, Modes::OF_A_FILE, self.owner, change)
    }
}

/// The advice that lets the reader of secrets, and nobody else, read a file with a secret, or a directory
/// of such files. `is_own` says whether it has to be the reader's own, as libpq's password file.
pub(crate) fn opening_advice(path: &Path, metadata: &Metadata, is_own: bool) -> String {
    let modes = if metadata.is_dir() {
        Modes::OF_A_DIRECTORY
    } else {
        Modes::OF_A_FILE
    };
    let owner = metadata.uid();
    let change = change((owner, metadata.gid()), identity::reader(), is_own);
    advice(path, modes, owner, change)
}

/// The advice for a file that cannot be looked at: the command that lets its reader pass through the
/// directory in the way, and none where that is somebody's home.
pub(crate) fn entering_advice(path: &Path) -> String {
    let user = user_name(identity::reader().0);
    let closed = path
        .ancestors()
        .skip(1)
        .find(|above| above.metadata().is_ok());
    match closed.filter(|above| !is_home(above)) {
        Some(closed) => in_shell_of_root(&format!(
            "chmod o+x {}",
            shell_word(&closed.display().to_string())
        )),
        None => format!("move it to where {user} can read it, such as /etc/pgbackupd"),
    }
}

fn is_home(path: &Path) -> bool {
    path == Path::new("/root") || path.starts_with("/home")
}

/// The advice that makes such a file for the reader of secrets, its content from standard input.
pub(crate) fn making_advice(path: &Path) -> String {
    let above = path.parent().unwrap_or(Path::new("/"));
    let option = if above.is_dir() { "" } else { "-D " };
    let file = shell_word(&path.display().to_string());
    if is_made_by_me(path) {
        return format!("run `install -m 0600 /dev/stdin {file}`");
    }
    let user = shell_word(&user_name(identity::reader().0));
    in_shell_of_root(&format!(
        "install {option}-o {user} -m 0600 /dev/stdin {file}"
    ))
}

/// The advice that makes a private key for the reader of secrets in this file.
pub(crate) fn key_making_advice(path: &Path) -> String {
    let file = shell_word(&path.display().to_string());
    let above = path.parent().filter(|above| !above.is_dir());
    let above = above.map(|above| shell_word(&above.display().to_string()));
    let directory = above.map_or_else(String::new, |above| format!("mkdir -p {above} && "));
    let make = format!("{directory}ssh-keygen -q -t ed25519 -N '' -f {file}");
    if is_made_by_me(path) {
        return format!("run `{make}`");
    }
    let (reader, _) = identity::reader();
    if reader == 0 {
        return in_shell_of_root(&make);
    }
    let user = shell_word(&user_name(reader));
    in_shell_of_root(&format!("{make} && chown {user} {file}"))
}

/// Whether a file that this process makes is one that the reader of secrets can read.
fn is_made_by_me(path: &Path) -> bool {
    let above = path.parent().unwrap_or(Path::new("/"));
    let (reader, _) = identity::reader();
    reader == rustix::process::geteuid().as_raw()
        && identity::became().is_none()
        && access(above, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

fn is_exposed(mode: u32, owner: u32) -> bool {
    let others = mode & 0o077;
    others != 0 && !(owner == 0 && others == 0o040)
}

/// What has to be changed of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// Its mode: the owner alone keeps it.
    Close,
    /// Its mode: root keeps it, and its group reads it.
    CloseToGroup,
    /// Its group, and the mode likewise.
    GiveToGroup(u32),
    /// Its owner, who alone keeps it.
    GiveTo(u32),
}

/// What leaves a file to its owner and to its reader: what root owns stays root's, unless it has to be the
/// reader's own.
fn change((owner, group): (u32, u32), (reader, its_group): (u32, u32), is_own: bool) -> Change {
    match (owner, reader) {
        (owner, reader) if is_own && reader != 0 && owner != reader => Change::GiveTo(reader),
        (_, 0) if is_own => Change::Close,
        (0, 0) if group != 0 => Change::CloseToGroup,
        (_, 0) => Change::Close,
        (owner, reader) if owner == reader => Change::Close,
        (0, _) if group == its_group => Change::CloseToGroup,
        (0, _) => Change::GiveToGroup(its_group),
        (_, reader) => Change::GiveTo(reader),
    }
}

/// What has no permission for others, and what has some for its group.
#[derive(Clone, Copy)]
struct Modes {
    owner: &'static str,
    group: &'static str,
}

impl Modes {
    const OF_A_FILE: Self = Self {
        owner: "0600",
        group: "0640",
    };
    const OF_A_DIRECTORY: Self = Self {
        owner: "0700",
        group: "0750",
    };
}

/// The command with who can carry it out: the owner changes a mode, and root the rest.
fn advice(path: &Path, modes: Modes, owner: u32, change: Change) -> String {
    let command = command(path, modes, change);
    let is_mine = owner == rustix::process::geteuid().as_raw();
    match change {
        Change::Close | Change::CloseToGroup if is_mine => format!("run `{command}`"),
        _ => in_shell_of_root(&command),
    }
}

fn command(path: &Path, modes: Modes, change: Change) -> String {
    let path = shell_word(&path.display().to_string());
    let Modes { owner, group } = modes;
    match change {
        Change::Close => format!("chmod {owner} {path}"),
        Change::CloseToGroup => format!("chmod {group} {path}"),
        Change::GiveToGroup(number) => {
            let name = shell_word(&group_name(number));
            format!("chgrp {name} {path} && chmod {group} {path}")
        }
        Change::GiveTo(number) => {
            let name = shell_word(&user_name(number));
            format!("chown {name} {path} && chmod {owner} {path}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, Modes, change, command, is_exposed};

    #[test]
    fn a_file_is_closed_as_libpq_has_it() {
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
            assert_eq!(is_exposed(mode, owner), expected, "{mode:o} of {owner}");
        }
    }

    /// Every change ends in a file that is closed, and that its reader can read.
    #[test]
    fn whoever_reads_a_file_can_still_read_it_when_it_is_closed() {
        const SERVICE: (u32, u32) = (110, 115);
        const ROOT: (u32, u32) = (0, 0);
        let table = [
            // As packaged, but opened: root's, for the service's group.
            ((0, 115), SERVICE, Change::CloseToGroup, Change::GiveTo(110)),
            ((0, 115), ROOT, Change::CloseToGroup, Change::Close),
            (
                (0, 0),
                SERVICE,
                Change::GiveToGroup(115),
                Change::GiveTo(110),
            ),
            ((0, 0), ROOT, Change::Close, Change::Close),
            ((110, 115), SERVICE, Change::Close, Change::Close),
            ((110, 115), ROOT, Change::Close, Change::Close),
            (
                (1000, 1000),
                SERVICE,
                Change::GiveTo(110),
                Change::GiveTo(110),
            ),
        ];
        let rules = table.into_iter().flat_map(|(file, reader, key, own)| {
            [(file, reader, key, false), (file, reader, own, true)]
        });
        for (file, reader, expected, is_own) in rules {
            let change = change(file, reader, is_own);
            assert_eq!(change, expected, "{file:?} for {reader:?}, {is_own}");
            let (owner, group, mode) = match change {
                Change::Close => (file.0, file.1, 0o600),
                Change::CloseToGroup => (file.0, file.1, 0o640),
                Change::GiveToGroup(group) => (file.0, group, 0o640),
                Change::GiveTo(user) => (user, file.1, 0o600),
            };
            assert!(!is_exposed(mode, owner));
            assert!(!is_own || mode == 0o600, "libpq refuses it");
            let reads =
                reader.0 == 0 || owner == reader.0 || group == reader.1 && mode & 0o040 != 0;
            assert!(reads, "{change:?} of {file:?} for {reader:?}");
        }
    }

    #[test]
    fn a_command_can_be_pasted_whatever_the_name() {
        let path = std::path::Path::new("/etc/it's/x.toml");
        assert_eq!(
            command(path, Modes::OF_A_FILE, Change::Close),
            r"chmod 0600 '/etc/it'\''s/x.toml'"
        );
        assert_eq!(
            command(path, Modes::OF_A_FILE, Change::GiveTo(0)),
            r"chown root '/etc/it'\''s/x.toml' && chmod 0600 '/etc/it'\''s/x.toml'"
        );
        let directory = std::path::Path::new("/etc/conf.d");
        assert_eq!(
            command(directory, Modes::OF_A_DIRECTORY, Change::GiveToGroup(0)),
            "chgrp root /etc/conf.d && chmod 0750 /etc/conf.d"
        );
    }
}
