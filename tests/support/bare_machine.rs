//! A backup that goes to a destination and comes back on a machine that has nothing but the package, the address,
//! the store's key and an identity.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::cluster::Cluster;
use super::destination::new_identity;
use super::operator::{Operator, Output, PROGRAM, Running};
use super::restored::small;

/// A host with a backup, and a destination `far` of encrypted copies.
pub(crate) struct Journey {
    cluster: Cluster,
    pub(crate) operator: Operator,
    identity: PathBuf,
    url: String,
}

impl Journey {
    /// A host with a destination at this address, with these settings; the store's key is in a file.
    pub(crate) fn to(url: &str, settings: &[(&str, &str)], secret: &[u8]) -> Self {
        let cluster = Cluster::start();
        let mut operator = small(&cluster, "app");
        let (identity, recipient) = new_identity(&operator, "identity.txt");
        operator.set_value("encryption.recipients", vec![recipient]);
        let file = operator.path("secret");
        fs::write(&file, secret).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        operator.set("name", "db1");
        operator.set("destinations.far.url", url);
        for (name, value) in settings {
            operator.set(&format!("destinations.far.{name}"), value);
        }
        operator.set("destinations.far.secret_key_file", file.display());
        Self {
            cluster,
            operator,
            identity,
            url: url.to_owned(),
        }
    }

    /// Copies the backup, proves the copy, and restores it by these variables alone.
    pub(crate) fn there_and_back(&self, variables: &[(&str, &str)]) {
        for words in [&["copy"][..], &["verify", "--from", "far"]] {
            let output = self.operator.run(words);
            assert_eq!(output.code, 0, "{output}");
        }
        let identity = self.identity.display().to_string();
        let base = [
            "restore",
            "--latest",
            "--from",
            &self.url,
            "--into",
            "new",
            "--identity",
            &identity,
        ];
        let asked = self.on_a_bare_machine(variables, &base);
        assert_eq!(asked.code, 64, "{asked}");
        let mut words = asked.stderr.split_whitespace();
        let signer = words.find(|word| word.starts_with("SHA256:"));
        let signer = signer.unwrap_or_else(|| panic!("{asked}"));
        let restored =
            self.on_a_bare_machine(variables, &[&base[..], &["--signer", signer]].concat());
        assert_eq!(restored.code, 0, "{restored}");
        let value = self.cluster.psql_in("new", "SELECT v FROM t");
        assert_eq!(value, "as backed up");
    }

    /// Runs the program where nothing is configured.
    fn on_a_bare_machine(&self, variables: &[(&str, &str)], words: &[&str]) -> Output {
        let path = |name: &str| self.operator.path(name);
        let mut command = Command::new(PROGRAM);
        command
            .args(words)
            .env_clear()
            .envs(self.cluster.environment())
            .env_remove("PGDATABASE")
            .env("PGBACKUPD_CONFIG", "/dev/null")
            .env("PGBACKUPD_DIRECTORY", path("nowhere"))
            .env("PGBACKUPD_DAEMON__RUNTIME_DIRECTORY", path("run"))
            .env("PGBACKUPD_DAEMON__STATE_DIRECTORY", path("bare-state"))
            .envs(variables.iter().copied())
            .stdin(Stdio::null());
        Running::start(command).wait()
    }
}
