//! What is refused, at which place and with which way out.

use super::{Etc, accepted, directories, load, refused, set_mode};

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
        &["from 1 to 1000, found 0"],
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
        "database = \"a\"\n[drill]\npreload = [\"pg_cron\", \"/tmp/evil.so\"]",
        "3:23",
        &[
            "\"/tmp/evil.so\" is not the name of a library",
            "without a directory",
        ],
    ),
    (
        "database = \"a\"\n[drill]\npreload = [\"a,b\"]",
        "3:12",
        &["is not the name of a library"],
    ),
    (
        "database = \"a\"\n[drill]\npreload = \"pg_cron\"",
        "3:11",
        &["expected a sequence, found text"],
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
        &["must be positive"],
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
        &["must be positive"],
    ),
    (
        "database = \"a\"\n[objectives]\nrpo = \"1 hour\"",
        "3:1",
        &["there are: recovery_point, grace, backup_time, recovery_time"],
    ),
    (
        "database = \"a\"\n[anomaly]\nfactor = 1",
        "3:10",
        &["expected a number of more than 1 and at most 100, found 1"],
    ),
    (
        "database = \"a\"\n[anomaly]\nshare = \"0 %\"",
        "3:9",
        &["write a whole number from 1 to 100"],
    ),
    (
        "database = \"a\"\n[anomaly]\nignore = [\"a.b\", \"[\"]",
        "3:18",
        &["invalid pattern"],
    ),
    (
        "database = \"a\"\n[restore]\nstop = [\"systemctl stop app\"]",
        "3:8",
        &["no shell splits it"],
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
        &["must be positive"],
    ),
    (
        "database = \"a\"\n[jobs.daily]\ncatchup = false",
        "3:1",
        &["did you mean catch_up?"],
    ),
    (
        "database = \"a\"\nblackout = \"08:00-18:00\"",
        "2:12",
        &["expected a list of windows, such as [\"Mon-Fri 08:00-18:00\"], found text"],
    ),
    (
        "database = \"a\"\nblackout = [\"08:00-18:00\", \"Mo-Fr 20:00-21:00\"]",
        "2:28",
        &["unknown day of the week \"Mo\""],
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
        "database = \"a\"\n[connection]\nuri = \"postgres://h/?sslpassword=x\"",
        "3:7",
        &["sslpassword: an encrypted client key is not supported"],
    ),
    (
        "database = \"a\"\n[connection]\nconninfo = \"replication=on\"",
        "3:12",
        &["replication: a logical backup needs an ordinary connection"],
    ),
    (
        "database = \"a\"\n[connection]\nsslpassword = \"x\"",
        "3:1",
        &["an encrypted client key is not supported"],
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
        &["only a verify job", "kind = \"verify\""],
    ),
    (
        "database = \"a\"\n[jobs.daily]\nolder_than = \"6 days\"",
        "3:1",
        &["only a verify job"],
    ),
    (
        "database = \"a\"\n[jobs.verify]\nbudget = \"0 hours\"",
        "3:10",
        &["must be positive"],
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
        &["\"30 days\"", "found 30"],
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
        &["invalid pattern"],
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
        &["invalid server name"],
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
        &["unknown libpq parameter \"hots\"", "did you mean host?"],
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
        &["duplicate key: database is in line 1 already"],
    ),
    (
        "database = \"a\"\n[jobs.x]\nkind = \"prune\"\nschedule = \"@daily\"\n\n[jobs.x]\nwindow = \"1 hour\"",
        "6:7",
        &["duplicate key: table [jobs.x] is in line 2 already"],
    ),
    (
        "database = \"a\"\njobs.daily.window = \"1 hour\"\n[jobs.daily]\nenabled = false",
        "3:7",
        &["duplicate key: table [jobs.daily] is set above already"],
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
fn a_configuration_that_others_can_change_is_refused_with_the_command_that_takes_it_from_them() {
    // Which of them is open, and the one to close.
    for (open, mode) in [
        ("pgbackupd.toml", "o-w"),
        ("conf.d/10.toml", "o-w"),
        ("conf.d", "o-w"),
        ("", "o-w"),
    ] {
        let etc = Etc::new("database = \"a\"\n");
        etc.write("conf.d/10.toml", "");
        load(&etc.source()).unwrap();
        let path = match open {
            "" => etc.0.path().to_owned(),
            open => etc.0.path().join(open),
        };
        set_mode(&path, if path.is_dir() { 0o757 } else { 0o646 });
        let error = load(&etc.source()).unwrap_err();
        let [problem] = error.problems.as_slice() else {
            panic!("{open}: {error}");
        };
        assert!(
            problem.message.contains("others can change it"),
            "{open}: {error}"
        );
        let command = format!("run `chmod {mode} {}`", path.display());
        // A name of the temporary directory may need quotes.
        let help = problem.help.as_deref().map(|help| help.replace('\'', ""));
        assert_eq!(help, Some(command), "{open}");
    }
}
