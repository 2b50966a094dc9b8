//! Who else may change a file or a directory, or put another one in its place.
//!
//! What a file asks of pgbackupd, it carries out: commands, programs, directories. So nobody may
//! write that file but root, who runs pgbackupd, and the service's user; nor any directory or link on
//! the way to it, for there another file can be put in its place.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use crate::display::shell_word;
use crate::identity::{self, group_name, in_shell_of_root, user_name};

/// As many symbolic links as the kernel follows in one path (`path_resolution(7)`).
const MOST_LINKS: u32 = 40;

/// What may be written in it by everybody, and removed or renamed by its owner alone (`inode(7)`).
const STICKY: u32 = 0o1000;

/// Whose file it is and what its mode says: all that decides who may write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    /// Its owner; none for one that this user namespace does not know.
    pub(crate) owner: Option<u32>,
    /// The permission bits, with the sticky bit.
    pub(crate) mode: u32,
    /// What it is.
    pub(crate) kind: Kind,
    /// The members of its group; none where the system does not know the group.
    pub(crate) members: Option<Vec<u32>>,
}

/// What stands at one level of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A file, or whatever else is read.
    File,
    /// A directory.
    Directory,
    /// A symbolic link; its mode means nothing.
    Link,
}

/// Who may write something although nobody of these should.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Writers {
    /// Its owner, who is not trusted.
    pub(crate) owner: Option<u32>,
    /// Members of its group that are not trusted.
    pub(crate) group: bool,
    /// Everybody.
    pub(crate) others: bool,
}

impl Writers {
    /// Who may write it besides root and the trusted. A group counts only for members who are neither
    /// trusted nor the owner, so that a group of its owner's own is as good as none. What stands in a
    /// sticky directory is safe from all but its owner and the directory's, and both are looked at.
    pub(crate) fn of(access: &Access, trusted: &[u32]) -> Self {
        let is_trusted = |user: u32| user == 0 || trusted.contains(&user);
        let by_mode = match access.kind {
            Kind::File => access.mode & 0o022,
            Kind::Directory if access.mode & STICKY == 0 => access.mode & 0o022,
            Kind::Directory | Kind::Link => 0,
        };
        let is_harmless = |members: &Vec<u32>| {
            members
                .iter()
                .all(|member| is_trusted(*member) || access.owner == Some(*member))
        };
        Self {
            owner: access.owner.filter(|owner| !is_trusted(*owner)),
            group: by_mode & 0o020 != 0 && !access.members.as_ref().is_some_and(is_harmless),
            others: by_mode & 0o002 != 0,
        }
    }

    fn is_nobody(self) -> bool {
        self == Self::default()
    }
}

/// Something that others may write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Writable {
    /// What.
    path: PathBuf,
    access: Access,
    /// The number of its group.
    group: u32,
    writers: Writers,
}

impl Writable {
    /// What others may do to which thing: `/etc/x.toml can be written by everybody (mode 0666)`.
    pub(crate) fn sentence(&self) -> String {
        let Writers {
            owner,
            group,
            others,
        } = self.writers;
        let mut who = Vec::new();
        if let Some(owner) = owner {
            who.push(format!("its owner {}", user_name(owner)));
        }
        if others {
            who.push("everybody".to_owned());
        } else if group {
            who.push(format!("the group {}", group_name(self.group)));
        }
        let what = match self.access.kind {
            Kind::File => "can be written by",
            Kind::Directory => "lets its files be replaced by",
            Kind::Link => "can be turned elsewhere by",
        };
        let mut sentence = format!("{} {what} {}", self.path.display(), who.join(" and "));
        if group || others {
            // Writing to a string cannot fail.
            let _ = write!(sentence, " (mode {:04o})", self.access.mode);
        }
        sentence
    }

    /// The advice that takes it from them.
    pub(crate) fn advice(&self) -> String {
        let command = self.way_out(identity::reader());
        let is_mine = self.access.owner == Some(rustix::process::geteuid().as_raw());
        if is_mine && self.writers.owner.is_none() {
            format!("run `{command}`")
        } else {
            in_shell_of_root(&command)
        }
    }

    /// The command that takes it from them, and leaves a file that root gets to its reader.
    fn way_out(&self, (reader, its_group): (u32, u32)) -> String {
        let word = shell_word(&self.path.display().to_string());
        let taking = match (self.writers.group, self.writers.others) {
            (false, false) => None,
            (true, false) => Some("g-w"),
            (false, true) => Some("o-w"),
            (true, true) => Some("go-w"),
        };
        let is_closed = self.access.mode & 0o004 == 0;
        if self.writers.owner.is_some()
            && self.access.kind == Kind::File
            && is_closed
            && reader != 0
        {
            let group = shell_word(&group_name(its_group));
            return format!("chown root:{group} {word} && chmod 0640 {word}");
        }
        let chown = match self.access.kind {
            Kind::Link => "chown -h root",
            _ => "chown root",
        };
        let commands: Vec<String> = self
            .writers
            .owner
            .map(|_| format!("{chown} {word}"))
            .into_iter()
            .chain(taking.map(|bits| format!("chmod {bits} {word}")))
            .collect();
        commands.join(" && ")
    }
}

/// What others may write of a file or directory and of all that leads to it, the nearest to the root
/// first. `trusted` are the users who may besides root.
///
/// # Errors
/// When it is not there, or cannot be looked at.
pub(crate) fn written_by_others(path: &Path, trusted: &[u32]) -> io::Result<Vec<Writable>> {
    let mut found = Vec::new();
    for (path, metadata) in levels(path)? {
        let access = Access::of(&metadata);
        let writers = Writers::of(&access, trusted);
        if !writers.is_nobody() && found.iter().all(|other: &Writable| other.path != path) {
            found.push(Writable {
                path,
                access,
                group: metadata.gid(),
                writers,
            });
        }
    }
    Ok(found)
}

/// The users who are trusted here besides root: the caller, and for root the user that the service
/// runs as by its unit.
pub(crate) fn trusted_here() -> Vec<u32> {
    let me = rustix::process::geteuid();
    let service = me
        .is_root()
        .then(|| uzers::get_user_by_name(SERVICE_USER))
        .flatten();
    std::iter::once(me.as_raw())
        .chain(service.map(|user| user.uid()))
        .collect()
}

/// Whom the service's unit names as its user.
const SERVICE_USER: &str = "postgres";

impl Access {
    fn of(metadata: &Metadata) -> Self {
        let kind = match metadata.file_type() {
            kind if kind.is_dir() => Kind::Directory,
            kind if kind.is_symlink() => Kind::Link,
            _ => Kind::File,
        };
        let mode = metadata.mode() & 0o7777;
        let group_decides = mode & 0o020 != 0 && kind != Kind::Link;
        Self {
            owner: Some(metadata.uid()).filter(|owner| is_known_here(*owner)),
            mode,
            kind,
            members: if group_decides {
                members(metadata.gid())
            } else {
                Some(Vec::new())
            },
        }
    }
}

/// Every directory and link on the way to a path, and what is there in the end; links are followed
/// one by one, as the kernel does.
fn levels(path: &Path) -> io::Result<Vec<(PathBuf, Metadata)>> {
    let absolute = std::path::absolute(path)?;
    let mut ahead: VecDeque<OsString> = parts(&absolute);
    let mut at = PathBuf::from("/");
    let mut levels = vec![(at.clone(), at.symlink_metadata()?)];
    let mut links = 0;
    while let Some(part) = ahead.pop_front() {
        if part == ".." {
            at.pop();
            continue;
        }
        at.push(part);
        let metadata = at.symlink_metadata()?;
        let is_link = metadata.file_type().is_symlink();
        levels.push((at.clone(), metadata));
        if is_link {
            links += 1;
            if links > MOST_LINKS {
                return Err(rustix::io::Errno::LOOP.into());
            }
            let target = at.read_link()?;
            at.pop();
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            for part in parts(&target).into_iter().rev() {
                ahead.push_front(part);
            }
        }
    }
    Ok(levels)
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(part) => Some(part.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

/// The members of a group: those that the group names, and those users of `/etc/passwd` whose own
/// group it is. None where there is no such group.
fn members(group: u32) -> Option<Vec<u32>> {
    use uzers::os::unix::GroupExt as _;
    let entry = uzers::get_group_by_gid(group)?;
    let named = entry
        .members()
        .iter()
        .filter_map(|name| Some(uzers::get_user_by_name(name)?.uid()));
    let users = crate::regular_file::read_to_string(Path::new("/etc/passwd")).unwrap_or_default();
    let own = users.lines().filter_map(|line| {
        let mut fields = line.split(':').skip(2);
        let user = fields.next()?.parse().ok()?;
        let own: u32 = fields.next()?.parse().ok()?;
        (own == group).then_some(user)
    });
    Some(named.chain(own).collect())
}

/// Whether a user is one of this user namespace; all others appear as the one who is nobody
/// (`user_namespaces(7)`), and what is theirs nobody here can change.
fn is_known_here(user: u32) -> bool {
    const OVERFLOW: u32 = 65534;
    user != OVERFLOW
        || std::fs::read_to_string("/proc/self/uid_map").map_or(true, |map| maps(&map, user))
}

/// Whether one of the map's lines `first-inside first-outside count` has the user.
fn maps(map: &str, user: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(first)), Some(Ok(_)), Some(Ok(count))) =
            (numbers.next(), numbers.next(), numbers.next())
        else {
            return false;
        };
        (first..first.saturating_add(count)).contains(&u64::from(user))
    })
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    /// The caller; and somebody else.
    const ME: u32 = 1000;
    const ALICE: u32 = 1001;

    /// Owner, mode, what it is, the group's members, and who may write it.
    type Case = (u32, u32, Kind, Option<&'static [u32]>, Writers);

    #[test]
    fn only_root_and_the_trusted_may_write_what_is_carried_out() {
        use Kind::{Directory, File, Link};
        let nobody = Writers::default();
        let everybody = Writers {
            others: true,
            ..nobody
        };
        let group = Writers {
            group: true,
            ..nobody
        };
        let alice = Writers {
            owner: Some(ALICE),
            ..nobody
        };
        let table: [Case; 21] = [
            (0, 0o644, File, Some(&[]), nobody),
            (ME, 0o600, File, Some(&[]), nobody),
            (0, 0o666, File, Some(&[]), everybody),
            (0, 0o646, File, Some(&[]), everybody),
            (ALICE, 0o644, File, Some(&[]), alice),
            (ALICE, 0o400, File, Some(&[]), alice),
            // A private group: nobody is in it but the owner, or root.
            (ME, 0o664, File, Some(&[ME]), nobody),
            (ME, 0o664, File, Some(&[]), nobody),
            (0, 0o664, File, Some(&[0]), nobody),
            (0, 0o660, File, Some(&[ME]), nobody),
            (ME, 0o664, File, Some(&[ME, ALICE]), group),
            (0, 0o660, File, Some(&[ALICE]), group),
            // A group that nobody knows here may be somebody's.
            (ME, 0o664, File, None, group),
            (ME, 0o644, File, None, nobody),
            // The sticky bit means nothing for a file.
            (ME, 0o1666, File, Some(&[]), everybody),
            (0, 0o755, Directory, Some(&[]), nobody),
            (0, 0o1777, Directory, None, nobody),
            (0, 0o777, Directory, Some(&[]), everybody),
            (ALICE, 0o1777, Directory, Some(&[]), alice),
            (0, 0o777, Link, None, nobody),
            (ALICE, 0o777, Link, None, alice),
        ];
        for (owner, mode, kind, members, expected) in table {
            let access = Access {
                owner: Some(owner),
                mode,
                kind,
                members: members.map(<[u32]>::to_vec),
            };
            assert_eq!(Writers::of(&access, &[ME]), expected, "{access:?}");
        }
        let unknown = Access {
            owner: None,
            mode: 0o755,
            kind: Directory,
            members: Some(Vec::new()),
        };
        assert_eq!(Writers::of(&unknown, &[ME]), nobody);
    }

    #[test]
    fn every_directory_and_link_on_the_way_is_looked_at() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        let open = |name: &str, mode| {
            std::fs::set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
        };
        let found = |name: &str| -> Vec<PathBuf> {
            let found = written_by_others(&at(name), &trusted_here()).unwrap();
            found.into_iter().map(|one| one.path).collect()
        };
        for directory in ["closed", "open", "open/inner", "elsewhere"] {
            std::fs::create_dir(at(directory)).unwrap();
            open(directory, 0o755);
        }
        for file in ["closed/c.toml", "open/inner/c.toml"] {
            std::fs::write(at(file), "").unwrap();
            open(file, 0o644);
        }
        assert_eq!(found("closed/c.toml"), Vec::<PathBuf>::new());
        open("closed/c.toml", 0o666);
        assert_eq!(found("closed/c.toml"), [at("closed/c.toml")]);
        open("open", 0o777);
        assert_eq!(found("open/inner/c.toml"), [at("open")]);

        // A link to it, and a link to that one; in the end it is the same file.
        symlink("../open/inner", at("elsewhere/further")).unwrap();
        symlink(at("elsewhere/further"), at("closed/link")).unwrap();
        assert_eq!(found("closed/link/c.toml"), [at("open")]);
        open("open", 0o1777);
        assert_eq!(found("closed/link/c.toml"), Vec::<PathBuf>::new());
        open("elsewhere", 0o777);
        assert_eq!(found("closed/link/c.toml"), [at("elsewhere")]);

        symlink("ring", at("ring")).unwrap();
        let error = written_by_others(&at("ring"), &[]).unwrap_err();
        assert_eq!(
            error.raw_os_error(),
            Some(rustix::io::Errno::LOOP.raw_os_error())
        );
        let error = written_by_others(&at("gone"), &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn the_sentence_names_who_may_and_the_command_takes_it_from_them() {
        let table: [(u32, Writers, &str, &str); 5] = [
            (
                0o666,
                Writers {
                    group: true,
                    others: true,
                    owner: None,
                },
                "/etc/it's can be written by everybody (mode 0666)",
                r"chmod go-w '/etc/it'\''s'",
            ),
            (
                0o646,
                Writers {
                    group: false,
                    others: true,
                    owner: Some(4_000_000_001),
                },
                "/etc/it's can be written by its owner 4000000001 and everybody (mode 0646)",
                r"chown root '/etc/it'\''s' && chmod o-w '/etc/it'\''s'",
            ),
            (
                0o664,
                Writers {
                    group: true,
                    ..Writers::default()
                },
                "/etc/it's can be written by the group 4000000001 (mode 0664)",
                r"chmod g-w '/etc/it'\''s'",
            ),
            (
                0o644,
                Writers {
                    owner: Some(4_000_000_001),
                    ..Writers::default()
                },
                "/etc/it's can be written by its owner 4000000001",
                r"chown root '/etc/it'\''s'",
            ),
            // Whoever reads it can still read it when it is root's.
            (
                0o600,
                Writers {
                    owner: Some(4_000_000_001),
                    ..Writers::default()
                },
                "/etc/it's can be written by its owner 4000000001",
                r"chown root:root '/etc/it'\''s' && chmod 0640 '/etc/it'\''s'",
            ),
        ];
        for (mode, writers, sentence, way_out) in table {
            let one = Writable {
                path: "/etc/it's".into(),
                access: Access {
                    owner: Some(0),
                    mode,
                    kind: Kind::File,
                    members: None,
                },
                group: 4_000_000_001,
                writers,
            };
            assert_eq!(one.sentence(), sentence);
            assert_eq!(one.way_out((110, 0)), way_out);
        }
    }

    #[test]
    fn a_user_whom_the_namespace_does_not_map_is_not_known() {
        let table = [
            ("         0          0 4294967295\n", true),
            ("0 1000 1\n1 100000 65536\n", true),
            ("0 1000 1\n", false),
            ("0 0 1\n1000 1000 1\n", false),
            ("", false),
        ];
        for (map, expected) in table {
            assert_eq!(maps(map, 65534), expected, "{map:?}");
        }
    }
}
