//! How far a backup, a check or a restore has come: a line on the terminal that changes, and now and
//! then a plain line where stderr is none.

use std::io::{IsTerminal, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinHandle;
use tokio::time::interval;

use super::report::{count, one_line, size};
use crate::pipeline::{Amount, Phase, Progress};
use crate::policy::{TimeLeft, about};

/// How often a line tells how far it has come where stderr is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(60);

/// Shows progress on stderr while it is kept. Where that is no terminal, only of what has a known
/// end, and rarely.
pub(super) struct Display {
    bar: ProgressBar,
    on_terminal: bool,
    task: Option<JoinHandle<()>>,
    quiet: bool,
}

impl Display {
    /// Starts showing; `quiet` shows nothing.
    pub(super) fn start(label: &str, progress: &Arc<Progress>, quiet: bool) -> Self {
        let (progress, label) = (Arc::clone(progress), label.to_owned());
        if quiet || !std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
            let task = (!quiet).then(|| tokio::spawn(in_lines(label, progress)));
            return Self {
                bar,
                on_terminal: false,
                task,
                quiet,
            };
        }
        let bar = ProgressBar::new_spinner();
        // The template is fixed, and so is its soundness.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} [{elapsed}]") {
            bar.set_style(style);
        }
        let shown = bar.clone();
        let task = tokio::spawn(async move {
            let mut tick = interval(Duration::from_millis(200));
            let mut pace = Pace::default();
            loop {
                tick.tick().await;
                let left = pace.left(&progress);
                shown.set_message(format!("{label}: {}", display_progress(&progress, left)));
                shown.tick();
            }
        });
        Self {
            bar,
            on_terminal: true,
            task: Some(task),
            quiet,
        }
    }
}

impl Display {
    /// Tells a step that begins, on a line that stays; nothing when it is to be quiet.
    pub(super) fn print_step(&self, step: &str) {
        let step = one_line(step);
        if self.on_terminal {
            self.bar.println(step);
        } else if !self.quiet {
            // Whoever does not listen to stderr misses nothing that matters.
            let _ = writeln!(std::io::stderr(), "{step}");
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        self.bar.finish_and_clear();
    }
}

/// Tells how far it has come, once a minute.
async fn in_lines(label: String, progress: Arc<Progress>) {
    let mut tick = interval(Duration::from_secs(1));
    let (mut pace, mut printed_at) = (Pace::default(), Instant::now());
    loop {
        tick.tick().await;
        let left = pace.left(&progress);
        if printed_at.elapsed() >= BETWEEN_LINES && progress.done_of().is_some() {
            printed_at = Instant::now();
            // Whoever does not listen to stderr misses nothing that matters.
            let _ = writeln!(
                std::io::stderr(),
                "{label}: {}",
                display_progress(&progress, left)
            );
        }
    }
}

/// How fast a phase goes.
struct Pace {
    phase: Phase,
    since: Instant,
    seen: TimeLeft,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            phase: Phase::Preparing,
            since: Instant::now(),
            seen: TimeLeft::default(),
        }
    }
}

impl Pace {
    /// How long the rest of the phase takes, if that can be said.
    fn left(&mut self, progress: &Progress) -> Option<Duration> {
        let phase = progress.phase();
        if phase != self.phase {
            *self = Self {
                phase,
                ..Self::default()
            };
        }
        match progress.done_of()? {
            (Amount::Bytes(done), Amount::Bytes(of)) | (Amount::Rows(done), Amount::Rows(of)) => {
                self.seen.observe(self.since.elapsed(), done, of)
            }
            _ => None,
        }
    }
}

fn display_progress(progress: &Progress, left: Option<Duration>) -> String {
    let done_of = progress.done_of();
    match progress.phase() {
        Phase::Preparing => "preparing".to_owned(),
        Phase::Dumping => format!(
            "dumping, {} of text, {} stored",
            size(progress.text_bytes()),
            size(progress.stored_bytes())
        ),
        Phase::Checking => format!(
            "reading back, {}{}",
            size(progress.checked_bytes()),
            of_about(done_of, left)
        ),
        Phase::Publishing => "publishing".to_owned(),
        Phase::Loading => match done_of {
            Some((Amount::Bytes(done), Amount::Bytes(of))) if done >= of => format!(
                "loading, all {} of text are read; the server is processing the last of them",
                size(of)
            ),
            Some((Amount::Rows(done), Amount::Rows(of))) if done >= of => format!(
                "loading, all {} rows are there; indexes and constraints are made",
                count(of)
            ),
            Some((Amount::Rows(done), Amount::Rows(of))) => format!(
                "loading, {} of {} rows{}",
                count(done),
                count(of),
                rest(left, ", then indexes")
            ),
            Some((_, Amount::Bytes(of))) => format!(
                "loading, {} of {} of text{}",
                size(progress.checked_bytes()),
                size(of),
                rest(left, ", then indexes")
            ),
            _ => format!("loading, {} of text", size(progress.checked_bytes())),
        },
        Phase::Fetching => format!(
            "fetching, {}{}",
            size(progress.checked_bytes()),
            of_about(done_of, left)
        ),
        Phase::Comparing => format!(
            "dumping again, {}{}",
            size(progress.checked_bytes()),
            of_about(done_of, left)
        ),
    }
}

/// Of how many bytes, and how long the rest takes; nothing where that is not known.
fn of_about(done_of: Option<(Amount, Amount)>, left: Option<Duration>) -> String {
    match done_of {
        Some((_, Amount::Bytes(of))) => format!(" of about {}{}", size(of), rest(left, "")),
        _ => String::new(),
    }
}

fn rest(left: Option<Duration>, of_what: &str) -> String {
    left.map_or_else(String::new, |left| {
        format!(", {} left{of_what}", about(left))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_known_end_is_reported_with_it_and_with_the_time_left() {
        let minutes = Some(Duration::from_secs(170));
        let progress = Progress::default();
        progress.enter(Phase::Loading);
        assert_eq!(display_progress(&progress, None), "loading, 0 B of text");
        progress.expect(Amount::Rows(1_204_338));
        progress.loaded_rows(4000);
        // What the server counts later may be less for a moment.
        progress.loaded_rows(3000);
        assert_eq!(
            display_progress(&progress, minutes),
            "loading, 4,000 of 1,204,338 rows, about 3 minutes left, then indexes"
        );
        progress.loaded_rows(1_300_000);
        assert_eq!(
            display_progress(&progress, None),
            "loading, all 1,204,338 rows are there; indexes and constraints are made"
        );
        progress.enter(Phase::Comparing);
        progress.expect(Amount::Bytes(3 << 30));
        assert_eq!(
            display_progress(&progress, minutes),
            "dumping again, 0 B of about 3.0 GiB, about 3 minutes left"
        );
        progress.enter(Phase::Publishing);
        assert_eq!(progress.done_of(), None);
    }
}
