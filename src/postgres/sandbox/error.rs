//! Why there is no temporary cluster.

use std::io;
use std::path::{Path, PathBuf};

use crate::postgres::child::ChildError;
use crate::postgres::connect_error::ConnectError;
use crate::postgres::conninfo::ConninfoError;
use crate::postgres::query_error::QueryError;

/// Why there is no sandbox. None of it says anything about a backup.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Its directory.
    #[error(
        "cannot {doing} {}: {source}\nhint: drill.directory names the place for temporary clusters",
        path.display()
    )]
    Directory {
        /// What was being done.
        doing: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A socket's path is longer than the system allows.
    #[error(
        "the path of the directory {} is too long for a socket in it\nhint: set drill.directory to one \
         of at most {longest} bytes",
        path.display()
    )]
    PathTooLong {
        /// The directory.
        path: PathBuf,
        /// So long may it be.
        longest: usize,
    },
    /// The user that the server runs as is kept out of its directory.
    #[error(
        "user {user}, who runs the temporary cluster for root, cannot pass through {}\nhint: chmod o+x \
         it, or set drill.directory to another place",
        path.display()
    )]
    Closed {
        /// The directory that is closed.
        path: PathBuf,
        /// To whom.
        user: String,
    },
    /// `postgres` refuses to run as root.
    #[error("PostgreSQL does not run as root, and there is no user nobody to run it as")]
    NoAccount,
    /// A program failed.
    #[error("{program} {how}{}", if detail.is_empty() { String::new() } else { format!("; its output:\n{detail}") })]
    Program {
        /// Its name.
        program: &'static str,
        /// How it ended.
        how: String,
        /// What it said.
        detail: String,
    },
    /// It does not start with the libraries that it is to load.
    #[error("the temporary cluster does not start with {libraries} preloaded: {source}")]
    Preload {
        /// Their names.
        libraries: String,
        /// Why.
        source: Box<SandboxError>,
    },
    /// A program could not be run.
    #[error(transparent)]
    Child(#[from] ChildError),
    /// The connection cannot be described.
    #[error(transparent)]
    Conninfo(#[from] ConninfoError),
    /// The server does not answer.
    #[error("the temporary cluster does not answer: {0}")]
    Connect(#[from] ConnectError),
    /// It refuses.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A database like the one that was dumped cannot be made here.
    #[error(
        "a database with encoding {encoding} and locale {locale} cannot be made on this machine: \
         {source}\nhint: `locale -a` lists the available ones"
    )]
    Database {
        /// Its encoding.
        encoding: String,
        /// Its locale, with its provider.
        locale: String,
        /// What the server said.
        source: Box<QueryError>,
    },
}

pub(super) fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SandboxError {
    let path = path.to_owned();
    move |source| SandboxError::Directory {
        doing,
        path,
        source,
    }
}
