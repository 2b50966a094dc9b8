//! Answering connections, within bounds: how many there are, how much each may send, and how long it may
//! take.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::feed::Shown;
use super::listen::{Listener, Stream};
use super::routes;
use crate::config::Listen;
use crate::emit;

/// An address that cannot be taken is tried again after pauses that grow from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// More connections than these wait until one of them ends.
const MOST_CONNECTIONS: usize = 64;

/// So long a client may take for the headers of a request, and be idle between two.
const HEADERS: Duration = Duration::from_secs(10);

/// Bytes of a request's line and headers. What is longer is refused with 431.
const HEADER_BYTES: usize = 16 * 1024;

/// Headers of a request.
const MOST_HEADERS: usize = 64;

/// So long a connection lasts at most. A client that does not take its answer is cut off then.
const CONNECTION: Duration = Duration::from_secs(60);

/// So long an answer that is being sent may go on after that.
const GRACE: Duration = Duration::from_secs(2);

/// After a failure to take a connection, such as for lack of open files.
const PAUSE: Duration = Duration::from_secs(1);

/// Listens until it is cancelled.
pub(super) async fn run(listen: &Listen, shown: Shown, cancel: CancellationToken) {
    let bound = cancel.run_until_cancelled(bind(listen)).await;
    let Some(listener) = bound else {
        return;
    };
    emit!(PageListening, {}, "the page listens on {listen}");
    let router = routes::router(listen.clone(), shown);
    let connections = TaskTracker::new();
    let _ = cancel
        .run_until_cancelled(take_connections(
            &listener,
            &router,
            (&connections, &cancel),
        ))
        .await;
    // Before the last answers are sent, others may take the address.
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// Takes the address, as soon as that can be had: backups go on without the page.
async fn bind(listen: &Listen) -> Listener {
    let (mut reported, mut pause) = (None, FIRST_PAUSE);
    loop {
        match Listener::bind(listen).await {
            Ok(listener) => return listener,
            Err(error) => {
                let reason = error.to_string();
                if reported.as_ref() != Some(&reason) {
                    report_failure(listen, &error);
                }
                reported = Some(reason);
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Reports that the address cannot be taken; once for each reason.
fn report_failure(listen: &Listen, error: &io::Error) {
    emit!(
        PageUnavailable,
        {},
        "the page cannot listen on {listen} (web.listen): {error}; it is tried again, and backups \
         go on"
    );
}

async fn take_connections(
    listener: &Listener,
    router: &Router,
    (connections, cancel): (&TaskTracker, &CancellationToken),
) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok(stream) => {
                let (router, cancel) = (router.clone(), cancel.clone());
                connections.spawn(async move {
                    answer(stream, router, cancel).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!("the page cannot take a connection: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Answers the requests of one connection.
async fn answer(stream: Box<dyn Stream>, router: Router, cancel: CancellationToken) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(HEADER_BYTES)
        .max_headers(MOST_HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!("a connection to the page has ended: {error}");
            }
            return;
        }
        () = sleep(CONNECTION) => {}
        () = cancel.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(GRACE, connection).await;
}
