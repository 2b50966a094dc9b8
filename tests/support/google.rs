//! A double of our own of Google Cloud Storage: the part of its XML interface that is used, from its reference. It
//! proves that requests and answers fit that reference, and nothing about Google's own servers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};
use chrono::{DateTime, SecondsFormat, Utc};
use md5::{Digest as _, Md5};
use serde_json::{Value, json};

use super::stores::message;

/// The bucket that it has.
pub(crate) const BUCKET: &str = "backups";

/// Who may use it.
pub(crate) const ACCOUNT: &str = "host@project.iam.gserviceaccount.com";

/// A page of a listing has so many entries.
const PAGE: usize = 20;

/// What a role allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Everything.
    Admin,
    /// Storage Object Creator and Storage Object Viewer: nothing is replaced or removed.
    Creator,
    /// Storage Object Viewer.
    Viewer,
}

struct Object {
    bytes: Vec<u8>,
    put: DateTime<Utc>,
}

struct State {
    role: Role,
    objects: BTreeMap<String, Object>,
}

/// A double. Its threads end with the test's process.
pub(crate) struct GoogleDouble {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl GoogleDouble {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let state = Arc::new(Mutex::new(State {
            role: Role::Admin,
            objects: BTreeMap::new(),
        }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || serve(client, &state));
            }
        });
        Self { port, state }
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// From now on, the account has this role.
    pub(crate) fn give(&self, role: Role) {
        self.state.lock().unwrap().role = role;
    }
}

/// Writes the key of a service account.
pub(crate) fn write_key(path: &Path, account: &str) {
    let made = Command::new("openssl")
        .args(["genpkey", "-quiet", "-algorithm", "RSA"])
        .args(["-pkeyopt", "rsa_keygen_bits:2048"])
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{made:?}");
    let key = json!({
        "type": "service_account",
        "client_email": account,
        "private_key_id": "1",
        "private_key": String::from_utf8(made.stdout).expect("text"),
    });
    std::fs::write(path, key.to_string()).expect("a key");
}

/// An answer: status, headers, body.
type Answer = (u16, Vec<(&'static str, String)>, Vec<u8>);

fn serve(mut client: TcpStream, state: &Mutex<State>) {
    let Ok((head, body)) = message(&mut client, true) else {
        return;
    };
    let is_head = head.starts_with("HEAD ");
    let (status, headers, body) = answer(&head, body, &mut state.lock().unwrap());
    let mut text = format!("HTTP/1.1 {status} X\r\nConnection: close\r\n");
    let now = Utc::now().format("%a, %d %b %Y %H:%M:%S GMT");
    write!(text, "Date: {now}\r\n").unwrap();
    if !headers.iter().any(|(name, _)| *name == "Content-Length") {
        write!(text, "Content-Length: {}\r\n", body.len()).unwrap();
    }
    for (name, value) in headers {
        write!(text, "{name}: {value}\r\n").unwrap();
    }
    text.push_str("\r\n");
    let body = if is_head { Vec::new() } else { body };
    let _ = client.write_all(&[text.as_bytes(), &body].concat());
}

fn answer(head: &str, body: Vec<u8>, state: &mut State) -> Answer {
    let header = |name: &str| {
        head.lines().skip(1).find_map(|line| {
            let (one, value) = line.split_once(':')?;
            one.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    if account_of(header("authorization").unwrap_or_default()).as_deref() != Some(ACCOUNT) {
        return refusal(401, "AuthenticationRequired");
    }
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = decoded(path);
    let path = path.strip_prefix('/').unwrap_or_default();
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    if bucket != BUCKET {
        return refusal(404, "NoSuchBucket");
    }
    let exists = state.objects.contains_key(key);
    match method {
        "GET" if key.is_empty() => listing(query, state),
        "GET" | "HEAD" => match state.objects.get(key) {
            Some(object) => read(object, header("range")),
            None => refusal(404, "NoSuchKey"),
        },
        "PUT" if state.role == Role::Viewer => refusal(403, "AccessDenied"),
        "PUT" => {
            let is_new = header("x-goog-if-generation-match") == Some("0");
            let digest = BASE64.encode(Md5::digest(&body));
            if header("content-md5").is_some_and(|said| said != digest) {
                return refusal(400, "BadDigest");
            }
            if exists && is_new {
                return refusal(412, "PreconditionFailed");
            }
            if exists && state.role == Role::Creator {
                return refusal(403, "AccessDenied");
            }
            let object = Object {
                bytes: body,
                put: Utc::now(),
            };
            state.objects.insert(key.to_owned(), object);
            let headers = vec![
                ("x-goog-generation", "1".to_owned()),
                ("x-goog-hash", format!("crc32c=AAAAAA==,md5={digest}")),
                ("ETag", "\"1\"".to_owned()),
            ];
            (200, headers, Vec::new())
        }
        "DELETE" if state.role != Role::Admin => refusal(403, "AccessDenied"),
        "DELETE" => match state.objects.remove(key) {
            Some(_) => (204, Vec::new(), Vec::new()),
            None => refusal(404, "NoSuchKey"),
        },
        _ => refusal(405, "MethodNotAllowed"),
    }
}

/// Whom a token that an account has signed itself is of. The signature is not checked.
fn account_of(authorization: &str) -> Option<String> {
    let token = authorization.strip_prefix("Bearer ")?;
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    claims["iss"].as_str().map(str::to_owned)
}

fn read(object: &Object, range: Option<&str>) -> Answer {
    let length = object.bytes.len();
    let mut headers = vec![
        (
            "Last-Modified",
            object.put.format("%a, %d %b %Y %H:%M:%S GMT").to_string(),
        ),
        ("ETag", "\"1\"".to_owned()),
    ];
    let bounds = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let Some((start, end)) = bounds else {
        headers.push(("Content-Length", length.to_string()));
        return (200, headers, object.bytes.clone());
    };
    let start: usize = start.parse().unwrap();
    let end = (end.parse::<usize>().unwrap() + 1).min(length);
    if start >= length {
        return refusal(416, "InvalidRange");
    }
    headers.push((
        "Content-Range",
        format!("bytes {start}-{}/{length}", end - 1),
    ));
    (206, headers, object.bytes[start..end].to_vec())
}

/// A page of a listing, with what is one level below where that is asked for.
fn listing(query: &str, state: &State) -> Answer {
    let parameter = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let found = pairs.find(|(one, _)| *one == name);
        found.map(|(_, value)| decoded(value)).unwrap_or_default()
    };
    let (prefix, after) = (parameter("prefix"), parameter("continuation-token"));
    let is_level = !parameter("delimiter").is_empty();
    let mut entries: BTreeMap<String, Option<&Object>> = BTreeMap::new();
    for (key, object) in &state.objects {
        let Some(rest) = key.strip_prefix(&prefix) else {
            continue;
        };
        match rest.split_once('/') {
            Some((folder, _)) if is_level => {
                entries.insert(format!("{prefix}{folder}/"), None);
            }
            _ => {
                entries.insert(key.clone(), Some(object));
            }
        }
    }
    let behind: Vec<_> = entries
        .into_iter()
        .filter(|(key, _)| *key > after)
        .collect();
    let mut page = String::from("<?xml version='1.0' encoding='UTF-8'?><ListBucketResult>");
    for (key, object) in behind.iter().take(PAGE) {
        match object {
            Some(object) => write!(
                page,
                "<Contents><Key>{key}</Key><LastModified>{}</LastModified><ETag>\"1\"</ETag><Size>{}</Size></Contents>",
                object.put.to_rfc3339_opts(SecondsFormat::Millis, true),
                object.bytes.len()
            ),
            None => write!(page, "<CommonPrefixes><Prefix>{key}</Prefix></CommonPrefixes>"),
        }
        .unwrap();
    }
    if behind.len() > PAGE {
        let next = &behind[PAGE - 1].0;
        write!(
            page,
            "<NextContinuationToken>{next}</NextContinuationToken>"
        )
        .unwrap();
    }
    write!(
        page,
        "<IsTruncated>{}</IsTruncated></ListBucketResult>",
        behind.len() > PAGE
    )
    .unwrap();
    (200, Vec::new(), page.into_bytes())
}

fn refusal(status: u16, code: &str) -> Answer {
    let body =
        format!("<?xml version='1.0'?><Error><Code>{code}</Code><Message>No.</Message></Error>");
    (status, Vec::new(), body.into_bytes())
}

/// A text without its escapes.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            b'+' => b' ',
            byte => byte,
        };
        bytes.push(byte);
    }
    String::from_utf8(bytes).unwrap()
}
