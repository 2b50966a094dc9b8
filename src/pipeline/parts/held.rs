//! Statements of a dump that are held until they are complete, to be looked at.

use crate::pipeline::sql::LONGEST_HELD;

/// The statement that passes, and the text that is passed on. One too long to be held is passed on piece by
/// piece: those that are looked at are a line long.
#[derive(Debug)]
pub(super) struct Held {
    state: State,
    pub(super) out: Vec<u8>,
}

#[derive(Debug)]
enum State {
    /// Before or in a statement of which so much has been seen.
    Held(Vec<u8>),
    /// In a long statement that is passed on.
    Passing,
    /// In a statement that is left out.
    Skipping,
}

impl Held {
    pub(super) fn new() -> Self {
        Self {
            state: State::Held(Vec::new()),
            out: Vec::new(),
        }
    }

    /// Leaves the statement out that begins here, unless it has begun before.
    pub(super) fn leave_out(&mut self) {
        if matches!(&self.state, State::Held(held) if held.is_empty()) {
            self.state = State::Skipping;
        }
    }

    /// Takes a piece of a statement; gives the statement when it is complete and was held.
    pub(super) fn push(&mut self, bytes: &[u8], ends: bool) -> Option<Vec<u8>> {
        let mut complete = None;
        match &mut self.state {
            State::Held(held) => {
                held.extend_from_slice(bytes);
                if ends {
                    complete = Some(std::mem::take(held));
                } else if held.len() > LONGEST_HELD {
                    self.out.append(held);
                    self.state = State::Passing;
                }
            }
            State::Passing => {
                self.out.extend_from_slice(bytes);
                if ends {
                    self.out.push(b'\n');
                }
            }
            State::Skipping => {}
        }
        if ends {
            self.state = State::Held(Vec::new());
        }
        complete
    }

    /// What has been passed on since the last time.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }
}
