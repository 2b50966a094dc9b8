//! Whether a program was killed because the service has used up the memory that it may have: the kernel's
//! account of our control group (`Documentation/admin-guide/cgroup-v2.rst`, "Memory Interface Files").

use std::path::{Path, PathBuf};

/// How often the kernel has killed a process of our control group for lack of memory; none where it keeps
/// no account.
pub(super) fn kills() -> Option<u64> {
    let events = std::fs::read_to_string(own_group()?.join("memory.events")).ok()?;
    kills_in(&events)
}

/// How many bytes our control group may have; none without a limit.
pub(super) fn limit() -> Option<u64> {
    let limit = std::fs::read_to_string(own_group()?.join("memory.max")).ok()?;
    limit.trim().parse().ok()
}

fn own_group() -> Option<PathBuf> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    Some(Path::new("/sys/fs/cgroup").join(path_in(&groups)?))
}

/// The path of version 2's hierarchy.
fn path_in(groups: &str) -> Option<&str> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(path.trim_start_matches('/'))
}

fn kills_in(events: &str) -> Option<u64> {
    let number = events
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "))?;
    number.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_account_is_read() {
        let groups = "1:name=systemd:/x\n0::/system.slice/pgbackupd.service\n";
        assert_eq!(path_in(groups), Some("system.slice/pgbackupd.service"));
        assert_eq!(path_in("3:memory:/x\n"), None);
        let events = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n";
        assert_eq!(kills_in(events), Some(2));
        assert_eq!(kills_in("low 0\n"), None);
    }
}
