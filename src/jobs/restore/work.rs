//! Carrying a restore out, once everything is there for it.

use std::time::{Duration, Instant};

use super::application::Application;
use super::send_check::stay_in;
use super::swap::{connect_patiently, drop_made};
use super::{Prepared, RestorePlan, RestoreRequest};
use crate::display::counted;
use crate::jobs::JobError;
use crate::jobs::limit::Stop;
use crate::jobs::run::Run;
use crate::jobs::step_log::StepLog;
use crate::postgres::{Client, Conninfo, Programs, drop_database, drop_role};
use crate::repository::SideNames;

/// For a statement that changes system catalogs; making and dropping a database copies and removes
/// files.
pub(in crate::jobs) const STATEMENT: Duration = Duration::from_secs(300);

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
    /// What was shown of the rows.
    pub shown: Shown,
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

/// What was shown of the rows of a restored database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Each is as it was.
    Compared,
    /// There are as many: the dump has them as INSERT statements.
    Counted,
    /// The dump holds none.
    NoRows {
        /// How many tables it makes.
        tables: u64,
    },
}

/// What has been made so far, and must be undone after a failure.
#[derive(Debug, Default)]
pub(in crate::jobs) struct Made {
    pub(in crate::jobs) roles: Vec<String>,
    pub(in crate::jobs) database: bool,
    /// The database for the reference.
    pub(in crate::jobs) reference: Option<String>,
    pub(in crate::jobs) application_stopped: bool,
    /// The restored database bears its name.
    pub(in crate::jobs) swapped: bool,
    pub(in crate::jobs) warnings: Vec<String>,
}

/// By what a database is loaded that was made here, and how.
pub(in crate::jobs) struct Loading {
    /// Programs that fit the server.
    pub(in crate::jobs) own: Programs,
    /// Their `pg_restore` reads the backup's archive.
    pub(in crate::jobs) reader: Programs,
    /// The time zone to load in; none for the server's own.
    pub(in crate::jobs) zone: Option<String>,
}

/// A restore that is carried out.
pub(in crate::jobs) struct Restore<'a> {
    pub(in crate::jobs) run: &'a Run<'a>,
    pub(in crate::jobs) request: &'a RestoreRequest<'a>,
    pub(in crate::jobs) prepared: &'a Prepared,
    /// As prepared, but for names that somebody else has taken since.
    pub(in crate::jobs) plan: RestorePlan,
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

pub(in crate::jobs) fn not_started(error: &str) -> String {
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

    /// What came back, and what is known of its rows.
    pub fn content(&self) -> String {
        let tables = |count| counted(count, "table", "tables");
        let rows = format!(
            "{} in {}",
            counted(self.rows, "row", "rows"),
            tables(self.tables)
        );
        match self.shown {
            Shown::Compared => format!("{rows} compared"),
            Shown::Counted => format!("{rows} loaded and counted; rows not compared"),
            Shown::NoRows { tables: made } => {
                format!("{} made (the dump holds no rows)", tables(made))
            }
        }
    }

    fn display(&self) -> String {
        let mut text = format!("restored: {}", self.content());
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
    pub(in crate::jobs) fn go_on(&self) -> Result<(), JobError> {
        if self.run.limit.is_cancelled() {
            return Err(Stop::Interrupted.into());
        }
        Ok(())
    }

    /// Puts on record that the restore has begun, and the names of its databases: before any of them is
    /// made, and again when another name is taken.
    pub(in crate::jobs) fn record_names(&self, compares_with: &str) -> Result<(), JobError> {
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

    pub(in crate::jobs) fn new_name(&self) -> &str {
        &self.plan.loads_into
    }

    /// How a database is reached that was made here. What an event trigger of its own does when somebody
    /// connects is for later.
    pub(in crate::jobs) fn to_database(&self, name: &str) -> Conninfo {
        let (server_facts, maintenance) = (&self.prepared.server_facts, &self.prepared.maintenance);
        let conninfo = maintenance.to_database(name);
        if server_facts.is_superuser {
            conninfo.without_event_triggers(server_facts.major)
        } else {
            conninfo
        }
    }

    pub(in crate::jobs) async fn stay_in_what_serves(&self) -> Vec<Client> {
        let source = &self.prepared.source;
        let original = source.manifest.as_ref().map(|one| one.database.as_str());
        let mut databases = vec![self.request.order.database];
        databases.extend(original);
        let (server_facts, maintenance) = (&self.prepared.server_facts, &self.prepared.maintenance);
        stay_in(self.run.context, server_facts, maintenance, &databases).await
    }

    /// The programs that fit the server, and those that fit the backup's archive.
    pub(in crate::jobs) async fn programs(&self) -> Result<(Programs, Programs), JobError> {
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

    pub(in crate::jobs) async fn maintenance(&self) -> Result<Client, JobError> {
        let connect = self.run.connect_limit();
        Ok(connect_patiently(&self.prepared.maintenance, connect).await?)
    }

    /// All steps, in their order. Up to the swap nothing is changed that serves anybody.
    pub(in crate::jobs) async fn carry_out(
        &mut self,
        made: &mut Made,
    ) -> Result<RestoreReport, JobError> {
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

        self.report_left_out(&loaded, made).await?;
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
            shown: self.shown(),
            kept_as,
            roles: made.roles.clone(),
            sessions_ended,
            took: Duration::ZERO,
            in_time: true,
            start_failed: None,
            warnings: std::mem::take(&mut made.warnings),
        })
    }

    pub(in crate::jobs) async fn stop_application(&self, made: &mut Made) -> Result<(), JobError> {
        // Without a command to stop it, one to start it is still the operator's wish; and half of it may
        // be stopped when that fails.
        made.application_stopped = self.plan.replaces.is_some();
        if !made.application_stopped {
            return Ok(());
        }
        self.application().stop(self.run).await
    }

    /// Starts the application, however the restore has ended; the reason if that fails.
    pub(in crate::jobs) async fn start_application(&self, made: &Made) -> Option<String> {
        if !made.application_stopped {
            return None;
        }
        self.application().start(self.run).await
    }

    fn application(&self) -> Application<'_> {
        Application {
            settings: self.request.settings,
            database: self.request.order.database,
        }
    }

    pub(in crate::jobs) async fn drop_made(
        &self,
        client: &Client,
        name: &str,
    ) -> Result<(), JobError> {
        drop_made(client, self.run.connect_limit(), name).await
    }

    /// Removes what was made; gives what remains, one sentence each with the way out. It is not
    /// interrupted: the second signal ends the process.
    pub(in crate::jobs) async fn clean_up(&self, made: &Made) -> Vec<String> {
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
    pub(in crate::jobs) async fn clean_up_database(&self, name: &str) -> Option<String> {
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
    pub(in crate::jobs) fn failure(
        &self,
        error: JobError,
        left: Vec<String>,
        made: &mut Made,
    ) -> JobError {
        let name = self.request.order.database;
        let error = JobError::Restore {
            standing: match &self.plan.replaces {
                Some(_) => format!("database {name:?} was not restored, and is in use as before"),
                None => format!("database {name:?} was not restored"),
            },
            left: left
                .iter()
                .flat_map(|one| ["\n", one.as_str()])
                .chain([self.request.order.salvage_hint(&error).as_str()])
                .collect(),
            source: Box::new(error),
        };
        self.run.step_log.update(|facts| {
            facts.left = left;
            facts.warnings.append(&mut made.warnings);
        });
        error
    }
}
