//! Every kind of event that the daemon tells, each with an id for ever.
//!
//! The id is the journal's `MESSAGE_ID`: it finds the events of one kind whatever their words are
//! (`journalctl MESSAGE_ID=…`), and it is the key of the explanation that `journalctl -x` shows,
//! `packaging/journal/pgbackupd.catalog`. An id never changes and is never used again; what the
//! event means may become clearer, but not another thing. `docs/messages.md` has them for operators.

use tracing::Level;

/// How much an event matters. The names and numbers are those of syslog and the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// 3: something was not done that should have been.
    Error,
    /// 4: it will not be done soon if nobody looks.
    Warning,
    /// 5: normal, and worth to be seen in a day's summary.
    Notice,
    /// 6: normal.
    Info,
}

impl Severity {
    /// The name that `journalctl --priority` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "err",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Info => "info",
        }
    }
}

/// Makes the enumeration and its tables from one list, so that no kind lacks anything.
macro_rules! event_kinds {
    ($( $(#[doc = $doc:literal])+ $kind:ident, $name:literal, $severity:ident, $id:literal,
        [$($field:literal),*]; )+) => {
        /// A kind of event that the daemon tells.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum EventKind {
            $( $(#[doc = $doc])+ $kind, )+
        }

        impl EventKind {
            /// Every kind, in the order of a daemon's life.
            pub const fn all() -> &'static [Self] {
                &[$(Self::$kind),+]
            }

            /// Its `MESSAGE_ID`: 32 hexadecimal digits, for ever the same.
            pub const fn id(self) -> &'static str {
                match self { $(Self::$kind => $id,)+ }
            }

            /// Its short name, as in `docs/messages.md`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)+ }
            }

            /// How much it matters.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$kind => Severity::$severity,)+ }
            }

            /// The fields that every event of this kind has besides the message and its id. An
            /// event may have more; the explanation of `journalctl -x` relies on these.
            pub const fn fields(self) -> &'static [&'static str] {
                match self { $(Self::$kind => &[$($field),*],)+ }
            }
        }
    };
}

event_kinds! {
    /// The daemon has read its configuration and prepares itself.
    DaemonStarting, "daemon-starting", Info, "7042fc3f5e194c66a3076dff53d99b85", [];
    /// What test restores are kept within on this machine; reported when there is a job of that kind.
    DrillsConfined, "drills-confined", Info, "ef1a5fec46074a809ff2c79105735fa6", [];
    /// The schedule is registered, and every directory was looked at.
    DaemonReady, "daemon-ready", Notice, "0d3389133ac24c42b2ed5b99f3af653f", [];
    /// It was asked to stop, and ends what runs.
    DaemonStopping, "daemon-stopping", Notice, "9a15100b5ea14deb9708ed41a2ea12cb", [];
    /// Everything is ended; the process goes next.
    DaemonStopped, "daemon-stopped", Info, "3e95c337e89249168514eb6fa1fd4a7e", [];
    /// A new configuration is in force.
    ConfigurationReloaded, "configuration-reloaded", Notice,
        "8c90606908104dc7bb961c4dd8949489", [];
    /// A new configuration is wrong; the old one stays in force.
    ConfigurationRefused, "configuration-refused", Error,
        "e0d3ca3337e24879894e405b93904848", [];
    /// The configuration is in force, but something in it deserves a look.
    ConfigurationWarning, "configuration-warning", Warning,
        "0721b7ca85a448fb88c86303911f7789", [];
    /// A reload added, changed or removed a job.
    JobChanged, "job-changed", Notice, "25f7f82ce4d54af8a5b3bc5d5631696b", ["job"];
    /// A slot of a job's schedule has come.
    JobDue, "job-due", Info, "14f8e6132dc448c7b2fa1857f26292db", ["job"];
    /// A slot of a job's schedule passed without a run; the newest one is caught up.
    JobMissed, "job-missed", Warning, "b042df7dec69424886512fcc74cd252a", ["job"];
    /// The wall clock was moved, by hand or after a sleep.
    ClockJumped, "clock-jumped", Warning, "a3511abd556c4f38a5db4bac715f35af", [];
    /// A run starts on one database.
    RunStarted, "run-started", Info, "672501ae9c4744c09123bc0cd22e453d",
        ["job", "database", "server"];
    /// A run ended well; the one line that has its whole outcome.
    RunSucceeded, "run-succeeded", Notice, "ee3a9db5af9e47b1bbfc5b45cd41885a",
        ["job", "database", "server", "run_id", "outcome", "seconds"];
    /// A run failed and is not tried again for this slot.
    RunFailed, "run-failed", Error, "0a9e98685f5649e1a91ceb62eb5b4541",
        ["job", "database", "server", "outcome"];
    /// A run failed for a reason that may pass, and is tried again later.
    RunRetried, "run-retried", Warning, "b2bc1bf461a74c709bcb356d9ca3dae3",
        ["job", "database", "server", "outcome", "attempt"];
    /// A run did not start, and will not for this slot.
    RunSkipped, "run-skipped", Warning, "c2537789c2754556895a8ff6fe437b43",
        ["job", "database", "server", "outcome"];
    /// A run was ended by the daemon's own stop.
    RunInterrupted, "run-interrupted", Warning, "b87a830458ee4ba98fa8844199e262b7",
        ["job", "database", "server", "outcome"];
    /// A remark of a run that succeeded.
    RunWarning, "run-warning", Warning, "5720a253acbd4284b11f34d3ea3289fa", ["job", "database"];
    /// Retention removed backups.
    BackupsRemoved, "backups-removed", Notice, "e09c5f1697ef42fcb69f8b80f4797f18", ["database"];
    /// Retention removed copies at a destination.
    CopiesRemoved, "copies-removed", Notice, "3c6f1f0e2b7a4d5f8e914ad07b62c5d9", ["database"];
    /// A backup is not what was written.
    BackupDamaged, "backup-damaged", Error, "4eff92ad9ddb4ed4a93862f1368ef8c0", ["database"];
    /// A copy at a destination is not what was signed.
    CopyDamaged, "copy-damaged", Error, "b7a742c508954516971560e8660e12bd", ["database"];
    /// No test restore of a database has come to a result for longer than is allowed.
    DrillOverdue, "drill-overdue", Warning, "16a1193d04f24c5aa78e8164525670e6",
        ["database", "server", "age_seconds", "limit_seconds"];
    /// The server refuses a definition in a backup, so that no restore of it comes through.
    DefinitionsDoNotLoad, "definitions-do-not-load", Error, "c3a1e6f07b5d4d2e9f84b60d71a25ce8",
        ["database", "server", "backup"];
    /// Something of a database, or of its backups, was there before and is not any more.
    LossFound, "loss-found", Warning, "5d0c8f6b2a3e4c0f9b1d7a64e2f83c95",
        ["database", "server"];
    /// The directory of a database cannot be used.
    DirectoryUnusable, "directory-unusable", Error, "36437ee730974ac197b01d457d882fb7",
        ["database"];
    /// A server does not answer, or refuses.
    ServerUnreachable, "server-unreachable", Warning, "53a486cc7abc4e39ad42a62091585368",
        ["server"];
    /// A server or a database cannot be connected to as it is configured: there is no such database, or
    /// the login is refused.
    CannotConnect, "cannot-connect", Error, "8f0c7a1b5d2e4f6c93b1e0d4a7c85f26", ["server"];
    /// Something needs attention that did not before, or has become more urgent.
    AlertOpened, "alert-opened", Notice, "118183ed0ca9491ca06642e5bd425aa3", ["alert", "severity"];
    /// What needed attention is over.
    AlertResolved, "alert-resolved", Notice, "855700f2a20248b79238fde73ab20416", ["alert", "severity"];
    /// A channel has taken a message about alerts.
    AlertSent, "alert-sent", Info, "777b84f76be1492aa7d5d5edab806f8d", ["channel"];
    /// A channel has not taken a message about alerts; it is tried again.
    AlertChannelFails, "alert-channel-fails", Error, "59c26b73126c4635aa837025c85304d8", ["channel"];
    /// Somebody has silenced an alert.
    AlertSilenced, "alert-silenced", Notice, "72a95c5c77a541b4bdc537c62adc06d0", ["alert"];
    /// The page for the browser can be opened.
    PageListening, "page-listening", Info, "b1f6a7d0c2e34f5b8a9d3c6e7f102b48", [];
    /// The page for the browser cannot take its address; it is tried again.
    PageUnavailable, "page-unavailable", Warning, "4e8d2b9a6c1f4037b5e6d8f1a2c39704", [];
    /// What the daemon does now, asked for with SIGUSR1.
    StateSnapshot, "state-snapshot", Notice, "07a3bcb379964e0e8c0daddb62ef00f8", [];
    /// The ledger has a run without an end: an earlier process was killed in the middle of it.
    InterruptedRunFound, "interrupted-run-found", Warning, "9f47b6d74baa45e8991b7722944792f9",
        ["database", "run_id"];
}

impl EventKind {
    /// The level at which it is reported. `tracing` has no notice; the journal gets one all the same.
    pub const fn level(self) -> Level {
        match self.severity() {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARN,
            Severity::Notice | Severity::Info => Level::INFO,
        }
    }

    /// The kind with this id.
    pub fn from_id(id: &str) -> Option<Self> {
        Self::all().iter().copied().find(|kind| kind.id() == id)
    }
}

/// Tells an event of a kind, at the kind's level and with its id.
///
/// Fields come first, in braces, in `tracing`'s own syntax; then the sentence, which needs none of
/// them to be understood. Control characters in the sentence are escaped
/// ([`Printable`](crate::telemetry::Printable)), so that a database's name cannot hide it: to
/// `journalctl` a message with an escape sequence in it is a blob. Fields keep the exact value. The
/// target is `pgbackupd::event` wherever it is reported.
///
/// ```
/// # let (job, database, bytes) = ("daily", "app", 1_u64);
/// pgbackupd::emit!(
///     RunSucceeded,
///     { job, database, server = "local", run_id = "…", outcome = "succeeded", bytes, seconds = 2.5 },
///     "database {database}: daily backup done",
/// );
/// ```
#[macro_export]
macro_rules! emit {
    ($kind:ident, { $($fields:tt)* }, $($sentence:tt)+) => {
        ::tracing::event!(
            target: "pgbackupd::event",
            $crate::telemetry::EventKind::$kind.level(),
            message_id = $crate::telemetry::EventKind::$kind.id(),
            message = %$crate::telemetry::in_line(format_args!($($sentence)+)),
            $($fields)*
        )
    };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_and_names_are_well_formed_and_used_once() {
        let mut ids = BTreeSet::new();
        let mut names = BTreeSet::new();
        for kind in EventKind::all() {
            let id = kind.id();
            assert_eq!(id.len(), 32, "{kind:?}");
            assert!(
                id.bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)),
                "{kind:?}"
            );
            assert!(ids.insert(id), "{kind:?}: the id is another kind's");
            assert!(
                names.insert(kind.name()),
                "{kind:?}: the name is another kind's"
            );
            assert_eq!(EventKind::from_id(id), Some(*kind));
        }
        assert_eq!(EventKind::from_id("0"), None);
    }

    #[test]
    fn every_field_can_be_one_of_the_journal() {
        // systemd.journal-fields(7): uppercase letters, digits and underscores, no underscore first.
        for kind in EventKind::all() {
            for field in kind.fields() {
                assert!(
                    field.starts_with(|c: char| c.is_ascii_lowercase()),
                    "{field}"
                );
                assert!(
                    field.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                    "{field}"
                );
            }
        }
    }
}
