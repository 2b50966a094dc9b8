//! Azure's Blob Storage as Microsoft's own emulator has it: Azurite on this machine, in memory.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, SecondsFormat, Utc};
use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential};
use object_store::client::{HttpRequest, HttpRequestBody};
use sha2::{Digest as _, Sha256};

/// The account.
pub(crate) const ACCOUNT: &str = "acctest";

/// Its key.
pub(crate) const KEY: &str = "aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMg==";

/// The container that every store has.
pub(crate) const CONTAINER: &str = "backups";

/// The version of the interface for which SAS tokens are signed.
const VERSION: &str = "2023-11-03";

/// An Azurite of a test's own. It ends with the value.
pub(crate) struct Azurite {
    process: Child,
    port: u16,
}

impl Azurite {
    /// One with a container; none where it is not installed.
    pub(crate) fn start() -> Option<Self> {
        let Some(program) = program() else {
            println!("skipped: azurite-blob is missing: packaging/shell/packages.bash installs it");
            return None;
        };
        // A port can be another's by the time that it is used.
        let store = (0..5).find_map(|_| Self::attempt(&program));
        Some(store.expect("a store that is ready"))
    }

    fn attempt(program: &Path) -> Option<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        drop(listener);
        let process = Command::new(program)
            .args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()])
            .args(["--inMemoryPersistence", "--silent", "--disableTelemetry"])
            .env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{KEY}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("azurite-blob");
        let store = Self { process, port };
        store.is_ready().then_some(store)
    }

    fn is_ready(&self) -> bool {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(60) {
            if self
                .ask_container("PUT")
                .is_some_and(|status| status == 201)
            {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }

    /// Removes the container, with all that is in it.
    pub(crate) fn remove_container(&self) {
        assert_eq!(self.ask_container("DELETE"), Some(202));
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A request about the container; gives the status.
    fn ask_container(&self, method: &str) -> Option<u16> {
        let target = format!("/{ACCOUNT}/{CONTAINER}?restype=container");
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = method.parse().expect("a method");
        let uri = format!("http://127.0.0.1:{}{target}", self.port);
        *request.uri_mut() = uri.parse().expect("an address");
        let key = AzureAccessKey::try_new(KEY).expect("a key");
        AzureAuthorizer::new(&AzureCredential::AccessKey(key), ACCOUNT)
            .try_authorize(&mut request)
            .expect("a signature");
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n");
        for (name, value) in request.headers() {
            write!(head, "{name}: {}\r\n", value.to_str().expect("ASCII")).expect("a string");
        }
        head.push_str("Content-Length: 0\r\nConnection: close\r\n\r\n");
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("a limit");
        stream.write_all(head.as_bytes()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let answer = String::from_utf8_lossy(&answer);
        answer.split(' ').nth(1)?.parse().ok()
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The program, as `packaging/shell/packages.bash` installs it, or another one.
fn program() -> Option<PathBuf> {
    let ours = "target/stores/node_modules/.bin/azurite-blob";
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join(ours);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::env::split_paths(&path).map(|directory| directory.join("azurite-blob"));
    std::iter::once(ours).chain(all).find(|path| path.is_file())
}

/// A SAS token of the container, with these permissions and until then.
pub(crate) fn sas_token(permissions: &str, expiry: DateTime<Utc>) -> String {
    let expiry = expiry.to_rfc3339_opts(SecondsFormat::Secs, true);
    let resource = format!("/blob/{ACCOUNT}/{CONTAINER}");
    let start = "2020-01-01T00:00:00Z";
    // Behind the resource: policy, address, protocol; behind its kind: snapshot, scope, and five headers.
    let signed =
        format!("{permissions}\n{start}\n{expiry}\n{resource}\n\n\n\n{VERSION}\nc\n\n\n\n\n\n\n");
    let key = BASE64.decode(KEY).expect("base64");
    let signature = BASE64.encode(hmac(&key, signed.as_bytes()));
    let escaped = |text: &str| {
        let text = text.replace('%', "%25").replace('+', "%2B");
        text.replace('/', "%2F")
            .replace('=', "%3D")
            .replace(':', "%3A")
    };
    format!(
        "sv={VERSION}&sr=c&sp={permissions}&st={}&se={}&sig={}",
        escaped(start),
        escaped(&expiry),
        escaped(&signature)
    )
}

/// HMAC with SHA-256, of a key that is not longer than a block (RFC 2104).
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let padded = |pad: u8| -> Vec<u8> {
        let key = key.iter().copied().chain(std::iter::repeat(0)).take(64);
        key.map(|byte| byte ^ pad).collect()
    };
    let inner = Sha256::digest([&padded(0x36), text].concat());
    Sha256::digest([padded(0x5c), inner.to_vec()].concat()).to_vec()
}
