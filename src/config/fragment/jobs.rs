//! What runs, and when, as it is written.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::config::plan::DrillChoice;
use crate::config::scalar::{Delay, Pattern, Size, TimeSpan, Window, Word, Zone};

/// What runs, and when.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct JobFragment {
    /// What it does; a job with a series makes backups.
    pub(in crate::config) kind: Option<Word<Kind>>,
    /// The series that a backup job makes.
    pub(in crate::config) series: Option<String>,
    /// Which backup a test restore takes: the newest, or a random one.
    pub(in crate::config) choose: Option<Word<DrillChoice>>,
    /// Of a verification: only backups whose last full check is at least so long ago.
    pub(in crate::config) older_than: Option<Delay>,
    /// Of a verification: so long after it began with a database it begins no further check.
    pub(in crate::config) budget: Option<TimeSpan>,
    /// Of a verification of copies: so many bytes it downloads at most, of each database and destination.
    pub(in crate::config) budget_bytes: Option<Size>,
    /// Of a copy: the destinations, by their names; all if there are none. Of a verification: it reads the copies
    /// there; with an empty list at all destinations that no other verification names.
    pub(in crate::config) destinations: Option<Vec<String>>,
    /// When, as a crontab pattern: minute, hour, day of the month, month, day of the week.
    pub(in crate::config) schedule: Option<Pattern>,
    /// Whether it runs at all.
    pub(in crate::config) enabled: Option<bool>,
    /// The zone of its schedule and of its own blackout windows, when not the common one.
    pub(in crate::config) timezone: Option<Zone>,
    /// So long after its slot a run may still start or be tried again; never beyond the next slot.
    pub(in crate::config) window: Option<TimeSpan>,
    /// A run starts after its slot by a random delay of so much at most.
    pub(in crate::config) jitter: Option<Delay>,
    /// Whether the newest slot that was missed while the daemon was off is caught up.
    pub(in crate::config) catch_up: Option<bool>,
    /// Windows of the week in which none of its runs start, instead of the common ones.
    pub(in crate::config) blackout: Option<BlackoutList>,
}

impl JobFragment {
    /// Whether it reads backups or copies back.
    pub(in crate::config) fn is_verify(&self) -> bool {
        self.kind.map(|word| word.0) == Some(Kind::Verify)
    }
}

/// Windows of the week.
#[derive(Clone, Debug)]
pub(in crate::config) struct BlackoutList(pub(in crate::config) Vec<Window>);

impl<'de> Deserialize<'de> for BlackoutList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = BlackoutList;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of windows, such as [\"Mon-Fri 08:00-18:00\"]")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<BlackoutList, A::Error> {
                let mut windows = Vec::new();
                while let Some(window) = list.next_element()? {
                    windows.push(window);
                }
                Ok(BlackoutList(windows))
            }
        }

        deserializer.deserialize_any(List)
    }
}

impl JsonSchema for BlackoutList {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "BlackoutList".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let window = generator.subschema_for::<Window>();
        schemars::json_schema!({ "type": "array", "items": window })
    }
}

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum Kind {
    /// Makes backups.
    Backup,
    /// Reads backups back and checks them.
    Verify,
    /// Restores a backup into a temporary cluster and compares.
    Drill,
    /// Removes what retention no longer keeps.
    Prune,
    /// Copies backups to destinations.
    Copy,
}
