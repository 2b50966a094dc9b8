//! The file as written, and the checked plan that it becomes.

mod plan;

pub use plan::{
    Compression, Connection, Database, Databases, DumpSettings, Format, Job, JobKind, Limits,
    PasswordSource, Plan, Retention, Selection, Server,
};
