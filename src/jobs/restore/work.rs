//! Carrying a restore out, once everything is there for it.

use std::time::{Duration, Instant};

use super::send_check::stay_in;
use super::swap::{connect_patiently, drop_made};
use super::{Prepared, RestorePlan, RestoreRequest, application};
use crate::display::counted;
use crate::jobs::JobError;
use crate::jobs::limit::Stop;
use crate::jobs::run::Run;
use crate::jobs::step_log::StepLog;
use crate::postgres::{Client, Conninfo, Programs, drop_database, drop_role};
use crate::repository::SideNames;

/// For a statement that changes system catalogs; making and dropping a database copies and removes
/// files.
pub(super) const STATEMENT: Duration = Duration::from_secs(300);

/// A restore that has succeeded.
#[derive(Clone, Debug)]
pub struct RestoreReport {
    /// The database that was restored.
    pub database: String,
    /// The backup's name, or the file's path.
    pub backup: String,
    /// Rows that were compared.
    pub rows: u64,
    /// Tables that were compared.
    pub tables: u64,
    /// Where the database stands that bore the name before; none if there was none, or it was
    /// dropped.
    pub kept_as: Option<String>,
    /// Roles that were created.
    pub roles: Vec<String>,
    /// Sessions that were ended for the swap.
    pub sessions_ended: u64,
    /// From the start of the work, without the reading of the backup before it and without any
    /// waiting for an answer.
    pub took: Duration,
    /// Whether that is within the objective (P18).
    pub in_time: bool,
    /// Why the application could not be started again; the database is restored.
    pub start_failed: Option<String>,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// What has been made so far, and must be undone after a failure.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) roles: Vec<String>,
    pub(super) database: bool,
    /// The database for the reference.
    pub(super) reference: Option<String>,
    pub(super) application_stopped: bool,
    /// The restored database bears its name.
    pub(super) swapped: bool,
    pub(super) warnings: Vec<String>,
}

/// By what a database is loaded that was made here, and how.
pub(super) struct Loading {
    /// Programs that fit the server.
    pub(super) own: Programs,
    /// Their `pg_restore` reads the backup's archive.
    pub(super) reader: Programs,
    /// The time zone to load in; none for the server's own.
    pub(super) zone: Option<String>,
}

/// A restore that is carried out.
pub(super) struct Restore<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) request: &'a RestoreRequest<'a>,
    pub(super) prepared: &'a Prepared,
    /// As prepared, but for names that somebody else has taken since.
    pub(super) plan: RestorePlan,
}

/// Carries a restore out.
///
/// # Errors
/// The database that was to be replaced then serves under its name as before, and the error says
/// what remains to be cleaned up, if anything does.
pub async fn restore(
    run: &Run<'_>,
    request: &RestoreRequest<'_>,
    prepared: Prepared,
) -> Result<RestoreReport, JobError> {
    let began = Instant::now();
    let run = &run.renewed();
    let mut restore = Restore {
        run,
        request,
        prepared: &prepared,
        plan: prepared.plan.clone(),
    };
    restore.record_names(&prepared.plan.compares_with)?;

    let mut made = Made::default();
    let outcome = Box::pin(restore.carry_out(&mut made)).await;
    let mut left = match &outcome {
        Err(_) if !made.swapped => restore.clean_up(&made).await,
        _ => Vec::new(),
    };
    let start_failed = restore.start_application(&made).await;

    run.step_log.pause();
    let took = began.elapsed();
    let outcome = match outcome {
        Ok(mut report) => {
            report.took = took;
            report.in_time = took <= request.order.objective;
            report.start_failed = start_failed;
            report.log_to(&run.step_log);
            Ok(report)
        }
        Err(error) => {
            left.extend(start_failed.as_deref().map(not_started));
            Err(restore.failure(error, left, &mut made))
        }
    };
    run.step_log.update(|facts| facts.roles = made.roles);
    let end = outcome.as_ref().map(RestoreReport::display);
    request.order.record_end(run, took, end);
    outcome
}

pub(super) fn not_started(error: &str) -> String {
    format!("the application could not be started: {error}")
}

impl RestoreReport {
    /// Logs what the incident report says of it.
    fn log_to(&self, step_log: &StepLog) {
        step_log.update(|facts| {
            facts.kept_as.clone_from(&self.kept_as);
            facts.sessions_ended = Some(self.sessions_ended);
            facts.warnings.extend(self.warnings.iter().cloned());
            facts
                .left
                .extend(self.start_failed.as_deref().map(not_started));
        });
    }

    fn display(&self) -> String {
        let mut text = format!(
            "{} in {} restored and compared",
            counted(self.rows, "row", "rows"),
            counted(self.tables, "table", "tables")
        );
        if let Some(kept) = &self.kept_as {
            text.push_str("; the old database is kept as ");
            text.push_str(kept);
        }
        if !self.in_time {
            text.push_str("; it took longer than objectives.recovery_time");
        }
        if let Some(failed) = &self.start_failed {
            text.push_str("; the application could not be started: ");
            text.push_str(failed);
        }
        text
    }
}

impl Restore<'_> {
    /// Between two moments that are not given up midway.
    pub(super) fn go_on(&self) -> Result<(), JobError> {
        if self.run.limit.is_cancelled() {
            return Err(Stop::Interrupted.into());
        }
        Ok(())
    }

    /// Puts on record that the restore has begun, and the names of its databases: before any of them is
    /// made, and again when another name is taken.
    pub(super) fn record_names(&self, compares_with: &str) -> Result<(), JobError> {
        let plan = &self.plan;
        self.run
            .step_log
            .update(|facts| facts.loaded_into = Some(plan.loads_into.clone()));
        let side_names = SideNames {
            loads_into: plan.loads_into.clone(),
            keeps_as: plan.keeps_as.clone(),
            compares_with: Some(compares_with.to_owned()),
        };
        self.request.order.record_start(self.run, Some(side_names))
    }

    pub(super) fn new_name(&self) -> &str {
        &self.plan.loads_into
    }

    /// How a database is reached that was made here. What an event trigger of its own does when somebody
    /// connects is for later.
    pub(super) fn to_database(&self, name: &str) -> Conninfo {
        let (server_facts, maintenance) = (&self.prepared.server_facts, &self.prepared.maintenance);
        let conninfo = maintenance.to_database(name);
        if server_facts.is_superuser {
            conninfo.without_event_triggers(server_facts.major)
        } else {
            conninfo
        }
    }

    pub(super) async fn stay_in_what_serves(&self) -> Vec<Client> {
        let source = &self.prepared.source;
        let original = source.manifest.as_ref().map(|one| one.database.as_str());
        let mut databases = vec![self.request.order.database];
        databases.extend(original);
        let (server_facts, maintenance) = (&self.prepared.server_facts, &self.prepared.maintenance);
        stay_in(self.run.context, server_facts, maintenance, &databases).await
    }

    /// The programs that fit the server, and those that fit the backup's archive.
    async fn programs(&self) -> Result<(Programs, Programs), JobError> {
        let Prepared {
            server_facts,
            source,
            ..
        } = self.prepared;
        let context = self.run.context;
        let own = Programs::locate(context.programs.as_deref(), server_facts.major).await?;
        let reader = source.programs(context, server_facts.major).await?;
        Ok((own, reader))
    }

    pub(super) async fn maintenance(&self) -> Result<Client, JobError> {
        let connect = self.run.connect_limit();
        Ok(connect_patiently(&self.prepared.maintenance, connect).await?)
    }

    /// All steps, in their order. Up to the swap nothing is changed that serves anybody.
    pub(super) async fn carry_out(&mut self, made: &mut Made) -> Result<RestoreReport, JobError> {
        let client = self.run.wait_for(self.maintenance()).await??;
        // What a restore left that was killed.
        self.drop_leftovers(&client, made).await?;

        // Before the database, which wants its owner.
        self.restore_roles(&client, made).await?;

        // Whatever is missing shows here, before the application is stopped.
        self.create_what_is_loaded(&client, made).await?;

        let conninfo = self.to_database(self.new_name());
        let (own, reader) = self.programs().await?;
        // A server need not let us into a database of every name (pg_hba.conf).
        drop(self.run.connect(&conninfo).await?);

        self.stop_application(made).await?;

        self.run.step(&format!("loading into {}", self.new_name()));
        let loading = Loading {
            own,
            reader,
            zone: self.zone_to_load_in(&client, made).await?,
        };
        // What serves under the name, and under that of the backup's database, cannot be dropped meanwhile.
        let staying = self.stay_in_what_serves().await;
        self.load(&loading, &conninfo).await?;

        let loaded = self.run.connect(&conninfo).await?;
        self.run.step(
            "dumping it again and comparing it with the backup, and refreshing its statistics \
             meanwhile",
        );
        let compared = self.compare_and_analyze(&loading, &loaded, made);
        let (rows, tables) = Box::pin(compared).await?;

        self.run.step("giving it its settings and privileges");
        self.give_properties(&client, &loaded, made).await?;
        drop(loaded);

        // From here on nobody's wish to stop counts: it is a moment, and whole or not at all.
        self.go_on()?;
        drop(staying);
        let (sessions_ended, mut kept_as) = self.take_the_name(made).await?;
        self.give_rights_to_roles(&client, made).await;
        if self.request.drop_old
            && let Some(aside) = kept_as
        {
            kept_as = self.drop_old(aside, made).await;
        }
        Ok(RestoreReport {
            database: self.plan.database.clone(),
            backup: self.plan.backup.clone(),
            rows,
            tables,
            kept_as,
            roles: made.roles.clone(),
            sessions_ended,
            took: Duration::ZERO,
            in_time: true,
            start_failed: None,
            warnings: std::mem::take(&mut made.warnings),
        })
    }

    pub(super) async fn stop_application(&self, made: &mut Made) -> Result<(), JobError> {
        let settings = self.request.settings;
        let (Some(stop), Some(_)) = (&settings.stop, &self.plan.replaces) else {
            // Without a command to stop it, one to start it is still the operator's wish.
            made.application_stopped = self.plan.replaces.is_some();
            return Ok(());
        };
        self.run
            .step(&format!("stopping the application: {}", stop.join(" ")));
        // Also if it fails: half of it may be stopped.
        made.application_stopped = true;
        let stopping = application::run(
            stop,
            self.request.order.database,
            &self.run.context.environment,
            settings.timeout,
        );
        self.run
            .wait_for(stopping)
            .await?
            .map_err(|error| JobError::failed(format!("the application does not stop: {error}")))
    }

    /// Starts the application, however the restore has ended; the reason if that fails.
    pub(super) async fn start_application(&self, made: &Made) -> Option<String> {
        let settings = self.request.settings;
        let start = settings
            .start
            .as_ref()
            .filter(|_| made.application_stopped)?;
        self.run
            .step(&format!("starting the application: {}", start.join(" ")));
        let started = application::run(
            start,
            self.request.order.database,
            &self.run.context.environment,
            settings.timeout,
        );
        started.await.err()
    }

    pub(super) async fn drop_made(&self, client: &Client, name: &str) -> Result<(), JobError> {
        drop_made(client, self.run.connect_limit(), name).await
    }

    /// Removes what was made; gives what remains, one sentence each with the way out. It is not
    /// interrupted: the second signal ends the process.
    pub(super) async fn clean_up(&self, made: &Made) -> Vec<String> {
        let mut left = Vec::new();
        let plan = &self.plan;
        let loaded = made.database.then_some(&plan.loads_into);
        for name in made.reference.iter().chain(loaded) {
            self.run.step(&format!("dropping {name}"));
            left.extend(self.clean_up_database(name).await);
        }
        // The new roles may own what is in there.
        if made.roles.is_empty() || !left.is_empty() {
            return left;
        }
        let client = match self.maintenance().await {
            Ok(client) => client,
            Err(error) => {
                left.push(format!(
                    "the new roles {} remain ({error})",
                    made.roles.join(", ")
                ));
                return left;
            }
        };
        for role in made.roles.iter().rev() {
            let sql = drop_role(role);
            if let Err(error) = client.execute("drop a role", &sql, STATEMENT).await {
                left.push(format!("the new role {role} remains: {sql} ({error})"));
            }
        }
        left
    }

    /// Drops a database that was made; says what remains if that fails.
    pub(super) async fn clean_up_database(&self, name: &str) -> Option<String> {
        let dropped = match self.maintenance().await {
            Ok(client) => self.drop_made(&client, name).await,
            Err(error) => Err(error),
        };
        let error = dropped.err()?;
        Some(format!(
            "the database {name} remains: the next restore of {} drops it, or {}; ({error})",
            self.request.order.database,
            drop_database(name)
        ))
    }

    /// A failure with what it means and what remains, which the incident report has as well.
    fn failure(&self, error: JobError, left: Vec<String>, made: &mut Made) -> JobError {
        let name = self.request.order.database;
        let error = JobError::Restore {
            standing: match &self.plan.replaces {
                Some(_) => format!("database {name:?} was not restored, and is in use as before"),
                None => format!("database {name:?} was not restored"),
            },
            source: Box::new(error),
            left: left.iter().flat_map(|one| ["\n", one.as_str()]).collect(),
        };
        self.run.step_log.update(|facts| {
            facts.left = left;
            facts.warnings.append(&mut made.warnings);
        });
        error
    }
}
