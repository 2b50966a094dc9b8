use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;
use crate::config::{Source, load};
use crate::jobs::error::JobErrorKind;

/// A host whose state directory is empty.
struct Host(TempDir);

impl Host {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// What a job is given, where this is the setting and this the service's directory of credentials.
    fn context(&self, signer: Option<PasswordSource>, credentials: Option<&Path>) -> JobContext {
        let file = self.path("pgbackupd.toml");
        let state = self.path("state");
        let text = format!("database = \"app\"\ndaemon.state_directory = {state:?}\n");
        fs::write(&file, text).unwrap();
        let source = Source {
            default_file: file.clone(),
            file: Some(file),
            environment: BTreeMap::new(),
            ..Source::of_process(None)
        };
        let credentials = credentials.map(|path| path.display().to_string());
        let pairs = credentials.map(|path| ("CREDENTIALS_DIRECTORY".to_owned(), path));
        JobContext {
            name: Some("db1".to_owned()),
            signer,
            environment: pairs.into_iter().collect(),
            ..JobContext::new(&load(&source).unwrap().plan, &BTreeMap::new())
        }
    }

    /// A file with a new key.
    fn key(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        Signer::open_or_create(&path).unwrap();
        path
    }

    /// What the state directory has.
    fn state(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("state")).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

fn of(path: &Path) -> PublicSigner {
    Signer::open(path).unwrap().public().clone()
}

#[test]
fn without_a_setting_the_key_is_made_at_its_first_use_and_looking_makes_none() {
    let host = Host::new();
    fs::create_dir(host.path("state")).unwrap();
    let context = host.context(None, None);
    assert!(OwnHost::look(&context).unwrap().has_signed_nothing());
    assert_eq!(host.state(), [""; 0]);
    let (own, signer) = OwnHost::to_sign(&context).unwrap();
    assert_eq!(own.keys, [of(&host.path("state/signer"))]);
    assert_eq!(own.fingerprint(), signer.fingerprint());
    assert_eq!(OwnHost::look(&context).unwrap().keys, own.keys);
    assert_eq!(host.state(), ["copying", "last-signer.json", "signer"]);
}

#[test]
fn with_a_setting_none_is_made_and_what_an_earlier_key_signed_stays_the_hosts_own() {
    let host = Host::new();
    fs::create_dir(host.path("state")).unwrap();
    let key = host.key("key");
    let context = host.context(Some(PasswordSource::File(key.clone())), None);
    let (own, signer) = OwnHost::to_sign(&context).unwrap();
    assert_eq!(own.keys, [of(&key)]);
    assert_eq!(host.state(), ["copying", "last-signer.json"]);

    // One that was there before the setting.
    let earlier = host.key("state/signer");
    let (own, signs) = OwnHost::to_sign(&context).unwrap();
    assert_eq!(own.keys, [of(&key), of(&earlier)]);
    assert_eq!(OwnHost::look(&context).unwrap().keys, own.keys);
    assert_eq!(signs.fingerprint(), signer.fingerprint());
    let signature = Signer::open(&earlier).unwrap().sign(b"x").unwrap();
    let at = chrono::DateTime::UNIX_EPOCH;
    let verified = own
        .trusted()
        .verify("db1", b"x", (signature.as_bytes(), at));
    assert!(verified.is_ok(), "{verified:?}");
}

#[test]
fn outside_of_the_service_the_public_half_of_its_credential_is_known_once_it_has_signed() {
    let host = Host::new();
    fs::create_dir(host.path("state")).unwrap();
    let (first, second) = (host.key("first/copies"), host.key("second/copies"));
    let setting = || Some(PasswordSource::Credential("copies".to_owned()));
    let outside = host.context(setting(), None);
    let refused = OwnHost::look(&outside).unwrap_err().to_string();
    for part in ["credential \"copies\" exists only inside", "hint: "] {
        assert!(refused.contains(part), "{refused}");
    }
    for key in [&first, &second] {
        let inside = host.context(setting(), key.parent());
        OwnHost::to_sign(&inside).unwrap();
        assert_eq!(OwnHost::look(&outside).unwrap().keys, [of(key)]);
        assert!(OwnHost::to_sign(&outside).is_err());
    }
    // Of another setting, nothing is known.
    let other = Some(PasswordSource::Credential("other".to_owned()));
    assert!(OwnHost::look(&host.context(other, None)).is_err());
}

#[test]
fn a_key_that_cannot_sign_is_named_with_the_way_out() {
    let host = Host::new();
    fs::create_dir(host.path("state")).unwrap();
    let key = host.key("key");
    let public = host.path("key.pub");
    fs::write(&public, format!("{}\n", of(&key).line())).unwrap();
    fs::set_permissions(&public, fs::Permissions::from_mode(0o600)).unwrap();
    let open = host.key("open");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    for (path, part, hint) in [
        (&public, "holds a public key", "without .pub"),
        (&open, "can be read by others (mode 0644)", "chmod 0600"),
        (&host.path("none"), "No such file", ""),
    ] {
        let context = host.context(Some(PasswordSource::File(path.clone())), None);
        let error = OwnHost::to_sign(&context).unwrap_err();
        assert_eq!(error.kind(), JobErrorKind::Configuration);
        let error = error.to_string();
        let path = path.display().to_string();
        for part in ["signing key of [encryption]", &path, part, hint] {
            assert!(error.contains(part), "{error}");
        }
    }
    assert_eq!(host.state(), ["copying"]);
}
