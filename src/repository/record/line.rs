//! A record as a line of JSON: keys, their order, and which are left out.

use chrono::{DateTime, FixedOffset};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::fields::Fields;
use super::{
    BackupDetails, CopyDetails, CopyOpened, Damage, DefinitionsDetails, Details, DrillDetails,
    Event, Operation, PhaseTime, Record, RehearsalDetails, Removal, RestoreDetails, SideNames,
    Subject, TriedDefinitions, VerifyCopiesDetails, VerifyDetails,
};
use crate::policy::{Accepted, CopyState, Loss, Series};
use crate::repository::requester::Requester;
use crate::repository::restoration::Restoration;

impl Details {
    /// Takes what is on record of an operation out of a line's fields; what it has not stays there.
    fn take<E: serde::de::Error>(operation: Operation, fields: &mut Fields) -> Result<Self, E> {
        Ok(match operation {
            Operation::Backup => Self::Backup(BackupDetails {
                series: fields.take("series")?,
                reason: fields.take("reason")?,
                backup: fields.take("backup")?,
                bytes: fields.take("bytes")?,
                removed: fields.take("removed")?,
                lost: fields.take("lost")?,
                partial: fields.take("partial")?,
            }),
            Operation::Verify | Operation::VerifyCopies => Self::take_verification(fields)?,
            Operation::Drill => Self::Drill(DrillDetails {
                subject: Subject::take(fields)?,
                bytes: fields.take("bytes")?,
                damaged: fields.take("damaged")?,
                phases: fields.take("phases")?,
                partial: fields.take("partial")?,
                of_copy: CopyOpened::take(fields)?,
            }),
            Operation::Definitions => Self::Definitions(DefinitionsDetails {
                subject: Subject::take(fields)?,
                tried: fields.take("definitions")?,
            }),
            Operation::Copy => Self::Copy(CopyDetails {
                subject: Subject::take(fields)?,
                destination: fields.take("destination")?,
                bytes: fields.take("bytes")?,
                copy: fields.take("copy")?,
                removed: fields.take("removed")?,
            }),
            Operation::Rehearse => Self::Rehearse(RehearsalDetails {
                subject: Subject::take(fields)?,
                bytes: fields.take("bytes")?,
                of_copy: CopyOpened::take(fields)?,
            }),
            Operation::Prune => Self::Prune {
                removed: fields.take("removed")?,
            },
            Operation::Pin => Self::Pin(Subject::take(fields)?),
            Operation::Unpin => Self::Unpin(Subject::take(fields)?),
            Operation::Quarantine => Self::Quarantine(Subject::take(fields)?),
            Operation::Release => Self::Release {
                subject: Subject::take(fields)?,
                bytes: fields.take("bytes")?,
            },
            Operation::Accept => Self::Accept {
                backup: fields.take("backup")?,
                accepted: fields.take("accepted")?,
            },
            Operation::Restore => Self::Restore(RestoreDetails {
                backup: fields.take("backup")?,
                side_names: fields.take("beside")?,
                restoration: fields.take("restoration")?,
            }),
            Operation::UndoRestore => Self::UndoRestore {
                restoration: fields.take("restoration")?,
            },
        })
    }
}

impl Details {
    /// A verification with a destination is one of the copies there.
    fn take_verification<E: serde::de::Error>(fields: &mut Fields) -> Result<Self, E> {
        if fields.has("destination") {
            return Ok(Self::VerifyCopies(VerifyCopiesDetails {
                destination: fields.take("destination")?,
                bytes: fields.take("bytes")?,
                damaged: fields.take("damaged")?,
                left: fields.take("left")?,
            }));
        }
        Ok(Self::Verify(VerifyDetails {
            bytes: fields.take("bytes")?,
            damaged: fields.take("damaged")?,
            left: fields.take("left")?,
            round: fields.take("round")?,
        }))
    }
}

impl Subject {
    fn take<E: serde::de::Error>(fields: &mut Fields) -> Result<Self, E> {
        Ok(Self {
            series: fields.take("series")?,
            backup: fields.take("backup")?,
        })
    }
}

impl CopyOpened {
    fn take<E: serde::de::Error>(fields: &mut Fields) -> Result<Self, E> {
        Ok(Self {
            destination: fields.take("destination")?,
            copy: fields.take("copy")?,
            recipients: fields.take("recipients")?,
        })
    }
}

impl<'de> Deserialize<'de> for Record {
    /// Reads what any version has written. What an operation has not by this one's lights is kept as it
    /// is.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Fields::deserialize(deserializer)?;
        Ok(Self {
            at: fields.require("at")?,
            run: fields.require("run")?,
            details: {
                let operation = fields.require("operation")?;
                Details::take(operation, &mut fields)?
            },
            event: fields.require("event")?,
            database: fields.require("database")?,
            job: fields.take("job")?,
            due: fields.take("due")?,
            requested_by: fields.take("requested_by")?,
            seconds: fields.take("seconds")?,
            message: fields.take("message")?,
            unknown: fields,
        })
    }
}

/// A record as it is written.
#[derive(Serialize)]
struct Line<'a> {
    at: DateTime<FixedOffset>,
    run: Uuid,
    operation: Operation,
    event: Event,
    database: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    series: Option<&'a Series>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<DateTime<FixedOffset>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requested_by: Option<&'a Requester>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backup: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    removed: &'a [Removal],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    damaged: &'a [Damage],
    #[serde(skip_serializing_if = "Option::is_none")]
    beside: Option<&'a SideNames>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    phases: &'a [PhaseTime],
    #[serde(skip_serializing_if = "Option::is_none")]
    definitions: Option<&'a TriedDefinitions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    copy: Option<CopyState>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    recipients: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    restoration: Option<&'a Restoration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted: Option<Accepted>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<&'a [Loss]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    round: Option<DateTime<FixedOffset>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
    #[serde(flatten)]
    unknown: &'a Fields,
}

impl<'a> Line<'a> {
    #[expect(clippy::too_many_lines, reason = "a line, field by field")]
    fn of(record: &'a Record) -> Self {
        let line = Self {
            at: record.at,
            run: record.run,
            operation: record.operation(),
            event: record.event,
            database: &record.database,
            series: None,
            job: record.job.as_deref(),
            due: record.due,
            reason: None,
            requested_by: record.requested_by.as_ref(),
            backup: record.backup(),
            bytes: None,
            seconds: record.seconds,
            message: record.message.as_deref(),
            removed: record.removed(),
            damaged: record.damaged(),
            beside: None,
            phases: &[],
            definitions: None,
            destination: None,
            copy: None,
            recipients: &[],
            restoration: record.restoration(),
            accepted: None,
            lost: None,
            left: None,
            round: None,
            partial: false,
            unknown: &record.unknown,
        };
        match &record.details {
            Details::Backup(details) => Self {
                series: details.series.as_ref(),
                reason: details.reason.as_deref(),
                bytes: details.bytes,
                lost: details.lost.as_deref(),
                partial: details.partial,
                ..line
            },
            Details::Verify(details) => Self {
                bytes: details.bytes,
                left: details.left,
                round: details.round,
                ..line
            },
            Details::VerifyCopies(details) => Self {
                destination: Some(&details.destination),
                bytes: details.bytes,
                damaged: &details.damaged,
                left: details.left,
                ..line
            },
            Details::Drill(details) => Self {
                series: details.subject.series.as_ref(),
                bytes: details.bytes,
                phases: &details.phases,
                partial: details.partial,
                destination: details.of_copy.destination.as_deref(),
                copy: details.of_copy.copy,
                recipients: &details.of_copy.recipients,
                ..line
            },
            Details::Rehearse(details) => Self {
                series: details.subject.series.as_ref(),
                bytes: details.bytes,
                destination: details.of_copy.destination.as_deref(),
                copy: details.of_copy.copy,
                recipients: &details.of_copy.recipients,
                ..line
            },
            Details::Definitions(details) => Self {
                series: details.subject.series.as_ref(),
                definitions: details.tried.as_ref(),
                ..line
            },
            Details::Copy(details) => Self {
                series: details.subject.series.as_ref(),
                destination: details.destination.as_deref(),
                bytes: details.bytes,
                copy: details.copy,
                removed: &details.removed,
                ..line
            },
            Details::Pin(subject) | Details::Unpin(subject) | Details::Quarantine(subject) => {
                Self {
                    series: subject.series.as_ref(),
                    ..line
                }
            }
            Details::Release { subject, bytes } => Self {
                series: subject.series.as_ref(),
                bytes: *bytes,
                ..line
            },
            Details::Accept { accepted, .. } => Self {
                accepted: *accepted,
                ..line
            },
            Details::Restore(details) => Self {
                beside: details.side_names.as_ref(),
                ..line
            },
            Details::Prune { .. } | Details::UndoRestore { .. } => line,
        }
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Line::of(self).serialize(serializer)
    }
}
