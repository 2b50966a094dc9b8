//! Which files a program may use: Landlock (landlock(7)), as much of it as the kernel has.

use std::fs;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, LandlockStatus, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, Scope, path_beneath_rules,
};

/// The newest interface whose rights are known here; an older kernel has fewer, and what it has is
/// enforced.
const NEWEST: ABI = ABI::V9;

/// Where the system has what every program needs: libraries, locales, time zones, dictionaries. Not
/// all of `/usr`: below `/usr/local/pgsql` there may be a server's data.
const SYSTEM: &[&str] = &[
    "/bin",
    "/lib",
    "/lib32",
    "/lib64",
    "/usr/bin",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/share",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/usr/local/share",
    "/nix/store",
    "/gnu/store",
    // Debian's dictionaries for text search are links to here (pg_updatedicts).
    "/var/cache/postgresql/dicts",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/locale.alias",
    // Whose name the own user has.
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/group",
    // What OpenSSL reads before it computes anything.
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/openssl.cnf",
    "/etc/crypto-policies",
    "/dev/zero",
    "/dev/random",
    "/dev/urandom",
];

/// Where the dynamic linkers are: the kernel runs one for every program.
const LINKERS: &[&str] = &["/lib", "/lib32", "/lib64"];

/// What programs write when they write nowhere.
const NOWHERE: &str = "/dev/null";

/// What is asked of Landlock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    /// Whether only running is restricted, and files are not.
    pub(super) any_file: bool,
    /// May be run.
    pub(super) executable: Vec<PathBuf>,
    /// May be read, besides what the system has for every program.
    pub(super) readable: Vec<PathBuf>,
    /// May be read and written.
    pub(super) writable: Vec<PathBuf>,
    /// Have sockets that may be connected to.
    pub(super) callable: Vec<PathBuf>,
}

/// Restricts the calling thread, and whatever it starts or becomes. Gives the version of the
/// kernel's interface; none when there is no Landlock.
pub(super) fn restrict(rules: &Rules) -> Result<Option<i32>, RulesetError> {
    let execute = BitFlags::from(AccessFs::Execute);
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let devices = AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev;
    let write = (read | AccessFs::from_write(NEWEST)) & !(devices | AccessFs::ResolveUnix);
    let handled = if rules.any_file {
        execute
    } else {
        AccessFs::from_all(NEWEST)
    };
    let mut ruleset = Ruleset::default().handle_access(handled)?;
    if !rules.any_file {
        ruleset = ruleset.scope(Scope::from_all(NEWEST))?;
    }
    let mut ruleset = ruleset
        .create()?
        .add_rules(path_beneath_rules(&rules.executable, execute))?
        .add_rules(path_beneath_rules(linkers(), execute))?;
    if !rules.any_file {
        let nowhere = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate;
        ruleset = ruleset
            .add_rules(path_beneath_rules(SYSTEM, read))?
            .add_rules(path_beneath_rules([NOWHERE], nowhere))?
            .add_rules(path_beneath_rules(&rules.readable, read))?
            .add_rules(path_beneath_rules(&rules.writable, write))?
            .add_rules(path_beneath_rules(&rules.callable, AccessFs::ResolveUnix))?;
    }
    let status = ruleset.restrict_self()?;
    Ok(match status.landlock {
        LandlockStatus::Available {
            effective_abi,
            kernel_abi,
        } => Some(kernel_abi.unwrap_or(effective_abi as i32)),
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => None,
    })
}

fn linkers() -> Vec<PathBuf> {
    let mut linkers = Vec::new();
    for directory in LINKERS {
        let Ok(entries) = fs::read_dir(directory) else {
            continue;
        };
        linkers.extend(entries.flatten().map(|entry| entry.path()).filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            ["ld-linux", "ld-musl", "ld64.so", "ld.so"]
                .iter()
                .any(|linker| name.starts_with(linker))
        }));
    }
    linkers
}

/// Everything that may be read and has programs in it.
pub(super) fn of_the_system() -> impl Iterator<Item = PathBuf> {
    SYSTEM
        .iter()
        .map(PathBuf::from)
        .filter(|path| path.is_dir())
}

/// What belongs to a program that is installed apart from the system's own: the directory that it is
/// in, and next to that the libraries and the files of its installation. Nothing else that may be
/// there, such as a server's data.
pub(super) fn installation_of(program: &Path) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    let real = fs::canonicalize(program).ok();
    for path in [Some(program), real.as_deref()].into_iter().flatten() {
        let Some(directory) = path.parent() else {
            continue;
        };
        directories.push(directory.to_owned());
        if directory.ends_with("bin")
            && let Some(prefix) = directory.parent()
        {
            directories.extend(["lib", "lib64", "share"].map(|name| prefix.join(name)));
        }
    }
    directories.sort();
    directories.dedup();
    directories
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_installation_programs_libraries_and_shared_files_count_and_no_data() {
        let table: [(&str, &[&str]); 3] = [
            (
                "/opt/pgsql/bin/postgres",
                &[
                    "/opt/pgsql/bin",
                    "/opt/pgsql/lib",
                    "/opt/pgsql/lib64",
                    "/opt/pgsql/share",
                ],
            ),
            ("/srv/wrappers/psql", &["/srv/wrappers"]),
            ("psql", &[""]),
        ];
        for (program, expected) in table {
            assert_eq!(
                installation_of(Path::new(program)),
                expected.iter().map(PathBuf::from).collect::<Vec<_>>(),
                "{program}"
            );
        }
    }

    #[test]
    fn a_thread_that_is_restricted_reads_what_it_may_and_nothing_else() {
        let [inside, outside] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let rules = Rules {
            writable: vec![inside.path().to_owned()],
            ..Rules::default()
        };
        let (file, other) = (inside.path().join("file"), outside.path().join("file"));
        fs::write(&other, "theirs").unwrap();
        let outcome = std::thread::spawn(move || {
            let enforced = restrict(&rules).unwrap().is_some();
            (
                enforced,
                fs::write(&file, "ours").and_then(|()| fs::read(&file)),
                fs::read(&other).is_ok(),
                fs::remove_file(&other).is_ok(),
                fs::read("/etc/ld.so.cache").is_ok(),
                fs::read("/etc/fstab").is_ok(),
            )
        })
        .join()
        .unwrap();
        let (enforced, ours, theirs_read, theirs_removed, system, configuration) = outcome;
        assert_eq!(ours.unwrap(), b"ours");
        if enforced {
            assert_eq!((theirs_read, theirs_removed), (false, false));
            assert_eq!((system, configuration), (true, false));
        }
    }
}
