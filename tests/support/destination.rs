//! A destination of copies in a directory.

use std::fs;
use std::path::{Path, PathBuf};

use super::operator::Operator;

/// Configures a destination in a directory as `far`, without encryption, of a host `db1`.
pub(crate) fn plain_destination(operator: &mut Operator) -> PathBuf {
    let far = operator.path("far");
    fs::create_dir(&far).unwrap();
    operator.set("name", "db1");
    operator.set("destinations.far.url", format!("file://{}", far.display()));
    operator.set_value("destinations.far.plain", true);
    far
}

/// All files below a directory, as paths relative to it, sorted.
pub(crate) fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(one) = open.pop() {
        for entry in fs::read_dir(&one).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let path = path.strip_prefix(directory).unwrap();
                found.push(path.display().to_string());
            }
        }
    }
    found.sort();
    found
}
