//! The configuration as a whole: what is accepted, what is refused, and in which words.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::{
    Compression, Databases, Format, JobKind, Loaded, PasswordSource, Place, SettingSource, Source,
    load,
};

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
            "drill Drill 0 5 1 * *",
            "prune Prune 0 4 1 * *",
            "verify Verify 0 3 * * 0",
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
fn what_is_sound_but_odd_is_warned_of() {
    let warnings = |text: &str| accepted(text).plan.warnings.join("\n");
    let unmade = warnings("database = \"a\"\n[series.dialy]\nkeep = \"1 day\"");
    assert!(unmade.contains("did you mean daily?"), "{unmade}");
    let for_ever = warnings("database = \"a\"\n[jobs.x]\nseries = \"x\"\nschedule = \"@hourly\"");
    assert!(for_ever.contains("stay for ever"), "{for_ever}");
    let jobs = warnings("database = \"a\"\n[dump]\njobs = 4");
    assert!(jobs.contains("directory format"), "{jobs}");
    assert_eq!(
        warnings("database = \"a\"\n[jobs.weekly]\nenabled = false"),
        ""
    );
    assert_eq!(
        warnings("database = \"a\"\n[dump]\njobs = 4\nformat = \"directory\""),
        ""
    );
}

#[test]
fn a_rule_by_age_can_be_taken_away() {
    let loaded = accepted("database = \"a\"\n[series.daily]\nkeep = false\nkeep_last = 7");
    let rules = &loaded.plan.retention.series[&"daily".parse().unwrap()];
    assert_eq!(
        (rules.within, rules.last.map(std::num::NonZeroU32::get)),
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
