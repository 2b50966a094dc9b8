//! Which system calls a program is refused, and with which arguments: seccomp (seccomp(2)).
//!
//! This is a list of what is refused, since `PostgreSQL`, the libraries of its extensions and three C
//! libraries make whatever other calls they like. What is on it reaches beyond files, which are
//! Landlock's, or past Landlock.

use std::collections::BTreeMap;
use std::env::consts::ARCH;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter, sock_filter,
};

use super::Reach;

/// Since this version of its interface (Linux 6.2), Landlock knows truncate(2).
const TRUNCATE_SINCE: i32 = 3;

/// What neither a server nor a program that works on it has any use for.
const NEVER: &[i64] = &[
    // Other processes' memory and files.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // Signals by other ways than kill(2), under a false sender's name.
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_send_signal,
    // What is done through a ring is seen by no filter.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // A file without a path may be run whatever Landlock says.
    libc::SYS_execveat,
    libc::SYS_memfd_create,
    libc::SYS_memfd_secret,
    // Namespaces and mounts.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    // Landlock leaves these alone, whosever file it is.
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    SETXATTRAT,
    REMOVEXATTRAT,
    // Messages and keys that are shared with other processes of the user.
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    libc::SYS_msgget,
    libc::SYS_msgctl,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // The kernel itself.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_open_by_handle_at,
    // What goes on in directories that may not be read.
    libc::SYS_fanotify_init,
    libc::SYS_inotify_add_watch,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
];

/// The same under the names that newer architectures have no more.
#[cfg(target_arch = "x86_64")]
const NEVER_BY_OLD_NAMES: &[i64] = &[
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
];
#[cfg(not(target_arch = "x86_64"))]
const NEVER_BY_OLD_NAMES: &[i64] = &[];

/// Numbers that the C library does not name yet; the same on every architecture.
const FCHMODAT2: i64 = 452;
const SETXATTRAT: i64 = 463;
const REMOVEXATTRAT: i64 = 466;

/// What is asked of processes by their number, as the first argument; of itself under the number 0.
const OF_PROCESSES: &[i64] = &[
    libc::SYS_prlimit64,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
];

/// The same, with the kind of the number before it: the kind that stands for processes.
const OF_PROCESSES_AND_OTHERS: &[(i64, u64)] = &[
    // PRIO_PROCESS
    (libc::SYS_setpriority, 0),
    // IOPRIO_WHO_PROCESS
    (libc::SYS_ioprio_set, 1),
];

/// The kinds of sockets that carry datagrams: one may be sent to anybody without connecting first.
const NO_STREAM: [i32; 4] = [
    libc::SOCK_DGRAM,
    libc::SOCK_RAW,
    libc::SOCK_RDM,
    libc::SOCK_SEQPACKET,
];

/// Of the second argument of socket(2), what names the kind (the rest are flags).
const KIND: u64 = 0xf;

/// What changes the mode of a file that is named, and which argument is the mode.
#[cfg(target_arch = "x86_64")]
const CHANGES_OF_MODE: &[(i64, u8)] = &[
    (libc::SYS_chmod, 1),
    (libc::SYS_fchmodat, 2),
    (FCHMODAT2, 2),
];
#[cfg(not(target_arch = "x86_64"))]
const CHANGES_OF_MODE: &[(i64, u8)] = &[(libc::SYS_fchmodat, 2), (FCHMODAT2, 2)];

/// The mode that a server gives to its socket and to tablespaces.
const SERVERS_MODE: u64 = 0o700;

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallsError {
    /// The crate knows some architectures.
    #[error("no filter of system calls is known for {ARCH}")]
    UnknownArchitecture,
    /// The kernel has none, or does not let us.
    #[error(transparent)]
    Refused(#[from] seccompiler::Error),
}

impl From<seccompiler::BackendError> for CallsError {
    fn from(error: seccompiler::BackendError) -> Self {
        Self::Refused(error.into())
    }
}

/// Restricts the calling thread, and whatever it starts or becomes; `landlock` is the version of
/// Landlock's interface that restricts it already.
pub(super) fn restrict(reach: Reach, landlock: Option<i32>) -> Result<(), CallsError> {
    if reach == Reach::Anyone {
        return Ok(());
    }
    let architecture = TargetArch::try_from(ARCH).map_err(|_| CallsError::UnknownArchitecture)?;
    let refused = rules(reach, landlock)?;
    apply_filter(&filter(refused, libc::EPERM, architecture)?)?;
    // What it would make is in memory, where no filter sees it; without it, C libraries call clone.
    let unknown = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    apply_filter(&filter(unknown, libc::ENOSYS, architecture)?)?;
    if reach == Reach::Nobody {
        apply_filter(&filter(not_carried_out()?, 0, architecture)?)?;
    }
    if cfg!(target_arch = "x86_64") {
        apply_filter(&without_other_numbers())?;
    }
    Ok(())
}

fn filter(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    errno: i32,
    architecture: TargetArch,
) -> Result<BpfProgram, CallsError> {
    let refuse = SeccompAction::Errno(errno.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture)?;
    Ok(BpfProgram::try_from(filter)?)
}

/// Every call that is refused, with the conditions under which it is; none of them: always.
fn rules(
    reach: Reach,
    landlock: Option<i32>,
) -> Result<BTreeMap<i64, Vec<SeccompRule>>, CallsError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = NEVER
        .iter()
        .chain(NEVER_BY_OLD_NAMES)
        .map(|call| (*call, Vec::new()))
        .collect();
    let mut kinds = Vec::new();
    for kind in NO_STREAM {
        kinds.push(when(&[(1, SeccompCmpOp::MaskedEq(KIND), number(kind))])?);
    }
    rules.insert(libc::SYS_socketpair, kinds.clone());
    kinds.push(when(&[(0, SeccompCmpOp::Ne, number(libc::AF_UNIX))])?);
    rules.insert(libc::SYS_socket, kinds);
    let mut namespaces = Vec::new();
    for flag in [
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWNS,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWCGROUP,
    ] {
        let flag = number(flag);
        namespaces.push(when(&[(0, SeccompCmpOp::MaskedEq(flag), flag)])?);
    }
    rules.insert(libc::SYS_clone, namespaces);
    for call in OF_PROCESSES {
        rules.insert(*call, vec![when(&[(0, SeccompCmpOp::Ne, 0)])?]);
    }
    for (call, processes) in OF_PROCESSES_AND_OTHERS {
        let of_others = vec![
            when(&[(0, SeccompCmpOp::Ne, *processes)])?,
            when(&[(1, SeccompCmpOp::Ne, 0)])?,
        ];
        rules.insert(*call, of_others);
    }

    if reach == Reach::Nobody {
        for call in [libc::SYS_connect, libc::SYS_sendmsg, libc::SYS_sendmmsg] {
            rules.insert(call, Vec::new());
        }
        // With an address, as opposed to send(2).
        rules.insert(
            libc::SYS_sendto,
            vec![SeccompRule::new(vec![SeccompCondition::new(
                4,
                SeccompCmpArgLen::Qword,
                SeccompCmpOp::Ne,
                0,
            )?])?],
        );
        // Landlock leaves the modes of files alone, whosever they are.
        for (call, argument) in CHANGES_OF_MODE {
            let other = when(&[(*argument, SeccompCmpOp::Ne, SERVERS_MODE)])?;
            rules.insert(*call, vec![other]);
        }
        rules.insert(libc::SYS_fchmod, Vec::new());
        // A server cuts the files of a table short before it removes them, and only remarks on it
        // when it cannot.
        if landlock.is_none_or(|version| version < TRUNCATE_SINCE) {
            rules.insert(libc::SYS_truncate, Vec::new());
        }
    }
    Ok(rules)
}

/// What is reported to have succeeded, and has not been done: a server closes its socket and its tablespaces
/// to others, and ends when it cannot. They are closed already, by its umask and by who made them.
fn not_carried_out() -> Result<BTreeMap<i64, Vec<SeccompRule>>, CallsError> {
    let mut rules = BTreeMap::new();
    for (call, argument) in CHANGES_OF_MODE {
        let own = when(&[(*argument, SeccompCmpOp::Eq, SERVERS_MODE)])?;
        rules.insert(*call, vec![own]);
    }
    Ok(rules)
}

/// A rule by the lower halves of arguments, as the kernel itself reads an `int`.
fn when(conditions: &[(u8, SeccompCmpOp, u64)]) -> Result<SeccompRule, CallsError> {
    let mut all = Vec::new();
    for (argument, is, value) in conditions {
        all.push(SeccompCondition::new(
            *argument,
            SeccompCmpArgLen::Dword,
            is.clone(),
            *value,
        )?);
    }
    Ok(SeccompRule::new(all)?)
}

fn number(value: i32) -> u64 {
    u64::from(value.unsigned_abs())
}

/// Some kernels for x86-64 know every call by a second number too (x32), under the same name of the
/// architecture: with bit 30 set. Nothing of ours is built for that.
fn without_other_numbers() -> BpfProgram {
    const X32: u32 = 1 << 30;
    let instruction = |code: u32, jt, jf, k| sock_filter {
        // They have 16 bits (linux/bpf_common.h).
        code: u16::try_from(code).unwrap_or_default(),
        jt,
        jf,
        k,
    };
    // The number of the call is the first word of struct seccomp_data.
    vec![
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 0, 1, X32),
        instruction(
            libc::BPF_RET | libc::BPF_K,
            0,
            0,
            libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs(),
        ),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::io::ErrorKind;
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use rustix::process::Resource;

    use super::*;

    /// Whether something was refused by a filter, as seen by a thread of its own.
    fn is_refused<T, F>(reach: Reach, landlock: Option<i32>, what: F) -> bool
    where
        F: FnOnce() -> std::io::Result<T> + Send + 'static,
    {
        std::thread::spawn(move || {
            restrict(reach, landlock).unwrap();
            what().is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
        })
        .join()
        .unwrap()
    }

    #[test]
    fn nobody_reaches_the_network_and_a_server_reaches_no_socket_either() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let _listening = UnixListener::bind(&path).unwrap();
        for (reach, network, datagrams, sockets) in [
            (Reach::Anyone, false, false, false),
            (Reach::Sockets, true, true, false),
            (Reach::Nobody, true, true, true),
        ] {
            let socket = path.clone();
            let seen = (
                is_refused(reach, Some(3), || TcpListener::bind("127.0.0.1:0")),
                is_refused(reach, Some(3), || UdpSocket::bind("127.0.0.1:0")),
                is_refused(reach, Some(3), UnixDatagram::unbound),
                is_refused(reach, Some(3), UnixDatagram::pair),
                is_refused(reach, Some(3), || UnixStream::connect(socket)),
            );
            assert_eq!(
                seen,
                (network, network, datagrams, datagrams, sockets),
                "{reach:?}"
            );
            // What a server does need.
            let own = directory.path().join(format!("{reach:?}"));
            assert!(!is_refused(reach, Some(3), || UnixListener::bind(own)));
            assert!(!is_refused(reach, Some(3), UnixStream::pair));
        }
    }

    #[test]
    fn no_mode_changes_and_nothing_is_cut_short_where_landlock_does_not_see_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "text").unwrap();
        for (mode, refused) in [(0o700, false), (0o777, true), (0o600, true), (0o000, true)] {
            let file = path.clone();
            assert_eq!(
                is_refused(Reach::Nobody, Some(3), move || {
                    fs::set_permissions(file, Permissions::from_mode(mode))
                }),
                refused,
                "{mode:o}"
            );
        }
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        assert_ne!(mode, 0o700, "what is told to have succeeded is not done");
        let file = path.clone();
        assert!(is_refused(Reach::Nobody, Some(3), move || {
            fs::File::open(file)?.set_permissions(Permissions::from_mode(0o700))
        }));
        for (landlock, is_listed) in [(None, true), (Some(2), true), (Some(3), false)] {
            let rules = rules(Reach::Nobody, landlock).unwrap();
            assert_eq!(rules.contains_key(&libc::SYS_truncate), is_listed);
        }
    }

    #[test]
    fn limits_and_priorities_of_other_processes_cannot_be_changed() {
        let other = rustix::process::getppid();
        assert!(other.is_some());
        let unchanged = |pid| {
            let limit = rustix::process::getrlimit(Resource::Core);
            rustix::process::prlimit(pid, Resource::Core, limit).map(drop)
        };
        for reach in [Reach::Sockets, Reach::Nobody] {
            assert!(is_refused(reach, Some(3), move || Ok(unchanged(other)?)));
            assert!(!is_refused(reach, Some(3), move || Ok(unchanged(None)?)));
            assert!(is_refused(reach, Some(3), move || {
                Ok(rustix::process::setpriority_process(other, 0)?)
            }));
            assert!(!is_refused(reach, Some(3), move || {
                Ok(rustix::process::setpriority_process(None, 0)?)
            }));
            assert!(is_refused(reach, Some(3), move || {
                let processors = rustix::thread::sched_getaffinity(None)?;
                Ok(rustix::thread::sched_setaffinity(other, &processors)?)
            }));
        }
    }

    #[test]
    fn a_thread_can_still_be_made_without_the_call_that_hides_its_arguments() {
        assert!(!is_refused(Reach::Nobody, Some(3), || {
            std::thread::Builder::new().spawn(|| ()).map(drop)
        }));
    }
}
