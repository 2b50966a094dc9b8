//! Programs that the configuration names, and who may have named them: root learns what to run by
//! nobody but root.

use std::path::PathBuf;

use super::findings::key;
use super::plan::ChannelWay;
use super::problem::What;
use super::problem::{ConfigError, Problem, ProblemLocation};
use super::{Loaded, Settings};
use crate::writers::{Writable, written_by_others};

/// What a command is going to run of what the configuration names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// `PostgreSQL`'s programs, of `programs`.
    Programs,
    /// These, and what stops and starts the application.
    ProgramsAndApplication,
    /// The commands of alert channels.
    Alerts,
}

impl Loaded {
    /// Refuses what would be run as root and is named by files that others than root may write. For
    /// anybody but root nothing is refused.
    ///
    /// # Errors
    /// With each setting of that kind, and the way out.
    pub fn refuse_commands_of_others(&self, runs: Runs) -> Result<(), ConfigError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let problems = problems(self, runs, written(&self.settings).as_ref());
        if problems.is_empty() {
            Ok(())
        } else {
            Err(ConfigError { problems })
        }
    }
}

/// The first thing that others than root may write among the files, what leads to them, and the
/// directory that further ones would be put in.
fn written(settings: &Settings) -> Option<Writable> {
    let files = settings.files();
    let beside: Vec<PathBuf> = files
        .iter()
        .filter_map(|file| Some(file.parent()?.join("conf.d")))
        .filter(|directory| directory.is_dir())
        .collect();
    let all = files.into_iter().chain(beside.iter().map(PathBuf::as_path));
    all.filter_map(|path| written_by_others(path, &[]).ok())
        .flatten()
        .next()
}

fn problems(loaded: &Loaded, runs: Runs, written: Option<&Writable>) -> Vec<Problem> {
    let Some(written) = written else {
        return Vec::new();
    };
    let restore = &loaded.plan.restore;
    let with_application = runs == Runs::ProgramsAndApplication;
    let has_programs = runs != Runs::Alerts && loaded.plan.programs.is_some();
    let channels = loaded.plan.alerts.iter().map(|channel| {
        let is_command = matches!(channel.way, ChannelWay::Command(_));
        let is_named = runs == Runs::Alerts && is_command;
        (key(&["alerts", &channel.name, "argv"]), is_named)
    });
    let named = [
        (key(&["programs"]), has_programs),
        (
            key(&["restore", "stop"]),
            with_application && restore.stop.is_some(),
        ),
        (
            key(&["restore", "start"]),
            with_application && restore.start.is_some(),
        ),
    ];
    named
        .into_iter()
        .chain(channels)
        .filter(|(_, is_named)| *is_named)
        .map(|(key, _)| loaded.settings.problem(&key, What::Value))
        // Root's own environment is root's.
        .filter(|problem| !matches!(problem.place, Some(ProblemLocation::Variable(_))))
        .map(|problem| Problem {
            message: format!(
                "root does not run what others may have written: {}",
                written.sentence()
            ),
            help: Some(format!(
                "{}, or run the command as the service's user",
                written.advice()
            )),
            ..problem
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, chown};

    use super::*;
    use crate::config::{Source, load};

    #[test]
    fn root_runs_nothing_that_another_may_have_written() {
        if !rustix::process::geteuid().is_root() {
            // Only root runs anything as root.
            return;
        }
        let etc = tempfile::tempdir().unwrap();
        let file = etc.path().join("pgbackupd.toml");
        let loaded = |text: &str, owner: u32| {
            fs::write(&file, format!("database = \"a\"\n{text}")).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            chown(&file, Some(owner), None).unwrap();
            let source = Source {
                file: Some(file.clone()),
                environment: std::collections::BTreeMap::new(),
                ..Source::of_process(None)
            };
            load(&source.trusting(owner)).unwrap()
        };
        let stop = "restore.stop = [\"true\"]";
        let start = "restore.start = [\"true\"]";
        let programs = "programs = \"/usr/bin\"";
        let argv = "alerts.a = { type = \"command\", argv = [\"true\"] }";
        let (only, all) = (Runs::Programs, Runs::ProgramsAndApplication);
        for (text, owner, runs, expected) in [
            (stop, 2, all, Some("restore.stop")),
            (start, 2, all, Some("restore.start")),
            (programs, 2, all, Some("programs")),
            (programs, 2, only, Some("programs")),
            (argv, 2, Runs::Alerts, Some("alerts.a.argv")),
            (programs, 2, Runs::Alerts, None),
            (argv, 0, Runs::Alerts, None),
            // It does not run it.
            (argv, 2, all, None),
            (stop, 2, only, None),
            // There is nothing to run.
            ("", 2, all, None),
            (stop, 0, all, None),
            (programs, 0, only, None),
        ] {
            let refused = loaded(text, owner).refuse_commands_of_others(runs).err();
            let found = refused.as_ref().map(|error| error.problems[0].key.as_str());
            assert_eq!(found, expected, "{text} of {owner}, {runs:?}");
            if let Some(error) = refused {
                assert!(error.to_string().contains("chown root "), "{error}");
            }
        }
    }
}
