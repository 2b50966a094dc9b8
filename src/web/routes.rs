//! What is to be seen at which path.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chrono::Utc;
use maud::Markup;
use tokio::sync::Mutex;

use super::feed::{Shown, Snapshot};
use super::health::Health;
use super::page::Page;
use super::{database, guard, links, overview};
use crate::config::Listen;
use crate::identity::host_name;
use crate::jobs::{StatusDocument, metrics as metrics_of};
use crate::json::write_json;

/// The style sheet.
const STYLE: &str = include_str!("style.css");

/// Prometheus's text format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What every request needs.
struct Source {
    shown: Shown,
    /// The machine's name, for the title.
    host: String,
    /// One answer is made at a time: the runtime's other worker is the schedule's.
    turn: Mutex<()>,
}

/// All paths.
pub(super) fn router(listen: Listen, shown: Shown) -> Router {
    let source = Arc::new(Source {
        shown,
        host: host_name(),
        turn: Mutex::new(()),
    });
    Router::new()
        .route("/", get(show_overview))
        .route("/database/{server}/{database}", get(show_database))
        .route("/style.css", get(style))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/api/status", get(api_status))
        .fallback(nothing_there)
        .with_state(source)
        .layer(from_fn_with_state(listen, guard::guard))
}

impl Source {
    /// Makes an answer from what there is to see now.
    async fn answer<T>(&self, make: impl FnOnce(&Snapshot, &str) -> T) -> T {
        let _turn = self.turn.lock().await;
        make(&self.shown.snapshot(Utc::now()), &self.host)
    }
}

async fn show_overview(State(source): State<Arc<Source>>) -> Response {
    let page = source.answer(|snapshot, host| {
        let page = Page::of(snapshot, host);
        match &snapshot.judged {
            Some(judged) => (StatusCode::OK, overview::markup(&page, judged)),
            None => (StatusCode::SERVICE_UNAVAILABLE, page.not_judged_yet()),
        }
    });
    page.await.into_response()
}

async fn show_database(
    State(source): State<Arc<Source>>,
    Path((server, name)): Path<(String, String)>,
) -> Response {
    let (server, name) = (links::name(&server), links::name(&name));
    let page = source.answer(|snapshot, host| {
        let page = Page::of(snapshot, host);
        let Some(judged) = &snapshot.judged else {
            return (StatusCode::SERVICE_UNAVAILABLE, page.not_judged_yet());
        };
        let mut databases = judged.status.databases.iter();
        let found = databases.find(|one| one.facts.server == server && one.facts.database == name);
        match found {
            Some(found) => (StatusCode::OK, database::markup(&page, judged, found)),
            None => (StatusCode::NOT_FOUND, page.no_such_page()),
        }
    });
    page.await.into_response()
}

async fn nothing_there(State(source): State<Arc<Source>>) -> (StatusCode, Markup) {
    let page = source.answer(|snapshot, host| Page::of(snapshot, host).no_such_page());
    (StatusCode::NOT_FOUND, page.await)
}

async fn style() -> Response {
    let headers = [(CONTENT_TYPE, "text/css; charset=utf-8")];
    (headers, STYLE).into_response()
}

async fn healthz(State(source): State<Arc<Source>>) -> Response {
    let snapshot = source.shown.snapshot(Utc::now());
    let health = Health::of(&snapshot);
    let code = if health.is_ok() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, health.line()).into_response()
}

async fn metrics(State(source): State<Arc<Source>>) -> Response {
    let text = source.answer(|snapshot, _| {
        let judged = snapshot.judged.as_ref()?;
        Some(metrics_of(&judged.status, &judged.alerts))
    });
    match text.await {
        None => not_judged_yet(),
        Some(Ok(text)) => ([(CONTENT_TYPE, METRICS)], text).into_response(),
        Some(Err(error)) => failed(&error),
    }
}

async fn api_status(State(source): State<Arc<Source>>) -> Response {
    let document = source.answer(|snapshot, _| {
        let judged = snapshot.judged.as_ref()?;
        let mut out = Vec::new();
        let document = StatusDocument::of(&judged.status);
        Some(write_json(&document, &mut out).map(|()| out))
    });
    match document.await {
        None => not_judged_yet(),
        Some(Ok(out)) => ([(CONTENT_TYPE, "application/json")], out).into_response(),
        Some(Err(error)) => failed(&error),
    }
}

/// To a program, before the first judgement.
fn not_judged_yet() -> Response {
    let text = Health::Unknown.line();
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

fn failed(error: &dyn std::error::Error) -> Response {
    tracing::warn!("the page cannot make an answer: {error}");
    let text = "internal error (please report)\n";
    (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
}
