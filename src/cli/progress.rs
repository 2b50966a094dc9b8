//! A line on the terminal that shows how far a backup or a check has come.

use std::io::{IsTerminal, Write as _};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinHandle;
use tokio::time::interval;

use super::report::{one_line, size};
use crate::pipeline::{Phase, Progress};

/// Shows progress on stderr while it is kept; nothing where that is no terminal.
pub(super) struct Display {
    bar: ProgressBar,
    task: Option<JoinHandle<()>>,
    quiet: bool,
}

impl Display {
    /// Starts showing; `quiet` shows nothing.
    pub(super) fn start(label: &str, progress: &Arc<Progress>, quiet: bool) -> Self {
        if quiet || !std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
            return Self {
                bar,
                task: None,
                quiet,
            };
        }
        let bar = ProgressBar::new_spinner();
        // The template is fixed, and so is its soundness.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} [{elapsed}]") {
            bar.set_style(style);
        }
        let (shown, progress, label) = (bar.clone(), Arc::clone(progress), label.to_owned());
        let task = tokio::spawn(async move {
            let mut tick = interval(Duration::from_millis(200));
            loop {
                tick.tick().await;
                shown.set_message(format!("{label}: {}", in_words(&progress)));
                shown.tick();
            }
        });
        Self {
            bar,
            task: Some(task),
            quiet,
        }
    }
}

impl Display {
    /// Tells a step that begins, on a line that stays; nothing when it is to be quiet.
    pub(super) fn note(&self, step: &str) {
        let step = one_line(step);
        if self.task.is_some() {
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

fn in_words(progress: &Progress) -> String {
    match progress.phase() {
        Phase::Preparing => "preparing".to_owned(),
        Phase::Dumping => format!(
            "dumping, {} of text, {} stored",
            size(progress.text_bytes()),
            size(progress.stored_bytes())
        ),
        Phase::Checking => format!("reading back, {}", size(progress.checked_bytes())),
        Phase::Publishing => "publishing".to_owned(),
        Phase::Loading => format!("loading, {} of text", size(progress.checked_bytes())),
        Phase::Comparing => format!("dumping again, {}", size(progress.checked_bytes())),
    }
}
