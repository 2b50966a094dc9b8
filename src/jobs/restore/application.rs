//! The commands that stop the application and start it again. They are the operator's own: words,
//! no shell, with a limit.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::config::RestoreSettings;
use crate::display::span;
use crate::jobs::JobError;
use crate::jobs::run::Run;
use crate::mask::mask;

/// What of our environment such a command gets: what `systemctl` and the like need, no secret.
const PASSED_ON: [&str; 7] = [
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
];

/// So much of what it says is reported.
const SAID: u64 = 4096;

/// The application that uses a database.
pub(in crate::jobs) struct Application<'a> {
    /// How it is stopped and started.
    pub(in crate::jobs) settings: &'a RestoreSettings,
    /// The database.
    pub(in crate::jobs) database: &'a str,
}

impl Application<'_> {
    /// Stops it, if there is a command for that.
    ///
    /// # Errors
    /// When the command fails, or the run is to end: half of it may be stopped then.
    pub(in crate::jobs) async fn stop(&self, job: &Run<'_>) -> Result<(), JobError> {
        let Some(words) = &self.settings.stop else {
            return Ok(());
        };
        job.step(&format!("stopping the application: {}", shown(words)));
        let stopping = run(
            words,
            self.database,
            &job.context.environment,
            self.settings.timeout,
        );
        job.wait_for(stopping)
            .await?
            .map_err(|error| JobError::failed(format!("the application does not stop: {error}")))
    }

    /// Starts it, if there is a command for that; the reason if that fails.
    pub(in crate::jobs) async fn start(&self, job: &Run<'_>) -> Option<String> {
        let words = self.settings.start.as_ref()?;
        job.step(&format!("starting the application: {}", shown(words)));
        let environment = &job.context.environment;
        let started = run(words, self.database, environment, self.settings.timeout);
        started.await.err()
    }
}

/// Runs a command to its end; the error says what went wrong, in a phrase.
///
/// What it leaves running is left alone: a start command may start the application itself.
async fn run(
    words: &[String],
    database: &str,
    environment: &BTreeMap<String, String>,
    limit: Duration,
) -> Result<(), String> {
    let Some((program, arguments)) = words.split_first() else {
        return Ok(());
    };
    let shown = shown(words);
    let passed_on = PASSED_ON
        .iter()
        .filter_map(|name| Some((*name, environment.get(*name)?)));
    let mut command = Command::new(program);
    if rustix::fs::access(".", rustix::fs::Access::EXEC_OK).is_err() {
        // Whom root has become may not go back to root's directory.
        command.current_dir("/");
    }
    let mut child = command
        .args(arguments)
        .env_clear()
        .envs(passed_on)
        .env("PGBACKUPD_DATABASE", database)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("`{shown}` cannot be started: {error}"))?;
    let stderr = child.stderr.take();
    let reader = tokio::spawn(async move {
        let mut detail = Vec::new();
        if let Some(mut stderr) = stderr {
            // What cannot be read is not reported.
            let _ = (&mut stderr).take(SAID).read_to_end(&mut detail).await;
        }
        String::from_utf8_lossy(&detail).trim().to_owned()
    });
    let status = match timeout(limit, child.wait()).await {
        Ok(Ok(status)) => status,
        Ok(Err(error)) => return Err(format!("`{shown}` cannot be waited for: {error}")),
        Err(_) => {
            return Err(format!(
                "`{shown}` did not end within {}, which is restore.timeout, and was killed",
                span(limit)
            ));
        }
    };
    if status.success() {
        return Ok(());
    }
    // Something that it has started may hold its output open.
    let detail = timeout(Duration::from_secs(1), reader).await;
    let detail = detail.ok().and_then(Result::ok).unwrap_or_default();
    let detail = if detail.is_empty() {
        String::new()
    } else {
        format!("; its output:\n{detail}")
    };
    Err(format!("`{shown}` ended with {status}{detail}"))
}

/// A command as it is shown and recorded, without the passwords that it may have.
pub(super) fn shown(words: &[String]) -> String {
    mask(&words.join(" "), &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ran(words: &[&str], limit: u64) -> Result<(), String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let environment = BTreeMap::from([
            ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
            ("PGPASSWORD".to_owned(), "secret".to_owned()),
        ]);
        run(&words, "a b", &environment, Duration::from_millis(limit)).await
    }

    #[tokio::test]
    async fn a_command_is_words_and_knows_the_database() {
        assert_eq!(ran(&["true"], 60_000).await, Ok(()));
        let check = "test \"$1\" = '$(x) y' && test \"$PGBACKUPD_DATABASE\" = 'a b' \
                     && test -z \"$PGPASSWORD\"";
        assert_eq!(
            ran(&["sh", "-c", check, "sh", "$(x) y"], 60_000).await,
            Ok(())
        );
    }

    #[tokio::test]
    async fn its_failure_is_reported() {
        let failed = ran(&["sh", "-c", "echo no unit >&2; exit 5"], 60_000).await;
        let failed = failed.unwrap_err();
        assert!(
            failed.contains("exit status: 5; its output:\nno unit"),
            "{failed}"
        );
        let missing = ran(&["/no/such/program"], 60_000).await.unwrap_err();
        assert!(missing.contains("cannot be started"), "{missing}");
        let slow = ran(&["sleep", "60"], 50).await.unwrap_err();
        assert!(slow.contains("restore.timeout"), "{slow}");
    }
}
