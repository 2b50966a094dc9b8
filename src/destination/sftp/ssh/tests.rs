use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

const KEY: &str =
    "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n-----END OPENSSH PRIVATE KEY-----\n";

fn settings() -> SftpSettings {
    SftpSettings {
        host: "box".to_owned(),
        port: Some(23),
        user: Some("db1".to_owned()),
        path: String::new(),
        identity: None,
        known_hosts_file: None,
        ssh_config_file: None,
    }
}

fn file(home: &Path, (name, text, mode): (&str, &str, u32)) -> PathBuf {
    let path = home.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn environment(pairs: &[(&str, &Path)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, path)| ((*name).to_owned(), path.display().to_string()))
        .collect()
}

#[test]
fn ssh_asks_nobody_trusts_nobody_and_takes_the_host_for_no_option() {
    let home = tempfile::tempdir().unwrap();
    let known = file(home.path(), ("known 100%", "", 0o644));
    let config = file(home.path(), ("config", "", 0o644));
    let settings = SftpSettings {
        identity: Some(PasswordSource::File(file(home.path(), ("key", KEY, 0o600)))),
        known_hosts_file: Some(known.clone()),
        ssh_config_file: Some(config.clone()),
        ..settings()
    };
    let ssh = SshCommand::new(&settings, &BTreeMap::new()).unwrap();
    let words = ssh.arguments();
    assert_eq!(words[..2], ["-F", &config.display().to_string()]);
    for option in [
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "IdentitiesOnly=yes",
    ] {
        assert!(words.contains(&option.to_owned()), "{words:?}");
    }
    let option = format!(
        "UserKnownHostsFile=\"{}/known 100%%\"",
        home.path().display()
    );
    assert!(words.contains(&option), "{words:?}");
    let end = [
        "-p", "23", "-l", "db1", "-a", "-x", "-s", "--", "box", "sftp",
    ];
    assert_eq!(words[words.len() - end.len()..], end);
    assert!(!words.concat().contains("hunter2"), "{words:?}");
    let by_hand = ssh.by_hand("-b -");
    assert!(by_hand.starts_with("sftp -b - -F "), "{by_hand}");
    assert!(by_hand.ends_with(" -P 23 'db1@box'"), "{by_hand}");
}

#[test]
fn a_key_that_ssh_would_refuse_is_handed_over_in_a_file_of_ours_that_goes_again() {
    let (home, runtime) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let variables = environment(&[
        ("CREDENTIALS_DIRECTORY", home.path()),
        ("RUNTIME_DIRECTORY", runtime.path()),
    ]);
    let of =
        |name: &str| IdentityFile::of(&PasswordSource::Credential(name.to_owned()), &variables);
    let fine = file(home.path(), ("fine", KEY, 0o400));
    assert_eq!(of("fine").unwrap().path(), fine);
    assert_eq!(fs::read_dir(runtime.path()).unwrap().count(), 0);
    // As systemd 257 has them, where the service is root; and one whose last line feed was lost.
    file(home.path(), ("open", KEY, 0o440));
    file(home.path(), ("cut", KEY.trim_end(), 0o400));
    for name in ["open", "cut"] {
        let identity = of(name).unwrap();
        let path = identity.path().to_owned();
        assert!(path.starts_with(runtime.path()), "{path:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), KEY);
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        drop(identity);
        assert!(!path.exists());
    }
}

#[test]
fn what_is_no_key_is_refused_before_a_server_hears_of_it() {
    let home = tempfile::tempdir().unwrap();
    let sealed = home.path().join("sealed");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "hunter2", "-f"])
        .arg(&sealed)
        .status();
    assert!(made.unwrap().success());
    for (path, part) in [
        (file(home.path(), ("empty", "", 0o600)), "is empty"),
        (file(home.path(), ("open", KEY, 0o644)), "read by others"),
        (
            file(home.path(), ("public", "ssh-ed25519 AAAA x\n", 0o600)),
            "without .pub",
        ),
        (
            file(home.path(), ("words", "hunter2\n", 0o600)),
            "holds no OpenSSH private key",
        ),
        (home.path().join("none"), "cannot read"),
        (sealed, "with a passphrase"),
    ] {
        let settings = SftpSettings {
            identity: Some(PasswordSource::File(path)),
            ..settings()
        };
        let error = SshCommand::new(&settings, &BTreeMap::new()).unwrap_err();
        assert!(error.contains(part), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_file_that_ssh_would_pass_over_in_silence_is_named() {
    let missing = || Some(PathBuf::from("/none/such"));
    for settings in [
        SftpSettings {
            known_hosts_file: missing(),
            ..settings()
        },
        SftpSettings {
            ssh_config_file: missing(),
            ..settings()
        },
    ] {
        let error = SshCommand::new(&settings, &BTreeMap::new()).unwrap_err();
        assert!(error.contains("/none/such"), "{error}");
    }
}

#[tokio::test]
async fn without_ssh_the_package_is_named() {
    let nowhere = environment(&[("PATH", Path::new("/none"))]);
    let ssh = SshCommand::new(&settings(), &nowhere).unwrap();
    let Err(Fault::Judged(kind, text)) = ssh.start() else {
        panic!("there is none")
    };
    assert_eq!(kind, DestinationErrorKind::Settings);
    assert!(text.contains("openssh-client"), "{text}");
}
