//! `pgbackupd prune --from`: remove old copies at a destination. This host's go by the configured rules, those of a
//! host that is gone by rules that are given.

use std::io::Write;
use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::Args;
use crate::cli::confirm;
use crate::cli::env::CommandEnv;
use crate::cli::failure::{Failure, FailureKind};
use crate::cli::from::configured;
use crate::cli::length_of_time::length_of_time;
use crate::cli::report::{self, counted, one_line};
use crate::cli::session::Session;
use crate::cli::several::Turns;
use crate::cli::wrap::item;
use crate::copies::Place;
use crate::display::{option, rough_span, shell_word};
use crate::jobs::{
    BackupDirectory, CopyRequest, CopySource, HostPrunePlan, HostPruneRequest, SignerThere,
    own_name, plan_host_prune, prune_copies, prune_host, signer_lines, signers_there,
};
use crate::policy::{ClockTrust, Rules};
use crate::repository::Removal;

/// A host whose newest copy is younger is likely alive.
const ALIVE: TimeDelta = TimeDelta::days(7);

/// What these options are about.
const HEADING: &str = "What is kept of a host that is gone";

/// The rules for the copies of another host, as the keys of a series in the configuration.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct RuleArgs {
    /// Copies younger than this, such as "90 days"
    #[arg(long, value_name = "AGE", value_parser = length_of_time, requires = "host", help_heading = HEADING)]
    keep: Option<Duration>,
    /// The newest N copies of each series
    #[arg(long, value_name = "N", requires = "host", help_heading = HEADING)]
    keep_last: Option<NonZeroU32>,
    /// The newest copy of each of the last N days that have one
    #[arg(long, value_name = "N", requires = "host", help_heading = HEADING)]
    keep_daily: Option<NonZeroU32>,
    /// The newest copy of each of the last N weeks that have one
    #[arg(long, value_name = "N", requires = "host", help_heading = HEADING)]
    keep_weekly: Option<NonZeroU32>,
    /// The newest copy of each of the last N months that have one
    #[arg(long, value_name = "N", requires = "host", help_heading = HEADING)]
    keep_monthly: Option<NonZeroU32>,
    /// The newest copy of each of the last N years that have one
    #[arg(long, value_name = "N", requires = "host", help_heading = HEADING)]
    keep_yearly: Option<NonZeroU32>,
}

impl RuleArgs {
    fn rules(&self) -> Rules {
        Rules {
            within: self.keep,
            last: self.keep_last,
            daily: self.keep_daily,
            weekly: self.keep_weekly,
            monthly: self.keep_monthly,
            yearly: self.keep_yearly,
        }
    }
}

/// What `prune --from --json` prints for each database, in a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct PrunedCopies {
    /// The destination, as it was given.
    pub from: String,
    /// The host that the copies are of; null for this one.
    pub host: Option<String>,
    /// The server's name in that host's configuration; null for a directory that is not configured.
    pub server: Option<String>,
    /// The database.
    pub database: String,
    /// Whether nothing was removed, only said.
    pub dry_run: bool,
    /// The copies that were removed, or would be.
    pub removed: Vec<PrunedCopy>,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// A copy that goes.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct PrunedCopy {
    /// The backup.
    pub backup: String,
    /// Every reason, in words.
    pub reasons: Vec<String>,
}

impl From<&Removal> for PrunedCopy {
    fn from(removal: &Removal) -> Self {
        Self {
            backup: removal.backup.clone(),
            reasons: removal.reasons.clone(),
        }
    }
}

pub(super) async fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if args.from.is_as_of() {
        return Err(Failure::usage(
            "nothing is removed of what was there at an earlier time\nhint: leave out --as-of",
        ));
    }
    if args.from.trusts_any() {
        return Err(Failure::usage(
            "nothing is removed by the word of just anybody\n\
             hint: give the host's key by --signer SHA256:…, as its key sheet has it",
        ));
    }
    let session = Session::new(env, args.from.load(env)?);
    match args.from.host() {
        Some(host) => of_a_host(args, (&session, host), out).await,
        None if args.from.is_address() => Err(Failure::usage(
            "it is not said whose copies are meant\n\
             hint: name the host that is gone with --host; copies of this host go by the destination's name",
        )),
        None => of_this_host(args, &session, out).await,
    }
}

/// By the configured rules.
async fn of_this_host(
    args: &Args,
    session: &Session<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if args.from.has_signers() || args.trust_clock {
        return Err(Failure::usage(
            "--signer and --trust-clock are for the copies of a host that is gone\n\
             hint: name it with --host; `pgbackupd adopt` makes copies by an old key of this host its own",
        ));
    }
    let destination = configured(session, args.from.from.as_deref().unwrap_or_default())?;
    let directories = session.directories(&args.databases)?;
    let mut directories = directories.all_seen("nothing was removed")?;
    directories.retain(|one| {
        let server = one.server.clone().unwrap_or_default();
        destination.takes(&server, &one.database)
    });
    let mut turns = Turns::new(session, Vec::new(), out);
    let turn = async |turns: &mut Turns<'_, PrunedCopies>, one: &BackupDirectory| {
        let session = turns.session;
        let request = match CopyRequest::new(session.plan(), one, &destination.name) {
            Ok(request) => request,
            Err(error) => {
                turns.fail(&error);
                return Ok(());
            }
        };
        let pruning = session.job(&one.label, async |run| {
            prune_copies(run, request, args.dry_run).await
        });
        match pruning.await {
            Ok(report) => {
                let result = PrunedCopies {
                    from: destination.name.clone(),
                    host: None,
                    server: one.server.clone(),
                    database: one.database.clone(),
                    dry_run: args.dry_run,
                    removed: report.removed.iter().map(PrunedCopy::from).collect(),
                    warnings: report.warnings,
                };
                turns.add(result, |result, out| print(&one.label, result, out))?;
            }
            Err(error) => turns.fail(&error),
        }
        Ok(())
    };
    turns.each(&directories, |one| &one.label, turn).await?;
    turns.conclude()
}

/// By the rules that are given, after the host's name was typed.
async fn of_a_host(
    args: &Args,
    (session, host): (&Session<'_>, &str),
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let rules = args.rules.rules();
    if rules.is_empty() {
        return Err(Failure::usage(
            "no rules say what is kept of this host\n\
             hint: give at least one, such as --keep '90 days' or --keep-monthly 12; --dry-run shows what would go",
        ));
    }
    if !args.from.is_address() {
        let own = own_name(&session.context).map_err(|error| session.failure(&error))?;
        if own == host {
            return Err(Failure::usage(format!(
                "{} is this host: its copies are kept by the configured rules\nhint: leave out --host and the rules",
                one_line(host)
            )));
        }
    }
    let open = args.from.open(session)?;
    let source = &open.source;
    let places = args.from.places(session, &open, &args.databases).await?;
    let plans = plan_all(args, (session, source), (&places, &rules)).await?;
    if plans.iter().all(|plan| plan.newest.is_none()) {
        let signers = signers_there(&session.begin(), source, &places).await;
        let signers = signers.map_err(|error| session.failure(&error))?;
        return Err(nobody_trusted(host, source, &signers));
    }
    if args.dry_run || plans.iter().all(HostPrunePlan::is_empty) {
        return print_plans(args, session, &plans, out);
    }
    let text = question(args, host, &plans);
    let unasked = Failure::usage(format!(
        "nothing was removed: the host's name has to be typed at a terminal\n\
         hint: `ssh -t` gives a command one; --dry-run shows without a question what would go of host {}",
        shell_word(host)
    ));
    confirm::confirm_host(&text, host, session.env.interrupt, unasked).await?;
    let mut results = Vec::new();
    for plan in &plans {
        let label = &plan.place.database;
        let removing = session.job(label, async |run| prune_host(run, source, plan).await);
        let removed = removing.await.map_err(|error| session.failure(&error))?;
        results.push(result(
            args,
            plan,
            removed.iter().map(PrunedCopy::from).collect(),
        ));
    }
    print_results(session, &results, out)
}

/// Why nothing of a host is pruned: no copy of it counts.
fn nobody_trusted(host: &str, source: &CopySource, signers: &[SignerThere]) -> Failure {
    if signers.is_empty() {
        let message = format!(
            "there is no copy of host {} at {} that anybody has signed, so nothing is removed\n\
             hint: `pgbackupd list --from {} {} --any-signer` shows what is there",
            one_line(host),
            source.label,
            shell_word(&source.label),
            option("--host", host)
        );
        return Failure::new(FailureKind::Unavailable, message);
    }
    let message = format!(
        "no copy of host {} is signed by a trusted key; copies there are signed by\n{}\n\
         hint: compare the fingerprint with the printed key sheet, then add --signer and the fingerprint",
        one_line(host),
        signer_lines(signers)
    );
    Failure::new(FailureKind::Damaged, message)
}

/// What goes of each of these places.
async fn plan_all(
    args: &Args,
    (session, source): (&Session<'_>, &CopySource),
    (places, rules): (&[Place], &Rules),
) -> Result<Vec<HostPrunePlan>, Failure> {
    let mut plans = Vec::new();
    for place in places {
        let request = HostPruneRequest {
            source,
            place,
            rules,
            trust: if args.trust_clock {
                ClockTrust::Always
            } else {
                ClockTrust::IfPlausible
            },
        };
        let planning = session.job(&place.database, async |run| {
            plan_host_prune(run, request).await
        });
        let plan = planning.await.map_err(|error| session.failure(&error))?;
        for warning in &plan.warnings {
            tracing::warn!("{warning}");
        }
        plans.push(plan);
    }
    Ok(plans)
}

/// What is about to go.
fn question(args: &Args, host: &str, plans: &[HostPrunePlan]) -> String {
    let mut lines = Vec::new();
    for plan in plans {
        lines.push(format!(
            "{}/{} of host {}: {} to remove, {}; {} to keep",
            one_line(&plan.place.server),
            one_line(&plan.place.database),
            one_line(host),
            counted(plan.going.len() as u64, "copy", "copies"),
            report::size(plan.bytes()),
            plan.staying,
        ));
        let going = plan.going.iter();
        lines.extend(
            going.map(|(copy, reasons)| format!("  {}: {}", copy.name.stem(), reasons.join("; "))),
        );
    }
    let newest = plans.iter().filter_map(|plan| plan.newest).max();
    if let Some(age) = newest.map(|newest| Utc::now() - newest)
        && age < ALIVE
    {
        lines.push(format!(
            "The newest copy is {} old: this host is likely alive, and removes its old copies itself.",
            rough_span(age.to_std().unwrap_or_default())
        ));
    }
    lines.push(format!(
        "What is removed at {} cannot be brought back from there.\n",
        one_line(args.from.from.as_deref().unwrap_or_default())
    ));
    lines.join("\n")
}

fn result(args: &Args, plan: &HostPrunePlan, removed: Vec<PrunedCopy>) -> PrunedCopies {
    PrunedCopies {
        from: args.from.from.clone().unwrap_or_default(),
        host: Some(plan.place.host.clone()),
        server: Some(plan.place.server.clone()),
        database: plan.place.database.clone(),
        dry_run: args.dry_run,
        removed,
        warnings: plan.warnings.clone(),
    }
}

fn print_plans(
    args: &Args,
    session: &Session<'_>,
    plans: &[HostPrunePlan],
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let going = |plan: &HostPrunePlan| {
        let going = plan.going.iter();
        going
            .map(|(copy, reasons)| PrunedCopy {
                backup: copy.name.stem().to_string(),
                reasons: reasons.clone(),
            })
            .collect()
    };
    let results: Vec<PrunedCopies> = plans
        .iter()
        .map(|plan| result(args, plan, going(plan)))
        .collect();
    print_results(session, &results, out)
}

fn print_results(
    session: &Session<'_>,
    results: &[PrunedCopies],
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if session.env.json {
        return report::json(&results, out);
    }
    for result in results {
        let server = result.server.as_deref().unwrap_or_default();
        let label = format!("{server}/{}", result.database);
        print_removed(&label, result, out)?;
    }
    Ok(out.flush()?)
}

fn print(label: &str, result: &PrunedCopies, out: &mut dyn Write) -> Result<(), Failure> {
    for warning in &result.warnings {
        tracing::warn!("{}: {warning}", one_line(label));
    }
    print_removed(label, result, out)
}

fn print_removed(label: &str, result: &PrunedCopies, out: &mut dyn Write) -> Result<(), Failure> {
    let of_host = result
        .host
        .as_deref()
        .map_or_else(String::new, |host| format!(" of host {}", one_line(host)));
    let (done, word) = if result.dry_run {
        ("would be removed from", "remove")
    } else {
        ("removed from", "removed")
    };
    writeln!(
        out,
        "database {}{of_host}: {} {done} {}",
        one_line(label),
        counted(result.removed.len() as u64, "copy", "copies"),
        one_line(&result.from)
    )?;
    for copy in &result.removed {
        let reasons = copy.reasons.join("; ");
        item(out, "  ", &format!("{word} {}: {reasons}", copy.backup))?;
    }
    Ok(())
}
