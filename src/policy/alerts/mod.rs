//! Alerts: the changes in the set of concerns, and which of them each channel is still owed. Pure.
//!
//! A channel's queue is no list of messages but the difference between what it was sent and what is
//! true: whatever a channel that failed gets in the end is the present state in one message.

mod book;
mod channel;
mod notice;

pub use book::{AlertBook, Judged, Silence, Tracked};
pub use channel::{ChannelRules, ChannelState, Failure as ChannelFailure, Refusal};
pub use notice::{Alert, Change, Notice, NoticeItem, OpenCounts};

#[cfg(test)]
mod tests;
