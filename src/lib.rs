//! `pgbackupd` backs up `PostgreSQL` databases on a schedule and proves that every backup restores.
//!
//! The modules are layers, top first; a module imports only from those below its own, but for a few
//! imports between neighbours. `docs/architecture.md` is the map, and names these.

/// 5: the command line, one file a command; the only place that prints.
pub mod cli;

/// 5: the service: schedule, signals, reload, systemd.
pub mod daemon;

/// 5: the page for the browser and `/metrics`; read-only.
pub mod web;

/// 4: what a command or a tick carries out, from the first check to the ledger's last line.
pub mod jobs;

/// 3: the stream and its way back: census, compression, digest.
pub mod pipeline;

/// 3: the only place that knows `PostgreSQL`: connections, programs, credentials.
pub mod postgres;

/// 3: the only place that knows the disk: names, manifest, publishing, locks, ledger, catalogue.
pub mod repository;

/// 3: copies of backups at a destination: layout, manifests, encryption, signatures.
pub mod copies;

/// 3: the only place that knows object stores: moves bytes by key.
pub mod destination;

/// 3: the channels of alerts: mail, webhooks, commands, pings.
pub mod notify;

/// 2: the file as written, and the checked plan that it becomes.
pub mod config;

/// 2: pure decisions: when to run and what to keep; no I/O, and no clock of its own.
pub mod policy;

/// 1: diagnostics: the journal, the terminal, a file of JSON lines.
pub mod telemetry;

/// 1: as whom this process runs, and who asked for it.
pub mod identity;

/// 1: identities, which open copies and encrypted backups, as files have them.
pub mod age_identities;

/// 1: new identities, as the file that age reads.
pub mod new_identity;

/// 1: whether directories answer, asked without being held up by one that hangs.
mod responsiveness;

/// 0: opening files that others may have put where we look.
mod regular_file;

/// 0: text without the passwords in it.
mod mask;

/// 0: the public keys that copies are encrypted to.
pub mod recipient;

/// 0: lines of allowed signers: which key may sign for whom.
pub mod allowed_signer;

/// 0: private keys in files of OpenSSH's: whether a program can use one.
mod ssh_private_key;

/// 0: credentials of systemd's, which exist for the service alone.
mod credential;

/// 1: whether others can read a file with a secret, and how it is closed to them.
mod secret_file;

/// 0: threads, where one that the machine refuses is an error like any other.
mod threads;

pub use threads::runtime;

/// 0: TLS of requests to services.
mod tls;

/// 1: JSON as it is printed and served.
mod json;

/// 0: numbers, sizes, times and names as people read them.
mod display;

/// 1: who else may change a file, or put another one in its place.
mod writers;
