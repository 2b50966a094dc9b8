//! Keys of copies: identities are made for whoever asks and shown to nobody else, and open what they say.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::cluster::Cluster;
use crate::support::operator::{Operator, Output, PROGRAM, Running, server_user};
use crate::support::restored::small;

const SECRET: &str = "AGE-SECRET-KEY-1";

/// What a program prints.
fn printed(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// An identity in a file, and its public half, by `age-keygen`.
fn by_age_keygen(operator: &Operator, name: &str) -> (PathBuf, String) {
    let path = operator.path(name);
    printed("age-keygen", &["-o", path.to_str().unwrap()]);
    let public = printed("age-keygen", &["-y", path.to_str().unwrap()]);
    (path, public.trim().to_owned())
}

/// A backup that was copied, encrypted to a key whose identity is in a file.
fn with_a_copy(cluster: &Cluster) -> (Operator, PathBuf, PathBuf) {
    let mut operator = small(cluster, "app");
    let far = operator.path("far");
    fs::create_dir(&far).unwrap();
    operator.set("name", "db1");
    operator.set("destinations.far.url", format!("file://{}", far.display()));
    let (identity, public) = by_age_keygen(&operator, "identity");
    operator.set_value("encryption.recipients", vec![public]);
    let output = operator.run(&["copy"]);
    assert_eq!(output.code, 0, "{output}");
    (operator, far, identity)
}

/// Runs a command at a terminal of its own, and types these lines.
fn at_a_terminal(operator: &Operator, arguments: &[&str], lines: &str) -> Output {
    let words: Vec<&str> = [&[PROGRAM], arguments].concat();
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let typing = "(sleep 1; printf '%b' \"$1\"; sleep 4) | setsid script -qec \"$2\" /dev/null";
    let mut command = Command::new("bash");
    command
        .args(["-c", typing, "bash", lines])
        .arg(quoted.join(" "))
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", operator.path(""))
        .env("PGBACKUPD_CONFIG", operator.configuration())
        .stdin(Stdio::null());
    Running::start(command).wait()
}

#[test]
fn an_identity_is_printed_once_as_age_reads_it_and_what_to_do_goes_to_stderr() {
    let operator = Operator::without_server("app");
    let output = operator.run(&["key", "generate"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(output.stdout.matches(SECRET).count(), 1, "{output}");
    assert!(!output.stderr.contains(SECRET), "{output}");
    let file = operator.path("printed");
    fs::write(&file, &output.stdout).unwrap();
    let public = printed("age-keygen", &["-y", file.to_str().unwrap()]);
    let line = format!("[encryption]\nrecipients = [\"{}\"]", public.trim());
    for words in [line.as_str(), "When this key is lost, so is every copy."] {
        assert!(output.stderr.contains(words), "{words}: {output}");
    }
    for line in output.stderr.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert!(!operator.path("state").exists(), "it is kept somewhere");

    let again = operator.run(&["key", "generate"]);
    assert_ne!(again.stdout, output.stdout);
}

#[test]
fn an_identity_is_written_to_a_new_file_of_its_owners_alone_and_replaces_none() {
    let operator = Operator::without_server("app");
    let file = operator.path("identity");
    let arguments = ["key", "generate", "--output", file.to_str().unwrap()];
    let output = operator.run(&arguments);
    assert_eq!(output.code, 0, "{output}");
    assert!(!format!("{output}").contains(SECRET), "{output}");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let public = printed("age-keygen", &["-y", file.to_str().unwrap()]);
    assert!(output.stderr.contains(public.trim()), "{output}");

    let before = fs::read(&file).unwrap();
    let output = operator.run(&arguments);
    assert_eq!(output.code, 73, "{output}");
    assert!(output.stderr.contains("nothing is overwritten"), "{output}");
    assert_eq!(fs::read(&file).unwrap(), before);

    // Nor what a link leads to, even if nothing is there.
    let link = operator.path("link");
    symlink(operator.path("elsewhere"), &link).unwrap();
    let output = operator.run(&["key", "generate", "-o", link.to_str().unwrap()]);
    assert_eq!(output.code, 73, "{output}");
    assert!(!operator.path("elsewhere").exists());
}

#[test]
fn an_identity_is_not_printed_where_others_can_read_it() {
    let operator = Operator::without_server("app");
    let log = operator.path("log");
    for (mode, code) in [(0o644, 64), (0o600, 0)] {
        let stdout = fs::File::create(&log).unwrap();
        fs::set_permissions(&log, fs::Permissions::from_mode(mode)).unwrap();
        let status = operator
            .command(&["key", "generate"])
            .stdout(stdout)
            .stderr(Stdio::null())
            .status();
        assert_eq!(status.unwrap().code(), Some(code), "{mode:o}");
        let text = fs::read_to_string(&log).unwrap();
        assert_eq!(text.contains(SECRET), code == 0, "{mode:o}");
    }
    // What systemd connects to the journal, a service knows by a variable.
    let stdout = fs::File::create(&log).unwrap();
    let metadata = stdout.metadata().unwrap();
    let output = operator
        .command(&["key", "generate"])
        .env(
            "JOURNAL_STREAM",
            format!("{}:{}", metadata.dev(), metadata.ino()),
        )
        .stdout(stdout)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("stdout goes to the journal"), "{text}");
    assert_eq!(fs::read_to_string(&log).unwrap(), "");
}

#[test]
fn a_passphrase_is_asked_for_twice_not_shown_and_age_opens_the_file_with_it() {
    let operator = Operator::without_server("app");
    let file = operator.path("sealed");
    let path = file.to_str().unwrap();
    let arguments = ["key", "generate", "--passphrase", "-o", path];
    let output = at_a_terminal(&operator, &arguments, "correct horse\\ncorrect horse\\n");
    assert_eq!(output.code, 0, "{output}");
    assert!(!format!("{output}").contains("correct horse"), "{output}");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n"));

    // age asks at a terminal, too.
    let opened = operator.path("opened");
    let typing =
        "(sleep 1; printf 'correct horse\\n'; sleep 4) | setsid script -qec \"$1\" /dev/null";
    let decrypt = format!("age -d -o '{}' '{path}'", opened.display());
    let status = Command::new("bash")
        .args(["-c", typing, "bash", &decrypt])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    let public = printed("age-keygen", &["-y", opened.to_str().unwrap()]);
    assert!(output.stdout.contains(public.trim()), "{output}");
}

#[test]
fn without_the_same_passphrase_twice_or_a_terminal_no_identity_is_made() {
    let operator = Operator::without_server("app");
    let file = operator.path("sealed");
    let arguments = [
        "key",
        "generate",
        "--passphrase",
        "-o",
        file.to_str().unwrap(),
    ];
    for (lines, reason) in [
        ("one\\ntwo\\n", "the two passphrases differ"),
        ("\\n", "no passphrase was given"),
        ("\\003", "interrupted"),
    ] {
        let output = at_a_terminal(&operator, &arguments, lines);
        assert_ne!(output.code, 0, "{output}");
        assert!(output.stdout.contains(reason), "{reason}: {output}");
        assert!(!file.exists(), "{reason}");
    }
    let output = operator.run_under(&["setsid", "-w"], &arguments);
    assert_eq!(output.code, 64, "{output}");
    assert!(
        output.stderr.contains("asked for at a terminal"),
        "{output}"
    );
    assert!(!file.exists());
}

#[test]
fn without_a_terminal_the_way_to_an_identity_without_a_passphrase_fits_its_kind() {
    let mut operator = Operator::without_server("app");
    operator.set("destinations.far.url", "file:///nonexistent");
    operator.set_value("destinations.far.plain", true);
    let (age, ssh) = (operator.path("age"), operator.path("ssh"));
    let (age, ssh) = (age.to_str().unwrap(), ssh.to_str().unwrap());
    let make = ["key", "generate", "--passphrase", "-o", age];
    assert_eq!(at_a_terminal(&operator, &make, "open\\nopen\\n").code, 0);
    printed(
        "ssh-keygen",
        &["-q", "-t", "ed25519", "-N", "open", "-f", ssh],
    );
    for (file, way) in [(age, "`age -d FILE`"), (ssh, "ssh-keygen -p -N ''")] {
        let output = operator.run_under(&["setsid", "-w"], &["key", "check", file]);
        assert_eq!(output.code, 64, "{output}");
        for part in ["needs a passphrase: ", way] {
            assert!(output.stderr.contains(part), "{part}: {output}");
        }
    }
}

#[test]
fn the_signer_is_made_once_and_ssh_keygen_knows_it() {
    let mut operator = Operator::without_server("app");
    operator.set("name", "db1");
    let (_, public) = by_age_keygen(&operator, "identity");
    operator.set_value("encryption.recipients", vec![public.clone()]);
    let shown = operator.json(&["key", "show"]);
    assert_eq!(operator.json(&["key", "show"]), shown);
    let file = operator.path("state").join("signer");
    assert_eq!(shown["signer_file"], file.to_str().unwrap());
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let listed = printed("ssh-keygen", &["-lf", file.to_str().unwrap()]);
    let fingerprint = shown["signer"]["fingerprint"].as_str().unwrap();
    assert!(listed.contains(fingerprint), "{listed}");
    let key = printed("ssh-keygen", &["-y", "-f", file.to_str().unwrap()]);
    let key = key.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    let line = format!("db1 namespaces=\"pgbackupd-copy\" {key}");
    assert_eq!(shown["signer"]["allowed_signers"], line);
    assert_eq!(shown["recipients"][0]["recipient"], public);

    let text = operator.run(&["key", "show"]).stdout;
    for words in ["db1", fingerprint, line.as_str(), public.as_str()] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let secret = fs::read_to_string(&file).unwrap();
    let line = secret.lines().nth(1).unwrap();
    assert!(!text.contains(line));

    // The line is one that another host's configuration takes.
    operator.set_value(
        "encryption.trusted_signers",
        vec![shown["signer"]["allowed_signers"].clone()],
    );
    let output = operator.run(&["config", "check"]);
    assert!(!output.stderr.contains("trusted_signers"), "{output}");
}

#[test]
fn whoever_cannot_read_the_signer_is_told_so_and_sees_the_rest() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give a file away");
        return;
    }
    let mut operator = Operator::without_server("app");
    operator.set("name", "db1");
    let (_, public) = by_age_keygen(&operator, "identity");
    operator.set_value("encryption.recipients", vec![public.clone()]);
    assert_eq!(operator.run(&["--as-me", "key", "show"]).code, 0);
    let output = operator.run_as_server_user(&["key", "show"]);
    assert_eq!(output.code, 73, "{output}");
    assert!(
        output.stderr.contains("run the command as root"),
        "{output}"
    );
    assert!(output.stdout.contains(&public), "{output}");
    assert!(!output.stdout.contains("signer"), "{output}");
}

#[test]
fn roots_command_makes_the_signer_for_the_service() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can become the service's user");
        return;
    }
    let mut operator = Operator::without_server("app");
    operator.set("name", "db1");
    let user = server_user();
    let everybody = fs::Permissions::from_mode(0o755);
    fs::set_permissions(operator.path("."), everybody).unwrap();
    for name in ["state", "backups"] {
        fs::create_dir(operator.path(name)).unwrap();
        std::os::unix::fs::chown(operator.path(name), Some(user.uid()), None).unwrap();
    }
    // By --as-me none is made that the service could not read.
    let output = operator.run(&["--as-me", "key", "show"]);
    assert_eq!(output.code, 73, "{output}");
    assert!(!operator.path("state").join("signer").exists());
    std::os::unix::fs::chown(operator.configuration(), Some(user.uid()), None).unwrap();
    let output = operator.run(&["key", "show"]);
    assert_eq!(output.code, 0, "{output}");
    let signer = operator.path("state").join("signer").metadata().unwrap();
    assert_eq!(signer.uid(), user.uid());
}

#[test]
fn an_identity_is_checked_by_opening_the_key_of_each_copy() {
    let cluster = Cluster::start();
    let (operator, _, identity) = with_a_copy(&cluster);
    let path = identity.to_str().unwrap();
    let output = operator.run(&["key", "check", path]);
    assert_eq!(output.code, 0, "{output}");
    assert!(
        output
            .stdout
            .contains("far: it opens 1 encrypted copy, which is all"),
        "{output}"
    );

    let (other, public) = by_age_keygen(&operator, "other");
    let wrong = ["key", "check", other.to_str().unwrap(), "--json"];
    let output = operator.run(&wrong);
    assert_eq!(output.code, 65, "{output}");
    let checked: Value = serde_json::from_str(&output.stdout).unwrap();
    let copy = &checked["destinations"][0]["copies"][0];
    assert_eq!(
        (&copy["database"], &copy["opens"]),
        (&"app".into(), &false.into())
    );
    let wanted = operator.json(&["key", "show"])["recipients"][0]["fingerprint"].clone();
    assert!(
        copy["reason"]
            .as_str()
            .unwrap()
            .contains(wanted.as_str().unwrap())
    );
    for place in [&output.stdout, &output.stderr] {
        assert!(!place.contains(SECRET), "{output}");
    }

    // The key of the copy, sealed once more, is for the other one as well.
    let add = ["key", "add-recipient", public.as_str(), "--identity", path];
    let output = operator.run(&add);
    assert_eq!(output.code, 0, "{output}");
    assert!(
        output
            .stdout
            .contains("its identity opens 1 further copy from now on"),
        "{output}"
    );
    assert_eq!(operator.run(&wrong).code, 0);
    assert_eq!(operator.run(&["key", "check", path]).code, 0);
    let output = operator.run(&add);
    assert!(
        output.stdout.contains("it opened 1 copy before"),
        "{output}"
    );
}

/// All files below a directory whose names end so.
fn files(directory: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, end));
        } else if path.to_str().unwrap().ends_with(end) {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_key_that_was_added_is_opened_and_verified_by_age_and_ssh_keygen() {
    let cluster = Cluster::start();
    let (operator, far, identity) = with_a_copy(&cluster);
    let (other, public) = by_age_keygen(&operator, "other");
    let path = identity.to_str().unwrap();
    let output = operator.run(&["key", "add-recipient", &public, "--identity", path]);
    assert_eq!(output.code, 0, "{output}");
    let facts = files(&far, ".json");
    let fact = facts
        .iter()
        .find(|path| path.to_str().unwrap().contains(".key."));
    let fact = fact.unwrap_or_else(|| panic!("no fact in {facts:?}"));
    let document: Value = serde_json::from_slice(&fs::read(fact).unwrap()).unwrap();
    let sealed = operator.path("run.key.age");
    fs::write(&sealed, document["key"].as_str().unwrap()).unwrap();
    let run_key = printed(
        "age",
        &[
            "-d",
            "-i",
            other.to_str().unwrap(),
            sealed.to_str().unwrap(),
        ],
    );
    let run_key_file = operator.path("run.key");
    fs::write(&run_key_file, run_key).unwrap();
    let volume = &files(&far, ".age")[0];
    let key = run_key_file.to_str().unwrap();
    assert!(
        Command::new("age")
            .args(["-d", "-i", key, "-o", "/dev/null", volume.to_str().unwrap()])
            .status()
            .unwrap()
            .success()
    );

    let shown = operator.json(&["key", "show"]);
    let signers = operator.path("signers");
    let line = shown["signer"]["allowed_signers"].as_str().unwrap();
    fs::write(&signers, format!("{line}\n")).unwrap();
    let verified = Command::new("ssh-keygen")
        .args(["-Y", "verify", "-n", "pgbackupd-copy", "-I", "db1"])
        .args(["-f", signers.to_str().unwrap()])
        .args(["-s", &format!("{}.sig", fact.display())])
        .stdin(fs::File::open(fact).unwrap())
        .stdout(Stdio::null())
        .status();
    assert!(verified.unwrap().success());
}

#[test]
fn a_secret_key_in_place_of_a_recipient_is_refused_and_not_shown() {
    let mut operator = Operator::without_server("app");
    operator.set("name", "db1");
    let secret = operator.run(&["key", "generate"]).stdout;
    let secret = secret.lines().last().unwrap();
    let output = operator.run(&["-vv", "key", "add-recipient", secret, "--identity", "x"]);
    assert_eq!(output.code, 64, "{output}");
    assert!(output.stderr.contains("this is a secret key"), "{output}");
    assert!(!format!("{output}").contains(SECRET), "{output}");
}

#[test]
fn the_kit_has_the_address_and_the_keys_and_no_secret() {
    let cluster = Cluster::start();
    let (operator, far, _) = with_a_copy(&cluster);
    let shown = operator.json(&["key", "show"]);
    let output = operator.run(&["key", "kit"]);
    assert_eq!(output.code, 0, "{output}");
    let url = format!("file://{}", far.display());
    for words in [
        "db1",
        &url,
        shown["signer"]["fingerprint"].as_str().unwrap(),
        shown["recipients"][0]["fingerprint"].as_str().unwrap(),
        "pgbackupd restore --latest --from",
    ] {
        assert!(output.stdout.contains(words), "{words}: {output}");
    }
    for secret in [SECRET, "PRIVATE KEY"] {
        assert!(!output.stdout.contains(secret), "{output}");
    }
    let kit = operator.json(&["key", "kit"]);
    assert_eq!(kit["destinations"][0]["url"], url);
}

#[test]
fn a_line_of_trusted_signers_is_refused_with_its_place() {
    let mut operator = Operator::without_server("app");
    operator.set_value("encryption.trusted_signers", vec!["db0 ssh-rsa AAAA"]);
    let output = operator.run(&["config", "check"]);
    assert_eq!(output.code, 78, "{output}");
    for words in [
        "trusted_signers = [",
        "^",
        "only ssh-ed25519 keys are supported",
    ] {
        assert!(output.stderr.contains(words), "{words}: {output}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_file_that_is_no_private_key_is_refused_with_its_place() {
    let mut operator = Operator::without_server("app");
    operator.set("destinations.box.url", "sftp://box/x");
    operator.set_value("destinations.box.plain", true);
    let make = |name: &str, options: &[&str]| {
        let path = operator.path(name);
        let file = path.display().to_string();
        printed("ssh-keygen", &[&["-q", "-f", &file], options].concat());
        file
    };
    let key = make("key", &["-t", "ed25519", "-N", ""]);
    let sealed = make("sealed", &["-t", "ed25519", "-N", "hunter2"]);
    let rsa = make("rsa", &["-t", "rsa", "-b", "2048", "-N", ""]);
    let open = make("open", &["-t", "ed25519", "-N", ""]);
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    let public = format!("{key}.pub");
    let none = operator.path("none").display().to_string();
    let elsewhere = "/run/credentials/pgbackupd.service/key".to_owned();
    for (file, signs, logs_in, hint) in [
        (&key, None, None, ""),
        (&elsewhere, None, None, ""),
        (
            &rsa,
            Some("another type than ed25519"),
            None,
            "ssh-keygen -t ed25519",
        ),
        (
            &public,
            Some("a public key"),
            Some("a public key"),
            "without .pub",
        ),
        (
            &sealed,
            Some("with a passphrase"),
            Some("with a passphrase"),
            "ssh-keygen -t",
        ),
        (
            &open,
            Some("read by others"),
            Some("read by others"),
            "chmod 0600",
        ),
        (
            &none,
            Some("there is no file"),
            Some("there is no file"),
            "ssh-keygen -q -t",
        ),
    ] {
        for (setting, fault) in [
            ("encryption.signer_file", signs),
            ("destinations.box.identity_file", logs_in),
        ] {
            operator.set(setting, file);
            let output = operator.run(&["config", "check"]);
            operator.unset(setting);
            let Some(fault) = fault else {
                assert_eq!(output.code, 0, "{output}");
                continue;
            };
            assert_eq!(output.code, 78, "{output}");
            let name = setting.rsplit('.').next().unwrap();
            for part in [file.as_str(), fault, hint, name, "^"] {
                assert!(output.stderr.contains(part), "{part}: {output}");
            }
        }
    }
    operator.set("encryption.signer_file", &key);
    operator.set("encryption.signer_credential", "key");
    let output = operator.run(&["config", "check"]);
    assert_eq!(output.code, 78, "{output}");
    assert!(output.stderr.contains("leave one of them"), "{output}");
}
