//! The file as written, and the checked plan that it becomes.
//!
//! Three steps: each source of settings is read into a fragment whose values are sound one by
//! one; the fragments are merged, later ones winning; and the whole is checked and becomes a
//! `Plan`. Sources, the weakest first: the built-in defaults, the main file, the files of
//! `conf.d` next to it in the order of their names, and the variables `PGBACKUPD_…`.

mod address;
mod alerts;
mod check;
mod commands;
mod connection;
mod conninfo;
mod copy_jobs;
mod destinations;
mod directory;
mod dump;
mod encryption;
mod findings;
mod fragment;
mod keeping;
mod layer;
mod listen;
mod nearest;
mod plan;
mod problem;
mod reports;
mod running;
mod scalar;
mod secret_source;
mod secrets;
mod servers;
mod settings;
mod source;
mod switch;
#[cfg(test)]
mod tests;
mod wording;

pub(crate) use address::{check as check_address, shown as shown_address};
pub use commands::Runs;
pub use conninfo::ParseError;
pub(crate) use conninfo::{Parameters, keyword};
pub use directory::directory_name;
pub use listen::Listen;
pub(crate) use nearest::nearest;
pub use plan::{
    AlertChannel, AnomalySettings, AzureCredentials, AzureSettings, BodyPart, ChannelWay,
    Compression, Connection, CopyRetention, CopyVerification, DaemonSettings, Database, Databases,
    Destination, DestinationAddress, DestinationSettings, DrillChoice, DrillSettings, DumpSettings,
    EmailChannel, EncryptionScope, Format, GoogleCredentials, GoogleSettings, HeaderValue, Job,
    JobKind, Limits, Logs, PasswordSource, Patterns, Payload, PingAbout, PingChannel, PingService,
    Placeholder, Plan, ReportPlan, RestoreSettings, Retention, S3Credentials, S3Settings,
    Selection, Server, ServerSideEncryption, SftpSettings, SmtpTls, Verification, WebhookChannel,
};
pub use problem::{ConfigError, Mark, Problem, ProblemLocation};
pub(crate) use scalar::{is_connection_string, name_fault};
pub(crate) use secret_source::{NoSecret, closed_file, file, secret, secret_bytes, secret_text};
pub use settings::{Setting, Settings, Source as SettingSource, key_in_toml};
pub(crate) use source::permission_to_read;
pub use source::{COMMAND_LINE_VARIABLES, DEFAULT_FILE, Source};

/// A configuration that was read and found sound.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it means.
    pub plan: Plan,
    /// What it says, and where.
    pub settings: Settings,
    /// Files with secrets that are missing, that others can read, or that hold something else: what needs one
    /// will fail. The plan's warnings have them, too.
    pub unusable: Vec<Problem>,
    /// Files with secrets that the user of this process cannot read: what needs one will fail.
    pub unreadable: Vec<Problem>,
}

impl Loaded {
    /// Counts what the user of this process cannot read among the warnings: for the service, which
    /// connects.
    pub(crate) fn warn_of_unreadable(&mut self) {
        let unreadable = std::mem::take(&mut self.unreadable);
        self.plan
            .warnings
            .extend(unreadable.iter().map(Problem::as_warning));
    }

    /// The same where every file with a secret can be used.
    ///
    /// # Errors
    /// With each that cannot.
    pub fn with_usable_secrets(mut self) -> Result<Self, ConfigError> {
        let mut problems = std::mem::take(&mut self.unusable);
        problems.append(&mut self.unreadable);
        if problems.is_empty() {
            Ok(self)
        } else {
            Err(ConfigError { problems })
        }
    }
}

/// Reads, merges and checks the configuration.
///
/// Besides the configuration's own files, only the permissions of files that hold secrets are
/// looked at, and whether one with a private key holds one; nothing is written, and no server is asked.
/// Such a file that cannot be used is no error: a drill may need it, or one destination, and backups do not.
///
/// # Errors
///
/// [`ConfigError`] has every problem that was found. Problems of single settings hide those of
/// settings that contradict each other: a setting that cannot be read contradicts nothing yet.
pub fn load(source: &Source) -> Result<Loaded, ConfigError> {
    let (layers, problems) = source.layers();
    if !problems.is_empty() {
        return Err(ConfigError { problems });
    }
    let (mut problems, mut findings) = examined(&layers);
    problems.append(&mut findings.problems);
    if !problems.is_empty() {
        return Err(ConfigError { problems });
    }
    whole(source, layers, findings)
}

/// The configuration without the single settings that are wrong, and these: for what need not fail for
/// them.
///
/// # Errors
/// When a file as a whole is of no use, or what is left makes no configuration.
pub fn load_what_is_right(source: &Source) -> Result<(Loaded, Vec<Problem>), ConfigError> {
    let (layers, mut problems) = source.layers();
    if problems.iter().any(|problem| problem.key.is_empty()) {
        return Err(ConfigError { problems });
    }
    let (found, mut findings) = examined(&layers);
    problems.extend(found);
    problems.append(&mut findings.problems);
    Ok((whole(source, layers, findings)?, problems))
}

/// What the secrets of the layers give rise to, and what cannot be read at all.
fn examined(layers: &[layer::Layer]) -> (Vec<Problem>, secrets::Findings) {
    let mut problems = Vec::new();
    let mut findings = secrets::Findings::default();
    for layer in layers {
        match layer.fragment() {
            Ok(fragment) => findings.add(secrets::examine(layer, &fragment)),
            Err(error) => problems.push(unplaced(&error)),
        }
    }
    (problems, findings)
}

/// All layers as one, checked.
fn whole(
    source: &Source,
    layers: Vec<layer::Layer>,
    findings: secrets::Findings,
) -> Result<Loaded, ConfigError> {
    let unplaceable = |error: Box<figment::Error>| ConfigError {
        problems: vec![unplaced(&error)],
    };
    let settings = Settings::merge(layers).map_err(unplaceable)?;
    let fragment = settings.fragment().map_err(unplaceable)?;
    let mut plan = check::plan(&settings, &fragment, &source.environment)
        .map_err(|problems| ConfigError { problems }.naming(source.main_file()))?;
    let unusable = findings.unusable.iter().map(Problem::as_warning);
    let mut warnings = findings.warnings;
    warnings.extend(unusable);
    warnings.append(&mut plan.warnings);
    plan.warnings = warnings;
    let opened = findings.opened_by_drills.as_deref();
    plan.warnings
        .extend(encryption::drills_open_nothing(&plan, opened));
    Ok(Loaded {
        plan,
        settings,
        unusable: findings.unusable,
        unreadable: findings.unreadable,
    })
}

/// The JSON schema of the configuration's file, for editors.
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(fragment::Fragment)
}

/// An error that no single setting stands for; none is known to arise.
fn unplaced(error: &figment::Error) -> Problem {
    Problem {
        key: error.path.join("."),
        message: error.kind.to_string(),
        help: None,
        place: None,
    }
}
