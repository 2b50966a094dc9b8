//! `pgbackupd alerts accept`: take what was lost as it is.

use std::io::Write;

use super::no_such_alert;
use crate::cli::accept::{AcceptedRecipients, accept_all_recipients};
use crate::cli::env::CommandEnv;
use crate::cli::failure::Failure;
use crate::cli::report::{self, one_line};
use crate::cli::session::Session;
use crate::jobs::{accept_by_id, collect_status};
use crate::policy::{Accepted, ConcernKind};

/// Accept what an alert says is lost: it is over then.
///
/// The same as `pgbackupd accept`, by the alert's id: for lost rows, an odd size, another server, a
/// backup that has vanished, a lost manifest, and changed recipients. All other alerts end when their reason is fixed.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Alert, as `alerts list`, `status --json` and the messages name it
    #[arg(value_name = "ID")]
    id: String,
}

pub(super) fn run(args: &Args, env: &CommandEnv<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let session = Session::new(env, env.load()?);
    let loaded = &session.loaded;
    let status = collect_status(&session.context, (&loaded.plan, &loaded.settings), &[])
        .map_err(|error| session.failure(&error))?;
    let mut concerns = status.concerns.iter();
    let concern = concerns.find(|concern| concern.id() == args.id);
    let concern = concern.ok_or_else(|| no_such_alert(&args.id))?;
    let what = match concern.kind {
        ConcernKind::Contents | ConcernKind::Size => Accepted::Contents,
        ConcernKind::OtherServer => Accepted::Server,
        ConcernKind::Vanished => Accepted::Vanished,
        ConcernKind::LostManifest => Accepted::Manifest,
        ConcernKind::RecipientsChanged => {
            let accepted = accept_all_recipients(&session)?;
            if env.json {
                return report::json(&AcceptedRecipients::from(accepted), out);
            }
            writeln!(out, "{}: accepted, and on record", one_line(&args.id))?;
            return Ok(());
        }
        _ => {
            let id = one_line(&args.id);
            return Err(Failure::usage(format!(
                "{id} cannot be accepted: it ends when its reason is fixed\nhint: {}; or run `pgbackupd \
                 alerts silence {id} --for \"8 hours\" --reason TEXT`",
                one_line(&concern.sentence),
            )));
        }
    };
    let directories = session.directories(&[])?;
    let found = directories.found.into_iter();
    let mut of_it = found
        .filter(|directory| Some(directory.repository.directory()) == concern.directory.as_deref());
    let directory = of_it.next().ok_or_else(|| no_such_alert(&args.id))?;
    let backups = accept_by_id(&session.context, &directory, &args.id)
        .map_err(|error| session.failure(&error))?;
    if env.json {
        let result = crate::cli::accept::AcceptResult {
            server: directory.server.clone(),
            database: directory.database.clone(),
            accepted: what,
            backups,
        };
        return report::json(&result, out);
    }
    writeln!(out, "{}: accepted, and on record", one_line(&args.id))?;
    Ok(())
}
