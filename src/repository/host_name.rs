//! This host's name at the destinations, as it was at first use: a host that is renamed goes on with its copies.
//!
//! `copying/host` in the state directory.

use std::io;
use std::path::Path;

use super::copy_journal::{HOME, make_home};
use super::durable;
use super::error::RepositoryError;

const FILE: &str = "host";

/// The name that this host was first known by; that of the machine, if it was never asked for.
///
/// # Errors
/// When it cannot be read, or not be kept.
pub fn host_name(state: &Path) -> Result<String, RepositoryError> {
    let path = state.join(HOME).join(FILE);
    match crate::regular_file::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Ok(text) if text.trim().is_empty() => {}
        text => {
            let text = text.map_err(RepositoryError::io("read", &path))?;
            return Ok(text.trim().to_owned());
        }
    }
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy().into_owned();
    let keep = || {
        make_home(state)?;
        durable::replace(&path, format!("{name}\n").as_bytes())
    };
    keep().map_err(RepositoryError::io("write", &path))?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_first_use_is_kept() {
        let state = tempfile::tempdir().unwrap();
        let name = host_name(state.path()).unwrap();
        assert!(!name.is_empty());
        let path = state.path().join(HOME).join(FILE);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{name}\n"));
        std::fs::write(&path, "db1\n").unwrap();
        assert_eq!(host_name(state.path()).unwrap(), "db1");
        std::fs::write(&path, "").unwrap();
        assert_eq!(host_name(state.path()).unwrap(), name);
    }
}
