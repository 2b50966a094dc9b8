//! `pgbackupd config`: is the configuration sound, what is in force and why, and its JSON schema.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use futures::future::join_all;
use schemars::JsonSchema;
use serde::Serialize;

use super::env::CommandEnv;
use super::failure::{Failure, FailureKind, NEXT};
use super::report::{self, counted};
use super::run_as::load_for_reader;
use crate::config::{
    ConfigError, Databases, DumpSettings, Loaded, Plan, Problem, RestoreSettings, Setting, Source,
    key_in_toml, schema,
};
use crate::display::one_line;
use crate::identity;
use crate::jobs::{
    ConnectionFailure, ConnectionFailureKind, JobContext, JobError, ServerConnections, Stop,
    check_readable,
};
use crate::postgres::Conninfo;

/// The end of its help.
const EXAMPLES: &str = "\
Examples:
  pgbackupd config check --connect
      Check the configuration, and connect to every database
  pgbackupd config show
      Print every setting and where it comes from";

/// Check or show the configuration.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

impl Args {
    /// Whether it asks if the configuration is valid.
    pub(super) fn is_check(&self) -> bool {
        matches!(self.command, Command::Check(_))
    }
}

#[derive(Clone, Copy, Debug, clap::Subcommand)]
enum Command {
    /// Check the configuration, and show every mistake with its line (exit code 78)
    Check(CheckArgs),
    /// Print every setting and where it comes from, passwords masked
    Show,
    /// Print the JSON schema of the configuration file, for editors
    Schema,
}

#[derive(Clone, Copy, Debug, clap::Args)]
struct CheckArgs {
    /// Also connect to every configured database (exit code 69 if a server does not answer or
    /// refuses, 78 if a database does not exist)
    #[arg(long)]
    connect: bool,
}

/// What `config check --json` prints.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct CheckReport {
    /// Whether the configuration is valid; if not, the exit code is 78.
    pub ok: bool,
    /// The files that were read, the weakest first; empty if the configuration is not sound.
    pub files: Vec<PathBuf>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What is sound but deserves a word.
    pub warnings: Vec<String>,
    /// With `--connect`, what connecting to each server has shown.
    pub servers: Vec<CheckedServer>,
}

/// What connecting to a server has shown.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct CheckedServer {
    /// The server's name in the configuration.
    pub server: String,
    /// The databases that can be backed up.
    pub databases: Vec<String>,
    /// What keeps others from it.
    pub failures: Vec<ShownFailure>,
}

/// What keeps databases from being backed up.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct ShownFailure {
    /// The database; none where it is the whole server.
    pub database: Option<String>,
    /// `no_such_database`, `refused` or `unreachable`.
    pub kind: &'static str,
    /// What failed, why, and the way out.
    pub message: String,
}

/// What `config show --json` prints.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct ShowReport {
    /// The files that were read, the weakest first.
    pub files: Vec<PathBuf>,
    /// Every setting in force.
    pub settings: Vec<Setting>,
    /// The databases that follow from them.
    pub databases: Vec<ShownDatabase>,
    /// What is sound but deserves a word.
    pub warnings: Vec<String>,
}

/// A database, or the databases that a run will find.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct ShownDatabase {
    /// The server's name in the configuration.
    pub server: String,
    /// The database's name; none where a run finds the databases.
    pub name: Option<String>,
    /// Where its backups stand; where a run finds the databases, the directory above theirs.
    pub directory: PathBuf,
    /// The shape of its dump: `plain`, `custom` or `directory`.
    pub format: crate::config::Format,
    /// How it is compressed: `gzip`, `zstd` or `none`.
    pub compression: crate::config::Compression,
    /// The compressor's level; none for the default one.
    pub level: Option<u8>,
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(FailureKind::Configuration, error.to_string())
    }
}

/// Runs the command.
///
/// # Errors
///
/// [`FailureKind::Configuration`] if the configuration is not sound; with `json`, `check` has
/// printed its report all the same.
pub(super) async fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let (source, json) = (&env.source, env.json);
    match args.command {
        Command::Check(args) => check(args, env, out).await,
        Command::Show => show(&load_for_reader(source)?, json, out),
        Command::Schema => report::json(&schema(), out),
    }
}

async fn check(args: CheckArgs, env: &CommandEnv<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let (source, json) = (&env.source, env.json);
    // What needs a file with a secret fails without it, and everything else goes on; here it is a mistake.
    let loaded = load_for_reader(source).and_then(Loaded::with_usable_secrets);
    let loaded = loaded.and_then(
        |loaded| match misconfigured(&loaded.plan, &source.environment) {
            problems if problems.is_empty() => Ok(loaded),
            problems => Err(ConfigError { problems }),
        },
    );
    let servers = match &loaded {
        Ok(loaded) if args.connect => {
            let context = JobContext::new(&loaded.plan, &source.environment);
            let servers = loaded.plan.servers.iter();
            let looking = join_all(servers.map(|server| check_readable(&context, server)));
            let cancel = env.interrupt.token();
            let Some(servers) = cancel.run_until_cancelled(looking).await else {
                let stopped = JobError::from(Stop::Interrupted);
                return Err(report::failure(&stopped, env.interrupt));
            };
            servers
        }
        _ => Vec::new(),
    };
    let failure = connection_failure(&servers);
    if json {
        let (files, problems, warnings) = match &loaded {
            Ok(loaded) => (files(loaded), Vec::new(), loaded.plan.warnings.clone()),
            Err(error) => (Vec::new(), error.problems.clone(), Vec::new()),
        };
        let report = CheckReport {
            ok: loaded.is_ok() && failure.is_none(),
            files,
            problems,
            warnings,
            servers: servers.iter().map(checked).collect(),
        };
        report::json(&report, out)?;
    }
    let loaded = loaded?;
    if !json {
        print_check(&loaded, source, &servers, out)?;
    }
    failure.map_or(Ok(()), Err)
}

fn print_check(
    loaded: &Loaded,
    source: &Source,
    servers: &[ServerConnections],
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let files: Vec<String> = files(loaded)
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let read = if files.is_empty() {
        format!(
            "defaults and environment alone; there is no {}",
            source.main_file().display()
        )
    } else {
        files.join(", ")
    };
    writeln!(out, "configuration OK ({read})")?;
    for warning in &loaded.plan.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    let user = identity::user_name(rustix::process::geteuid().as_raw());
    if let Some(note) = what_commands_need(&loaded.plan.restore, &user) {
        writeln!(out, "note: {note}")?;
    }
    for server in servers.iter().filter(|server| !server.databases.is_empty()) {
        let names: Vec<String> = server.databases.iter().map(|name| one_line(name)).collect();
        writeln!(
            out,
            "server {}: connected to {}: {}",
            server.server,
            counted(names.len() as u64, "database", "databases"),
            names.join(", ")
        )?;
    }
    out.flush()?;
    Ok(())
}

/// All that keeps databases from being connected to, in one failure.
fn connection_failure(servers: &[ServerConnections]) -> Option<Failure> {
    let failures: Vec<&ConnectionFailure> =
        servers.iter().flat_map(|server| &server.failures).collect();
    let is_missing = |failure: &&ConnectionFailure| {
        matches!(
            failure.kind,
            ConnectionFailureKind::NoSuchDatabase | ConnectionFailureKind::Misconfigured
        )
    };
    let kind = if failures.iter().any(is_missing) {
        FailureKind::Configuration
    } else {
        FailureKind::Unavailable
    };
    let lines: Vec<String> = failures
        .iter()
        .map(|failure| format!("server {}: {}", failure.server, failure.message))
        .collect();
    (!lines.is_empty()).then(|| Failure::new(kind, lines.join(NEXT)))
}

/// What is wrong with connections, as every run would find.
fn misconfigured(plan: &Plan, environment: &BTreeMap<String, String>) -> Vec<Problem> {
    let servers = plan.servers.iter();
    servers
        .filter_map(|server| {
            let resolved = Conninfo::resolve(&server.connection, environment, None);
            let error = resolved.err()?;
            error.is_of_the_configuration().then(|| Problem {
                key: format!("connection of server {}", server.name),
                message: error.to_string(),
                help: None,
                place: None,
            })
        })
        .collect()
}

fn checked(server: &ServerConnections) -> CheckedServer {
    let shown = |failure: &ConnectionFailure| ShownFailure {
        database: failure.database.clone(),
        kind: match failure.kind {
            ConnectionFailureKind::NoSuchDatabase => "no_such_database",
            ConnectionFailureKind::Refused | ConnectionFailureKind::Misconfigured => "refused",
            ConnectionFailureKind::Passing | ConnectionFailureKind::DueRunFailed => "unreachable",
        },
        message: failure.message.clone(),
    };
    CheckedServer {
        server: server.server.clone(),
        databases: server.databases.clone(),
        failures: server.failures.iter().map(shown).collect(),
    }
}

/// What the commands around a restore need of the machine, where they do not run as root.
fn what_commands_need(restore: &RestoreSettings, user: &str) -> Option<String> {
    let commands = [
        ("restore.stop", &restore.stop),
        ("restore.start", &restore.start),
    ];
    let named: Vec<&str> = commands
        .into_iter()
        .filter(|(_, words)| words.is_some())
        .map(|(name, _)| name)
        .collect();
    if named.is_empty() || user == "root" {
        return None;
    }
    Some(format!(
        "{} run{} as {user}, who needs a rule of polkit or sudoers to stop and start services: \
         configuration.md has both",
        named.join(" and "),
        if named.len() == 1 { "s" } else { "" },
    ))
}

fn show(loaded: &Loaded, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let report = ShowReport {
        files: files(loaded),
        settings: loaded.settings.list(),
        databases: databases(loaded),
        warnings: loaded.plan.warnings.clone(),
    };
    if json {
        return report::json(&report, out);
    }
    let mut table: &[String] = &[];
    for setting in &report.settings {
        let Some((name, levels)) = setting.key.split_last() else {
            continue;
        };
        if levels != table {
            let header: Vec<String> = levels.iter().map(|level| key_in_toml(level)).collect();
            writeln!(out, "\n[{}]", header.join("."))?;
            table = levels;
        }
        let line = format!("{} = {}", key_in_toml(name), setting.value);
        writeln!(
            out,
            "{line:<40} # {}",
            one_line(&setting.source.to_string())
        )?;
    }
    writeln!(out, "\n# What follows from it:")?;
    for database in &report.databases {
        let what = match &database.name {
            Some(name) => format!("database {name:?}"),
            None => "the databases found at run time".to_owned(),
        };
        let directory = one_line(&database.directory.display().to_string());
        writeln!(out, "# server {}: {what} in {directory}", database.server)?;
    }
    for warning in &report.warnings {
        writeln!(out, "# warning: {}", one_line(warning))?;
    }
    Ok(())
}

fn files(loaded: &Loaded) -> Vec<PathBuf> {
    loaded
        .settings
        .files()
        .into_iter()
        .map(PathBuf::from)
        .collect()
}

fn databases(loaded: &Loaded) -> Vec<ShownDatabase> {
    let shown = |server: &str, name: Option<&str>, directory: &PathBuf, dump: &DumpSettings| {
        ShownDatabase {
            server: server.to_owned(),
            name: name.map(str::to_owned),
            directory: directory.clone(),
            format: dump.format,
            compression: dump.compression,
            level: dump.level,
        }
    };
    loaded
        .plan
        .servers
        .iter()
        .flat_map(|server| match &server.databases {
            Databases::Named(named) => named
                .iter()
                .map(|one| shown(&server.name, Some(&one.name), &one.directory, &one.dump))
                .collect(),
            Databases::All(_) | Databases::FromEnvironment => {
                vec![shown(&server.name, None, &server.directory, &server.dump)]
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::cli::Interrupt;
    use crate::cli::env::CommandEnv;
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::{
        Args, CheckArgs, Command, FailureKind, RestoreSettings, Source, run, what_commands_need,
    };

    const CHECK: Command = Command::Check(CheckArgs { connect: false });

    fn output(command: Command, text: &str, json: bool) -> (String, Result<(), super::Failure>) {
        let etc = tempfile::TempDir::new().unwrap();
        let path = etc.path().join("pgbackupd.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let environment =
            BTreeMap::from([("PGBACKUPD_RETENTION__FLOOR".to_owned(), "5".to_owned())]);
        let source = Source {
            file: Some(path),
            default_file: "/nonexistent".into(),
            environment,
            ..Source::of_process(None)
        };
        let mut out = Vec::new();
        let args = Args { command };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let result = runtime.block_on(async {
            let env = CommandEnv {
                source,
                json,
                interrupt: &Interrupt::listen().unwrap(),
            };
            run(&args, &env, &mut out).await
        });
        let printed = String::from_utf8(out).unwrap();
        (
            printed.replace(etc.path().to_str().unwrap(), "/etc/pgbackupd"),
            result,
        )
    }

    #[test]
    fn a_sound_configuration_gets_one_line_and_its_warnings() {
        let (printed, result) = output(CHECK, "database = \"a\"", false);
        assert!(result.is_ok());
        assert_eq!(
            printed,
            "configuration OK (/etc/pgbackupd/pgbackupd.toml)\n"
        );
        let text = "database = \"a\"\n[connection]\npassword = \"hunter2\"";
        let (printed, _) = output(CHECK, text, false);
        assert_eq!(printed.lines().count(), 2, "{printed}");
        assert!(
            printed.contains("\nwarning: connection.password: "),
            "{printed}"
        );
    }

    #[test]
    fn commands_that_do_not_run_as_root_are_said_to_need_a_rule() {
        let words = || Some(vec!["systemctl".to_owned()]);
        let settings = |stop: Option<Vec<String>>, start: Option<Vec<String>>| RestoreSettings {
            stop,
            start,
            timeout: Duration::from_secs(1),
        };
        let both = settings(words(), words());
        for (settings, user, expected) in [
            (
                &both,
                "postgres",
                Some("restore.stop and restore.start run as postgres"),
            ),
            (
                &settings(words(), None),
                "me",
                Some("restore.stop runs as me"),
            ),
            (&settings(None, None), "me", None),
            (&both, "root", None),
        ] {
            let note = what_commands_need(settings, user);
            let begins = expected
                .map(|expected| note.as_ref().is_some_and(|note| note.starts_with(expected)));
            assert!(begins.unwrap_or(note.is_none()), "{user}: {note:?}");
        }
    }

    #[test]
    fn a_wrong_configuration_fails_with_its_kind_and_prints_its_problems_as_json() {
        let (printed, result) = output(CHECK, "databse = \"a\"", false);
        assert_eq!(printed, "");
        let failure = result.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Configuration);
        assert!(failure.message.contains("did you mean database?"));
        let (printed, result) = output(CHECK, "databse = \"a\"", true);
        assert!(result.is_err());
        let report: serde_json::Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(report["ok"], false);
        assert_eq!(report["problems"][0]["key"], "databse");
        assert_eq!(report["problems"][0]["place"]["file"]["line"]["column"], 1);
    }

    #[test]
    fn what_is_shown_is_toml_with_sources_and_without_secrets() {
        let text = "databases = [\"a\", { name = \"b\\nc\" }]\n[connection]\npassword = \"hunter2\"\n\
                    uri = \"postgres://u:hunter2@h\"\n";
        let (_, result) = output(Command::Show, text, false);
        assert!(result.is_err(), "two passwords");
        let text = text.replace("password = \"hunter2\"\n", "");
        let (printed, result) = output(Command::Show, &text, false);
        assert!(result.is_ok(), "{result:?}");
        assert!(!printed.contains("hunter2"), "{printed}");
        insta::assert_snapshot!(printed);
        let again = toml_edit::Document::parse(printed.as_str()).unwrap();
        assert_eq!(again["retention"]["floor"].as_integer(), Some(5));
    }

    #[test]
    fn the_words_of_commands_are_shown_without_passwords() {
        let text = "database = \"a\"\n[restore]\nstop = [\"sh\", \"-c\", \"x password=hunter2\"]\n\
                    start = [\"y\", \"password=hunter2\"]\n[alerts.c]\ntype = \"command\"\n\
                    argv = [\"/bin/z\", \"password=hunter2\"]\n";
        let (printed, result) = output(Command::Show, text, false);
        assert!(result.is_ok(), "{result:?}");
        assert!(!printed.contains("hunter2"), "{printed}");
        assert!(printed.contains("/bin/z"), "{printed}");
    }

    #[test]
    fn the_schema_is_one_for_the_whole_file() {
        let (printed, _) = output(Command::Schema, "", false);
        let schema: serde_json::Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(schema["additionalProperties"], false);
        assert!(schema["properties"]["jobs"].is_object(), "{schema}");
    }
}
