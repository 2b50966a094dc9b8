//! `pgbackupd status --from`: all hosts that have something at a destination.

mod document;

use std::io::Write;

use chrono::{DateTime, Utc};

use super::Args;
use crate::cli::env::CommandEnv;
use crate::cli::failure::{Failure, FailureKind};
use crate::cli::report;
use crate::cli::session::Session;
use crate::cli::table::{Column, Table};
use crate::cli::wrap::wrapped;
use crate::copies::TrustedBy;
use crate::display::{counted, one_line, rough_span};
use crate::jobs::{FleetHostReport, FleetReport, OpenedState, WantedPlaces, look_at_fleet};
use crate::policy::Severity;
use document::FleetDocument;

/// Of more hosts than these, only those that need attention have a paragraph.
const PARAGRAPHS: usize = 4;

pub(super) async fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let session = Session::new(env, args.from.load(env)?);
    let open = args.from.open(&session)?;
    let identities = args.identity.read(env.interrupt).await?;
    let wanted = WantedPlaces {
        host: args.from.host(),
        databases: &args.databases,
    };
    let run = session.begin();
    let looking = look_at_fleet(&run, &open.source, (wanted, identities.as_ref()));
    let report = looking.await.map_err(|error| session.failure(&error))?;
    let label = &open.source.label;
    if env.json {
        report::json(&FleetDocument::of(&report, label), out)?;
    } else {
        print(&report, label, out)?;
    }
    out.flush()?;
    if report.hosts.iter().any(FleetHostReport::needs_attention) {
        let message = "something needs attention";
        return Err(Failure::new(FailureKind::Attention, message));
    }
    Ok(())
}

fn print(report: &FleetReport, label: &str, out: &mut dyn Write) -> Result<(), Failure> {
    let hosts = &report.hosts;
    let bad = hosts.iter().filter(|host| host.needs_attention()).count() as u64;
    let verdict = match bad {
        0 => "all is well".to_owned(),
        1 => "1 needs attention".to_owned(),
        many => format!("{many} need attention"),
    };
    let seen = report.at.format("%Y-%m-%d %H:%M UTC");
    let all = counted(hosts.len() as u64, "host", "hosts");
    wrapped(
        out,
        "",
        &format!("{all} at {label}: {verdict}, seen at {seen}"),
    )?;
    let mut table = Table::new([
        Column::left(""),
        Column::name("HOST"),
        Column::left("STATE"),
        Column::left("LAST HEARD"),
        Column::left("NEXT DUE"),
        Column::right("NEWEST COPY"),
    ]);
    for host in hosts {
        table.row(row(host, report.at));
    }
    table.print("", out)?;
    for host in hosts {
        if host.needs_attention() || hosts.len() <= PARAGRAPHS {
            writeln!(out)?;
            paragraph(host, report.at, out)?;
        }
    }
    untrusted(report, label, out)
}

/// "3 hours ago"
fn ago(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    format!(
        "{} ago",
        rough_span((now - at).to_std().unwrap_or_default())
    )
}

/// "in 3 hours", or how long ago it was due.
fn due(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    match (at - now).to_std() {
        Ok(ahead) => format!("in {}", rough_span(ahead)),
        Err(_) => ago(at, now),
    }
}

fn row(host: &FleetHostReport, now: DateTime<Utc>) -> [String; 6] {
    let heard = host.status.newest.as_ref();
    let copies = host.copies.iter();
    let newest = copies.filter_map(|(.., newest)| newest.copy.as_ref());
    let newest = newest.map(|copy| copy.manifest.manifest.started).max();
    [
        if host.needs_attention() { "!" } else { "" }.to_owned(),
        one_line(&host.host),
        host.verdict.word.clone(),
        heard.map_or_else(|| "never".to_owned(), |heard| ago(heard.stored, now)),
        heard.map_or_else(String::new, |heard| due(heard.status.next_due, now)),
        newest.map_or_else(|| "none".to_owned(), |started| ago(started.to_utc(), now)),
    ]
}

fn paragraph(
    host: &FleetHostReport,
    now: DateTime<Utc>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    wrapped(out, "", &format!("host {}", one_line(&host.host)))?;
    for sentence in &host.verdict.attention {
        wrapped(out, "  ! ", sentence)?;
    }
    reported(host, out)?;
    if let Some(heard) = &host.status.newest {
        let signature = &heard.signature;
        let text = format!(
            "its state is signed by {}, {}",
            signature.fingerprint,
            why(signature.by)
        );
        wrapped(out, "  ", &text)?;
    }
    for (place, series, newest) in &host.copies {
        let label = one_line(&format!("{}/{} {series}", place.server, place.database));
        let text = match &newest.copy {
            None => format!("{label}: no copy that counts"),
            Some(copy) => {
                let manifest = &copy.manifest.manifest;
                format!(
                    "{label}: {}, {} old",
                    copy.name.stem(),
                    rough_span(
                        (now - manifest.started.to_utc())
                            .to_std()
                            .unwrap_or_default()
                    )
                )
            }
        };
        wrapped(out, "  ", &text)?;
    }
    Ok(())
}

/// What the host itself has reported.
fn reported(host: &FleetHostReport, out: &mut dyn Write) -> Result<(), Failure> {
    match &host.state {
        OpenedState::None => {}
        OpenedState::Closed => wrapped(
            out,
            "  ",
            "what it reports is encrypted: --identity FILE opens it",
        )?,
        OpenedState::Failed(why) => {
            wrapped(
                out,
                "  ",
                &format!("what it reports cannot be opened: {why}"),
            )?;
        }
        OpenedState::Opened(state) => {
            for concern in &state.concerns {
                let head = match concern.severity {
                    Severity::Warning => "  ! ",
                    Severity::Critical => "  !! ",
                };
                let about = concern.about.as_ref();
                let about =
                    about.map_or_else(String::new, |about| format!("{}: ", one_line(about)));
                wrapped(out, head, &format!("{about}{}", one_line(&concern.message)))?;
            }
            if state.more_concerns > 0 {
                wrapped(out, "  ! ", &format!("and {} more", state.more_concerns))?;
            }
            let version = one_line(&state.version);
            wrapped(out, "  ", &format!("it runs pgbackupd {version}"))?;
        }
    }
    Ok(())
}

/// Why a signature counts.
fn why(by: TrustedBy) -> &'static str {
    match by {
        TrustedBy::Own => "the key of this host",
        TrustedBy::AllowedSigner => "which trusted_signers trusts",
        TrustedBy::Fingerprint => "which --signer trusts",
        TrustedBy::Any => "which nobody has vouched for (--any-signer)",
    }
}

/// Who has signed states and is not trusted, and the way to trust them.
fn untrusted(report: &FleetReport, label: &str, out: &mut dyn Write) -> Result<(), Failure> {
    let mut signers: Vec<(&str, &str)> = report
        .hosts
        .iter()
        .filter_map(|host| {
            let refused = host.status.refused.as_ref()?;
            Some((refused.unknown_signer.as_deref()?, host.host.as_str()))
        })
        .collect();
    signers.sort_unstable();
    if signers.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    wrapped(out, "", &format!("unknown signers of states at {label}:"))?;
    for (fingerprint, host) in signers {
        writeln!(out, "  {fingerprint} of {}", one_line(host))?;
    }
    wrapped(
        out,
        "",
        "compare each with the printed key sheet, or with `pgbackupd key show` on the host; then add --signer and \
         the fingerprint, or a line to trusted_signers",
    )?;
    Ok(())
}
