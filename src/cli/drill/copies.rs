//! `pgbackupd drill --from`: fetch a copy, restore it into a temporary cluster, and remove it.

use std::io::Write;

use uuid::Uuid;

use super::{Args, DrilledBackup, drilled_backup, failure_of, print, without_outcome};
use crate::cli::env::CommandEnv;
use crate::cli::failure::Failure;
use crate::cli::fetch::report_age;
use crate::cli::from::OpenSource;
use crate::cli::own_copies::OwnCopies;
use crate::cli::report;
use crate::cli::session::Session;
use crate::cli::several::Turns;
use crate::config::Runs;
use crate::copies::{Identities, Place};
use crate::jobs::{
    BackupDirectory, CopyDrillReport, RehearsalRequest, Run, WhichCopy, choose_copy, drill_copy,
    only_place,
};
use crate::repository::Repository;

pub(super) async fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let loaded = if args.from.is_address() {
        env.load_for_path()?
    } else {
        env.load_to_run(Runs::Programs)?
    };
    let session = Session::new(env, loaded);
    let identities = args.identity.read(env.interrupt).await?;
    let open = args.from.open(&session)?;
    let places = args.from.places(&session, &open, &args.databases).await?;
    if args.databases.is_empty() && !args.all_databases {
        only_place(&open.source, &places).map_err(|error| session.failure(&error))?;
    }
    let drilling = Drilling {
        args,
        open: &open,
        identities: identities.as_ref(),
        own: OwnCopies::of(&session, &open, &places)?,
    };
    let mut turns = Turns::new(&session, Vec::new(), out);
    let turn = async |turns: &mut Turns<'_, DrilledBackup>, place: &Place| {
        Box::pin(drilling.drill(turns, place)).await
    };
    turns.each(&places, |place| &place.database, turn).await?;
    turns.conclude()
}

/// The test restores of copies at one destination.
struct Drilling<'a> {
    args: &'a Args,
    open: &'a OpenSource,
    identities: Option<&'a Identities>,
    own: OwnCopies<'a>,
}

impl Drilling<'_> {
    async fn drill(
        &self,
        turns: &mut Turns<'_, DrilledBackup>,
        place: &Place,
    ) -> Result<(), Failure> {
        let session = turns.session;
        let which = match &self.args.backup {
            Some(name) => WhichCopy::Named(name),
            None => WhichCopy::Newest {
                before: None,
                series: None,
            },
        };
        let source = &self.open.source;
        let chosen = choose_copy(&session.begin(), source, place, &which).await;
        let chosen = match chosen {
            Ok(chosen) => chosen,
            Err(error) => {
                turns.fail(&error);
                return Ok(());
            }
        };
        report_age(session, &chosen);
        let request = RehearsalRequest {
            source,
            copy: &chosen.copy,
            identities: self.identities,
            own: self.own.of_place(session, place),
        };
        let job = async |run: &Run<'_>| (run.id, drill_copy(run, &request).await);
        let (run, outcome) = session.job(&place.database, job).await;
        let stem = chosen.copy.name.stem();
        let document = match outcome {
            Ok(report) => Self::drilled(turns, place, (run, report)),
            Err(error) => {
                let failure = session.failure(&error);
                let target = session.plan().objectives.recovery_time;
                let document = without_outcome(&subject(place), target, stem, &failure);
                turns.failures.push(failure);
                document
            }
        };
        let document = DrilledBackup {
            from: self.args.from.from.clone(),
            ..document
        };
        if document.outcome == "impossible" {
            // The failure is all that people see of it.
            return turns.add(document, |_, _| Ok(()));
        }
        let prefix = format!("{}: ", report::one_line(&place.database));
        turns.add(document, |drilled, out| {
            print(drilled, &prefix, out)?;
            for recipient in &drilled.recipients {
                writeln!(out, "  opened by the identity of {recipient}")?;
            }
            Ok(())
        })
    }

    /// Reports a test restore that was made, or could not be tried.
    fn drilled(
        turns: &mut Turns<'_, DrilledBackup>,
        place: &Place,
        (run, report): (Uuid, CopyDrillReport),
    ) -> DrilledBackup {
        let CopyDrillReport {
            drill,
            recipients,
            warnings,
            ..
        } = report;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        if let Some(alarm) = drill.outcome.alarm() {
            report::alarm(run, &place.database, &drill.stem, None, &alarm);
        }
        let subject = subject(place);
        turns.failures.extend(failure_of(&subject, &drill, ""));
        let target = turns.session.plan().objectives.recovery_time;
        DrilledBackup {
            recipients,
            ..drilled_backup(&subject, target, drill)
        }
    }
}

/// The database in results: its directory is not shown.
fn subject(place: &Place) -> BackupDirectory {
    BackupDirectory {
        server: Some(place.server.clone()),
        database: place.database.clone(),
        label: place.database.clone(),
        repository: Repository::at(""),
    }
}
