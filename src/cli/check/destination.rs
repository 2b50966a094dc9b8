//! `pgbackupd check destination`: what can be done there, and what keeps the copies out of reach of this host.

use std::io::Write;

use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::env::CommandEnv;
use crate::cli::failure::{Failure, FailureKind};
use crate::cli::from::{configured, of_address};
use crate::cli::report::{self, one_line};
use crate::cli::session::Session;
use crate::cli::table::{Column, Table};
use crate::cli::wrap::wrapped;
use crate::config::{DestinationSettings, Plan};
use crate::destination;
use crate::jobs::{CheckedDestination, DestinationCheck, JobError, check_destination, own_name};
use crate::policy::protection::{
    Check, CheckedRow, Holds, Level, Reach, ReachKind, Verdict, longest_days,
};

/// Check a destination: what this host can do there, and whether copies are out of its reach.
///
/// Puts, reads, lists, replaces and removes objects of a few bytes below v1/HOST/probe/, and asks a bucket for
/// its versions, Object Lock and lifecycle. Objects that cannot be removed stay, and each check uses them again.
///
/// The exit code is 0 if the destination can be used and nothing is wrong, 1 if something needs attention (such as
/// copies that whoever breaks into this host could destroy), and 69 if it cannot be used.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Destination: its name in the configuration, `s3://BUCKET/PREFIX`, `az://CONTAINER/PREFIX`,
    /// `gs://BUCKET/PREFIX`, `sftp://USER@HOST/PATH` or `file:///PATH`
    #[arg(value_name = "NAME|URL")]
    destination: String,
    /// Exit with 0 although whoever holds this host could destroy the copies there
    #[arg(long)]
    accept_within_reach: bool,
}

/// What `check destination --json` prints.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct CheckedPlace {
    /// The destination, as it was given.
    destination: String,
    /// Its address.
    url: String,
    /// This host's name there.
    host: String,
    /// How the check ends.
    verdict: Verdict,
    /// Whether whoever breaks into this host cannot destroy the copies there.
    out_of_reach: bool,
    /// The longest rule of retention there, in days; null where no rule has a length.
    longest_rule_days: Option<u64>,
    /// What was checked.
    checks: Vec<CheckedThing>,
    /// What keeps copies out of reach, or could.
    reach: Vec<ReachThere>,
    /// So many objects of the check are left there, which cannot be removed.
    probes_left: u64,
}

/// One thing that was checked.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct CheckedThing {
    /// What.
    check: Check,
    /// How bad the result is.
    level: Level,
    /// What was found.
    result: String,
    /// What that means, or an empty text.
    meaning: String,
}

/// Something that keeps copies out of reach, or could.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct ReachThere {
    /// What.
    kind: ReachKind,
    /// Whether it does.
    holds: Holds,
    /// Why.
    why: String,
    /// The setting that is missing, or null.
    missing: Option<String>,
}

pub(super) async fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let is_address = args.destination.contains("://");
    let loaded = if is_address {
        env.load_for_path()?
    } else {
        env.load_to_read()?
    };
    let session = Session::new(env, loaded);
    let (settings, longest) = settings(&session, &args.destination, is_address)?;
    let host = own_name(&session.context).map_err(|error| session.failure(&error))?;
    let store = destination::open(&settings, &env.source.environment)
        .map_err(|error| session.failure(&JobError::from(error)))?;
    let backups = backups(session.plan());
    let check = DestinationCheck {
        host: &host,
        settings: &settings,
        longest_days: longest,
        backups: &backups,
    };
    let checked = check_destination(&session.begin(), &*store, check).await;
    let checked = checked.map_err(|error| session.failure(&error))?;
    let document = document(args, check, &checked);
    if env.json {
        report::json(&document, out)?;
    } else {
        print(&document, out)?;
    }
    out.flush()?;
    ending(&document)
}

/// How the destination is reached, and its longest rule of retention.
fn settings(
    session: &Session<'_>,
    name: &str,
    is_address: bool,
) -> Result<(DestinationSettings, Option<u64>), Failure> {
    if is_address {
        let settings = of_address(name, &session.env.source.environment)?;
        return Ok((settings, None));
    }
    let destination = configured(session, name)?;
    let rules = destination.retention.rules(&session.plan().retention);
    let mut rules = rules.unwrap_or_default();
    rules.retain(|series, _| destination.takes_series(series));
    Ok((destination.settings.clone(), longest_days(&rules)))
}

/// Below which directories backups lie.
fn backups(plan: &Plan) -> Vec<std::path::PathBuf> {
    let servers = plan.servers.iter().map(|server| server.directory.clone());
    std::iter::once(plan.directory.clone())
        .chain(servers)
        .collect()
}

fn document(
    args: &Args,
    check: DestinationCheck<'_>,
    checked: &CheckedDestination,
) -> CheckedPlace {
    let assessment = &checked.assessment;
    let thing = |row: &CheckedRow| CheckedThing {
        check: row.check,
        level: row.level,
        result: row.result.clone(),
        meaning: row.meaning.clone(),
    };
    let reach = |one: &Reach| ReachThere {
        kind: one.kind,
        holds: one.holds,
        why: one.why.clone(),
        missing: one.missing.clone(),
    };
    CheckedPlace {
        destination: args.destination.clone(),
        url: check.settings.url(),
        host: check.host.to_owned(),
        verdict: assessment.verdict(args.accept_within_reach),
        out_of_reach: assessment.is_out_of_reach(),
        longest_rule_days: check.longest_days,
        checks: assessment.rows.iter().map(thing).collect(),
        reach: assessment.reach.iter().map(reach).collect(),
        probes_left: checked.left,
    }
}

fn print(document: &CheckedPlace, out: &mut dyn Write) -> Result<(), Failure> {
    let url = one_line(&document.url);
    let name = if document.destination == document.url {
        String::new()
    } else {
        format!("{}, ", one_line(&document.destination))
    };
    writeln!(
        out,
        "destination {name}{url}, host {}",
        one_line(&document.host)
    )?;
    let mut table = Table::new([
        Column::left("CHECK"),
        Column::left("RESULT"),
        Column::note("MEANING"),
    ]);
    for one in &document.checks {
        let result = match one.level {
            Level::Attention | Level::Unusable => one.result.to_uppercase(),
            Level::Fine | Level::Unknown => one.result.clone(),
        };
        let cells = [one.check.label().to_owned(), result, one.meaning.clone()];
        table.row(cells.map(|cell| one_line(&cell)));
    }
    table.print("  ", out)?;
    print_reach(&document.reach, out)?;
    match document.probes_left {
        0 => {}
        many => {
            let objects = report::counted(many, "object", "objects");
            writeln!(
                out,
                "{objects} of the check cannot be removed, to be used again"
            )?;
        }
    }
    conclusion(document, out)
}

/// What keeps copies out of reach, or could.
fn print_reach(reach: &[ReachThere], out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(out, "out of reach of this host")?;
    let mut table = Table::untitled([Column::left(""), Column::left(""), Column::note("")]);
    for one in reach {
        let holds = match one.holds {
            Holds::Yes => "yes",
            Holds::No => "no",
            Holds::Unknown => "not known",
        };
        let missing = one.missing.as_ref();
        let missing = missing.map_or(String::new(), |missing| format!("; missing: {missing}"));
        let why = format!("{}{missing}", one.why);
        table.row([
            one.kind.label().to_owned(),
            holds.to_owned(),
            one_line(&why),
        ]);
    }
    if reach.is_empty() {
        let cells = [
            "nothing",
            "no",
            "this host can remove whatever it can write there",
        ];
        table.row(cells.map(str::to_owned));
    }
    table.print("  ", out)?;
    Ok(())
}

/// The last line.
fn conclusion(document: &CheckedPlace, out: &mut dyn Write) -> Result<(), Failure> {
    let holding = document.reach.iter().filter(|one| one.holds == Holds::Yes);
    let holding: Vec<&str> = holding.map(|one| one.kind.label()).collect();
    let mut checks = document.checks.iter();
    let has_finding = checks.any(|check| check.level == Level::Attention);
    let text = match document.verdict {
        Verdict::Unusable => "the destination cannot be used".to_owned(),
        Verdict::Attention if has_finding => "attention: see what is in capitals above".to_owned(),
        Verdict::Attention => {
            "attention: whoever breaks into this host can destroy the copies there\n\
             hint: see \"Make it ransomware-proof\" in docs/copies.md; \
             --accept-within-reach accepts it"
                .to_owned()
        }
        Verdict::Fine if document.out_of_reach => {
            let by = holding.join(" and ");
            format!("OK: it can be used, and is out of reach of this host by {by}")
        }
        Verdict::Fine => "OK: it can be used; that it is within reach is accepted".to_owned(),
    };
    for line in text.lines() {
        wrapped(out, "", line)?;
    }
    Ok(())
}

/// The end of the command.
fn ending(document: &CheckedPlace) -> Result<(), Failure> {
    let name = one_line(&document.destination);
    match document.verdict {
        Verdict::Fine => Ok(()),
        Verdict::Attention => Err(Failure::new(
            FailureKind::Attention,
            format!("{name} needs attention"),
        )),
        Verdict::Unusable => Err(Failure::new(
            FailureKind::Unavailable,
            format!("{name} cannot be used, as the table says"),
        )),
    }
}
