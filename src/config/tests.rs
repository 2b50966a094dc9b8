//! The configuration as a whole: what is accepted, what is refused, and in which words.

mod alerts;
mod destinations;
mod encryption;
mod examples;
mod jobs;
mod refusals;
mod secrets;
mod servers;

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU32;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::{
    Compression, DaemonSettings, Databases, Format, JobKind, Loaded, ProblemLocation,
    SettingSource, Source, load,
};
use crate::policy::{Blackouts, Sensitivity};
use crate::telemetry::Level;

/// A directory with a configuration of its own.
struct Etc(TempDir);

impl Etc {
    fn new(text: &str) -> Self {
        let etc = Self(TempDir::new().unwrap());
        etc.write("pgbackupd.toml", text);
        etc
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        set_mode(&path, 0o644);
        path
    }

    fn source(&self) -> Source {
        Source {
            file: None,
            default_file: self.0.path().join("pgbackupd.toml"),
            environment: BTreeMap::new(),
            ..Source::of_process(None)
        }
    }

    /// Why `config check` refuses it.
    fn refusal(&self) -> String {
        let checked = load(&self.source()).and_then(Loaded::with_usable_secrets);
        checked.map(|_| ()).expect_err("a mistake").to_string()
    }

    fn with(&self, variables: &[(&str, &str)]) -> Source {
        let environment = variables
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect();
        Source {
            environment,
            ..self.source()
        }
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn accepted(text: &str) -> Loaded {
    load(&Etc::new(text).source()).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

/// The message, without the directory's random name.
fn refused(text: &str) -> String {
    let etc = Etc::new(text);
    etc.refusal()
        .replace(etc.0.path().to_str().unwrap(), "/etc/pgbackupd")
}

fn directories(loaded: &Loaded) -> Vec<String> {
    let named = |databases: &Databases| match databases {
        Databases::Named(named) => named
            .iter()
            .map(|named| named.directory.display().to_string())
            .collect(),
        _ => Vec::new(),
    };
    loaded
        .plan
        .servers
        .iter()
        .flat_map(|server| named(&server.databases))
        .collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "all that one configuration means")]
fn one_line_is_enough_and_the_rest_is_the_policy() {
    let Loaded { plan, .. } = accepted("database = \"productivity_tracker\"");
    assert_eq!(plan.zone, chrono_tz::Tz::Asia__Riyadh);
    let jobs: Vec<String> = plan
        .jobs
        .iter()
        .map(|job| format!("{} {:?} {}", job.name, job.kind, job.schedule.text()))
        .collect();
    assert_eq!(
        jobs,
        [
            "daily Backup(Series(\"daily\")) 0 2 * * *",
            "drill Drill(Newest) 0 5 1 * *",
            "prune Prune 0 4 1 * *",
            "verify Verify(Verification { older_than: 0ns, budget: 14400s }) 0 3 * * 0",
            "weekly Backup(Series(\"weekly\")) 0 3 * * 0",
        ]
    );
    let day = Duration::from_secs(24 * 60 * 60);
    let kept: Vec<_> = plan
        .retention
        .series
        .iter()
        .map(|(series, rules)| (series.as_str(), rules.within))
        .collect();
    assert_eq!(
        kept,
        [("daily", Some(30 * day)), ("weekly", Some(84 * day))]
    );
    assert_eq!(plan.retention.floor.get(), 3);
    assert_eq!(plan.limits.free_space.as_u64(), 10_000_000_000);
    assert_eq!(
        plan.daemon,
        DaemonSettings {
            concurrency: NonZeroU32::new(2).unwrap(),
            concurrency_per_server: NonZeroU32::new(1).unwrap(),
            catch_up_delay: Duration::from_secs(5 * 60),
            runtime_directory: "/run/pgbackupd".into(),
            state_directory: "/var/lib/pgbackupd".into(),
        }
    );
    assert_eq!(plan.objectives.recovery_point, day);
    assert_eq!(plan.objectives.grace, day / 24);
    assert_eq!(
        plan.anomaly.sensitivity,
        Sensitivity {
            factor: 200,
            share: 50
        }
    );
    assert!(!plan.anomaly.ignores("sales", "public.orders"));
    assert_eq!(
        (plan.logs.level, &plan.logs.file, plan.logs.files.get()),
        (Level::Info, &None, 14)
    );
    for job in &plan.jobs {
        assert_eq!(job.window, day / 4, "{}", job.name);
        assert_eq!(job.jitter, Duration::ZERO, "{}", job.name);
        assert!(job.catch_up, "{}", job.name);
        assert_eq!(job.retry.first, Duration::from_secs(30));
        assert_eq!(job.retry.longest, Duration::from_secs(15 * 60));
        assert_eq!(job.blackouts, Blackouts::none(plan.zone));
    }
    assert_eq!(plan.servers.len(), 1);
    let Databases::Named(named) = &plan.servers[0].databases else {
        panic!("named")
    };
    assert_eq!(
        named[0].directory,
        Path::new("/var/backups/productivity_tracker")
    );
    assert_eq!(named[0].dump.format, Format::Plain);
    assert_eq!(named[0].dump.compression, Compression::Gzip);
    assert_eq!(plan.warnings, [""; 0]);
}

#[test]
fn without_a_file_libpqs_environment_names_the_database() {
    let empty = TempDir::new().unwrap();
    let source = |variables: &[(&str, &str)]| Source {
        file: None,
        default_file: empty.path().join("none.toml"),
        environment: variables
            .iter()
            .map(|(n, v)| ((*n).into(), (*v).into()))
            .collect(),
        ..Source::of_process(None)
    };
    for variable in ["PGDATABASE", "PGSERVICE"] {
        let loaded = load(&source(&[(variable, "x")])).unwrap();
        assert!(matches!(
            loaded.plan.servers[0].databases,
            Databases::FromEnvironment
        ));
    }
    let error = load(&source(&[("PGUSER", "x")])).unwrap_err().to_string();
    assert!(error.contains("database = \"NAME\""), "{error}");
    let named = Source {
        file: Some(empty.path().join("none.toml")),
        ..source(&[("PGDATABASE", "x")])
    };
    let error = load(&named).unwrap_err().to_string();
    assert!(
        error.contains("none.toml") && error.contains("--config"),
        "{error}"
    );
}

#[test]
fn a_link_to_nothing_is_no_configuration_that_is_absent() {
    for name in ["pgbackupd.toml", "conf.d/10.toml", "conf.d"] {
        let etc = Etc::new("database = \"a\"\n");
        let link = etc.0.path().join(name);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        fs::remove_file(&link).ok();
        symlink("gone", &link).unwrap();
        let error = load(&etc.with(&[("PGDATABASE", "x")])).unwrap_err();
        let [problem] = error.problems.as_slice() else {
            panic!("{name}: {error}");
        };
        assert_eq!(
            problem.message,
            "the configuration cannot be read: it is a link to gone, which does not exist"
        );
        let help = problem.help.as_deref();
        assert_eq!(
            help,
            Some("bring back what it leads to, or remove the link")
        );
        assert_eq!(
            problem.place,
            Some(ProblemLocation::File {
                path: link,
                line: None
            })
        );
    }
}

#[test]
fn later_sources_win_setting_by_setting_and_each_setting_knows_its_source() {
    let etc =
        Etc::new("database = \"a\"\ntimezone = \"UTC\"\n[jobs.daily]\nschedule = \"1 1 * * *\"\n");
    etc.write("conf.d/20.toml", "[jobs.daily]\nschedule = \"3 3 * * *\"\n");
    etc.write(
        "conf.d/10.toml",
        "timezone = \"Europe/Berlin\"\n[jobs.daily]\nschedule = \"2 2 * * *\"\n",
    );
    etc.write("conf.d/.hidden.toml", "nonsense");
    etc.write("conf.d/README", "nonsense");
    let loaded = load(&etc.with(&[
        ("PGBACKUPD_JOBS__WEEKLY__ENABLED", "false"),
        ("PGBACKUPD_CONFIG", "not a setting"),
        ("PGBACKUPD_DATABASE", "2025"),
        ("PGBACKUPD_RETENTION__FLOOR", "5"),
    ]))
    .unwrap();
    let daily = loaded
        .plan
        .jobs
        .iter()
        .find(|job| job.name == "daily")
        .unwrap();
    assert_eq!(daily.schedule.text(), "3 3 * * *");
    assert_eq!(daily.schedule.zone(), chrono_tz::Tz::Europe__Berlin);
    assert_eq!(daily.kind, JobKind::Backup("daily".parse().unwrap()));
    assert!(!loaded.plan.jobs.iter().any(|job| job.name == "weekly"));
    assert_eq!(directories(&loaded), ["/var/backups/2025"]);
    assert_eq!(loaded.plan.retention.floor.get(), 5);

    let source = |key: &str| {
        let list = loaded.settings.list();
        let setting = list
            .into_iter()
            .find(|setting| setting.key.join(".") == key)
            .unwrap();
        match setting.source {
            SettingSource::Default => "default".to_owned(),
            SettingSource::File { path, line } => {
                format!("{}:{}", path.file_name().unwrap().display(), line.unwrap())
            }
            SettingSource::Variable(name) => name,
        }
    };
    assert_eq!(source("jobs.daily.schedule"), "20.toml:2");
    assert_eq!(source("jobs.daily.series"), "default");
    assert_eq!(source("timezone"), "10.toml:1");
    assert_eq!(source("database"), "PGBACKUPD_DATABASE");
}

#[test]
fn a_problem_shows_the_line_with_a_caret_and_the_way_out() {
    insta::assert_snapshot!(refused("database = \"a\"\n\n[jobs.daily]\nshedule = \"0 2 * * *\"\n"), @r#"
    error: jobs.daily.shedule: unknown setting in jobs.daily
     --> /etc/pgbackupd/pgbackupd.toml:4:1
      |
    4 | shedule = "0 2 * * *"
      | ^^^^^^^
      |
      = help: did you mean schedule?

    the configuration has 1 problem
    "#);
}

#[test]
fn every_problem_of_every_source_is_reported_at_once() {
    let etc = Etc::new(
        "database = \"\"\ntimezone = \"Asia/Riyad\"\n[dump]\nformat = \"plane\"\njobs = 0\n",
    );
    etc.write(
        "conf.d/a.toml",
        "[limits]\ntotal = 30\n[jobs.daily]\nschedule = \"0 0 30 2 *\"\n",
    );
    let source = etc.with(&[
        ("PGBACKUPD_RETENTION__FLOR", "3"),
        ("PGBACKUPD_DUMP__LEVEL", "six"),
    ]);
    let error = load(&source).unwrap_err();
    let keys: Vec<&str> = error
        .problems
        .iter()
        .map(|problem| problem.key.as_str())
        .collect();
    assert_eq!(
        keys,
        [
            "database",
            "dump.format",
            "dump.jobs",
            "timezone",
            "jobs.daily.schedule",
            "limits.total",
            "dump.level",
            "retention.flor",
        ]
    );
    let last = error.problems.last().unwrap();
    assert_eq!(
        last.place,
        Some(ProblemLocation::Variable(
            "PGBACKUPD_RETENTION__FLOR".into()
        ))
    );
    assert_eq!(last.help.as_deref(), Some("did you mean floor?"));
}

#[test]
fn plans_are_equal_exactly_when_they_mean_the_same() {
    let text = "databases = \"all\"\ninclude = [\"a*\"]\n[connection]\nhost = \"h\"";
    assert_eq!(
        accepted(text).plan,
        accepted(&format!("# again\n{text}")).plan
    );
    for other in [
        text.replace("a*", "b*"),
        text.replace("\"h\"", "\"i\""),
        format!("{text}\n[jobs.daily]\nschedule = \"0 4 * * *\""),
        format!("{text}\n[jobs.daily]\ntimezone = \"UTC\""),
        format!("{text}\n[jobs.daily]\nwindow = \"5 hours\""),
        format!("{text}\n[series.daily]\nkeep = \"3 days\""),
        format!("{text}\n[dump]\nlevel = 3"),
        format!("{text}\n[daemon]\nconcurrency = 3"),
    ] {
        assert_ne!(accepted(text).plan, accepted(&other).plan, "{other}");
    }
}

#[test]
fn what_is_sound_but_odd_is_warned_of() {
    let warnings = |text: &str| accepted(text).plan.warnings.join("\n");
    let unmade = warnings("database = \"a\"\n[series.dialy]\nkeep = \"1 day\"");
    assert!(unmade.contains("did you mean daily?"), "{unmade}");
    let for_ever = warnings("database = \"a\"\n[jobs.x]\nseries = \"x\"\nschedule = \"@hourly\"");
    assert!(for_ever.contains("stay permanently"), "{for_ever}");
    let per_server = warnings("database = \"a\"\n[daemon]\nconcurrency_per_server = 3");
    assert!(per_server.contains("only 2 run in all"), "{per_server}");
    let crowded = "database = \"a\"\n[jobs.verify]\nschedule = \"*/10 * * * *\"\njitter = ";
    let close = warnings(&format!("{crowded}\"10 minutes\""));
    assert!(close.contains("10 minutes after the one before"), "{close}");
    assert_eq!(warnings(&format!("{crowded}\"9 minutes\"")), "");
    // In whatever format, it counts for a restore.
    assert_eq!(warnings("database = \"a\"\n[dump]\njobs = 4"), "");
    assert_eq!(
        warnings("database = \"a\"\n[jobs.weekly]\nenabled = false"),
        ""
    );
}

#[test]
fn lists_and_tables_can_come_from_a_variable() {
    let etc = Etc::new("");
    let loaded = load(&etc.with(&[("PGBACKUPD_DATABASES", r#"["a", {name = "b"}]"#)])).unwrap();
    assert_eq!(directories(&loaded), ["/var/backups/a", "/var/backups/b"]);
    let error = load(&etc.with(&[("PGBACKUPD_DATABASES", r#"["a", "a"]"#)])).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("in the environment variable PGBACKUPD_DATABASES"),
        "{error}"
    );
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(
        text in "((database|jobs|connection|[a-z]{1,4})[ .]?(=| = |\\]|\\[)?[\"'{}\\[\\],0-9é]{0,6}\n?){0,5}",
    ) {
        let (_, _) = super::layer::Layer::from_file("x".into(), &text, None);
        let (_, _) = super::layer::Layer::from_variable("PGBACKUPD_X", &text, &text);
    }
}
