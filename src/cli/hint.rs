//! Commands that are printed are for pasting: they name the configuration that this command was given.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;

use super::failure::Failure;
use crate::display::shell_word;

/// How a printed command of ours begins.
const COMMAND: &str = "`pgbackupd ";

/// What the commands that are printed need besides their own arguments.
#[derive(Clone, Debug)]
pub(super) struct Hints {
    /// `--config FILE`, as a shell takes it.
    option: Option<String>,
}

impl Hints {
    /// For whoever gave this configuration. One that the environment names is in force for the next
    /// command too.
    pub(super) fn of(config: Option<&Path>, environment: Option<&OsStr>) -> Self {
        let given = config.filter(|path| environment != Some(path.as_os_str()));
        let text = given.and_then(Path::to_str);
        Self {
            option: text.map(|path| format!("--config {} ", shell_word(path))),
        }
    }

    /// The text with that in each command of ours.
    pub(super) fn complete<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match &self.option {
            Some(option) if text.contains(COMMAND) => {
                let twice = format!("{COMMAND}{option}{option}");
                let once = format!("{COMMAND}{option}");
                // What has been completed before stays.
                Cow::Owned(text.replace(COMMAND, &once).replace(&twice, &once))
            }
            _ => Cow::Borrowed(text),
        }
    }

    pub(super) fn complete_failure(&self, mut failure: Failure) -> Failure {
        failure.message = self.complete(&failure.message).into_owned();
        failure
    }
}

/// Diagnostics on stderr.
pub(super) struct Diagnostics(pub(super) Hints);

impl Write for Diagnostics {
    /// Takes whole lines, as `tracing_subscriber` writes them.
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(buffer);
        io::stderr().write_all(self.0.complete(&text).as_bytes())?;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_get_the_configuration_that_was_given_once() {
        let path = Path::new("/etc/pg two.toml");
        let given = Hints::of(Some(path), None);
        for (text, expected) in [
            ("no command", "no command"),
            ("see pgbackupd(1)", "see pgbackupd(1)"),
            (
                "run `pgbackupd backup -d x`, then `pgbackupd verify`",
                "run `pgbackupd --config '/etc/pg two.toml' backup -d x`, then `pgbackupd --config \
                 '/etc/pg two.toml' verify`",
            ),
        ] {
            assert_eq!(given.complete(text), expected);
            assert_eq!(given.complete(expected), expected, "once more");
        }
        let text = "run `pgbackupd backup`";
        let from_environment = Hints::of(Some(path), Some(path.as_os_str()));
        for none in [Hints::of(None, None), from_environment] {
            assert_eq!(none.complete(text), text);
        }
        let other = Hints::of(Some(path), Some(OsStr::new("/etc/other.toml")));
        assert!(other.complete(text).contains("--config '/etc/pg two.toml'"));
    }
}
