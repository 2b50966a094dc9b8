//! `pgbackupd fetch`: bring one copy back as a backup in a directory.

use std::io::Write;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use super::env::CommandEnv;
use super::failure::Failure;
use super::from::{FromArgs, IdentityArgs};
use super::session::Session;
use super::wrap::item;
use super::{report, select};
use crate::copies::Identities;
use crate::display::{is_encrypted_by_name, shell_word, with_identity};
use crate::jobs::{
    ChosenCopy, CopySource, FetchRequest, Fetched, WhichCopy, choose_copy, fetch, fetch_head,
    only_place,
};
use crate::pipeline::Opener;
use crate::policy::Series;
use crate::repository::{Repository, Stem};

/// The end of its help.
const EXAMPLES: &str = "\
Examples:
  pgbackupd fetch --latest --from offsite --identity key.txt --to /restore
      Fetch the newest copy from a destination of the configuration
  pgbackupd fetch --latest --from file:///mnt/nas --signer $SIGNER --to /restore
      Fetch it on a machine without any configuration";

/// Fetch a copy of a backup from a destination into a directory.
///
/// Compares each volume with the signed manifest before it is decrypted, and each file with the backup's own
/// manifest before it gets its name. The result is an ordinary backup, for verify, drill and restore by its
/// path. If the command is interrupted, the same command goes on where it was.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES, mut_arg("from", |arg| arg.required(true)))]
pub(super) struct Args {
    /// Backup, by its name in `list --from`
    #[arg(value_name = "BACKUP", required_unless_present = "latest", conflicts_with_all = ["latest", "series"])]
    backup: Option<String>,
    /// Newest copy that is complete and not partial
    #[arg(long)]
    latest: bool,
    /// Newest copy of this series
    #[arg(long, value_name = "NAME", requires = "latest")]
    series: Option<Series>,
    /// Database, as NAME or SERVER/NAME
    #[arg(long, short, value_name = "NAME", value_parser = select::database_name)]
    database: Option<String>,
    /// Directory to put the backup into, created if needed
    #[arg(long, value_name = "DIRECTORY")]
    pub(super) to: PathBuf,
    #[command(flatten)]
    from: FromArgs,
    #[command(flatten)]
    identity: IdentityArgs,
}

/// What `fetch --json` prints.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct FetchedBackup {
    /// The destination, as it was given.
    pub from: String,
    /// The host that the copy is of.
    pub host: String,
    /// The server's name in that host's configuration.
    pub server: String,
    /// The database.
    pub database: String,
    /// The backup's name.
    pub backup: String,
    /// The directory that it is in.
    pub directory: String,
    /// Its dump: a file, or a directory.
    pub dump: String,
    /// When its run started, RFC 3339.
    pub started: String,
    /// The fingerprint of the key that signed the copy.
    pub signer: String,
    /// Whether the copy is encrypted.
    pub encrypted: bool,
    /// Bytes that were read from the destination.
    pub read_bytes: u64,
    /// Bytes that an earlier attempt had read.
    pub kept_bytes: u64,
    /// Whether the backup was in the directory already, so that nothing was fetched.
    pub was_there: bool,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// How old the newest copy is, a sentence.
    pub newest: String,
    /// Whether a newer copy should be there.
    pub is_late: bool,
}

pub(super) async fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let session = Session::new(env, args.from.load(env)?);
    let which = match &args.backup {
        Some(name) => WhichCopy::Named(name),
        None => WhichCopy::Newest {
            before: None,
            series: args.series.as_ref(),
        },
    };
    let copies = Copies {
        from: &args.from,
        identity: &args.identity,
        databases: args.database.as_slice(),
    };
    let source = copies.choose(&session, &which).await?;
    let fetched = source.fetch(&session, &args.to).await?;
    let result = document(&copies, &source.chosen, (&fetched, &args.to));
    if env.json {
        report::json(&result, out)?;
    } else {
        print(&result, out)?;
    }
    Ok(out.flush()?)
}

/// The copies that a command line is about.
pub(super) struct Copies<'a> {
    pub(super) from: &'a FromArgs,
    pub(super) identity: &'a IdentityArgs,
    pub(super) databases: &'a [String],
}

/// A copy that is to be fetched, and what opens it.
pub(super) struct ChosenSource {
    source: CopySource,
    identities: Option<Identities>,
    pub(super) chosen: ChosenCopy,
}

impl Copies<'_> {
    /// Chooses a copy.
    ///
    /// # Errors
    /// When none is meant or can be trusted.
    pub(super) async fn choose(
        &self,
        session: &Session<'_>,
        which: &WhichCopy<'_>,
    ) -> Result<ChosenSource, Failure> {
        let identities = self.identity.read(session.env.interrupt).await?;
        let open = self.from.open(session)?;
        let places = self.from.places(session, &open, self.databases).await?;
        let source = open.source;
        let place = only_place(&source, &places).map_err(|error| session.failure(&error))?;
        let chosen = choose_copy(&session.begin(), &source, place, which).await;
        let chosen = chosen.map_err(|error| session.failure(&error))?;
        report_age(session, &chosen);
        Ok(ChosenSource {
            source,
            identities,
            chosen,
        })
    }
}

impl ChosenSource {
    /// What opens the backup that is fetched, where its files are encrypted themselves.
    pub(super) fn opener(&self) -> Option<Opener> {
        self.identities.as_ref().map(Identities::opener)
    }

    /// Fetches the copy into a directory.
    ///
    /// # Errors
    /// When it cannot be fetched.
    pub(super) async fn fetch(&self, session: &Session<'_>, to: &Path) -> Result<Fetched, Failure> {
        let repository = Repository::at(to);
        let request = self.request(&repository);
        let fetching = session.job(&self.chosen.place.database, async |run| {
            fetch(run, &request).await
        });
        fetching.await.map_err(|error| session.failure(&error))
    }

    /// Fetches what is known of the backup without its dump.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub(super) async fn fetch_head(
        &self,
        session: &Session<'_>,
        to: &Repository,
    ) -> Result<Stem, Failure> {
        let request = self.request(to);
        let fetching = session.job(&self.chosen.place.database, async |run| {
            fetch_head(run, &request).await
        });
        fetching.await.map_err(|error| session.failure(&error))
    }

    fn request<'a>(&'a self, to: &'a Repository) -> FetchRequest<'a> {
        FetchRequest {
            source: &self.source,
            copy: &self.chosen.copy,
            identities: self.identities.as_ref(),
            to,
        }
    }
}

/// Reports what a store that withholds something cannot hide.
pub(super) fn report_age(session: &Session<'_>, chosen: &ChosenCopy) {
    for sentence in &chosen.passed_over {
        tracing::warn!("{sentence}");
    }
    let newest = &chosen.newest;
    if newest.is_late {
        tracing::warn!("{}", newest.sentence);
    } else if !session.env.json {
        // Whoever does not listen to stderr misses nothing that matters.
        let _ = writeln!(std::io::stderr(), "{}", newest.sentence);
    }
}

fn document(
    copies: &Copies<'_>,
    chosen: &ChosenCopy,
    (fetched, to): (&Fetched, &Path),
) -> FetchedBackup {
    let place = &chosen.place;
    let dump = Repository::at(to).path(&fetched.stem, fetched.manifest.artifact_role());
    FetchedBackup {
        from: copies.from.from.clone().unwrap_or_default(),
        host: place.host.clone(),
        server: place.server.clone(),
        database: place.database.clone(),
        backup: fetched.stem.to_string(),
        directory: to.display().to_string(),
        dump: dump.display().to_string(),
        started: fetched.manifest.started.to_rfc3339(),
        signer: fetched.signer.clone(),
        encrypted: chosen.copy.manifest.manifest.is_encrypted(),
        read_bytes: fetched.read,
        kept_bytes: fetched.kept,
        was_there: fetched.was_there,
        seconds: fetched.took.as_secs_f64(),
        newest: chosen.newest.sentence.clone(),
        is_late: chosen.newest.is_late,
    }
}

fn print(result: &FetchedBackup, out: &mut dyn Write) -> Result<(), Failure> {
    let database = report::one_line(&result.database);
    let directory = report::one_line(&result.directory);
    if result.was_there {
        let text = format!(
            "{database}: {} is in {directory} already; nothing was fetched",
            result.backup
        );
        item(out, "", &text)?;
    } else {
        let kept = match result.kept_bytes {
            0 => String::new(),
            kept => format!(", {} were fetched before", report::size(kept)),
        };
        let text = format!(
            "{database}: fetched {} of host {} into {directory}, {}{kept}, in {:.1} s",
            result.backup,
            report::one_line(&result.host),
            report::size(result.read_bytes),
            result.seconds
        );
        item(out, "", &text)?;
    }
    writeln!(out, "  {}", result.dump)?;
    writeln!(out, "  signed by {}", result.signer)?;
    let command = format!("pgbackupd restore {}", shell_word(&result.dump));
    let command = with_identity(command, is_encrypted_by_name(Path::new(&result.dump)));
    writeln!(out, "hint: `{command}` restores it")?;
    Ok(())
}
