//! One test restore on its way, from the backup's files to the comparison.

use std::collections::BTreeSet;
use std::time::Instant;

use super::judge::{about_the_version, comparison_level, display_differences};
use super::preload::{hindrance, libraries, way_out, with_packages};
use super::reference::Made;
use super::report::{DrillOutcome, DrillPhase};
use super::restored::Restored;
use super::roles::{self};
use super::space::{definitions_shortage, shortage};
use super::subject::Subject;
use super::{Drill, Extent};
use crate::config::Format;
use crate::display::{count, counted};
use crate::jobs::archive::programs_to_read;
use crate::jobs::error::{JobError, JobErrorKind};
use crate::jobs::examine::{Examined, examine};
use crate::jobs::known_recipients::note_opened;
use crate::jobs::pin::record_lost_state;
use crate::jobs::proof::{
    Comparison, ComparisonLevel, about_rewritten, about_unvalidated, read_globals,
};
use crate::jobs::readable::ReadableBackup;
use crate::pipeline::census::{Census, Scanner};
use crate::pipeline::{Amount, Phase, StreamSummary, judge_globals};
use crate::postgres::{Enforcement, Extension, Programs, Sandbox, SandboxSpec, database_name};
use crate::repository::{Manifest, State};

/// So many differences are named; beyond, they are only counted.
const MOST_NAMED: usize = 100;

/// What has to hold of the bounds of a dump that is loaded.
#[derive(Clone, Copy, Debug)]
struct Needs {
    /// All of them are there.
    bounds: bool,
    /// The dump cannot read the files of its user: one is the identity that opens all encrypted backups.
    secret_files: bool,
}

impl Needs {
    /// Why bounds are not enough that fall short of these, and keep the files of its user from it or not; none if
    /// they are enough.
    fn unmet(self, shortfalls: &[String], keeps_files: bool) -> Option<String> {
        if self.secret_files && !keeps_files {
            return Some(format!(
                "what it executes could read the identity that drills have by the configuration: {}; remove \
                 drill.identity_file or drill.credential, and drill by hand with --identity",
                shortfalls.join("; ")
            ));
        }
        let lacks = self.bounds && !shortfalls.is_empty();
        lacks.then(|| {
            format!(
                "what it executes cannot be confined, and drill.require_confinement is set: {}",
                shortfalls.join("; ")
            )
        })
    }
}

impl Drill<'_> {
    /// Everything between the ledger's two records.
    pub(super) async fn carry_out(&mut self) -> Result<DrillOutcome, JobError> {
        let (manifest, stream_summary) = match self.verify().await? {
            Ok(verified) => verified,
            Err(outcome) => return Ok(outcome),
        };
        if let Some(finding) = &stream_summary.findings.refused {
            return Ok(DrillOutcome::Impossible(format!(
                "it holds what a restore does not send: {finding}; it was not loaded"
            )));
        }
        if let Some(unexpected) = stream_summary.findings.display_unexpected() {
            self.remarks.push(format!(
                "it holds statements of kinds that are not known, and a restore of it needs \
                 --accept-unexpected:{unexpected}"
            ));
        }

        let began = Instant::now();
        let directory = self.run.context.drill.directory.as_path();
        let shortage = match self.extent {
            Extent::Everything => shortage(directory, &manifest)?,
            Extent::Definitions => definitions_shortage(directory, &manifest)?,
        };
        if let Some(shortage) = shortage {
            return Ok(DrillOutcome::Impossible(shortage));
        }
        let globals = match self.globals(&manifest).await? {
            Ok(globals) => globals,
            Err(why) => return Ok(DrillOutcome::Impossible(why)),
        };
        if let Some(hindrance) = hindrance(&manifest.properties) {
            return Ok(DrillOutcome::Impossible(hindrance));
        }
        let backup = Subject {
            programs: self.programs(&manifest).await?,
            manifest,
            globals,
            stream_summary,
        };
        if let Some(why) = self.look_at_confinement()? {
            return Ok(DrillOutcome::Impossible(why));
        }
        let superuser = backup.superuser();
        let starting = Sandbox::start(SandboxSpec {
            directory,
            programs: &backup.programs,
            superuser: &superuser,
            encoding: &backup.manifest.properties.encoding,
            patience: self.run.connect_limit(),
        });
        let mut sandbox = self.run.wait_for(starting).await??;
        let outcome = self.restore(&mut sandbox, &backup, began).await;
        // A server that does not end is the operator's to know, whatever the outcome is.
        if let Err(error) = sandbox.stop().await {
            self.remarks.push(error.to_string());
        }
        outcome
    }

    /// The backup's roles and tablespaces, if it has them; or why they are not loaded.
    async fn globals(
        &self,
        manifest: &Manifest,
    ) -> Result<Result<Option<Vec<u8>>, String>, JobError> {
        let Some(recorded) = &manifest.globals else {
            return Ok(Ok(None));
        };
        let file = self.readable(manifest).globals();
        let globals = read_globals(self.run, file, &recorded.digest).await?;
        Ok(match judge_globals(&globals) {
            Some(finding) => Err(format!(
                "its roles and tablespaces hold what pg_dumpall does not write: {finding}; they were \
                 not loaded"
            )),
            None => Ok(Some(globals)),
        })
    }

    /// Reports how what the dump carries out is confined; gives why that is not enough.
    fn look_at_confinement(&mut self) -> Result<Option<String>, JobError> {
        let enforcement = Enforcement::of_this_machine()
            .map_err(|error| JobError::Exhausted(format!("cannot start a thread: {error}")))?;
        tracing::info!(
            "the temporary cluster and its programs are confined: {}",
            enforcement.sentence()
        );
        let drill = &self.run.context.drill;
        let needs = Needs {
            bounds: drill.require_confinement,
            secret_files: drill.identity.is_some(),
        };
        let shortfalls = enforcement.shortfalls();
        if let Some(why) = needs.unmet(&shortfalls, enforcement.keeps_files()) {
            return Ok(Some(why));
        }
        let sentence = |lacking| format!("what the dump executes was not confined: {lacking}");
        self.remarks.extend(shortfalls.into_iter().map(sentence));
        Ok(None)
    }

    /// The backup as its files are read.
    pub(super) fn readable<'b>(&'b self, manifest: &'b Manifest) -> ReadableBackup<'b> {
        ReadableBackup {
            repository: self.repository,
            stem: self.stem,
            manifest,
            opener: self.opener.as_ref(),
        }
    }

    /// Reads the backup in full, and notes the check. Gives the outcome where it is damaged.
    async fn verify(
        &mut self,
    ) -> Result<Result<(Manifest, Box<StreamSummary>), DrillOutcome>, JobError> {
        self.run.progress.enter(Phase::Checking);
        let began = Instant::now();
        let mut manifest = match self.repository.manifest(self.stem) {
            Ok(manifest) => manifest,
            Err(error) => {
                let error = JobError::from(error);
                return match error.kind() {
                    JobErrorKind::Damaged => Ok(Err(DrillOutcome::Damaged(error.to_string()))),
                    _ => Err(error),
                };
            }
        };
        self.opener = self.run.context.open_to_drill(&mut manifest)?;
        let examined = examine(self.run, &self.readable(&manifest)).await?;
        self.took(DrillPhase::Verify, began);
        // A check like any other, whatever becomes of the rest.
        let now = self.run.now();
        match examined {
            Examined::Damaged(damage) => {
                self.change_state(|state| state.record_check(now, Some(damage.clone())))?;
                Ok(Err(DrillOutcome::Damaged(damage)))
            }
            Examined::Whole(stream_summary) => {
                self.change_state(|state| state.record_check(now, None))?;
                let unnoted = note_opened(self.run.context, &manifest);
                self.remarks.extend(unnoted);
                Ok(Ok((manifest, stream_summary)))
            }
        }
    }

    /// Notes something next to the backup, if that is still there; a trial of its definitions notes nothing.
    pub(super) fn change_state(&mut self, change: impl FnOnce(&mut State)) -> Result<(), JobError> {
        if self.extent == Extent::Definitions {
            return Ok(());
        }
        let recorded = self
            .repository
            .change_state(self.run.id, self.stem, change)?;
        if let Some(before) = recorded {
            let remark = record_lost_state(self.run, self.repository, self.stem, &before)?;
            self.remarks.extend(remark);
        }
        Ok(())
    }

    fn took(&mut self, phase: DrillPhase, began: Instant) {
        self.phases.push((phase, began.elapsed()));
    }

    /// The programs of the server's own version, or of a newer one: a dump cannot be loaded into an
    /// older server.
    async fn programs(&mut self, manifest: &Manifest) -> Result<Programs, JobError> {
        let wanted = manifest.server.major();
        let programs =
            Programs::locate_server(self.run.context.programs.as_deref(), wanted).await?;
        self.remarks.extend(about_the_version(manifest, &programs));
        Ok(programs)
    }

    /// Sees to what the database's extensions need of the server; says what this machine lacks of it.
    async fn equip(
        &self,
        sandbox: &mut Sandbox,
        manifest: &Manifest,
        label_providers: &BTreeSet<String>,
    ) -> Result<Option<String>, JobError> {
        let (run, properties) = (self.run, &manifest.properties);
        let major = sandbox.major();
        let missing = run
            .wait_for(sandbox.missing_extensions(properties))
            .await??;
        if !missing.is_empty() {
            let shown = |one: &Extension| format!("{} {}", one.name, one.version);
            let missing = missing.iter().map(|one| (one.name.as_str(), shown(one)));
            return Ok(Some(format!(
                "the database uses extensions that are not installed on this machine for PostgreSQL \
                 {major}: {}",
                with_packages(missing, major)
            )));
        }
        let recorded = manifest.server.preload.as_deref();
        let configured = &run.context.drill.preload;
        let libraries = libraries(properties, recorded, label_providers, configured);
        if !libraries.is_empty() {
            let missing = run
                .wait_for(sandbox.missing_libraries(&libraries))
                .await??;
            if !missing.is_empty() {
                let missing = missing.iter().map(|name| (name.as_str(), name.clone()));
                return Ok(Some(format!(
                    "a server for it loads libraries when it starts that are not installed on this \
                     machine for PostgreSQL {major}: {}",
                    with_packages(missing, major)
                )));
            }
            tracing::info!(
                "the temporary cluster preloads {}, without background workers",
                libraries.join(", ")
            );
            let name = database_name(properties);
            run.wait_for(sandbox.preload(&libraries, name)).await??;
        }
        let missing = run
            .wait_for(sandbox.missing_label_providers(label_providers))
            .await??;
        Ok((!missing.is_empty()).then(|| {
            let named: Vec<String> = missing.iter().map(|name| format!("{name:?}")).collect();
            format!(
                "it has security labels of the label provider {}, whose library the temporary cluster \
                 has not loaded: {}",
                named.join(", "),
                way_out(recorded)
            )
        }))
    }

    fn remark_on_roles(&mut self, placeholders: &[String]) {
        if !placeholders.is_empty() {
            self.remarks.push(format!(
                "the backup holds no roles and tablespaces (globals = false): those that it names were \
                 made as placeholders, and attributes and memberships were not tried: {}",
                placeholders.join(", ")
            ));
        }
    }

    fn remark_on_settings(&mut self, refused: &[String]) {
        if !refused.is_empty() {
            self.remarks.push(format!(
                "the temporary cluster refuses settings that the database had, so its \
                 functions may have read other values: {}",
                refused.join(", ")
            ));
        }
    }

    async fn restore(
        &mut self,
        sandbox: &mut Sandbox,
        backup: &Subject,
        began: Instant,
    ) -> Result<DrillOutcome, JobError> {
        let providers = backup.label_providers();
        let manifest = &backup.manifest;
        if let Some(lack) = self.equip(sandbox, manifest, &providers).await? {
            return Ok(DrillOutcome::Impossible(lack));
        }
        self.took(DrillPhase::Server, began);
        if let Some(account) = sandbox.account() {
            tracing::debug!("the temporary cluster runs as {}", account.name);
        }

        let began = Instant::now();
        let prepared = backup.prepare(sandbox.superuser(), &sandbox.tablespaces());
        self.remark_on_roles(&prepared.placeholders);
        let mut restored = Restored {
            run: self.run,
            conninfo: sandbox.conninfo("postgres")?,
            loading: sandbox.conninfo("postgres")?,
            sandbox,
            programs: &backup.programs,
            reader: match manifest.artifact.format {
                Format::Plain => backup.programs.clone(),
                Format::Custom | Format::Directory => {
                    programs_to_read(self.run.context, manifest).await?
                }
            },
            application: format!("pgbackupd {}", self.run.id),
        };
        if let Some(outcome) = self
            .load_globals(&mut restored, manifest, &prepared)
            .await?
        {
            return Ok(outcome);
        }
        let refused = restored.make_database(manifest).await?;
        self.remark_on_settings(&refused);
        self.took(DrillPhase::Globals, began);

        let began = Instant::now();
        let refused = match self.extent {
            Extent::Everything => self.load(&mut restored, manifest).await?,
            Extent::Definitions => self.load_definitions(&mut restored, manifest).await?,
        };
        if let Some(outcome) = refused {
            return Ok(outcome);
        }
        self.took(DrillPhase::Load, began);
        if self.extent == Extent::Definitions {
            return Ok(DrillOutcome::Proven);
        }
        let expected = &prepared.expected;
        let read_again = self.read_again(&restored, backup, expected).await?;
        self.compare(&mut restored, backup, read_again).await
    }

    /// Dumps the copy, and its server's roles and tablespaces, which were expected to be these.
    async fn read_again(
        &mut self,
        restored: &Restored<'_>,
        backup: &Subject,
        expected: &[u8],
    ) -> Result<ReadAgain, JobError> {
        let began = Instant::now();
        let manifest = &backup.manifest;
        self.run.progress.enter(Phase::Comparing);
        let ahead = Amount::Bytes(manifest.artifact.text_bytes);
        self.run.progress.expect(ahead);
        let census = restored.census(backup.encoding()).await?;
        let mut differences = Vec::new();
        if let (Some(recorded), Some(globals)) = (&manifest.globals, &backup.globals) {
            let encoding = encoding_of(globals);
            let encoding = encoding.unwrap_or_else(|| manifest.properties.encoding.clone());
            let passwords = recorded.role_passwords;
            let found = restored.globals(&encoding, passwords).await?;
            let same_version =
                comparison_level(manifest, &backup.programs) == ComparisonLevel::Text;
            differences = roles::differences(expected, &found, same_version);
        }
        self.took(DrillPhase::Dump, began);
        Ok(ReadAgain {
            census,
            differences,
        })
    }

    /// Holds what was read again against the backup.
    async fn compare(
        &mut self,
        restored: &mut Restored<'_>,
        backup: &Subject,
        read_again: ReadAgain,
    ) -> Result<DrillOutcome, JobError> {
        let began = Instant::now();
        let manifest = &backup.manifest;
        let ReadAgain {
            census: found,
            mut differences,
        } = read_again;
        differences.extend(self.compare_properties(restored, manifest).await?);
        let mut comparison = Comparison::between(&backup.stream_summary.census, &found);
        if comparison.wants_reference() {
            match self.reference(restored, backup).await? {
                Made::Reference(reference) => comparison.refer_to(&reference),
                Made::Nothing => {}
                Made::Outcome(outcome) => return Ok(outcome),
            }
        }
        if manifest.is_partial() {
            self.remarks
                .extend(about_unvalidated(&comparison.take_foreign_keys()));
        }
        let verdict = comparison.judge(comparison_level(manifest, &backup.programs));
        let mut named = display_differences(&verdict.lost);
        named.append(&mut differences);
        self.remarks.extend(about_rewritten(verdict.rewritten));
        let of_the_version = verdict.of_the_version.len() as u64;
        if of_the_version > 0 {
            self.remarks.push(format!(
                "{} written differently by this version",
                counted(of_the_version, "object is", "objects are")
            ));
        }
        self.took(DrillPhase::Compare, began);
        if named.is_empty() {
            return Ok(DrillOutcome::Proven);
        }
        if named.len() > MOST_NAMED {
            let more = named.len() - MOST_NAMED;
            named.truncate(MOST_NAMED);
            named.push(format!("and {} more", count(more as u64)));
        }
        Ok(DrillOutcome::Differs(named))
    }
}

/// What a dump of the copy holds.
struct ReadAgain {
    census: Census,
    /// What differs of roles and tablespaces.
    differences: Vec<String>,
}

/// The encoding in which the globals say that they are written.
fn encoding_of(globals: &[u8]) -> Option<String> {
    let mut scanner = Scanner::new();
    // Whatever is wrong with them was seen before.
    let _ = scanner.push(globals);
    scanner.take_dependencies().encoding
}

#[cfg(test)]
mod tests {
    use super::Needs;

    #[test]
    fn an_identity_on_the_host_is_kept_from_what_a_dump_carries_out() {
        const NO_CALLS: &str = "system calls cannot be filtered";
        const NO_FILES: &str = "there is no Landlock";
        for (bounds, secret_files, shortfalls, keeps_files, expected) in [
            (false, false, &[NO_FILES, NO_CALLS][..], false, None),
            (true, true, &[], true, None),
            (
                true,
                false,
                &[NO_CALLS],
                true,
                Some("drill.require_confinement is set: system calls"),
            ),
            (false, true, &[NO_CALLS], true, None),
            (
                false,
                true,
                &[NO_FILES],
                false,
                Some("could read the identity"),
            ),
            (
                true,
                true,
                &[NO_FILES, NO_CALLS],
                false,
                Some("could read the identity"),
            ),
        ] {
            let needs = Needs {
                bounds,
                secret_files,
            };
            let shortfalls: Vec<String> = shortfalls.iter().map(|&one| one.to_owned()).collect();
            let found = needs.unmet(&shortfalls, keeps_files);
            let is_expected = match (&found, expected) {
                (Some(found), Some(expected)) => found.contains(expected),
                (found, expected) => found.is_none() && expected.is_none(),
            };
            assert!(is_expected, "{needs:?} {shortfalls:?}: {found:?}");
        }
    }
}
