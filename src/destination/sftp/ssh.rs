//! The operator's own ssh, started for its subsystem `sftp`: no shell, nothing asked, nobody trusted who is not
//! known, and no secret among its arguments.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;

use super::fault::{Fault, of_ssh};
use crate::config::{self, PasswordSource, SftpSettings, secret_text};
use crate::destination::error::DestinationErrorKind;
use crate::display::shell_word;
use crate::mask::mask;
use crate::secret_file::FileMode;
use crate::ssh_private_key::{KeyFault, KeyUse};

/// What of our environment ssh gets: its agent, and no secret.
const PASSED_ON: [&str; 6] = ["PATH", "HOME", "USER", "LOGNAME", "SSH_AUTH_SOCK", "TZ"];

/// What ssh does whatever its configuration says. It never asks and never learns a host's key; it shares no
/// connection, which would outlive us; and of several messages it gives those that say why it ended.
const OPTIONS: [&str; 13] = [
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "UpdateHostKeys=no",
    "LogLevel=ERROR",
    "ConnectTimeout=15",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=3",
    "ControlMaster=no",
    "ControlPath=none",
    "ClearAllForwardings=yes",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "RequestTTY=no",
];

/// So much of what ssh says is kept, in bytes: the end of it is why it ended.
const SAID: usize = 8192;

/// So long its last words may take after its end: what it has started may hold them open.
const DRAIN: Duration = Duration::from_secs(1);

/// How ssh is started.
#[derive(Debug)]
pub(super) struct SshCommand {
    settings: SftpSettings,
    identity: Option<IdentityFile>,
    environment: Vec<(String, String)>,
}

impl SshCommand {
    /// Reads the key, so that what is wrong with it is known before anything is sent.
    ///
    /// # Errors
    /// In words: it cannot be used.
    pub(super) fn new(
        settings: &SftpSettings,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, String> {
        let identity = settings.identity.as_ref();
        let identity = identity.map(|source| IdentityFile::of(source, environment));
        // ssh passes over a file of the first kind that it cannot read.
        let files = [&settings.known_hosts_file, &settings.ssh_config_file];
        for path in files.into_iter().flatten() {
            config::file(path).map_err(|error| error.to_string())?;
        }
        let passed_on = PASSED_ON
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), environment.get(*name)?.clone())));
        let mut passed_on: Vec<_> = passed_on.collect();
        // What it says is understood.
        passed_on.push(("LC_ALL".to_owned(), "C".to_owned()));
        Ok(Self {
            settings: settings.clone(),
            identity: identity.transpose()?,
            environment: passed_on,
        })
    }

    /// The settings.
    pub(super) fn settings(&self) -> &SftpSettings {
        &self.settings
    }

    /// The words behind `ssh`. The host and the user are checked where they are read, and cannot be taken for
    /// options here.
    fn arguments(&self) -> Vec<String> {
        let settings = &self.settings;
        let mut words = Vec::new();
        // The first value of an option counts, so ours come before those of any file.
        if let Some(path) = &settings.ssh_config_file {
            words.extend(["-F".to_owned(), path.display().to_string()]);
        }
        let mut option = |text: String| words.extend(["-o".to_owned(), text]);
        for text in OPTIONS {
            option(text.to_owned());
        }
        if let Some(identity) = &self.identity {
            option(format!("IdentityFile={}", quoted(identity.path())));
            option("IdentitiesOnly=yes".to_owned());
        }
        if let Some(path) = &settings.known_hosts_file {
            option(format!("UserKnownHostsFile={}", quoted(path)));
            option("GlobalKnownHostsFile=/dev/null".to_owned());
        }
        if let Some(port) = settings.port {
            words.extend(["-p".to_owned(), port.to_string()]);
        }
        if let Some(user) = &settings.user {
            words.extend(["-l".to_owned(), user.clone()]);
        }
        words.extend(["-a", "-x", "-s", "--"].map(str::to_owned));
        words.extend([settings.host.clone(), "sftp".to_owned()]);
        words
    }

    /// The command by which somebody asks the same server, with these options of sftp's, for a shell.
    pub(super) fn by_hand(&self, options: &str) -> String {
        let settings = &self.settings;
        let word = |path: &PathBuf| shell_word(&path.display().to_string());
        let mut words = vec![format!("sftp {options}")];
        let config = settings.ssh_config_file.as_ref();
        words.extend(config.map(|path| format!("-F {}", word(path))));
        if let Some(PasswordSource::File(path)) = &settings.identity {
            words.push(format!("-i {}", word(path)));
        }
        let known = settings.known_hosts_file.as_deref();
        words.extend(known.map(|path| {
            let option = format!("UserKnownHostsFile={}", quoted(path));
            format!("-o {}", shell_word(&option))
        }));
        words.extend(settings.port.map(|port| format!("-P {port}")));
        let user = settings.user.as_ref();
        let user = user.map_or_else(String::new, |user| format!("{user}@"));
        words.push(shell_word(&format!("{user}{}", settings.bracketed_host())));
        words.join(" ")
    }

    /// Starts it.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(&self) -> Result<Started, Fault> {
        let mut child = Command::new("ssh")
            .args(self.arguments())
            .current_dir("/")
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| not_started(&error))?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(Fault::Lost("ssh was started without pipes".to_owned()));
        };
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let group = Arc::new(Mutex::new(group));
        let (tell, said) = watch::channel(None);
        tokio::spawn(watch_over(child, stderr, Arc::clone(&group), tell));
        let process = Process { group, said };
        Ok(Started {
            process,
            stdin,
            stdout,
        })
    }
}

fn not_started(error: &io::Error) -> Fault {
    if error.kind() == io::ErrorKind::NotFound {
        return Fault::Judged(
            DestinationErrorKind::Settings,
            "there is no program ssh\nhint: install OpenSSH's client, Debian's package openssh-client"
                .to_owned(),
        );
    }
    Fault::Lost(format!("ssh cannot be started: {error}"))
}

/// An ssh that was started.
pub(super) struct Started {
    pub(super) process: Process,
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
}

/// A running ssh. It ends with the value, and so does whatever it has started.
#[derive(Debug)]
pub(super) struct Process {
    /// None once it has ended: the number may be another's then.
    group: Arc<Mutex<Option<Pid>>>,
    /// What it said, once it has ended.
    said: watch::Receiver<Option<String>>,
}

impl Process {
    /// Ends it at once.
    pub(super) fn kill(&self) {
        let group = self.group.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(group) = *group {
            // It fails only when nobody is left.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Why it has ended, where its pipes are closed: it has no reason to go on.
    pub(super) async fn end(&self, settings: &SftpSettings) -> Fault {
        let mut said = self.said.clone();
        let ended = tokio::time::timeout(DRAIN * 2, said.wait_for(Option::is_some)).await;
        let text = match ended {
            Ok(Ok(text)) => text.clone().unwrap_or_default(),
            _ => String::new(),
        };
        self.kill();
        of_ssh(&text, settings)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Keeps what ssh says, and waits for its end.
async fn watch_over(
    mut child: Child,
    stderr: ChildStderr,
    group: Arc<Mutex<Option<Pid>>>,
    tell: watch::Sender<Option<String>>,
) {
    let said = Arc::new(Mutex::new(Vec::new()));
    let mut reading = tokio::spawn(keep_the_end(stderr, Arc::clone(&said)));
    // Nobody else waits for it; what it said is what counts.
    let _ = child.wait().await;
    *group.lock().unwrap_or_else(PoisonError::into_inner) = None;
    if tokio::time::timeout(DRAIN, &mut reading).await.is_err() {
        reading.abort();
    }
    let said = said.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let text = mask(&String::from_utf8_lossy(&said), &[]);
    // Whoever had it may be gone.
    let _ = tell.send(Some(text));
}

/// Reads to the end, and keeps the last of it.
async fn keep_the_end(mut stderr: ChildStderr, said: Arc<Mutex<Vec<u8>>>) {
    let mut block = [0; 1024];
    while let Ok(read @ 1..) = stderr.read(&mut block).await {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        said.extend_from_slice(&block[..read]);
        let surplus = said.len().saturating_sub(SAID);
        said.drain(..surplus);
    }
}

/// A file with the secret key that ssh accepts.
#[derive(Debug)]
enum IdentityFile {
    /// The operator's own, or systemd's.
    Named(PathBuf),
    /// A copy of ours.
    Copied(CopiedKey),
}

impl IdentityFile {
    /// Checks a key, and copies it where ssh would refuse the file: ssh wants one of its own user's to be closed
    /// to all others, and a key to end with a line feed.
    fn of(source: &PasswordSource, environment: &BTreeMap<String, String>) -> Result<Self, String> {
        let text = secret_text(source, environment).map_err(|error| error.to_string())?;
        check_key(source, text.expose_secret())?;
        let path = match source {
            PasswordSource::File(path) => Some(path.clone()),
            PasswordSource::Credential(name) => {
                let directory = environment.get("CREDENTIALS_DIRECTORY");
                directory.map(|directory| Path::new(directory).join(name))
            }
            PasswordSource::Inline(_) => None,
        };
        match path {
            Some(path) if text.expose_secret().ends_with('\n') && is_accepted(&path) => {
                Ok(Self::Named(path))
            }
            _ => CopiedKey::of(&text, environment).map(Self::Copied),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Named(path) => path,
            Self::Copied(copy) => &copy.path,
        }
    }
}

/// Refuses what is no private key: ssh would only say that it was not let in.
fn check_key(source: &PasswordSource, text: &str) -> Result<(), String> {
    let Some(fault) = KeyFault::of(text, KeyUse::LogIn) else {
        return Ok(());
    };
    let name = match source {
        PasswordSource::File(path) => path.display().to_string(),
        PasswordSource::Credential(name) => format!("the credential {name:?}"),
        PasswordSource::Inline(_) => "the setting".to_owned(),
    };
    Err(format!("{name} {fault}\nhint: {}", fault.hint()))
}

/// Whether ssh takes a file for a secret key, as far as its mode goes.
fn is_accepted(path: &Path) -> bool {
    let me = rustix::process::geteuid().as_raw();
    path.metadata()
        .is_ok_and(|found| found.uid() != me || FileMode::of_password_file(&found).is_none())
}

/// A file with a secret key, of ours alone, in the service's runtime directory or else in the usual one for
/// temporary files. It goes with the value.
#[derive(Debug)]
struct CopiedKey {
    path: PathBuf,
}

impl CopiedKey {
    fn of(text: &SecretString, environment: &BTreeMap<String, String>) -> Result<Self, String> {
        let runtime = environment.get("RUNTIME_DIRECTORY");
        // There can be several.
        let directory = runtime.and_then(|all| all.split(':').next());
        let directory = directory.map_or_else(std::env::temp_dir, PathBuf::from);
        let path = directory.join(format!("ssh-key-{}", uuid::Uuid::now_v7()));
        let failed = |error: io::Error| format!("cannot write {}: {error}", path.display());
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600);
        let mut file: File = file.open(&path).map_err(failed)?;
        let copy = Self { path: path.clone() };
        let text = text.expose_secret().trim_end();
        file.write_all(text.as_bytes())
            .and_then(|()| file.write_all(b"\n"))
            .map_err(failed)?;
        Ok(copy)
    }
}

impl Drop for CopiedKey {
    fn drop(&mut self) {
        // Nothing can be done about it; the runtime directory goes with the service.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A path as the value of an option: ssh takes it apart like a line of its configuration, and puts other things
/// in place of `%`. What else would be special to it is refused in the configuration.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('%', "%%"))
}

#[cfg(test)]
mod tests;
