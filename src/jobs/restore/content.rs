//! Loading the dump, and proving that what was loaded is what was backed up.

use super::create_target::Creation;
use super::send_check::{self, Stamp};
use super::work::{Loading, Made, Restore, Shown};
use super::{content, rights};
use crate::config::Format;
use crate::display::recomputed;
use crate::jobs::JobError;
use crate::jobs::load::{Additions, Loaded, Loader, Refusal, lacking};
use crate::jobs::proof::{
    Comparison, ComparisonLevel, Material, Refused, RestoredCopy, Verdict, about_rewritten,
    about_unvalidated, census_of, give_properties, side_by_side, without, without_statistics,
};
use crate::jobs::run::Run;
use crate::pipeline::census::{Census, Difference};
use crate::pipeline::{Amount, Phase, StreamSummary};
use crate::postgres::{
    Client, Confinement, Conninfo, analyze, database_properties, knows_time_zone,
    property_differences,
};
use crate::repository::Manifest;

/// So many differences are named; the rest is counted.
const NAMED: usize = 10;

impl Restore<'_> {
    /// The time zone that the database had, if that is known, here as well; else it is loaded in the
    /// one that the server has.
    pub(in crate::jobs) async fn zone_to_load_in(
        &self,
        client: &Client,
        made: &mut Made,
    ) -> Result<Option<String>, JobError> {
        let manifest = self.prepared.source.manifest.as_ref();
        let Some(zone) = manifest.and_then(|one| one.server.timezone.clone()) else {
            return Ok(None);
        };
        if knows_time_zone(client, &zone).await? {
            return Ok(Some(zone));
        }
        made.warnings.push(format!(
            "the server does not know the time zone {zone}, in which the backup was made: it was \
             loaded in the server's own"
        ));
        Ok(None)
    }

    /// How a database that was made here is loaded, and dumped again.
    pub(in crate::jobs) fn loader<'a>(
        &self,
        run: &'a Run<'a>,
        loading: &'a Loading,
        conninfo: &'a Conninfo,
    ) -> Loader<'a> {
        Loader {
            run,
            programs: &loading.own,
            reader: &loading.reader,
            server_major: self.prepared.server_facts.major,
            conninfo,
            application: "pgbackupd restore",
            jobs: self.request.jobs,
            confinement: Confinement::default(),
        }
    }

    /// The same database in the session that loads it.
    fn to_load(&self, loading: &Loading, conninfo: &Conninfo) -> Conninfo {
        conninfo.for_loading(loading.zone.as_deref(), self.has_labels())
    }

    /// Loads the dump; the first error ends it.
    pub(super) async fn load(
        &self,
        loading: &Loading,
        conninfo: &Conninfo,
    ) -> Result<(), JobError> {
        let source = &self.prepared.source;
        if source.format != Format::Plain && source.manifest.is_some() {
            // It is what was written when it was made, as its digest says.
            Stamp::check(self.prepared.stamp.as_ref(), source)?;
        }
        let stream_summary = self.stream_summary()?;
        let rows = stream_summary.census.summary().rows;
        let conninfo = self.to_load(loading, conninfo);
        let loader = self.loader(self.run, loading, &conninfo);
        let material = self.material();
        let outcome = material
            .load(&loader, stream_summary.text_bytes, rows)
            .await;
        match outcome.map_err(|error| send_check::changed(source, error))? {
            Loaded::Wholly => Ok(()),
            Loaded::Refused(refusal) => {
                let way_out =
                    rights::way_out(refusal.is_about_privileges(), &self.prepared.server_facts);
                let way_out = way_out.map_or_else(String::new, |way| format!("; {way}"));
                let message = format!(
                    "the backup could not be loaded: {}: {}{way_out}",
                    refusal.how,
                    refusal.in_short()
                );
                let detail = refusal.detail.clone();
                Err(if self.is_of_the_backup(&refusal) {
                    JobError::NotLoaded { message, detail }
                } else {
                    JobError::Failed {
                        message,
                        detail: Some(detail),
                        may_pass: false,
                    }
                })
            }
        }
    }

    /// Whether it is the backup and not the server, or who loads it, that is to blame for a refusal; as a drill
    /// judges.
    fn is_of_the_backup(&self, refusal: &Refusal) -> bool {
        let manifest = self.prepared.source.manifest.as_ref();
        let server = self.prepared.server_facts.major;
        let is_newer = manifest.is_some_and(|manifest| manifest.server.major() > server);
        let is_of_the_server = refusal.may_pass()
            || refusal.is_about_privileges()
            || lacking(&refusal.reason()).is_some();
        refusal.is_of_a_statement() && !is_newer && !is_of_the_server
    }

    fn is_partial(&self) -> bool {
        let manifest = self.prepared.source.manifest.as_ref();
        manifest.is_some_and(Manifest::is_partial)
    }

    /// The backup's dump.
    pub(in crate::jobs) fn material(&self) -> Material {
        let source = &self.prepared.source;
        Material {
            file: source.file.clone(),
            format: source.format,
            compression: source.compression,
            packed: source.packed,
            adaptation: source.adaptation.clone(),
            has_manifest: source.manifest.is_some(),
            accepts_unexpected: self.request.order.accept_unexpected,
            additions: source
                .manifest
                .as_ref()
                .map(Additions::of)
                .unwrap_or_default(),
        }
    }

    /// What was read in the backup.
    fn stream_summary(&self) -> Result<&StreamSummary, JobError> {
        let stream_summary = self.prepared.stream_summary.as_ref();
        stream_summary.ok_or_else(|| JobError::Internal("the backup was not read".to_owned()))
    }

    /// What the comparison shows of the rows.
    pub(super) fn shown(&self) -> Shown {
        let census = self.prepared.stream_summary.as_ref().map(|it| &it.census);
        let Some(census) = census.filter(|_| self.prepared.source.manifest.is_none()) else {
            return Shown::Compared;
        };
        if census.inserted_tables() > 0 {
            Shown::Counted
        } else if census.summary().tables == 0 && census.objects("TABLE").next().is_some() {
            Shown::NoRows {
                tables: census.objects("TABLE").count() as u64,
            }
        } else {
            Shown::Compared
        }
    }

    /// Dumps what was loaded, and compares it with what was read from the backup; gives rows and
    /// tables. Where the text of a definition differs, what the server makes of the backup's own decides.
    async fn compare(
        &self,
        proving: &Proving<'_>,
        conninfo: &Conninfo,
        made: &mut Made,
    ) -> Result<(u64, u64), JobError> {
        let Proving { run, loading } = proving;
        run.progress.enter(Phase::Comparing);
        let stream_summary = self.stream_summary()?;
        run.progress
            .expect(Amount::Bytes(stream_summary.text_bytes));
        let encoding = stream_summary.dependencies.encoding.as_deref();
        let copy = self.loader(run, loading, conninfo);
        let mut found = census_of(&copy, encoding).await?;
        if self.prepared.source.manifest.is_none() {
            found = found.fit_to(&stream_summary.census);
        }
        let mut comparison = Comparison::between(&stream_summary.census, &found);
        let mut unknown = None;
        if comparison.wants_reference() {
            match self.reference(proving, encoding, made).await? {
                Ok(reference) => comparison.refer_to(&reference),
                Err(why) => unknown = Some(why),
            }
        }
        let versions = [self.prepared.server_facts.major, loading.own.version.major];
        let written_by = stream_summary.dependencies.written_by;
        let source = &self.prepared.source;
        let level = source.comparison_level(versions, written_by);
        if self.is_partial() {
            made.warnings
                .extend(about_unvalidated(&comparison.take_foreign_keys()));
        }
        let verdict = comparison.judge(level);
        self.log_found(&found, &verdict);
        refuse_losses(&verdict, unknown)?;
        made.warnings.extend(about_rewritten(verdict.rewritten));
        if !verdict.of_the_version.is_empty() {
            made.warnings.push(format!(
                "{}:\n{}",
                agreement(level, self.shown()),
                list(&display_differences(&verdict.of_the_version))
            ));
        }
        if !stream_summary.dependencies.recomputed.is_empty() {
            let names: Vec<String> = stream_summary
                .dependencies
                .recomputed
                .iter()
                .cloned()
                .collect();
            self.run.step(&recomputed(&names));
        }
        let summary = found.summary();
        Ok((summary.rows, summary.tables))
    }

    /// Takes down what was found in the copy, for the incident report.
    fn log_found(&self, found: &Census, verdict: &Verdict) {
        let all = verdict.lost.iter().chain(&verdict.of_the_version);
        let differences = all.take(NAMED).map(ToString::to_string).collect();
        self.run.step_log.update(|facts| {
            facts.found = Some(content(found));
            facts.differences = differences;
        });
    }

    /// Loads the definitions once more, dumps them, and drops them; why not, where the server refuses them
    /// without their rows.
    async fn reference(
        &self,
        Proving { run, loading }: &Proving<'_>,
        encoding: Option<&str>,
        made: &mut Made,
    ) -> Result<Result<Census, String>, JobError> {
        let client = run.wait_for(self.maintenance()).await??;
        let name = self.create_reference(&client, made).await?;
        let name = name.as_str();
        let conninfo = self.to_database(name);
        let to_load = self.to_load(loading, &conninfo);
        let outcome = self
            .material()
            .load_definitions(&self.loader(run, loading, &to_load))
            .await?;
        let reference = match outcome {
            Loaded::Wholly => {
                let copy = self.loader(run, loading, &conninfo);
                Ok(census_of(&copy, encoding).await?)
            }
            Loaded::Refused(refusal) => Err(format!("{}: {}", refusal.how, refusal.in_short())),
        };
        match self.drop_made(&client, name).await {
            Ok(()) => {}
            Err(error) => made.warnings.push(format!(
                "{name}, in which definitions were compared, could not be dropped: {error}; the next \
                 restore of {} drops it",
                self.request.order.database
            )),
        }
        made.reference = None;
        Ok(reference)
    }

    /// Makes the empty database, under the next name where somebody else has taken this one; gives its name.
    async fn create_reference(&self, client: &Client, made: &mut Made) -> Result<String, JobError> {
        let mut name = self.plan.compares_with.clone();
        loop {
            self.run.step(&format!(
                "loading the definitions once more into {name}, because some are written differently"
            ));
            // What the server does not take was reported of the copy.
            let mut creation = Creation::default();
            let created = self.create(client, &name, &mut creation).await;
            made.reference = creation.is_there.then(|| name.clone());
            let Err(error) = created else {
                return Ok(name);
            };
            let Some(names) = self.other_names(client, &error, &name).await? else {
                return Err(error);
            };
            // The one that is loaded is there already.
            name = names.loads_into;
            self.record_names(&name)?;
        }
    }

    /// Compares what was loaded with the backup, and refreshes its statistics meanwhile. Whichever
    /// fails ends the other; a table whose statistics cannot be had is a warning. Gives rows and tables.
    pub(super) async fn compare_and_analyze(
        &self,
        loading: &Loading,
        loaded: &Client,
        made: &mut Made,
    ) -> Result<(u64, u64), JobError> {
        let (run, end) = self.run.part();
        let proving = Proving { run, loading };
        let comparing = self.compare(&proving, loaded.conninfo(), made);
        let analyzing = async {
            let within = self.run.context.limits.total;
            Ok(self.run.wait_for(analyze(loaded, within)).await??)
        };
        let (compared, others) = Box::pin(side_by_side(comparing, &end, analyzing)).await?;
        made.warnings.extend(without_statistics(&others));
        Ok(compared)
    }

    /// Whether the dump has security labels, which want the libraries of their providers.
    pub(super) fn has_labels(&self) -> bool {
        let stream_summary = self.prepared.stream_summary.as_ref();
        stream_summary
            .is_some_and(|stream_summary| !stream_summary.dependencies.label_providers.is_empty())
    }

    /// Settings and privileges, and a look whether they are what was recorded. A setting that the server
    /// does not take is a warning: the data are there.
    pub(super) async fn give_properties(
        &self,
        client: &Client,
        loaded: &Client,
        made: &mut Made,
    ) -> Result<(), JobError> {
        let Some(like) = &self.prepared.like else {
            return Ok(());
        };
        let copy = RestoredCopy {
            name: self.new_name(),
            recorded: like,
            more: Vec::new(),
        };
        let refused = give_properties(self.run, client, copy).await?;
        let (settings, others): (Vec<_>, Vec<_>) =
            refused.into_iter().partition(|one| one.setting.is_some());
        if let Some(one) = others.into_iter().next() {
            return Err(one.error.into());
        }
        let like = without(like, &settings);
        for Refused { setting, error, .. } in settings {
            let setting = setting.map_or_else(String::new, |one| one.setting);
            made.warnings.push(format!(
                "the server refuses the database's setting {} (SQLSTATE {}); the restored database lacks it",
                setting.split('=').next().unwrap_or_default(),
                error.sqlstate.unwrap_or_default()
            ));
        }
        let found = self.run.wait_for(database_properties(loaded)).await??;
        let differences = property_differences(&like, &found);
        if differences.is_empty() {
            return Ok(());
        }
        if self.prepared.source.manifest.is_none() {
            // It was not the database itself that said so.
            made.warnings.push(format!(
                "the restored database is not as the dump describes it:\n{}",
                list(&differences)
            ));
            return Ok(());
        }
        Err(JobError::failed(format!(
            "the restored database is not as it was:\n{}",
            list(&differences)
        )))
    }
}

/// A copy that is compared with its backup, in a part of the run that can be ended by itself.
struct Proving<'a> {
    run: Run<'a>,
    loading: &'a Loading,
}

/// What was lost is a failure, with why no reference says more, if that is so.
fn refuse_losses(verdict: &Verdict, unknown: Option<String>) -> Result<(), JobError> {
    if verdict.lost.is_empty() {
        return Ok(());
    }
    let unknown = unknown.map_or_else(String::new, |why| {
        format!("\nwhat this server makes of the backup's own definitions is not known: {why}")
    });
    Err(JobError::failed(format!(
        "what was loaded is not what the backup holds:\n{}{unknown}",
        list(&display_differences(&verdict.lost))
    )))
}

fn display_differences(differences: &[Difference]) -> Vec<String> {
    differences.iter().map(ToString::to_string).collect()
}

/// What agrees although not everything does.
fn agreement(level: ComparisonLevel, shown: Shown) -> &'static str {
    match level {
        _ if shown != Shown::Compared => {
            "objects differ, as they may between versions of PostgreSQL"
        }
        ComparisonLevel::Listed => {
            "all rows agree and every object that the dump names is there, but other objects differ, as \
             they may by the options of pg_dump or between versions of PostgreSQL"
        }
        ComparisonLevel::Rows => {
            "all rows agree, but other objects differ, as they may between versions of PostgreSQL"
        }
        ComparisonLevel::Names | ComparisonLevel::Text => {
            "all rows agree and every other object is there, but the text of some differs, as it may \
             between versions of PostgreSQL"
        }
    }
}

/// A few of the lines, and how many more there are.
fn list(lines: &[String]) -> String {
    let mut text: Vec<String> = lines
        .iter()
        .take(NAMED)
        .map(|line| format!("  {line}"))
        .collect();
    if lines.len() > NAMED {
        text.push(format!("  and {} more", lines.len() - NAMED));
    }
    text.join("\n")
}
