//! A connection on which no row arrives as one long message.
//!
//! The server sends each row of a `COPY … TO STDOUT` as one message, up to a gigabyte, and the driver
//! holds a message in memory as a whole. Here a long one is cut into several short ones before the driver
//! sees it. The protocol allows that: a reader of COPY data must not care where messages end (the manual's
//! chapter "Message Flow", "COPY Operations").

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncBufRead as _, AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

/// No message with rows is longer than this, without its head.
const LONGEST: usize = 64 * 1024;

/// So much is read from the socket at once.
const AT_ONCE: usize = 32 * 1024;

/// Type and length of a message.
const HEAD: usize = 5;

/// The type of messages with rows (the manual's chapter "Message Formats", `CopyData`).
const ROWS: u8 = b'd';

/// What the server sends, with long rows cut; what is sent to it passes as it is.
pub(super) struct ShortRows<S> {
    inner: BufReader<S>,
    /// The head of the message that passes.
    head: [u8; HEAD],
    /// So many bytes of the head have arrived.
    arrived: usize,
    /// So many bytes of the head have been handed on.
    passed: usize,
    /// Bytes of the message that follow its head.
    body: usize,
    /// Bytes of the server's message that are left for further messages of ours.
    rest: usize,
}

impl<S: AsyncRead> ShortRows<S> {
    /// On a connection, before the first message of the server.
    pub(super) fn new(inner: S) -> Self {
        Self {
            inner: BufReader::with_capacity(AT_ONCE, inner),
            head: [0; HEAD],
            arrived: 0,
            passed: 0,
            body: 0,
            rest: 0,
        }
    }

    /// Takes the head of a message, once all of it has arrived.
    fn begin_message(&mut self) {
        let [kind, length @ ..] = self.head;
        // It counts itself. What is too short is malformed, and the driver's to refuse.
        let body = (u32::from_be_bytes(length) as usize).saturating_sub(HEAD - 1);
        if kind == ROWS && body > LONGEST {
            self.rest = body;
            self.begin_piece();
        } else {
            self.body = body;
        }
    }

    /// Makes the next piece of a long message a message.
    fn begin_piece(&mut self) {
        self.body = self.rest.min(LONGEST);
        self.rest -= self.body;
        let length = u32::try_from(self.body + HEAD - 1).unwrap_or(u32::MAX);
        self.head[1..].copy_from_slice(&length.to_be_bytes());
        self.passed = 0;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ShortRows<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        while buffer.remaining() > 0 {
            if this.arrived == HEAD && this.passed < HEAD {
                let size = buffer.remaining().min(HEAD - this.passed);
                buffer.put_slice(&this.head[this.passed..this.passed + size]);
                this.passed += size;
                continue;
            }
            if this.arrived == HEAD && this.body == 0 {
                if this.rest > 0 {
                    this.begin_piece();
                    continue;
                }
                (this.arrived, this.passed) = (0, 0);
            }
            let available = match Pin::new(&mut this.inner).poll_fill_buf(context) {
                // What is there already goes on; whoever reads asks again.
                Poll::Pending if buffer.filled().len() > before => break,
                outcome => std::task::ready!(outcome)?,
            };
            if available.is_empty() {
                break;
            }
            let size = if this.arrived < HEAD {
                let size = available.len().min(HEAD - this.arrived);
                this.head[this.arrived..this.arrived + size].copy_from_slice(&available[..size]);
                size
            } else {
                let size = available.len().min(this.body).min(buffer.remaining());
                buffer.put_slice(&available[..size]);
                size
            };
            Pin::new(&mut this.inner).consume(size);
            if this.arrived < HEAD {
                this.arrived += size;
                if this.arrived == HEAD {
                    this.begin_message();
                }
            } else {
                this.body -= size;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ShortRows<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}

impl<S: TlsStream + Unpin> TlsStream for ShortRows<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.inner.get_ref().channel_binding()
    }
}

/// TLS on a connection, with long rows cut inside of it.
pub(super) struct WithShortRows<T>(pub(super) T);

impl<S, T> TlsConnect<S> for WithShortRows<T>
where
    T: TlsConnect<S>,
    T::Future: Send + 'static,
{
    type Stream = ShortRows<T::Stream>;
    type Error = T::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, T::Error>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let connecting = self.0.connect(stream);
        Box::pin(async move { connecting.await.map(ShortRows::new) })
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind], length.to_be_bytes().as_slice(), body].concat()
    }

    fn rows(length: usize) -> Vec<u8> {
        (0..=250_u8).cycle().take(length).collect()
    }

    /// Kinds and bodies of the messages in a stream of bytes.
    fn messages(mut stream: &[u8]) -> Vec<(u8, &[u8])> {
        let mut found = Vec::new();
        while let [kind, a, b, c, d, rest @ ..] = stream {
            let body = u32::from_be_bytes([*a, *b, *c, *d]) as usize - 4;
            found.push((*kind, &rest[..body]));
            stream = &rest[body..];
        }
        assert!(stream.is_empty(), "a message is cut short");
        found
    }

    /// Bytes that arrive in these pieces, each after a while.
    struct Arriving<'a> {
        pieces: Vec<&'a [u8]>,
        is_here: bool,
    }

    impl AsyncRead for Arriving<'_> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.is_here = !self.is_here;
            if !self.is_here {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let Some(piece) = self.pieces.pop() {
                let (now, later) = piece.split_at(piece.len().min(buffer.remaining()));
                buffer.put_slice(now);
                if !later.is_empty() {
                    self.pieces.push(later);
                }
            }
            Poll::Ready(Ok(()))
        }
    }

    /// What comes out when the bytes arrive in pieces of these sizes, and are asked for in pieces of so
    /// many.
    async fn through(bytes: &[u8], arriving: &[usize], asked: usize) -> Vec<u8> {
        let mut pieces = Vec::new();
        let mut sizes = arriving.iter().cycle();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
            pieces.push(piece);
            rest = after;
        }
        pieces.reverse();
        let is_here = false;
        let mut stream = ShortRows::new(Arriving { pieces, is_here });
        let mut found = Vec::new();
        let mut buffer = vec![0; asked];
        loop {
            match stream.read(&mut buffer).await.unwrap() {
                0 => return found,
                size => found.extend_from_slice(&buffer[..size]),
            }
        }
    }

    #[tokio::test]
    async fn a_long_row_comes_in_short_messages_and_all_else_as_it_is() {
        for length in [
            0,
            1,
            LONGEST - 1,
            LONGEST,
            LONGEST + 1,
            2 * LONGEST,
            5 * LONGEST + 7,
        ] {
            let (row, other) = (rows(length), rows(LONGEST + 9));
            let sent = [
                message(b'H', b"\0\0\0"),
                message(ROWS, &row),
                // A long message of another kind stays one.
                message(b'D', &other),
                message(ROWS, b"1\n"),
                message(b'c', b""),
            ]
            .concat();
            let found = through(&sent, &[7, 4096, 100_000], 10_000).await;
            let found = messages(&found);
            let pieces = length.div_ceil(LONGEST).max(1);
            assert_eq!(found.len(), 4 + pieces, "{length}");
            let cut = &found[1..=pieces];
            assert!(
                cut.iter()
                    .all(|(kind, body)| *kind == ROWS && body.len() <= LONGEST)
            );
            let joined: Vec<u8> = cut.iter().flat_map(|(_, body)| body.to_vec()).collect();
            assert!(joined == row, "{length}");
            let kinds: Vec<u8> = found[pieces + 1..].iter().map(|one| one.0).collect();
            assert_eq!(kinds, b"Ddc", "{length}");
            assert!(found[pieces + 1].1 == other, "{length}");
        }
    }

    /// A server that answers `COPY … TO STDOUT` with the beginning of one row, of so many bytes, and is
    /// gone then.
    async fn breaking_off(mut stream: tokio::io::DuplexStream, sent: usize) {
        let mut asked = vec![0; 4096];
        let ready = message(b'Z', b"I");
        let welcome = [message(b'R', &[0; 4]), ready.clone()].concat();
        let described = [
            message(b'1', b""),
            message(b't', &[0; 2]),
            message(b'n', b""),
            ready,
        ]
        .concat();
        let row = message(ROWS, &rows(5 * LONGEST));
        let begun = [
            message(b'2', b""),
            message(b'H', &[0; 3]),
            row[..HEAD + sent].to_vec(),
        ]
        .concat();
        for answer in [welcome, described, begun] {
            assert!(stream.read(&mut asked).await.unwrap() > 0);
            stream.write_all(&answer).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_connection_that_breaks_inside_a_long_row_is_an_error_also_between_its_pieces() {
        for sent in [0, 1, LONGEST - 1, LONGEST, 2 * LONGEST, 2 * LONGEST + 1] {
            let (ours, theirs) = tokio::io::duplex(8 * LONGEST);
            let server = tokio::spawn(breaking_off(theirs, sent));
            let mut config = tokio_postgres::Config::new();
            config.user("u");
            let connecting = config.connect_raw(ShortRows::new(ours), tokio_postgres::NoTls);
            let (client, connection) = connecting.await.unwrap();
            tokio::spawn(connection);
            let mut copied = Box::pin(client.copy_out("COPY t TO STDOUT").await.unwrap());
            let mut bytes = 0;
            let end = loop {
                match copied.next().await {
                    Some(Ok(piece)) => bytes += piece.len(),
                    end => break end,
                }
            };
            server.await.unwrap();
            assert!(matches!(end, Some(Err(_))), "{sent}: {end:?}");
            assert_eq!(bytes, sent / LONGEST * LONGEST, "{sent}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_byte_is_lost_however_the_messages_arrive(
            lengths in prop::collection::vec((any::<bool>(), 0..3 * LONGEST), 1..5),
            arriving in prop::collection::vec(1..50_000_usize, 1..5),
            asked in 1..100_000_usize,
        ) {
            let of = |is_rows: bool| if is_rows { ROWS } else { b'D' };
            let sent: Vec<u8> = lengths
                .iter()
                .flat_map(|(is_rows, length)| message(of(*is_rows), &rows(*length)))
                .collect();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let found = runtime.block_on(through(&sent, &arriving, asked));
            let of_kind = |bytes: &[u8], kind| -> Vec<u8> {
                let all = messages(bytes);
                all.iter().filter(|one| one.0 == kind).flat_map(|one| one.1.to_vec()).collect()
            };
            for kind in [ROWS, b'D'] {
                prop_assert!(of_kind(&found, kind) == of_kind(&sent, kind));
            }
            let short = |one: &(u8, &[u8])| one.0 != ROWS || one.1.len() <= LONGEST;
            prop_assert!(messages(&found).iter().all(short));
        }
    }
}
