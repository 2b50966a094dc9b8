//! The places that settings are read from: the main file, the files next to it, the environment.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::layer::Layer;
use super::problem::{Problem, ProblemLocation};
use crate::display::one_line;
use crate::identity;
use crate::regular_file;
use crate::secret_file::{FileMode, entering_advice, opening_advice};
use crate::writers::{Writable, trusted_here, written_by_others};

/// The main file when no other is named.
pub const DEFAULT_FILE: &str = "/etc/pgbackupd/pgbackupd.toml";

/// Named as the main file, it stands for none.
const NO_FILE: &str = "/dev/null";

/// What the names of our variables begin with.
const PREFIX: &str = "PGBACKUPD_";

/// Variables with that prefix that are no settings: they belong to the command line.
pub const COMMAND_LINE_VARIABLES: [&str; 3] =
    ["PGBACKUPD_CONFIG", "PGBACKUPD_LOG", identity::VARIABLE];

/// Where the configuration is read from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The main file that the operator named; it must exist.
    pub file: Option<PathBuf>,
    /// The main file otherwise; it may be absent.
    pub default_file: PathBuf,
    /// The environment: our own variables, and libpq's `PGDATABASE` and `PGSERVICE`.
    pub environment: BTreeMap<String, String>,
    /// The users besides root who may write the files.
    pub trusted: Vec<u32>,
}

impl Source {
    /// The process's own environment, and this file or the usual one.
    pub fn of_process(file: Option<PathBuf>) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| {
                let name = name.into_string().ok()?;
                // Bytes that are not UTF-8 become a sign that no setting accepts as its own.
                Some((name, value.to_string_lossy().into_owned()))
            })
            .collect();
        let source = Self {
            file,
            default_file: PathBuf::from(DEFAULT_FILE),
            environment,
            trusted: trusted_here(),
        };
        if source.main_file() == Path::new(NO_FILE) {
            return source.without_file();
        }
        source
    }

    /// The same without any file.
    #[must_use]
    pub fn without_file(mut self) -> Self {
        self.file = None;
        self.default_file = PathBuf::from("/nonexistent");
        self
    }

    /// The same, where one more user may write the files: the service's own.
    #[must_use]
    pub fn trusting(mut self, user: u32) -> Self {
        self.trusted.push(user);
        self
    }

    /// The main file's path.
    pub fn main_file(&self) -> &Path {
        self.file.as_deref().unwrap_or(&self.default_file)
    }

    /// All layers, the weakest first, and what is wrong in each by itself.
    pub(super) fn layers(&self) -> (Vec<Layer>, Vec<Problem>) {
        let (defaults, mut problems) = Layer::defaults();
        let mut layers = vec![defaults];
        let mut take = |(layer, found): (Layer, Vec<Problem>)| {
            layers.push(layer);
            problems.extend(found);
        };
        let mut unreadable = Vec::new();
        let mut written = Vec::new();
        self.look_for_writers(self.main_file(), &mut written);
        match read(self.main_file()) {
            Ok((text, file_mode)) => {
                take(Layer::from_file(
                    self.main_file().to_owned(),
                    &text,
                    file_mode,
                ));
            }
            Err(error)
                if error.kind() == ErrorKind::NotFound
                    && self.file.is_none()
                    && is_absent(self.main_file()) => {}
            Err(error) => unreadable.push(unreadable_file(self.main_file(), &error)),
        }
        self.look_for_writers(&self.drop_in_directory(), &mut written);
        match self.drop_in_files() {
            Ok(files) => {
                for path in files {
                    self.look_for_writers(&path, &mut written);
                    match read(&path) {
                        Ok((text, file_mode)) => take(Layer::from_file(path, &text, file_mode)),
                        Err(error) => unreadable.push(unreadable_file(&path, &error)),
                    }
                }
            }
            Err(problem) => unreadable.push(*problem),
        }
        for (name, value) in &self.environment {
            if COMMAND_LINE_VARIABLES.contains(&name.as_str()) {
                continue;
            }
            if let Some(key) = name.strip_prefix(PREFIX) {
                take(Layer::from_variable(name, key, value));
            }
        }
        problems.extend(written.iter().map(writable));
        problems.extend(unreadable);
        (layers, problems)
    }

    /// Adds what others may write of a file and of all that leads to it; of what is not there, the
    /// reading tells.
    fn look_for_writers(&self, path: &Path, found: &mut Vec<Writable>) {
        // A device is no configuration, and the reading says so.
        if path
            .metadata()
            .is_ok_and(|found| !found.is_file() && !found.is_dir())
        {
            return;
        }
        for one in written_by_others(path, &self.trusted).unwrap_or_default() {
            if !found.contains(&one) {
                found.push(one);
            }
        }
    }

    /// `conf.d` next to the main file.
    fn drop_in_directory(&self) -> PathBuf {
        match self.main_file().parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.join("conf.d"),
            _ => PathBuf::from("conf.d"),
        }
    }

    /// The files of `conf.d` next to the main file, in the order of their names.
    fn drop_in_files(&self) -> Result<Vec<PathBuf>, Box<Problem>> {
        let directory = self.drop_in_directory();
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound && is_absent(&directory) => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(Box::new(unreadable_file(&directory, &error))),
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry
                .map_err(|error| Box::new(unreadable_file(&directory, &error)))?
                .path();
            let hidden = path
                .file_name()
                .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
            if !hidden
                && path
                    .extension()
                    .is_some_and(|extension| extension == "toml")
            {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }
}

/// A file's text and whether others can read it, both of the same open file.
fn read(path: &Path) -> io::Result<(String, Option<FileMode>)> {
    let file = regular_file::open(path)?;
    let file_mode = FileMode::of(&file.metadata()?);
    let text = regular_file::text_by_hand(regular_file::bytes_by_hand(file)?)?;
    Ok((text, file_mode))
}

/// Whether there is nothing of this name, not even a link to something that is gone.
fn is_absent(path: &Path) -> bool {
    path.symlink_metadata().is_err()
}

/// Whoever can write the configuration can have its reader run any command.
fn writable(found: &Writable) -> Problem {
    Problem {
        key: String::new(),
        message: format!(
            "the configuration is not used, because others can change it: {}",
            found.sentence()
        ),
        help: Some(found.advice()),
        place: None,
    }
}

/// The way out for a file of the configuration, or a directory of such files, that this process may not
/// read.
pub(crate) fn permission_to_read(path: &Path) -> String {
    match path.metadata() {
        Ok(metadata) => opening_advice(path, &metadata, false),
        Err(_) => entering_advice(path),
    }
}

fn unreadable_file(path: &Path, error: &io::Error) -> Problem {
    let is_gone = error.kind() == ErrorKind::NotFound;
    let leads_to = path.read_link().ok().filter(|_| is_gone);
    let why = match &leads_to {
        Some(target) => format!(
            "it is a link to {}, which does not exist",
            one_line(&target.display().to_string())
        ),
        None => error.to_string(),
    };
    let help = match error.kind() {
        ErrorKind::NotFound if leads_to.is_some() => {
            Some("bring back what it leads to, or remove the link".to_owned())
        }
        ErrorKind::NotFound => Some("name a file that exists with --config".to_owned()),
        ErrorKind::PermissionDenied => Some(permission_to_read(path)),
        ErrorKind::InvalidData => Some("the file must be UTF-8".to_owned()),
        ErrorKind::FileTooLarge => {
            Some("is it the right file? Databases can be distributed over files in conf.d".into())
        }
        _ => None,
    };
    Problem {
        key: String::new(),
        message: format!("the configuration cannot be read: {why}"),
        help,
        place: Some(ProblemLocation::File {
            path: path.to_owned(),
            line: None,
        }),
    }
}
