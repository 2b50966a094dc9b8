//! What the integration tests stand on.

pub(crate) mod cluster;
pub(crate) mod filesystem;
pub(crate) mod operator;
