//! One ssh and the conversation over its pipes: each kind of request as a function of its own, with the answer that
//! belongs to it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::fault::Fault;
use super::packet::{
    self, Access, Attributes, Extensions, FileKind, Limits, Malformed, Name, Reply, Request, Space,
    Status,
};
use super::ssh::{Process, SshCommand, Started};
use super::wire::{Wire, WireEnd};
use crate::config::SftpSettings;
use crate::destination::error::DestinationErrorKind;

/// What every server takes and gives at once, in bytes.
const USUAL_BLOCK: u32 = 32 << 10;

/// More is never asked for at once, in bytes: OpenSSH's own limit.
const LARGEST_BLOCK: u32 = 255 << 10;

/// So many bytes of one file are on their way at the same time at most.
const WINDOW: u32 = 4 << 20;

/// So much memory is taken in advance for what is read, in bytes: a volume and its seal.
const MOST_RESERVED: usize = 17 << 20;

/// A connection with a server.
#[derive(Debug)]
pub(super) struct Session {
    wire: Wire,
    process: Process,
    settings: SftpSettings,
    extensions: Extensions,
    /// The longest read and write.
    read: u32,
    write: u32,
}

/// An open file or directory. It is closed with the value.
pub(super) struct OpenHandle {
    session: Arc<Session>,
    handle: Option<Bytes>,
}

impl OpenHandle {
    fn handle(&self) -> Result<&Bytes, Fault> {
        self.handle.as_ref().ok_or_else(Fault::unexpected)
    }
}

impl Drop for OpenHandle {
    fn drop(&mut self) {
        if let Some(handle) = &self.handle {
            self.session.wire.give_up(handle);
        }
    }
}

impl Session {
    /// Starts ssh, and waits until the server answers. Whoever calls it limits the time.
    ///
    /// # Errors
    /// It cannot be reached, is not known, or does not let us in.
    pub(super) async fn open(ssh: &SshCommand) -> Result<Arc<Self>, Fault> {
        let Started {
            process,
            stdin,
            stdout,
        } = ssh.start()?;
        let settings = ssh.settings();
        let (wire, extensions) = match Wire::start(stdout, stdin).await {
            Ok(started) => started,
            Err(WireEnd::Closed) => return Err(process.end(settings).await),
            Err(end @ WireEnd::Malformed(_)) => return Err(not_sftp(&end)),
        };
        let mut session = Self {
            wire,
            process,
            settings: settings.clone(),
            extensions,
            read: USUAL_BLOCK,
            write: USUAL_BLOCK,
        };
        if extensions.limits {
            let limits = session.limits().await?;
            session.read = block(limits.read);
            session.write = block(limits.write);
        }
        Ok(Arc::new(session))
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.wire.end().is_some()
    }

    /// Ends it at once.
    pub(super) fn kill(&self) {
        self.process.kill();
    }

    async fn ask(&self, request: Request<'_>) -> Result<Reply, Fault> {
        match self.wire.ask(&request).await {
            Ok(Reply::Status(status)) if status.code != Status::OK => Err(Fault::Refused(status)),
            Ok(reply) => Ok(reply),
            Err(WireEnd::Closed) => Err(self.process.end(&self.settings).await),
            Err(end @ WireEnd::Malformed(_)) => {
                self.kill();
                Err(not_sftp(&end))
            }
        }
    }

    async fn done(&self, request: Request<'_>) -> Result<(), Fault> {
        match self.ask(request).await? {
            Reply::Status(_) => Ok(()),
            _ => Err(Fault::unexpected()),
        }
    }

    async fn attributes(&self, request: Request<'_>) -> Result<Attributes, Fault> {
        match self.ask(request).await? {
            Reply::Attributes(attributes) => Ok(attributes),
            _ => Err(Fault::unexpected()),
        }
    }

    async fn handle(self: &Arc<Self>, request: Request<'_>) -> Result<OpenHandle, Fault> {
        match self.ask(request).await? {
            Reply::Handle(handle) => Ok(OpenHandle {
                session: Arc::clone(self),
                handle: Some(handle),
            }),
            _ => Err(Fault::unexpected()),
        }
    }

    async fn limits(&self) -> Result<Limits, Fault> {
        match self.ask(Request::Limits).await? {
            Reply::Extended(body) => packet::decode_limits(body).map_err(malformed),
            _ => Err(Fault::unexpected()),
        }
    }

    /// Opens a file.
    pub(super) async fn open_file(
        self: &Arc<Self>,
        path: &str,
        access: Access,
    ) -> Result<OpenHandle, Fault> {
        self.handle(Request::Open(path, access)).await
    }

    /// What is known of a name, without following a link; none where there is no such.
    pub(super) async fn look(&self, path: &str) -> Result<Option<Attributes>, Fault> {
        match self.attributes(Request::Lstat(path)).await {
            Err(fault) if fault.is_missing() => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// Whether there is such a directory, maybe behind a link; none where there is nothing.
    pub(super) async fn is_directory(&self, path: &str) -> Result<Option<bool>, Fault> {
        match self.attributes(Request::Stat(path)).await {
            Err(fault) if fault.is_missing() => Ok(None),
            // A server that does not say is believed.
            answer => answer
                .map(|found| Some(found.kind().is_none_or(|kind| kind == FileKind::Directory))),
        }
    }

    /// How long an open file is, in bytes.
    pub(super) async fn length(&self, file: &OpenHandle) -> Result<u64, Fault> {
        let attributes = self.attributes(Request::Fstat(file.handle()?)).await?;
        attributes.bytes.ok_or_else(Fault::unexpected)
    }

    /// Writes at an offset, many blocks at the same time.
    pub(super) async fn write(
        &self,
        file: &OpenHandle,
        body: &Bytes,
        from: usize,
    ) -> Result<(), Fault> {
        let handle = file.handle()?;
        let block = self.write as usize;
        let blocks = (from..body.len()).step_by(block).map(|at| {
            let content = body.slice(at..body.len().min(at + block));
            self.done(Request::Write(handle, at as u64, content))
        });
        let at_once = (WINDOW / self.write).max(1) as usize;
        let writing = stream::iter(blocks).buffer_unordered(at_once);
        writing.try_collect().await
    }

    /// Reads so many bytes from an offset, many blocks at the same time; fewer where the file ends.
    pub(super) async fn read(
        &self,
        file: &OpenHandle,
        (from, length): (u64, usize),
    ) -> Result<Vec<u8>, Fault> {
        let handle = file.handle()?;
        let block = self.read as usize;
        let blocks = (0..length).step_by(block).map(|at| {
            let wanted = block.min(length - at);
            self.read_block(handle, from + at as u64, wanted)
        });
        let at_once = (WINDOW / self.read).max(1) as usize;
        let mut reading = std::pin::pin!(stream::iter(blocks).buffered(at_once));
        // A server can claim any length.
        let mut content = Vec::with_capacity(length.min(MOST_RESERVED));
        while let Some(part) = reading.next().await {
            let part = part?;
            content.extend_from_slice(&part);
            if part.len() < block {
                break;
            }
        }
        Ok(content)
    }

    /// Reads a block. A server may give less at once than it was asked for.
    async fn read_block(&self, handle: &Bytes, from: u64, wanted: usize) -> Result<Bytes, Fault> {
        let mut parts = BytesMut::new();
        loop {
            let (at, left) = (from + parts.len() as u64, wanted - parts.len());
            let left = u32::try_from(left).unwrap_or(self.read);
            let part = match self.ask(Request::Read(handle, at, left)).await {
                Ok(Reply::Data(part)) if part.len() as u64 <= u64::from(left) => part,
                Ok(_) => return Err(Fault::unexpected()),
                Err(Fault::Refused(status)) if status.code == Status::END => Bytes::new(),
                Err(fault) => return Err(fault),
            };
            if part.len() == wanted {
                return Ok(part);
            }
            parts.extend_from_slice(&part);
            if part.is_empty() || parts.len() == wanted {
                return Ok(parts.freeze());
            }
        }
    }

    /// Puts on the disk what was written, where the server can.
    pub(super) async fn sync(&self, file: &OpenHandle) -> Result<(), Fault> {
        if self.extensions.sync {
            self.done(Request::Sync(file.handle()?)).await?;
        }
        Ok(())
    }

    /// Puts the entries of a directory on the disk, where the server can: OpenSSH opens one like a file.
    pub(super) async fn sync_directory(self: &Arc<Self>, path: &str) -> Result<(), Fault> {
        if !self.extensions.sync {
            return Ok(());
        }
        let synced = async {
            let directory = self.open_file(path, Access::Read).await?;
            self.sync(&directory).await
        };
        match synced.await {
            // Whatever the reason, this is more than SFTP promises.
            Err(Fault::Refused(_)) => Ok(()),
            synced => synced,
        }
    }

    /// Closes what was opened, and waits for what the server says of it.
    pub(super) async fn close(&self, mut file: OpenHandle) -> Result<(), Fault> {
        match file.handle.take() {
            Some(handle) => self.done(Request::Close(&handle)).await,
            None => Ok(()),
        }
    }

    /// All names in a directory; none where there is no such.
    pub(super) async fn names(self: &Arc<Self>, path: &str) -> Result<Vec<Name>, Fault> {
        let directory = match self.handle(Request::OpenDirectory(path)).await {
            Err(fault) if fault.is_missing() => return Ok(Vec::new()),
            opened => opened?,
        };
        let mut names = Vec::new();
        loop {
            match self.ask(Request::ReadDirectory(directory.handle()?)).await {
                Ok(Reply::Names(some)) => names.extend(some),
                Ok(_) => return Err(Fault::unexpected()),
                Err(Fault::Refused(status)) if status.code == Status::END => break,
                Err(fault) => return Err(fault),
            }
        }
        self.close(directory).await?;
        Ok(names)
    }

    /// Makes a directory.
    pub(super) async fn make_directory(&self, path: &str) -> Result<(), Fault> {
        self.done(Request::MakeDirectory(path)).await
    }

    /// Removes a file.
    pub(super) async fn remove(&self, path: &str) -> Result<(), Fault> {
        self.done(Request::Remove(path)).await
    }

    /// Removes an empty directory.
    pub(super) async fn remove_directory(&self, path: &str) -> Result<(), Fault> {
        self.done(Request::RemoveDirectory(path)).await
    }

    /// The room that is left; none where the server does not say.
    pub(super) async fn space(&self, path: &str) -> Option<Space> {
        if !self.extensions.space {
            return None;
        }
        match self.ask(Request::Space(path)).await {
            Ok(Reply::Extended(body)) => packet::decode_space(body).ok(),
            _ => None,
        }
    }
}

fn block(limit: Option<u64>) -> u32 {
    let limit = limit.and_then(|limit| u32::try_from(limit).ok());
    limit.map_or(LARGEST_BLOCK, |limit| limit.clamp(1024, LARGEST_BLOCK))
}

fn not_sftp(end: &WireEnd) -> Fault {
    Fault::Judged(
        DestinationErrorKind::Denied,
        format!(
            "{end}\nhint: the account needs the subsystem sftp, and a shell that prints nothing"
        ),
    )
}

fn malformed(malformed: Malformed) -> Fault {
    Fault::Judged(DestinationErrorKind::Damaged, malformed.to_string())
}
