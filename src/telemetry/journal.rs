//! The journal of systemd: whether it listens, and how events get there.
//!
//! The protocol is the journal's native one, so a value arrives as it is: with newlines in it, and,
//! above the size of a datagram, through a sealed memory file. Field names are written in the code,
//! never taken from a value, and lose leading underscores on the way; the journal itself adds the
//! fields that begin with one, which say who really sent the event.

use std::io;
use std::os::fd::AsFd;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::event::{EventKind, Severity};

/// The name under which `journalctl -t` finds us, however the program was started.
const IDENTIFIER: &str = "pgbackupd";

/// Whether stderr leads to the journal: `$JOURNAL_STREAM` has the device and inode of the stream
/// that systemd opened, and stderr may have been redirected since. systemd.exec(5).
pub(super) fn has_stderr() -> bool {
    let stderr = rustix::fs::fstat(io::stderr().as_fd()).ok();
    is_stream(
        std::env::var("JOURNAL_STREAM").ok().as_deref(),
        stderr.map(|file| (file.st_dev, file.st_ino)),
    )
}

fn is_stream(variable: Option<&str>, file: Option<(u64, u64)>) -> bool {
    let named = variable.and_then(|text| {
        let (device, inode) = text.split_once(':')?;
        Some((device.parse::<u64>().ok()?, inode.parse::<u64>().ok()?))
    });
    named.is_some() && named == file
}

/// Sends events to the journal.
pub(super) struct Journal {
    ordinary: tracing_journald::Layer,
    /// Sends with priority notice, which tracing's levels do not have. It never hears of a span:
    /// both layers would store the span's fields in the same place, and the second one panics.
    /// It finds there what the first one stored.
    notices: tracing_journald::Layer,
}

impl Journal {
    /// Connects to the journal.
    ///
    /// # Errors
    /// When nobody listens at the journal's socket.
    pub(super) fn connect() -> io::Result<Self> {
        let layer = |info| {
            Ok::<_, io::Error>(
                tracing_journald::layer()?
                    .with_field_prefix(None)
                    .with_syslog_identifier(IDENTIFIER.to_owned())
                    .with_priority_mappings(PriorityMappings {
                        error: Priority::Error,
                        warn: Priority::Warning,
                        info,
                        debug: Priority::Debug,
                        trace: Priority::Debug,
                    }),
            )
        };
        Ok(Self {
            ordinary: layer(Priority::Informational)?,
            notices: layer(Priority::Notice)?,
        })
    }
}

impl<S> Layer<S> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.ordinary.on_new_span(attributes, id, context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.ordinary.on_record(id, values, context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut kind = KindOf(None);
        event.record(&mut kind);
        if kind
            .0
            .is_some_and(|kind| kind.severity() == Severity::Notice)
        {
            self.notices.on_event(event, context);
        } else {
            self.ordinary.on_event(event, context);
        }
    }
}

/// Finds the kind of an event by its id.
struct KindOf(Option<EventKind>);

impl Visit for KindOf {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message_id" {
            self.0 = EventKind::from_id(value);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stderr_is_the_journals_only_when_device_and_inode_are() {
        let file = Some((9, 4711));
        assert!(is_stream(Some("9:4711"), file));
        for other in [
            "9:4712", "8:4711", "", ":", "9:", "9", "a:b", "9:4711:0", "-9:4711",
        ] {
            assert!(!is_stream(Some(other), file), "{other}");
        }
        assert!(!is_stream(None, file));
        assert!(!is_stream(None, None), "neither is no match");
        assert!(!is_stream(Some("9:4711"), None));
    }
}
