//! Stores that speak S3: `SeaweedFS` on this machine, with a directory of its own; and a proxy before it that
//! lies, loses answers, damages what passes, and has another time.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::certificates::Certificates;

/// The access key's id that a store with keys knows.
pub(crate) const ID: &str = "AKIATESTTESTTEST";

/// Its secret.
pub(crate) const SECRET: &str = "hunter2hunter2hunter2";

/// The bucket that every store has.
pub(crate) const BUCKET: &str = "backups";

/// A `SeaweedFS` of a test's own. It ends with the value.
pub(crate) struct SeaweedFs {
    home: TempDir,
    process: Child,
    port: u16,
}

impl SeaweedFs {
    /// One that lets everybody in, or only the key; none where it is not installed.
    pub(crate) fn start(has_keys: bool) -> Option<Self> {
        Self::start_with(has_keys, &serde_json::json!({}))
    }

    /// One that has TLS as well, and the port of that.
    pub(crate) fn start_with_tls(certificates: &Certificates) -> Option<(Self, u16)> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let https = listener.local_addr().expect("its address").port();
        drop(listener);
        let file = |name: &str| certificates.path(name).display().to_string();
        let arguments = [
            format!("-s3.port.https={https}"),
            format!("-s3.cert.file={}", file("server.crt")),
            format!("-s3.key.file={}", file("server.key")),
        ];
        let store = Self::begin((true, &serde_json::json!({})), &arguments)?;
        Some((store, https))
    }

    /// The same with further identities and policies, as its own file of them has them.
    pub(crate) fn start_with(has_keys: bool, more: &Value) -> Option<Self> {
        Self::begin((has_keys, more), &[])
    }

    fn begin(who: (bool, &Value), arguments: &[String]) -> Option<Self> {
        let Some(program) = program() else {
            println!("skipped: weed is missing: packaging/shell/packages.bash installs it");
            return None;
        };
        // A port can be another's by the time that it is used.
        let store = (0..5).find_map(|_| Self::attempt(&program, who, arguments));
        Some(store.expect("a store that is ready"))
    }

    /// Starts one; none where it does not get ready.
    fn attempt(
        program: &Path,
        (has_keys, more): (bool, &Value),
        arguments: &[String],
    ) -> Option<Self> {
        let home = tempfile::tempdir().expect("a directory");
        let (ports, port) = ports();
        let mut command = Command::new(program);
        command
            .arg(format!("-logdir={}", home.path().display()))
            .arg("server")
            .arg(format!("-dir={}", home.path().display()))
            .args([
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                "-s3",
                // Each of the two has one fixed port, which another store may have.
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                "-volume.max=20",
            ])
            .args([
                "-master.volumeSizeLimitMB=64",
                "-master.volumePreallocate=false",
            ])
            .args(ports)
            .args(arguments);
        if has_keys {
            let mut all = serde_json::json!({"identities": [{
                "name": "test",
                "credentials": [{"accessKey": ID, "secretKey": SECRET}],
                "actions": ["Admin", "Read", "Write", "List", "Tagging"],
            }]});
            all["policies"] = more["policies"].clone();
            let identities = all["identities"].as_array_mut().expect("a list");
            identities.extend(more["identities"].as_array().into_iter().flatten().cloned());
            let path = home.path().join("s3.json");
            fs::write(&path, all.to_string()).expect("identities");
            command.arg(format!("-s3.config={}", path.display()));
        }
        let log = File::create(home.path().join("log")).expect("a log");
        let process = command
            .current_dir(home.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log"))
            .stderr(log)
            .spawn()
            .expect("weed");
        let store = Self {
            home,
            process,
            port,
        };
        store.is_ready().then_some(store)
    }

    /// Whether it has a bucket and takes objects: the first makes it grow its volumes.
    fn is_ready(&self) -> bool {
        let bucket = format!("/{BUCKET}");
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(30) {
            let made = request(self.port, ("PUT", &bucket), b"");
            let object = ("PUT", format!("{bucket}/first"));
            if matches!(made, Ok(200 | 409))
                && matches!(request(self.port, (object.0, &object.1), b"x"), Ok(200))
            {
                return true;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        false
    }

    /// Makes a bucket whose objects nobody can remove for a day.
    pub(crate) fn make_locked_bucket(&self, bucket: &str) {
        let lock = [("x-amz-bucket-object-lock-enabled", "true")];
        let made = self.ask(("PUT", &format!("/{bucket}")), &lock, b"");
        assert_eq!(made.status, 200, "{}", made.body);
        let rule = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>\
                    <DefaultRetention><Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention></Rule>\
                    </ObjectLockConfiguration>";
        let set = self.ask(
            ("PUT", &format!("/{bucket}?object-lock=")),
            &[],
            rule.as_bytes(),
        );
        assert_eq!(set.status, 200, "{}", set.body);
    }

    /// Makes a bucket that keeps versions.
    pub(crate) fn make_versioned_bucket(&self, bucket: &str) {
        let made = self.ask(("PUT", &format!("/{bucket}")), &[], b"");
        assert_eq!(made.status, 200, "{}", made.body);
        let on = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        let set = self.ask(
            ("PUT", &format!("/{bucket}?versioning=")),
            &[],
            on.as_bytes(),
        );
        assert_eq!(set.status, 200, "{}", set.body);
    }

    /// A request with the store's key, which may do everything.
    pub(crate) fn ask(
        &self,
        target: (&str, &str),
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.ask_as((ID, SECRET), (target, headers), body)
    }

    /// A request with another key.
    pub(crate) fn ask_as(
        &self,
        key: (&str, &str),
        (target, headers): ((&str, &str), &[(&str, &str)]),
        body: &[u8],
    ) -> Answer {
        signed(self.port, key, (target, headers), body).expect("an answer")
    }

    /// The versions of the objects whose keys begin so, the newest of each first: key, version, and whether it
    /// is a mark that the object was removed.
    pub(crate) fn versions(&self, bucket: &str, prefix: &str) -> Vec<(String, String, bool)> {
        let path = format!("/{bucket}?prefix={}&versions=", prefix.replace('/', "%2F"));
        let answer = self.ask(("GET", &path), &[], b"");
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(
            answer.body.contains("<IsTruncated>false"),
            "{}",
            answer.body
        );
        let parts = answer.body.split("<Key>").skip(1);
        let before = answer.body.split("<Key>");
        parts
            .zip(before)
            .map(|(part, before)| {
                let (key, rest) = part.split_once("</Key>").expect("a key");
                let (_, rest) = rest.split_once("<VersionId>").expect("a version");
                let (version, _) = rest.split_once("</VersionId>").expect("its end");
                let is_mark = before.ends_with("<DeleteMarker>");
                (key.to_owned(), version.to_owned(), is_mark)
            })
            .collect()
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What it has written to its log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }
}

impl Drop for SeaweedFs {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The program, as `packaging/shell/packages.bash` installs it, or another one.
fn program() -> Option<PathBuf> {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/stores/bin/weed");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::env::split_paths(&path).map(|directory| directory.join("weed"));
    std::iter::once(ours).chain(all).find(|path| path.is_file())
}

/// Ports that nothing listens on, as options; and that of S3.
fn ports() -> (Vec<String>, u16) {
    let names = [
        "s3.port",
        "s3.port.grpc",
        "master.port",
        "master.port.grpc",
        "volume.port",
        "volume.port.grpc",
        "filer.port",
        "filer.port.grpc",
    ];
    let listeners = names.map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let port = |listener: &TcpListener| listener.local_addr().expect("its address").port();
    let options = names.iter().zip(&listeners);
    let options = options.map(|(name, listener)| format!("-{name}={}", port(listener)));
    (options.collect(), port(&listeners[0]))
}

/// What a store answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// The body as it came.
    pub(crate) bytes: Vec<u8>,
}

/// A signed request to a store; gives the status.
fn request(port: u16, target: (&str, &str), body: &[u8]) -> io::Result<u16> {
    let answer = signed(port, (ID, SECRET), (target, &[]), body)?;
    Ok(answer.status)
}

/// A signed request to a store.
fn signed(
    port: u16,
    (id, secret): (&str, &str),
    ((method, path), headers): ((&str, &str), &[(&str, &str)]),
    body: &[u8],
) -> io::Result<Answer> {
    use object_store::aws::{AwsAuthorizer, AwsCredential};
    use object_store::client::{HttpRequest, HttpRequestBody};
    let body = bytes::Bytes::copy_from_slice(body);
    let mut request = HttpRequest::new(HttpRequestBody::from(body.clone()));
    *request.method_mut() = method.parse().expect("a method");
    let uri = format!("http://127.0.0.1:{port}{path}");
    *request.uri_mut() = uri.parse().expect("an address");
    for (name, value) in headers {
        let name: reqwest::header::HeaderName = name.parse().expect("a header");
        let value = value.parse().expect("its value");
        request.headers_mut().insert(name, value);
    }
    let credential = AwsCredential {
        key_id: id.to_owned(),
        secret_key: secret.to_owned(),
        token: None,
    };
    AwsAuthorizer::new(&credential, "s3", "us-east-1")
        .try_authorize(&mut request, None)
        .expect("a signature");
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n");
    for (name, value) in request.headers() {
        write!(head, "{name}: {}\r\n", value.to_str().expect("ASCII")).expect("a string");
    }
    write!(
        head,
        "Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )
    .expect("a string");
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(&[head.as_bytes(), &body].concat())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let bytes = answer.split_off(head.map_or(answer.len(), |end| end + 4));
    let answer = String::from_utf8_lossy(&answer);
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok(Answer {
        status: status.ok_or_else(|| io::Error::other(answer.into_owned()))?,
        body: String::from_utf8_lossy(&bytes).into_owned(),
        bytes,
    })
}

/// What a proxy does to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Answers with this status and code, and passes nothing on.
    Refuse(u16, &'static str),
    /// Passes it on, and answers with this status all the same.
    RefuseAfter(u16, &'static str),
    /// Ends the connection, and passes nothing on.
    Drop,
    /// Passes it on, and loses the answer.
    Lose,
    /// Passes nothing on, and does not answer for some seconds.
    Hang,
    /// Passes it on, and does not answer for some seconds.
    HangAfter,
    /// Gives half of the answer's body.
    Truncate,
    /// Changes a bit of the answer's body.
    Corrupt,
    /// Changes a bit of the request's body.
    CorruptRequest,
    /// Passes it on without `If-None-Match`.
    Unconditional,
}

/// What a proxy does.
#[derive(Default)]
struct Plan {
    /// What is done to the request of this number, counted from 1.
    at: Option<(usize, Lie)>,
    /// What is done to every request.
    always: Option<Lie>,
    /// The time of answers, in place of the store's.
    date: Option<String>,
    count: usize,
    /// Methods and paths.
    seen: Vec<String>,
}

/// A proxy before a store.
pub(crate) struct LyingProxy {
    port: u16,
    plan: Arc<Mutex<Plan>>,
}

impl LyingProxy {
    /// One before the store at this port. Its threads end with the test's process.
    pub(crate) fn before(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let plan = Arc::new(Mutex::new(Plan::default()));
        let shared = Arc::clone(&plan);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let plan = Arc::clone(&shared);
                std::thread::spawn(move || pass(client, upstream, &plan));
            }
        });
        Self { port, plan }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// From now on, does this to the request of this number, and nothing else.
    pub(crate) fn lie_at(&self, number: usize, lie: Lie) {
        *self.plan.lock().unwrap() = Plan {
            at: Some((number, lie)),
            ..Plan::default()
        };
    }

    /// From now on, does this to every request.
    pub(crate) fn always(&self, lie: Option<Lie>) {
        *self.plan.lock().unwrap() = Plan {
            always: lie,
            ..Plan::default()
        };
    }

    /// From now on, says this time.
    pub(crate) fn say_date(&self, date: String) {
        self.plan.lock().unwrap().date = Some(date);
    }

    /// The methods and paths of the requests since the last lie was set.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.plan.lock().unwrap().seen.clone()
    }
}

/// Passes one request on; the connection ends after it.
fn pass(mut client: TcpStream, upstream: u16, plan: &Mutex<Plan>) {
    let Ok((head, mut body)) = message(&mut client, true) else {
        return;
    };
    let (lie, date) = {
        let mut plan = plan.lock().unwrap();
        plan.count += 1;
        let words: Vec<&str> = head.split(' ').take(2).collect();
        plan.seen.push(words.join(" "));
        let now = plan.at.filter(|(number, _)| *number == plan.count);
        (now.map(|(_, lie)| lie).or(plan.always), plan.date.clone())
    };
    match lie {
        Some(Lie::Refuse(status, code)) => {
            let _ = client.write_all(refusal(status, code).as_bytes());
            return;
        }
        Some(Lie::Drop) => return,
        Some(Lie::Hang) => {
            wait_for_the_end(&mut client);
            return;
        }
        Some(Lie::CorruptRequest) => flip(&mut body),
        _ => {}
    }
    let is_dropped = |line: &str| {
        let lower = line.to_ascii_lowercase();
        lower.starts_with("connection:")
            || lie == Some(Lie::Unconditional) && lower.starts_with("if-none-match:")
    };
    let lines = head
        .lines()
        .filter(|line| !line.is_empty() && !is_dropped(line));
    let head = format!(
        "{}\r\nConnection: close\r\n\r\n",
        lines.collect::<Vec<_>>().join("\r\n")
    );
    let is_head = head.starts_with("HEAD ");
    let answer = TcpStream::connect(("127.0.0.1", upstream)).and_then(|mut store| {
        store.write_all(&[head.as_bytes(), &body].concat())?;
        message(&mut store, !is_head)
    });
    let Ok((head, mut body)) = answer else {
        return;
    };
    match lie {
        Some(Lie::RefuseAfter(status, code)) => {
            let _ = client.write_all(refusal(status, code).as_bytes());
            return;
        }
        Some(Lie::Lose) => return,
        Some(Lie::HangAfter) => {
            wait_for_the_end(&mut client);
            return;
        }
        Some(Lie::Truncate) => body.truncate(body.len() / 2),
        Some(Lie::Corrupt) => flip(&mut body),
        _ => {}
    }
    let head = date.map_or(head.clone(), |date| dated(&head, &date));
    let _ = client.write_all(&[head.as_bytes(), &body].concat());
}

/// The answer of a store that refuses.
fn refusal(status: u16, code: &str) -> String {
    let body = format!("<Error><Code>{code}</Code><Message>It lies.</Message></Error>");
    let head = format!("HTTP/1.1 {status} No\r\nContent-Length: {}\r\n", body.len());
    format!("{head}Connection: close\r\n\r\n{body}")
}

/// The head of an answer with another time.
fn dated(head: &str, date: &str) -> String {
    let is_kept = |line: &&str| !line.is_empty() && !line.to_ascii_lowercase().starts_with("date:");
    let lines: Vec<&str> = head.lines().filter(is_kept).collect();
    format!("{}\r\nDate: {date}\r\n\r\n", lines.join("\r\n"))
}

fn flip(body: &mut [u8]) {
    let middle = body.len() / 2;
    if let Some(byte) = body.get_mut(middle) {
        *byte ^= 1;
    }
}

/// Until the client has had enough, and not longer than a test waits for anything.
fn wait_for_the_end(client: &mut TcpStream) {
    let began = Instant::now();
    let _ = client.set_read_timeout(Some(Duration::from_millis(100)));
    while began.elapsed() < Duration::from_secs(60) {
        match client.read(&mut [0; 1]) {
            Ok(0) => return,
            Err(error) if !matches!(error.kind(), io::ErrorKind::WouldBlock) => return,
            _ => {}
        }
    }
}

/// Reads the head and the body of a request or an answer.
pub(super) fn message(stream: &mut TcpStream, has_body: bool) -> io::Result<(String, Vec<u8>)> {
    let (mut bytes, mut block) = (Vec::new(), [0; 16 << 10]);
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        match stream.read(&mut block)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => bytes.extend_from_slice(&block[..read]),
        }
    };
    let mut body = bytes.split_off(end);
    let head = String::from_utf8(bytes).map_err(io::Error::other)?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    // An answer without a length ends with its connection; a request without one has no body.
    let is_answer = head.starts_with("HTTP/");
    let wanted = length.unwrap_or(if is_answer { usize::MAX } else { 0 });
    while has_body && body.len() < wanted {
        match stream.read(&mut block)? {
            0 => break,
            read => body.extend_from_slice(&block[..read]),
        }
    }
    Ok((head, body))
}
