//! Rows in COPY's text format, into a table and out of it, within the session's transaction.

use std::io::Cursor;
use std::pin::Pin;

use futures::{SinkExt as _, StreamExt as _};
use tokio_postgres::{CopyInSink, CopyOutStream};

use crate::postgres::client::Client;
use crate::postgres::query_error::QueryError;

/// Rows that go into a table.
pub struct CopyIn<'a> {
    client: &'a Client,
    sink: Pin<Box<CopyInSink<Cursor<Vec<u8>>>>>,
}

/// Rows that come out of a table.
pub struct CopyOut<'a> {
    client: &'a Client,
    stream: Pin<Box<CopyOutStream>>,
}

const INTO: &str = "write the rows of a table";
const OUT_OF: &str = "read the rows of a table";

impl Client {
    /// Begins to write rows: `sql` is a `COPY … FROM stdin`.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn copy_in(&self, sql: &str) -> Result<CopyIn<'_>, QueryError> {
        let sink = self.inner().copy_in(sql).await;
        Ok(CopyIn {
            sink: Box::pin(sink.map_err(|error| self.refused(INTO, &error))?),
            client: self,
        })
    }

    /// Begins to read rows: `sql` is a `COPY … TO STDOUT`.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn copy_out(&self, sql: &str) -> Result<CopyOut<'_>, QueryError> {
        let stream = self.inner().copy_out(sql).await;
        Ok(CopyOut {
            stream: Box::pin(stream.map_err(|error| self.refused(OUT_OF, &error))?),
            client: self,
        })
    }
}

impl CopyIn<'_> {
    /// The next bytes, cut anywhere.
    ///
    /// # Errors
    /// The connection broke, or the server refuses a row that came before.
    pub async fn send(&mut self, bytes: Vec<u8>) -> Result<(), QueryError> {
        let sent = self.sink.send(Cursor::new(bytes)).await;
        sent.map_err(|error| self.client.refused(INTO, &error))
    }

    /// That was all.
    ///
    /// # Errors
    /// The server refuses a row.
    pub async fn finish(mut self) -> Result<(), QueryError> {
        let finished = self.sink.as_mut().finish().await;
        finished
            .map(drop)
            .map_err(|error| self.client.refused(INTO, &error))
    }
}

impl CopyOut<'_> {
    /// The next bytes, cut anywhere; none after the last.
    ///
    /// # Errors
    /// The connection broke, or the server refuses.
    pub async fn next(&mut self) -> Result<Option<impl AsRef<[u8]> + use<>>, QueryError> {
        match self.stream.next().await {
            None => Ok(None),
            Some(Ok(bytes)) => Ok(Some(bytes)),
            Some(Err(error)) => Err(self.client.refused(OUT_OF, &error)),
        }
    }
}
