//! What is reported to the service manager: `sd_notify(3)`. Without one, every word goes nowhere.

use std::time::Duration;

use sd_notify::NotifyState;

/// As long as systemd is asked to wait at a time while children are being ended.
const EXTENSION: Duration = Duration::from_secs(15);

/// The line to the service manager.
#[derive(Debug)]
pub(super) struct Systemd {
    watchdog: Option<Duration>,
    status: String,
}

impl Systemd {
    /// The service manager that started this process, if one did.
    pub(super) fn new() -> Self {
        Self {
            watchdog: sd_notify::watchdog_enabled(),
            status: String::new(),
        }
    }

    /// How often the watchdog wants to hear from us, if it does: it hears twice as often.
    pub(super) fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The service is ready, after its start or after a reload.
    pub(super) fn ready() {
        send(&[NotifyState::Ready]);
    }

    /// A reload begins. Both in one message, as systemd wants it for `Type=notify-reload`.
    pub(super) fn reloading() {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => send(&[NotifyState::Reloading, now]),
            Err(_) => send(&[NotifyState::Reloading]),
        }
    }

    /// The service stops.
    pub(super) fn stopping() {
        send(&[NotifyState::Stopping]);
    }

    /// Asks for some more time to stop.
    pub(super) fn extend() {
        let microseconds = u32::try_from(EXTENSION.as_micros()).unwrap_or(u32::MAX);
        send(&[NotifyState::ExtendTimeoutUsec(microseconds)]);
    }

    /// The loop still turns.
    pub(super) fn alive(&self) {
        if self.watchdog.is_some() {
            send(&[NotifyState::Watchdog]);
        }
    }

    /// What `systemctl status` shows; said again only when it changes.
    pub(super) fn status(&mut self, status: String) {
        if status != self.status {
            send(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }
}

fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("systemd could not be notified: {error}");
    }
}
