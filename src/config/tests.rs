//! The configuration as a whole: what is accepted, what is refused, and in which words.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::{
    Compression, DaemonSettings, Databases, Format, Job, JobKind, Loaded, PasswordSource, Place,
    SettingSource, Source, Verification, load,
};
use crate::policy::Blackouts;
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
        }
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
    let error = load(&etc.source()).expect_err(text).to_string();
    error.replace(etc.0.path().to_str().unwrap(), "/etc/pgbackupd")
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
    error: jobs.daily.shedule: there is no such setting in jobs.daily
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
        Some(Place::Variable("PGBACKUPD_RETENTION__FLOR".into()))
    );
    assert_eq!(last.help.as_deref(), Some("did you mean floor?"));
}

/// What is refused: the text, the line and column of the caret, words of the message.
const REFUSED: &[(&str, &str, &[&str])] = &[
    (
        "database = \"a\"\n[daemon]\nconcurency = 2",
        "3:1",
        &["did you mean concurrency?"],
    ),
    (
        "database = \"a\"\n[daemon]\nconcurrency = 0",
        "3:15",
        &["from 1 to 1000 belongs here, not 0"],
    ),
    (
        "database = \"a\"\n[daemon]\ncatch_up_delay = \"soon\"",
        "3:18",
        &["number and a unit"],
    ),
    (
        "database = \"a\"\n[daemon]\nruntime_directory = \"run/pgbackupd\"",
        "3:21",
        &["begin it with /"],
    ),
    (
        "database = \"a\"\n[daemon]\nstate_directory = \"/run/pgbackupd/\"",
        "3:19",
        &["gone after a restart"],
    ),
    (
        "database = \"a\"\n[daemon]\nruntime_directory = \"/var/lib/pgbackupd\"",
        "3:21",
        &["are one"],
    ),
    (
        "database = \"a\"\n[retry]\nfirst = \"1 hour\"",
        "3:9",
        &["1 hour, is longer than the longest, 15 minutes"],
    ),
    (
        "database = \"a\"\n[retry]\nlongest = \"10 seconds\"",
        "3:11",
        &["30 seconds, is longer than the longest, 10 seconds"],
    ),
    (
        "database = \"a\"\n[retry]\nfirst = \"0 seconds\"",
        "3:9",
        &["longer than nothing"],
    ),
    (
        "database = \"a\"\n[logs]\nlevel = \"warn\"",
        "3:9",
        &["there are: error, warning, info, debug"],
    ),
    (
        "database = \"a\"\n[logs]\nfile = \"log.json\"",
        "3:8",
        &["begin it with /"],
    ),
    (
        "database = \"a\"\n[objectives]\nrecovery_point = \"0 hours\"",
        "3:18",
        &["longer than nothing"],
    ),
    (
        "database = \"a\"\n[objectives]\nrpo = \"1 hour\"",
        "3:1",
        &["there are: recovery_point, grace, recovery_time"],
    ),
    (
        "database = \"a\"\n[restore]\nstop = [\"systemctl stop app\"]",
        "3:8",
        &["no shell takes it apart"],
    ),
    (
        "database = \"a\"\n[restore]\nstart = [\"\", \"x\"]",
        "3:9",
        &["the name of the program is empty"],
    ),
    (
        "database = \"a\"\n[jobs.daily]\njitter = \"6 hours\"",
        "3:10",
        &["does not fit into the job's window of 6 hours"],
    ),
    (
        "database = \"a\"\n[jobs.daily]\nwindow = \"0 hours\"",
        "3:10",
        &["longer than nothing"],
    ),
    (
        "database = \"a\"\n[jobs.daily]\ncatchup = false",
        "3:1",
        &["did you mean catch_up?"],
    ),
    (
        "database = \"a\"\nblackout = \"08:00-18:00\"",
        "2:12",
        &["a list of windows, such as [\"Mon-Fri 08:00-18:00\"] belongs here, not text"],
    ),
    (
        "database = \"a\"\nblackout = [\"08:00-18:00\", \"Mo-Fr 20:00-21:00\"]",
        "2:28",
        &["\"Mo\" is no day of the week"],
    ),
    (
        "database = \"a\"\nblackout = [\"00:00-12:00\", \"12:00-24:00\"]",
        "2:12",
        &["cover the whole week", "leave some time"],
    ),
    (
        "database = \"a\"\n[jobs.daily]\nblackout = [\"00:00-24:00\"]",
        "3:12",
        &["cover the whole week"],
    ),
    (
        "database = \"a\"\nblackout = [\"Mon-Sat 00:00-09:00\", \"Sun 00:00-08:00\"]",
        "2:12",
        &[
            "no run of the job daily would ever start",
            "window of 6 hours",
        ],
    ),
    (
        "database = \"a\"\n[jobs.weekly]\nblackout = [\"Sun 00:00-24:00\"]",
        "3:12",
        &["no run of the job weekly would ever start"],
    ),
    (
        "database = \"a\"\n[daemon]\nblackout = []",
        "3:1",
        &["at the top of the file"],
    ),
    ("databse = \"a\"", "1:1", &["did you mean database?"]),
    (
        "[connection]\ndatabase = \"a\"",
        "2:1",
        &["at the top of the file"],
    ),
    (
        "database = \"a\"\n[connection]\nhots = \"x\"",
        "3:1",
        &["did you mean host?"],
    ),
    (
        "database = \"a\"\n[connection]\nsslmode = \"verify\"",
        "3:11",
        &["verify-ca"],
    ),
    (
        "database = \"a\"\n[connection]\nport = 70000",
        "3:8",
        &["1 to 65535"],
    ),
    (
        "database = \"a\"\n[connection]\ndbname = \"x\"",
        "3:1",
        &["named by database"],
    ),
    (
        "database = \"a\"\n[jobs.daily]\nschedule = \"0 2 30 2 *\"",
        "3:12",
        &["never run"],
    ),
    (
        "database = \"a\"\n[jobs.daily]\nschedule = \"0 0 2 * * *\"",
        "3:12",
        &["\"0 2 * * *\""],
    ),
    (
        "database = \"a\"\n[jobs.daily]\nschedule = \"*/90 * * * *\"",
        "3:12",
        &["step of 90"],
    ),
    (
        "database = \"a\"\n[jobs.daily]\nkind = \"backups\"",
        "3:8",
        &["did you mean \"backup\"?"],
    ),
    (
        "database = \"a\"\n[jobs.daily]\nkind = 0",
        "3:8",
        &["a word in quotes"],
    ),
    (
        "database = \"a\"\n[jobs.x]\nkind = \"backup\"\nschedule = \"@daily\"",
        "2:7",
        &["no series"],
    ),
    (
        "database = \"a\"\n[jobs.x]\nschedule = \"@daily\"",
        "2:7",
        &["no kind"],
    ),
    (
        "database = \"a\"\n[jobs.x]\nseries = \"x\"",
        "2:7",
        &["no schedule"],
    ),
    (
        "database = \"a\"\n[jobs.verify]\nseries = \"x\"",
        "3:1",
        &["only a backup job"],
    ),
    (
        "database = \"a\"\n[jobs.drill]\nbudget = \"1 hour\"",
        "3:1",
        &["only a verification", "kind = \"verify\""],
    ),
    (
        "database = \"a\"\n[jobs.daily]\nolder_than = \"6 days\"",
        "3:1",
        &["only a verification"],
    ),
    (
        "database = \"a\"\n[jobs.verify]\nbudget = \"0 hours\"",
        "3:10",
        &["longer than nothing"],
    ),
    (
        "database = \"a\"\n[jobs.daily]\nseries = \"Daily\"",
        "3:10",
        &["lower-case"],
    ),
    (
        "database = \"a\"\n[jobs.daily]\nseries = \"manual\"",
        "3:10",
        &["on demand"],
    ),
    (
        "database = \"a\"\n[series.Daily]\nkeep = \"1 day\"",
        "2:9",
        &["lower-case"],
    ),
    (
        "database = \"a\"\n[series.daily]\nkeep = \"0 days\"",
        "3:8",
        &["zero"],
    ),
    (
        "database = \"a\"\n[series.daily]\nkeep = 30",
        "3:8",
        &["\"30 days\"", "not 30"],
    ),
    (
        "database = \"a\"\n[series.daily]\nkeep = true",
        "3:8",
        &["for how long"],
    ),
    (
        "database = \"a\"\n[series.daily]\nkeep = \"30 dyas\"",
        "3:8",
        &["dyas", "30 days"],
    ),
    (
        "database = \"a\"\n[series.daily]\nkeep_last = 0",
        "3:13",
        &["from 1 to"],
    ),
    (
        "database = \"a\"\n[retention]\nfloor = 0",
        "3:9",
        &["from 1 to"],
    ),
    (
        "database = \"a\"\n[limits]\ndump = \"0 s\"",
        "3:8",
        &["zero"],
    ),
    (
        "database = \"a\"\n[limits]\nfree_space = \"10\"",
        "3:14",
        &["of what?"],
    ),
    (
        "database = \"a\"\n[limits]\nfree_space = \"0 GB\"",
        "3:14",
        &["zero"],
    ),
    (
        "database = \"a\"\n[dump]\nthreads = 0",
        "3:11",
        &["from 1 to 64"],
    ),
    (
        "database = \"a\"\n[dump]\njobs = 65",
        "3:8",
        &["from 1 to 64"],
    ),
    (
        "database = \"a\"\n[dump]\nlevel = 13",
        "3:9",
        &["gzip has levels from 1 to 12"],
    ),
    (
        "database = \"a\"\n[dump]\nlevel = 20\ncompression = \"zstd\"",
        "3:9",
        &["1 to 19"],
    ),
    (
        "database = \"a\"\n[dump]\nlevel = 1\ncompression = \"none\"",
        "3:9",
        &["no level"],
    ),
    (
        "databases = [{ name = \"a\", level = 13 }]",
        "1:36",
        &["1 to 12"],
    ),
    (
        "database = \"a\"\ntimezone = \"Asia/Riyad\"",
        "2:12",
        &["did you mean \"Asia/Riyadh\"?"],
    ),
    (
        "database = \"a\"\ndirectory = \"backups\"",
        "2:13",
        &["begin it with /"],
    ),
    ("database = \"a\"\ndirectory = \"/\"", "2:13", &["below it"]),
    ("database = \"a\"\ndirectory = \"/b/../c\"", "2:13", &[".."]),
    (
        "database = \"a\"\ndatabases = [\"b\"]",
        "1:1",
        &["both database and databases"],
    ),
    ("databases = []", "1:13", &["empty"]),
    ("databases = [\"a\", \"b\", \"a\"]", "1:24", &["twice"]),
    ("databases = [\"a\", \"\"]", "1:19", &["not empty"]),
    ("databases = [{ directory = \"/x\" }]", "1:14", &["no name"]),
    (
        "databases = \"al\"",
        "1:13",
        &["\"all\"", "database = \"al\""],
    ),
    ("database = \"a\\u0000b\"", "1:12", &["NUL"]),
    ("database = 2024-01-01", "1:12", &["in quotes"]),
    (
        "database = \"a\"\ninclude = [\"b\"]",
        "2:1",
        &["databases = \"all\""],
    ),
    (
        "databases = \"all\"\nexclude = [\"[\"]",
        "2:12",
        &["no pattern"],
    ),
    (
        "databases = \"all\"\nexclude = [\"a\", \"a\"]",
        "2:17",
        &["twice"],
    ),
    (
        "databases = [{ name = \"a\", directory = \"/b/x\" }, { name = \"b\", directory = \"/b/x/\" }]",
        "1:76",
        &["is the directory of", "\"a\""],
    ),
    (
        "databases = [{ name = \"a\", directory = \"/b/x/y\" }, { name = \"b\", directory = \"/b/x\" }]",
        "1:40",
        &["lies inside"],
    ),
    (
        "database = \"s\"\n[servers.s]\ndatabase = \"x\"",
        "3:12",
        &["lies inside"],
    ),
    (
        "databases = \"all\"\n[servers.s]\ndatabases = \"all\"\ndirectory = \"/var/backups\"",
        "3:13",
        &["is the directory of all databases of server main"],
    ),
    ("[servers.s]\n", "1:10", &["names no database"]),
    (
        "[servers.main]\ndatabase = \"a\"",
        "1:10",
        &["choose another name"],
    ),
    (
        "[servers.\"a/b\"]\ndatabase = \"a\"",
        "1:10",
        &["no name for a server"],
    ),
    (
        "[connection]\nhost = \"h\"\n[servers.s]\ndatabase = \"a\"",
        "1:2",
        &["no database is named"],
    ),
    (
        "database = \"a\"\n[connection]\nuri = \"host=x\"",
        "3:7",
        &["postgresql://"],
    ),
    (
        "database = \"a\"\n[connection]\nconninfo = \"hots=x\"",
        "3:12",
        &["did you mean host?"],
    ),
    (
        "database = \"a\"\n[connection]\nuri = \"postgres://h\"\nconninfo = \"host=x\"",
        "4:1",
        &["both uri and conninfo"],
    ),
    (
        "database = \"a\"\n[connection]\npassword_file = \"/nonexistent/x\"",
        "3:17",
        &["there is no file"],
    ),
    (
        "database = \"a\"\ndatabase = \"b\"",
        "2:1",
        &["duplicate key"],
    ),
    ("database = \"a", "1:14", &["TOML"]),
];

#[test]
fn everything_wrong_is_refused_at_its_place_with_a_way_out() {
    let mut failures = String::new();
    for (text, place, words) in REFUSED {
        let message = refused(text);
        let arrow = format!("--> /etc/pgbackupd/pgbackupd.toml:{place}\n");
        let frame = [arrow.as_str(), "has 1 problem\n"];
        let lacking = frame
            .iter()
            .chain(*words)
            .find(|words| !format!("{message}\n").contains(**words));
        if let Some(lacking) = lacking {
            failures = failures + text + "\nlacks " + lacking + ":\n" + &message + "\n\n";
        }
    }
    assert!(failures.is_empty(), "{failures}");
    let long = refused(&format!("database = \"{}\"", "a".repeat(64)));
    assert!(long.contains("at most 63 bytes"), "{long}");
    let arabic = format!("database = \"{}a\"", "ق".repeat(31));
    assert_eq!(
        directories(&accepted(&arabic)).len(),
        1,
        "63 bytes are fine in any script"
    );
}

#[test]
fn a_password_in_a_file_that_others_can_read_is_refused_and_never_shown() {
    for setting in [
        "password = \"hunter2\"",
        "uri = \"postgres://u:hunter2@h/db\"",
        "conninfo = \"host=h password=hunter2\"",
    ] {
        let text = format!("database = \"a\"\n[connection]\n{setting}\n");
        let message = refused(&text);
        assert!(message.contains("chmod 600"), "{message}");
        assert!(message.contains("mode 0644"), "{message}");
        assert!(!message.contains("hunter2"), "{message}");

        let etc = Etc::new(&text);
        set_mode(&etc.0.path().join("pgbackupd.toml"), 0o600);
        let loaded = load(&etc.source()).unwrap();
        assert_eq!(loaded.plan.warnings.len(), 1, "{:?}", loaded.plan.warnings);
        let Some(PasswordSource::Inline(secret)) = &loaded.plan.servers[0].connection.password
        else {
            panic!("{setting}: an inline password")
        };
        assert_eq!(secret.expose_secret(), "hunter2");
        let everything = format!("{loaded:?}");
        assert!(!everything.contains("hunter2"), "{everything}");
    }
}

#[test]
fn no_error_shows_a_secret_that_stands_in_its_line() {
    for text in [
        "database = \"a\"\n[connection]\npasword = \"hunter2\"",
        "database = \"a\"\n[connection]\npassword = \"hunter2",
        "database = \"a\"\nconnection = { hots = \"h\", password = \"hunter2\" }",
        "database = \"a\"\nconnection = \"postgres://u:hunter2@h/db\"",
        "database = \"a\"\n[connection]\npassword = [\"hunter2\"]",
        "database = \"a\"\n[connection]\npassword = 4711",
        "database = \"a\"\n[connection]\nconninfo = \"host=h password='hunter2\"",
        "database = \"a\"\n[connection]\npassword_file = \"hunter2\"\npassword = 7\nuri = \"x:hunter2\"",
    ] {
        // The file's name is no secret, so only what looks like a password's own value is hidden.
        let message = refused(text).replace("password_file = \"hunter2\"", "");
        let message = message.replace("\"hunter2\" is not a path", "");
        assert!(
            !message.contains("hunter2") && !message.contains("4711"),
            "{text}\n{message}"
        );
    }
    let etc = Etc::new("database = \"a\"");
    let source = etc.with(&[("PGBACKUPD_CONNECTION__PASSWROD", "hunter2")]);
    assert!(!load(&source).unwrap_err().to_string().contains("hunter2"));
}

#[test]
fn a_password_file_that_others_can_read_is_refused() {
    let etc = Etc::new("");
    let secret = etc.write("secret", "hunter2\n");
    for setting in ["password_file", "passfile"] {
        let text = format!("database = \"a\"\n[connection]\n{setting} = {secret:?}\n");
        etc.write("pgbackupd.toml", &text);
        set_mode(&secret, 0o640);
        let error = load(&etc.source()).unwrap_err().to_string();
        assert!(
            error.contains("can be read by others (mode 0640)"),
            "{error}"
        );
        set_mode(&secret, 0o600);
        assert!(load(&etc.source()).is_ok());
    }
}

#[test]
fn two_passwords_are_refused() {
    let etc = Etc::new("");
    let path = etc.write(
        "pgbackupd.toml",
        "database = \"a\"\n[connection]\npassword = \"x\"\ncredential = \"y\"\n",
    );
    set_mode(&path, 0o600);
    let error = load(&etc.source()).unwrap_err().to_string();
    assert!(
        error.contains("comes from connection.password too"),
        "{error}"
    );
}

#[test]
fn several_servers_have_databases_directories_and_dumps_of_their_own() {
    let loaded = accepted(
        r#"
        databases = ["a", { name = "b/c", directory = "/srv/bc", format = "custom", compression = "none" }]
        [dump]
        level = 9
        [connection]
        host = "/run/postgresql"
        port = 5433
        keepalives = 1
        service_file = "/etc/pg_service.conf"
        [servers.reports]
        databases = "all"
        exclude = ["test_*", "app"]
        connection = { uri = "postgresql://backup@reports/postgres", connect_timeout = 5 }
        dump = { compression = "zstd" }
        [servers.other]
        connection = { conninfo = "host=o dbname='x y'" }
        "#,
    );
    let names: Vec<&str> = loaded
        .plan
        .servers
        .iter()
        .map(|server| server.name.as_str())
        .collect();
    assert_eq!(names, ["main", "other", "reports"]);
    assert_eq!(
        directories(&loaded),
        ["/var/backups/a", "/srv/bc", "/var/backups/other/x%20y"]
    );
    let [main, _, reports] = loaded.plan.servers.as_slice() else {
        panic!("three")
    };
    let parameters: Vec<String> = main
        .connection
        .parameters
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    assert_eq!(
        parameters,
        [
            "host=/run/postgresql",
            "keepalives=1",
            "port=5433",
            "servicefile=/etc/pg_service.conf"
        ]
    );
    let Databases::Named(own) = &main.databases else {
        panic!("named")
    };
    assert_eq!(
        (own[0].dump.compression, own[0].dump.level),
        (Compression::Gzip, Some(9))
    );
    assert_eq!(
        (own[1].dump.compression, own[1].dump.level),
        (Compression::None, None)
    );
    assert_eq!(own[1].dump.format, Format::Custom);
    assert_eq!(reports.dump.compression, Compression::Zstd);
    assert_eq!(
        reports.dump.level, None,
        "a level of gzip's scale means nothing to zstd"
    );
    let Databases::All(selection) = &reports.databases else {
        panic!("all")
    };
    assert!(selection.matches("app_prod") && !selection.matches("app"));
    assert!(!selection.matches("test_x"));
    assert_eq!(
        reports.directory_for("p q"),
        Path::new("/var/backups/reports/p%20q")
    );
    assert_eq!(main.directory_for("b/c"), Path::new("/srv/bc"));
    assert_eq!(loaded.plan.warnings, [""; 0]);
}

#[test]
fn a_discovered_database_never_gets_a_directory_that_is_taken() {
    let loaded = accepted(
        "databases = \"all\"\n[servers.s]\ndatabase = \"x\"\n[servers.t]\ndatabases = \"all\"\n",
    );
    let main = &loaded.plan.servers[0];
    assert_eq!(loaded.plan.directory_taken_by(main, "free"), None);
    assert_eq!(
        loaded.plan.directory_taken_by(main, "s").as_deref(),
        Some("database \"x\" of server s")
    );
    assert_eq!(
        loaded.plan.directory_taken_by(main, "t").as_deref(),
        Some("the databases of server t")
    );
}

#[test]
fn each_job_has_its_own_surroundings_or_the_common_ones() {
    let loaded = accepted(
        r#"
        database = "a"
        timezone = "Europe/Berlin"
        blackout = ["Mon-Fri 08:00-18:00"]

        [retry]
        first = "1 second"

        [jobs.weekly]
        window = "2 days"
        jitter = "10 minutes"
        catch_up = false
        timezone = "UTC"
        blackout = ["Sat,Sun 22:00-02:00", "12:00-13:00"]

        [jobs.verify]
        timezone = "UTC"

        [jobs.prune]
        blackout = []
        "#,
    );
    let job = |name: &str| {
        let found = loaded.plan.jobs.iter().find(|job| job.name == name);
        found.unwrap_or_else(|| panic!("{name}"))
    };
    let windows = |job: &Job| {
        let windows = job.blackouts.windows().iter().map(ToString::to_string);
        (windows.collect::<Vec<_>>().join("; "), job.blackouts.zone())
    };
    let berlin = chrono_tz::Tz::Europe__Berlin;
    let common = ("Mon-Fri 08:00-18:00".to_owned(), berlin);
    assert_eq!(windows(job("daily")), common);
    // The common windows are read in the common zone, whatever the job's.
    assert_eq!(windows(job("verify")), common);
    assert_eq!(windows(job("prune")), (String::new(), berlin));
    let weekly = job("weekly");
    assert_eq!(
        windows(weekly),
        (
            "Sat,Sun 22:00-02:00; 12:00-13:00".to_owned(),
            chrono_tz::Tz::UTC
        )
    );
    assert_eq!(weekly.window, Duration::from_secs(2 * 24 * 60 * 60));
    assert_eq!(weekly.jitter, Duration::from_secs(600));
    assert!(!weekly.catch_up);
    assert_eq!(weekly.retry.first, Duration::from_secs(1));
}

#[test]
fn a_job_of_ones_own_is_surrounded_as_those_of_the_policy_are() {
    let loaded =
        accepted("database = \"a\"\n[jobs.x]\nkind = \"verify\"\nschedule = \"0 2 * * *\"");
    let job = |name: &str| {
        let found = loaded.plan.jobs.iter().find(|job| job.name == name);
        found.unwrap().clone()
    };
    let same = Job {
        name: "x".to_owned(),
        kind: JobKind::Verify(Verification::default()),
        ..job("daily")
    };
    assert_eq!(job("x"), same);
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
fn every_window_that_is_wrong_is_reported_at_once() {
    let error =
        refused("database = \"a\"\nblackout = [\"x\", \"Mon-Fri 08:00-18:00\", \"25:00-26:00\"]");
    assert!(error.contains("2:13") && error.contains("2:41"), "{error}");
    assert!(error.contains("2 problems"), "{error}");
}

#[test]
fn what_is_sound_but_odd_is_warned_of() {
    let warnings = |text: &str| accepted(text).plan.warnings.join("\n");
    let unmade = warnings("database = \"a\"\n[series.dialy]\nkeep = \"1 day\"");
    assert!(unmade.contains("did you mean daily?"), "{unmade}");
    let for_ever = warnings("database = \"a\"\n[jobs.x]\nseries = \"x\"\nschedule = \"@hourly\"");
    assert!(for_ever.contains("stay for ever"), "{for_ever}");
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
fn a_rule_by_age_can_be_taken_away() {
    let loaded = accepted("database = \"a\"\n[series.daily]\nkeep = false\nkeep_last = 7");
    let rules = &loaded.plan.retention.series[&"daily".parse().unwrap()];
    assert_eq!(
        (rules.within, rules.last.map(NonZeroU32::get)),
        (None, Some(7))
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
        let (_, _) = super::layer::Layer::from_file("x".into(), &text, 0o600);
        let (_, _) = super::layer::Layer::from_variable("PGBACKUPD_X", &text, &text);
    }
}

/// The example with its settings made live: `#key = value` has the default, and with `examples`
/// also `#? key = value`, which has none.
fn example(examples: bool) -> String {
    include_str!("../../config/pgbackupd.toml")
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if setting.starts_with(|c: char| c.is_ascii_alphabetic()) => setting,
            Some(example) if examples => example.strip_prefix("? ").unwrap_or(line),
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_example_that_ships_is_exactly_the_defaults() {
    let defaults = settings_of("");
    assert!(defaults.len() > 20, "the defaults are not empty");
    assert_eq!(
        settings_of(include_str!("../../config/pgbackupd.toml")),
        defaults,
        "as it ships"
    );
    // Every default must be *written* in the example, not only be in force beneath it.
    let etc = Etc::new(&example(false));
    let loaded = load(&etc.with(&[("PGDATABASE", "x")])).unwrap();
    for setting in loaded.settings.list() {
        let from_file = matches!(setting.source, SettingSource::File { .. });
        assert!(from_file, "{} is not in the example", setting.key.join("."));
    }
    assert_eq!(
        settings_of(&example(false)),
        defaults,
        "with its settings made live"
    );
}

fn settings_of(text: &str) -> Vec<(String, String)> {
    let etc = Etc::new(text);
    let loaded = load(&etc.with(&[("PGDATABASE", "x")])).unwrap_or_else(|error| panic!("{error}"));
    loaded
        .settings
        .list()
        .into_iter()
        .map(|s| (s.key.join("."), s.value))
        .collect()
}

#[test]
fn every_setting_of_the_schema_occurs_in_the_example() {
    fn keys(schema: &serde_json::Value, found: &mut Vec<String>) {
        match schema {
            serde_json::Value::Object(object) => {
                if let Some(serde_json::Value::Object(properties)) = object.get("properties") {
                    found.extend(properties.keys().cloned());
                }
                object.values().for_each(|value| keys(value, found));
            }
            serde_json::Value::Array(list) => list.iter().for_each(|value| keys(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    keys(super::schema().as_value(), &mut found);
    assert!(found.len() > 60, "{found:?}");
    let text = include_str!("../../config/pgbackupd.toml");
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words: std::collections::BTreeSet<&str> = text
        .lines()
        .filter(|line| line.contains(" = ") || line.contains('['))
        .flat_map(|line| line.split(|c| !is_word(c)))
        .collect();
    let missing: Vec<&String> = found
        .iter()
        .filter(|key| !words.contains(key.as_str()))
        .collect();
    assert!(missing.is_empty(), "not in the example: {missing:?}");
}

#[test]
fn the_examples_of_the_example_are_sound() {
    let etc = Etc::new(&example(true));
    load(&etc.source()).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn every_example_of_the_documentation_is_sound() {
    let text = include_str!("../../docs/configuration.md");
    let examples: Vec<&str> = text
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(examples.len() > 5, "{examples:?}");
    for example in examples {
        let etc = Etc::new(example);
        let loaded = load(&etc.with(&[("PGDATABASE", "x")]));
        let loaded = loaded.unwrap_or_else(|error| panic!("{example}\n{error}"));
        assert_eq!(loaded.plan.warnings, [""; 0], "{example}");
    }
}

#[test]
fn a_verification_reads_everything_for_four_hours_unless_it_is_told_otherwise() {
    let verification = |text: &str| {
        let text = format!("database = \"a\"\n[jobs.verify]\n{text}");
        let jobs = accepted(&text).plan.jobs;
        let verify = jobs.into_iter().find(|job| job.name == "verify").unwrap();
        let JobKind::Verify(verification) = verify.kind else {
            panic!("{:?}", verify.kind);
        };
        (verification.older_than, verification.budget)
    };
    let hour = Duration::from_secs(60 * 60);
    assert_eq!(verification(""), (Duration::ZERO, 4 * hour));
    let both = "older_than = \"6 days\"\nbudget = \"90 minutes\"";
    assert_eq!(verification(both), (6 * 24 * hour, 90 * hour / 60));
}
