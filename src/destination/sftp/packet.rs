//! The packets of SFTP version 3 (draft-ietf-secsh-filexfer-02) and of OpenSSH's extensions to it (its file
//! PROTOCOL), as bytes. A packet begins with its length, its type and, but for the first one of each side, the
//! number of the request.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use chrono::{DateTime, Utc};

/// The version that is spoken.
const VERSION: u32 = 3;

/// The longest packet that is taken, in bytes: OpenSSH's are up to 256 KiB.
pub(super) const LONGEST: u32 = 1 << 20;

/// The bits of `permissions` that say what it is, as in stat(2).
const TYPE: u32 = 0o170_000;

/// What is sent.
#[derive(Clone, Debug)]
pub(super) enum Request<'a> {
    /// Opens a file.
    Open(&'a str, Access),
    /// Closes what was opened.
    Close(&'a Bytes),
    /// Reads from an offset so many bytes at most.
    Read(&'a Bytes, u64, u32),
    /// Writes at an offset.
    Write(&'a Bytes, u64, Bytes),
    /// What is known of a name, without following a link.
    Lstat(&'a str),
    /// What is known of a name.
    Stat(&'a str),
    /// What is known of an open file.
    Fstat(&'a Bytes),
    /// Opens a directory.
    OpenDirectory(&'a str),
    /// Gives some more of an open directory.
    ReadDirectory(&'a Bytes),
    /// Removes a file.
    Remove(&'a str),
    /// Makes a directory.
    MakeDirectory(&'a str),
    /// Removes an empty directory.
    RemoveDirectory(&'a str),
    /// Puts on the disk what was written, by `fsync@openssh.com`.
    Sync(&'a Bytes),
    /// The room that is left, by `statvfs@openssh.com`.
    Space(&'a str),
    /// The longest reads and writes, by `limits@openssh.com`.
    Limits,
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// To read it.
    Read,
    /// To write to one that is there.
    Write,
    /// To write to one that is made now; refused where the name is taken.
    CreateNew,
}

impl Access {
    fn flags(self) -> u32 {
        const READ: u32 = 0x01;
        const WRITE: u32 = 0x02;
        const CREAT: u32 = 0x08;
        const EXCL: u32 = 0x20;
        match self {
            Self::Read => READ,
            Self::Write => WRITE,
            Self::CreateNew => WRITE | CREAT | EXCL,
        }
    }
}

impl Request<'_> {
    /// The packet: its head, and what is written behind it.
    pub(super) fn encode(&self, id: u32) -> (Bytes, Bytes) {
        let mut body = BytesMut::with_capacity(256);
        let mut data = Bytes::new();
        body.put_u8(self.kind());
        body.put_u32(id);
        match self {
            Self::Open(path, access) => {
                put_string(&mut body, path.as_bytes());
                body.put_u32(access.flags());
                let mode = (*access == Access::CreateNew).then_some(0o600);
                put_attributes(&mut body, mode);
            }
            Self::Close(handle) | Self::Fstat(handle) | Self::ReadDirectory(handle) => {
                put_string(&mut body, handle);
            }
            Self::Read(handle, offset, length) => {
                put_string(&mut body, handle);
                body.put_u64(*offset);
                body.put_u32(*length);
            }
            Self::Write(handle, offset, content) => {
                put_string(&mut body, handle);
                body.put_u64(*offset);
                body.put_u32(length(content));
                data = content.clone();
            }
            Self::Lstat(path)
            | Self::Stat(path)
            | Self::OpenDirectory(path)
            | Self::Remove(path)
            | Self::RemoveDirectory(path) => put_string(&mut body, path.as_bytes()),
            Self::MakeDirectory(path) => {
                put_string(&mut body, path.as_bytes());
                put_attributes(&mut body, Some(0o700));
            }
            Self::Sync(handle) => {
                put_string(&mut body, SYNC);
                put_string(&mut body, handle);
            }
            Self::Space(path) => {
                put_string(&mut body, SPACE);
                put_string(&mut body, path.as_bytes());
            }
            Self::Limits => put_string(&mut body, LIMITS),
        }
        (framed(&body, length(&data)), data)
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Open(..) => 3,
            Self::Close(_) => 4,
            Self::Read(..) => 5,
            Self::Write(..) => 6,
            Self::Lstat(_) => 7,
            Self::Fstat(_) => 8,
            Self::OpenDirectory(_) => 11,
            Self::ReadDirectory(_) => 12,
            Self::Remove(_) => 13,
            Self::MakeDirectory(_) => 14,
            Self::RemoveDirectory(_) => 15,
            Self::Stat(_) => 17,
            Self::Sync(_) | Self::Space(_) | Self::Limits => 200,
        }
    }
}

const SYNC: &[u8] = b"fsync@openssh.com";
const SPACE: &[u8] = b"statvfs@openssh.com";
const LIMITS: &[u8] = b"limits@openssh.com";

/// The first packet: what we speak.
pub(super) fn hello() -> Bytes {
    let mut body = BytesMut::new();
    body.put_u8(1);
    body.put_u32(VERSION);
    framed(&body, 0)
}

/// What a server can do beyond version 3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extensions {
    pub(super) sync: bool,
    pub(super) space: bool,
    pub(super) limits: bool,
}

/// Reads the server's first packet.
pub(super) fn decode_hello(mut packet: Bytes) -> Result<Extensions, Malformed> {
    if take_u8(&mut packet)? != 2 {
        return Err(Malformed("its first answer is not its version"));
    }
    if take_u32(&mut packet)? < VERSION {
        return Err(Malformed("its version is older than 3"));
    }
    let mut extensions = Extensions::default();
    while !packet.is_empty() {
        let (name, data) = (take_string(&mut packet)?, take_string(&mut packet)?);
        match (&name[..], &data[..]) {
            (SYNC, b"1") => extensions.sync = true,
            (SPACE, b"2") => extensions.space = true,
            (LIMITS, b"1") => extensions.limits = true,
            _ => {}
        }
    }
    Ok(extensions)
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Status(Status),
    /// What was opened.
    Handle(Bytes),
    Data(Bytes),
    Names(Vec<Name>),
    Attributes(Attributes),
    /// The answer to an extension.
    Extended(Bytes),
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) code: u32,
    /// In the server's words; may be empty.
    pub(super) message: String,
}

impl Status {
    pub(super) const OK: u32 = 0;
    pub(super) const END: u32 = 1;
    pub(super) const MISSING: u32 = 2;
    pub(super) const DENIED: u32 = 3;
    pub(super) const FAILURE: u32 = 4;
    /// Of OpenSSH, for a name that is too long or invalid.
    pub(super) const INVALID: u32 = 5;
    pub(super) const UNSUPPORTED: u32 = 8;
    // Of later versions, which some servers use in this one too.
    pub(super) const EXISTS: u32 = 11;
    pub(super) const WRITE_PROTECTED: u32 = 12;
    pub(super) const FULL: u32 = 14;
    pub(super) const QUOTA: u32 = 15;

    /// As people read it.
    pub(super) fn words(&self) -> &str {
        match (self.message.trim(), self.code) {
            ("", Self::MISSING) => "No such file",
            ("", Self::DENIED) => "Permission denied",
            ("", _) => "Failure",
            (message, _) => message,
        }
    }
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) name: Bytes,
    pub(super) attributes: Attributes,
}

/// What is known of a file or a directory. A server need not say any of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) bytes: Option<u64>,
    permissions: Option<u32>,
    /// In seconds since 1970.
    modified: Option<u32>,
}

/// What something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    File,
    Directory,
    Other,
}

impl Attributes {
    /// When it was written to last, by the server's clock.
    pub(super) fn modified(&self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp(i64::from(self.modified?), 0)
    }

    /// What it is; none where the server does not say.
    pub(super) fn kind(&self) -> Option<FileKind> {
        self.permissions.map(|mode| match mode & TYPE {
            0o100_000 => FileKind::File,
            0o040_000 => FileKind::Directory,
            _ => FileKind::Other,
        })
    }
}

/// The room that is left on a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Space {
    /// In bytes, for an account without privileges.
    pub(super) bytes: u64,
    /// Files that can still be made.
    pub(super) files: u64,
    /// All files that there can be; none where the file system has no such limit.
    pub(super) most_files: u64,
    pub(super) is_read_only: bool,
}

/// The longest reads and writes, in bytes; none without a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) read: Option<u64>,
    pub(super) write: Option<u64>,
}

/// It is no packet of SFTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(&'static str);

/// Reads a packet without its length: the number of the request, and the answer.
pub(super) fn decode(mut packet: Bytes) -> Result<(u32, Reply), Malformed> {
    let kind = take_u8(&mut packet)?;
    let id = take_u32(&mut packet)?;
    let reply = match kind {
        101 => {
            let code = take_u32(&mut packet)?;
            // Old servers give no text.
            let message = if packet.is_empty() {
                Bytes::new()
            } else {
                take_string(&mut packet)?
            };
            let message = String::from_utf8_lossy(&message).into_owned();
            Reply::Status(Status { code, message })
        }
        102 => Reply::Handle(take_string(&mut packet)?),
        103 => Reply::Data(take_string(&mut packet)?),
        104 => {
            let count = take_u32(&mut packet)?;
            let mut names = Vec::new();
            for _ in 0..count {
                let name = take_string(&mut packet)?;
                // As `ls -l` shows it.
                take_string(&mut packet)?;
                let attributes = take_attributes(&mut packet)?;
                names.push(Name { name, attributes });
            }
            Reply::Names(names)
        }
        105 => Reply::Attributes(take_attributes(&mut packet)?),
        201 => Reply::Extended(packet),
        _ => return Err(Malformed("an answer of an unknown type")),
    };
    Ok((id, reply))
}

/// Reads the answer of `statvfs@openssh.com`.
pub(super) fn decode_space(mut body: Bytes) -> Result<Space, Malformed> {
    let mut numbers = [0; 11];
    for number in &mut numbers {
        *number = take_u64(&mut body)?;
    }
    let [_, fragment, _, _, blocks, most_files, _, files, _, flags, _] = numbers;
    Ok(Space {
        bytes: blocks.saturating_mul(fragment),
        files,
        most_files,
        is_read_only: flags & 1 != 0,
    })
}

/// Reads the answer of `limits@openssh.com`.
pub(super) fn decode_limits(mut body: Bytes) -> Result<Limits, Malformed> {
    take_u64(&mut body)?;
    let limit = |number| (number != 0).then_some(number);
    let (read, write) = (take_u64(&mut body)?, take_u64(&mut body)?);
    Ok(Limits {
        read: limit(read),
        write: limit(write),
    })
}

fn framed(body: &[u8], more: u32) -> Bytes {
    let mut packet = BytesMut::with_capacity(4 + body.len());
    packet.put_u32(length(body) + more);
    packet.extend_from_slice(body);
    packet.freeze()
}

/// The length of what is far below 4 GiB.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn put_string(body: &mut BytesMut, bytes: &[u8]) {
    body.put_u32(length(bytes));
    body.extend_from_slice(bytes);
}

/// Attributes that say no more than a mode.
fn put_attributes(body: &mut BytesMut, mode: Option<u32>) {
    match mode {
        Some(mode) => {
            body.put_u32(PERMISSIONS);
            body.put_u32(mode);
        }
        None => body.put_u32(0),
    }
}

const SIZE: u32 = 0x01;
const OWNERS: u32 = 0x02;
const PERMISSIONS: u32 = 0x04;
const TIMES: u32 = 0x08;
const EXTENDED: u32 = 0x8000_0000;

fn take_attributes(packet: &mut Bytes) -> Result<Attributes, Malformed> {
    let flags = take_u32(packet)?;
    let has = |flag| flags & flag != 0;
    let mut attributes = Attributes::default();
    if has(SIZE) {
        attributes.bytes = Some(take_u64(packet)?);
    }
    if has(OWNERS) {
        take_u64(packet)?;
    }
    if has(PERMISSIONS) {
        attributes.permissions = Some(take_u32(packet)?);
    }
    if has(TIMES) {
        take_u32(packet)?;
        attributes.modified = Some(take_u32(packet)?);
    }
    if has(EXTENDED) {
        for _ in 0..take_u32(packet)? {
            take_string(packet)?;
            take_string(packet)?;
        }
    }
    Ok(attributes)
}

const SHORT: Malformed = Malformed("an answer that is too short");

fn take_u8(packet: &mut Bytes) -> Result<u8, Malformed> {
    packet.try_get_u8().map_err(|_| SHORT)
}

fn take_u32(packet: &mut Bytes) -> Result<u32, Malformed> {
    packet.try_get_u32().map_err(|_| SHORT)
}

fn take_u64(packet: &mut Bytes) -> Result<u64, Malformed> {
    packet.try_get_u64().map_err(|_| SHORT)
}

fn take_string(packet: &mut Bytes) -> Result<Bytes, Malformed> {
    let length = take_u32(packet)? as usize;
    if length > packet.len() {
        return Err(SHORT);
    }
    Ok(packet.split_to(length))
}

#[cfg(test)]
mod tests;
