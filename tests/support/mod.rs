//! What tests against a real `PostgreSQL` share.

pub(crate) mod azurite;
pub(crate) mod bare_machine;
pub(crate) mod certificates;
pub(crate) mod clock;
pub(crate) mod cluster;
pub(crate) mod contract;
pub(crate) mod daemon;
pub(crate) mod destination;
pub(crate) mod doubles;
pub(crate) mod drill;
pub(crate) mod filesystem;
pub(crate) mod google;
pub(crate) mod held_lock;
pub(crate) mod json;
pub(crate) mod operator;
pub(crate) mod receivers;
pub(crate) mod restored;
pub(crate) mod running;
pub(crate) mod sample;
pub(crate) mod sftp;
pub(crate) mod stores;
