//! What stands in a directory and should not, and what stands there and is no longer what it was:
//! `list` names it, `verify` finds it, retention leaves it alone.

mod damage;
mod errors_of_the_disk;
mod strange_files;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::cluster::Cluster;

const DATABASE: &str = "shop";

fn cluster_with_a_small_database() -> Cluster {
    let cluster = Cluster::start();
    cluster.create_database(DATABASE);
    cluster.psql_in(
        DATABASE,
        "CREATE TABLE item AS \
           SELECT i AS id, md5(i::text) AS name FROM generate_series(1, 200) AS i",
    );
    cluster
}

/// The content of every file below a directory, and where every symbolic link leads.
fn content(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let kind = path.symlink_metadata().unwrap().file_type();
        if kind.is_symlink() {
            let target = fs::read_link(&path).unwrap();
            found.insert(path, target.into_os_string().into_encoded_bytes());
        } else if kind.is_dir() {
            found.extend(content(&path));
            found.insert(path, b"a directory".to_vec());
        } else {
            found.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    found
}

fn flip(path: &Path, bit: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[usize::try_from(bit / 8).unwrap()] ^= 1 << (bit % 8);
    fs::write(path, bytes).unwrap();
}
