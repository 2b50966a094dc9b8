//! An SFTP server of a test's own: OpenSSH's on this machine, with keys and a directory for it alone. It ends with
//! the value, and so do its sessions.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pgbackupd::config::{DestinationAddress, DestinationSettings, PasswordSource, SftpSettings};
use pgbackupd::destination::SftpStore;
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

/// The server.
pub(crate) struct SftpServer {
    home: TempDir,
    process: Child,
    port: u16,
    root: PathBuf,
}

impl SftpServer {
    /// One with the usual subsystem; none where there is no sshd.
    pub(crate) fn start() -> Option<Self> {
        Self::with("Subsystem sftp internal-sftp")
    }

    /// One with these lines in its configuration.
    pub(crate) fn with(lines: &str) -> Option<Self> {
        Self::serving(None, lines)
    }

    /// One for a directory that is there.
    pub(crate) fn serving(root: Option<&Path>, lines: &str) -> Option<Self> {
        let program = ["/usr/sbin/sshd", "/usr/local/sbin/sshd"];
        let Some(program) = program.iter().map(Path::new).find(|path| path.exists()) else {
            println!("skipped: sshd is missing: packaging/shell/packages.bash installs it");
            return None;
        };
        if rustix::process::geteuid().is_root() {
            // Debian's sshd wants it, and only its own unit makes it.
            fs::create_dir_all("/run/sshd").expect("/run/sshd");
        }
        // A port can be another's by the time that it is used.
        let server = (0..5).find_map(|_| Self::attempt(program, (root, lines)));
        Some(server.expect("an SFTP server that is ready"))
    }

    fn attempt(program: &Path, (root, lines): (Option<&Path>, &str)) -> Option<Self> {
        let home = tempfile::tempdir().expect("a directory");
        let own = home.path().join("store");
        fs::create_dir(&own).expect("a directory");
        for name in ["host", "other_host", "client", "stranger"] {
            make_key(&home.path().join(name));
        }
        let at = |name: &str| home.path().join(name);
        fs::copy(at("client.pub"), at("authorized_keys")).expect("authorized keys");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let configuration = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {0}/host\nPidFile none\n\
             AuthorizedKeysFile {0}/authorized_keys\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin prohibit-password\nMaxSessions 20\nMaxStartups 100\n{lines}\n",
            home.path().display()
        );
        fs::write(at("sshd_config"), configuration).expect("a configuration");
        let known = fs::read_to_string(at("host.pub")).expect("a key");
        let known = format!("[127.0.0.1]:{port} {known}");
        fs::write(at("known_hosts"), known).expect("known hosts");
        let log = File::create(at("log")).expect("a log");
        let mut command = Command::new(program);
        let process = command
            .args(["-D", "-e", "-f"])
            .arg(at("sshd_config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("sshd");
        let mut server = Self {
            root: root.map_or(own, Path::to_owned),
            home,
            process,
            port,
        };
        server.is_ready().then_some(server)
    }

    fn is_ready(&mut self) -> bool {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(20) {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                return true;
            }
            if self.process.try_wait().expect("sshd").is_some() {
                println!("{}", self.log());
                return false;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The directory of the objects, as this machine sees it.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// One of its files: `client`, `stranger`, `known_hosts`, `other_host.pub`, ….
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Its address, with a path behind the host.
    pub(crate) fn url(&self, path: &str) -> String {
        let user = user();
        format!("sftp://{user}@127.0.0.1:{}{path}", self.port)
    }

    /// The settings of a store in its directory.
    pub(crate) fn settings(&self) -> SftpSettings {
        self.settings_at(&self.root.display().to_string())
    }

    /// The settings of a store in another directory.
    pub(crate) fn settings_at(&self, path: &str) -> SftpSettings {
        let none = std::collections::BTreeMap::new();
        let settings = DestinationSettings::of_url(&self.url(path), &none).expect("an address");
        let DestinationAddress::Sftp(sftp) = settings.address else {
            panic!("an SFTP server")
        };
        SftpSettings {
            identity: Some(PasswordSource::File(self.file("client"))),
            known_hosts_file: Some(self.file("known_hosts")),
            ..*sftp
        }
    }

    /// The store.
    pub(crate) fn store(&self) -> SftpStore {
        store_of(&self.settings())
    }
}

/// The store of these settings.
pub(crate) fn store_of(settings: &SftpSettings) -> SftpStore {
    store_within(settings, Duration::from_secs(60))
}

/// One whose requests take no longer than this.
pub(crate) fn store_within(settings: &SftpSettings, timeout: Duration) -> SftpStore {
    let environment = std::env::vars().collect();
    SftpStore::new(settings, ("sftp://far".to_owned(), timeout), &environment).expect("a store")
}

/// Makes a key without a passphrase.
fn make_key(path: &Path) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(path)
        .status()
        .expect("ssh-keygen");
    assert!(made.success());
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("chmod");
}

/// Whose process this is.
fn user() -> String {
    let output = Command::new("id").arg("-un").output().expect("id");
    String::from_utf8(output.stdout)
        .expect("UTF-8")
        .trim()
        .to_owned()
}

impl Drop for SftpServer {
    fn drop(&mut self) {
        // Its sessions may have groups of their own; they end with their connections.
        kill_process_group(Pid::from_child(&self.process), Signal::KILL).ok();
        self.process.wait().ok();
    }
}
