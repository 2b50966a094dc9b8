//! Requests and their answers over a pair of pipes. Many can be on their way at the same time: each has a number,
//! and waits for the answer that has it too.
//!
//! One task writes and one reads, so that whoever gives up a request leaves no half of a packet behind.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot};

use super::packet::{self, Extensions, LONGEST, Malformed, Reply, Request};

/// So many packets wait to be written at most.
const QUEUE: usize = 8;

/// So much of an answer that is not SFTP is reported, in bytes.
const EXCERPT: u64 = 160;

/// It is waited for so long.
const EXCERPT_WAIT: Duration = Duration::from_secs(1);

/// A packet: its head and its content.
type Outgoing = (Bytes, Bytes);

/// A connection that speaks SFTP.
#[derive(Debug)]
pub(super) struct Wire {
    outgoing: mpsc::Sender<Outgoing>,
    waiting: Arc<Waiting>,
    next: Arc<AtomicU32>,
}

/// The connection has ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireEnd {
    /// The other side has closed it.
    #[error("the connection was closed")]
    Closed,
    /// What it sent is not SFTP.
    #[error("the server does not speak SFTP: {0}")]
    Malformed(String),
}

impl From<io::Error> for WireEnd {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

impl From<Malformed> for WireEnd {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed.to_string())
    }
}

/// Who waits for answers.
#[derive(Debug, Default)]
struct Waiting(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    replies: HashMap<u32, oneshot::Sender<Reply>>,
    /// Why no more answers come.
    end: Option<WireEnd>,
}

impl Waiting {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, end: WireEnd) {
        let mut state = self.state();
        state.end.get_or_insert(end);
        state.replies.clear();
    }
}

/// Takes the number of a request back whose answer nobody waits for any more.
struct Waiter<'w> {
    waiting: &'w Waiting,
    id: u32,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.waiting.state().replies.remove(&self.id);
    }
}

impl Wire {
    /// Says hello, and starts to write and read.
    ///
    /// # Errors
    /// The other side does not answer with SFTP.
    pub(super) async fn start<R, W>(
        mut reader: R,
        mut writer: W,
    ) -> Result<(Self, Extensions), WireEnd>
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        writer.write_all(&packet::hello()).await?;
        writer.flush().await?;
        let extensions = packet::decode_hello(read_packet(&mut reader).await?)?;
        let (outgoing, packets) = mpsc::channel(QUEUE);
        let waiting = Arc::new(Waiting::default());
        let next = Arc::new(AtomicU32::new(1));
        tokio::spawn(write(writer, packets));
        let reading = Reading {
            waiting: Arc::clone(&waiting),
            // The writer ends with the last strong one.
            outgoing: outgoing.downgrade(),
            next: Arc::clone(&next),
        };
        tokio::spawn(async move {
            let end = reading.read(reader).await;
            reading.waiting.end(end);
        });
        let wire = Self {
            outgoing,
            waiting,
            next,
        };
        Ok((wire, extensions))
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// The connection ends first.
    pub(super) async fn ask(&self, request: &Request<'_>) -> Result<Reply, WireEnd> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, reply) = oneshot::channel();
        {
            let mut state = self.waiting.state();
            if let Some(end) = &state.end {
                return Err(end.clone());
            }
            state.replies.insert(id, answer);
        }
        let _waiter = Waiter {
            waiting: &self.waiting,
            id,
        };
        if self.outgoing.send(request.encode(id)).await.is_err() {
            return Err(self.end().unwrap_or(WireEnd::Closed));
        }
        let reply = reply.await;
        reply.map_err(|_| self.end().unwrap_or(WireEnd::Closed))
    }

    /// Sends that a handle is no longer needed, and waits for nothing.
    pub(super) fn give_up(&self, handle: &Bytes) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        // Where the queue is full, the server closes it at the end of the connection.
        let _ = self.outgoing.try_send(Request::Close(handle).encode(id));
    }

    /// Why the connection has ended; none while it has not.
    pub(super) fn end(&self) -> Option<WireEnd> {
        self.waiting.state().end.clone()
    }
}

async fn write(mut writer: impl AsyncWrite + Unpin, mut packets: mpsc::Receiver<Outgoing>) {
    while let Some((head, content)) = packets.recv().await {
        let written = async {
            writer.write_all(&head).await?;
            writer.write_all(&content).await?;
            writer.flush().await
        };
        // The reader sees the end too, and says so.
        if written.await.is_err() {
            return;
        }
    }
}

/// What the task needs that reads.
struct Reading {
    waiting: Arc<Waiting>,
    outgoing: mpsc::WeakSender<Outgoing>,
    next: Arc<AtomicU32>,
}

impl Reading {
    async fn read(&self, mut reader: impl AsyncRead + Unpin) -> WireEnd {
        loop {
            let decoded = match read_packet(&mut reader).await {
                Ok(packet) => packet::decode(packet).map_err(WireEnd::from),
                Err(end) => Err(end),
            };
            let (id, reply) = match decoded {
                Ok(decoded) => decoded,
                Err(end) => return end,
            };
            let waiter = self.waiting.state().replies.remove(&id);
            let left = match waiter {
                Some(waiter) => waiter.send(reply).err(),
                None => Some(reply),
            };
            // Nobody would close what was opened for somebody who has given up.
            if let Some(Reply::Handle(handle)) = left
                && let Some(outgoing) = self.outgoing.upgrade()
            {
                let id = self.next.fetch_add(1, Ordering::Relaxed);
                let _ = outgoing.try_send(Request::Close(&handle).encode(id));
            }
        }
    }
}

/// Reads a packet, without its length.
async fn read_packet(reader: &mut (impl AsyncRead + Unpin)) -> Result<Bytes, WireEnd> {
    let mut head = [0; 4];
    reader.read_exact(&mut head).await?;
    let length = u32::from_be_bytes(head);
    if length > LONGEST {
        // A shell that prints something, or an account without SFTP.
        let mut text = head.to_vec();
        let mut excerpt = reader.take(EXCERPT);
        let rest = excerpt.read_to_end(&mut text);
        // It may say no more and stay.
        let _ = tokio::time::timeout(EXCERPT_WAIT, rest).await;
        let text = String::from_utf8_lossy(&text);
        return Err(WireEnd::Malformed(format!(
            "its answer begins with {:?}",
            text.lines().next().unwrap_or_default()
        )));
    }
    let mut packet = BytesMut::zeroed(length as usize);
    reader.read_exact(&mut packet).await?;
    Ok(packet.freeze())
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex, split};

    use super::super::packet::Status;
    use super::*;

    /// A wire, and the server's end of it, which has said hello.
    async fn pair() -> (Wire, DuplexStream) {
        let (ours, mut theirs) = duplex(1 << 16);
        let (reader, writer) = split(ours);
        theirs.write_all(b"\0\0\0\x05\x02\0\0\0\x03").await.unwrap();
        let (wire, _) = Wire::start(reader, writer).await.unwrap();
        let mut hello = [0; 9];
        theirs.read_exact(&mut hello).await.unwrap();
        (wire, theirs)
    }

    fn status(id: u32) -> Vec<u8> {
        let mut packet = b"\0\0\0\x09\x65".to_vec();
        packet.extend(id.to_be_bytes());
        packet.extend(2_u32.to_be_bytes());
        packet
    }

    #[tokio::test]
    async fn answers_find_who_waits_for_them_in_any_order() {
        let (wire, mut theirs) = pair().await;
        let server = async {
            let mut requests = [0; 2 * 14];
            theirs.read_exact(&mut requests).await.unwrap();
            for id in [2, 77, 1] {
                theirs.write_all(&status(id)).await.unwrap();
            }
        };
        let (one, other) = (Request::Lstat("a"), Request::Lstat("b"));
        let (one, other, ()) = tokio::join!(wire.ask(&one), wire.ask(&other), server);
        for reply in [one, other] {
            assert!(matches!(reply, Ok(Reply::Status(Status { code: 2, .. }))));
        }
    }

    #[tokio::test]
    async fn the_end_of_the_connection_ends_every_wait() {
        let (wire, theirs) = pair().await;
        let (one, other) = (Request::Lstat("a"), Request::Lstat("b"));
        let end = async {
            tokio::task::yield_now().await;
            drop(theirs);
        };
        let (one, other, ()) = tokio::join!(wire.ask(&one), wire.ask(&other), end);
        assert_eq!((one, other), (Err(WireEnd::Closed), Err(WireEnd::Closed)));
        let late = wire.ask(&Request::Limits).await;
        assert_eq!(late, Err(WireEnd::Closed));
    }

    #[tokio::test]
    async fn a_handle_that_nobody_waits_for_is_closed() {
        let (wire, mut theirs) = pair().await;
        {
            let request = Request::OpenDirectory("a");
            let asking = std::pin::pin!(wire.ask(&request));
            // It is sent, and given up.
            assert!(futures::poll!(asking).is_pending());
        }
        let mut request = [0; 14];
        theirs.read_exact(&mut request).await.unwrap();
        theirs
            .write_all(b"\0\0\0\x0a\x66\0\0\0\x01\0\0\0\x01h")
            .await
            .unwrap();
        let mut close = [0; 14];
        theirs.read_exact(&mut close).await.unwrap();
        assert_eq!(&close, b"\0\0\0\x0a\x04\0\0\0\x02\0\0\0\x01h");
    }

    #[tokio::test]
    async fn what_is_not_sftp_is_shown() {
        let (ours, mut theirs) = duplex(1 << 16);
        let (reader, writer) = split(ours);
        let message = b"This account is not available.\nbye";
        theirs.write_all(message).await.unwrap();
        drop(theirs);
        let end = Wire::start(reader, tokio::io::sink()).await.unwrap_err();
        drop(writer);
        let text = end.to_string();
        assert!(text.contains("This account is not available."), "{text}");
        assert!(!text.contains("bye"), "{text}");
    }
}
