//! Copies of backups at a destination: where their objects lie, what their manifests say, how they are
//! encrypted and signed. Whatever has no trusted signature is no copy.

mod as_of;
mod cache;
mod catalogue;
mod encryption;
mod escape;
mod fact;
mod fleet;
mod host_status;
mod identities;
pub mod layout;
mod manifest;
mod object;
mod reading;
mod restore_text;
#[cfg(test)]
mod sample;
mod sha256;
mod signature;
#[cfg(test)]
mod stock_tools;
mod trust;

pub use crate::age_identities::{AskPassphrase, Identities, IdentityError, Protected};
pub use as_of::StoreAsOf;
pub use cache::ManifestCache;
pub use catalogue::{
    CLOCK_TOLERANCE, Catalogue, Copy, Distrusted, Lacking, Refusal, SealedKey, SignedManifest,
    Unclaimed, Unexpected, Verified, Wanted, assemble, verify, wanted,
};
pub use encryption::{InvalidPublicHalf, OpenError, PublicHalf, RunSecret, SealError};
pub use fact::{CopyFact, FactError};
pub use fleet::{
    HeardStatus, HostStatusThere, NewestThere, RefusedStatus, read_host_status, read_newest_copies,
    remove_old_statuses,
};
pub use host_status::{
    ConcernCounts, HostConcern, HostCopies, HostDatabase, HostState, HostStatus,
};
pub use identities::RunKeyError;
pub use layout::{LayoutError, Place};
pub use manifest::{
    COPY_FORMAT, CopiedFile, CopiedVolume, CopyManifest, Document, DocumentError, FileRole,
    LARGEST_VOLUME, LONGEST_DOCUMENT, Versions,
};
pub use object::{CopyName, FactKind, InvalidName, Object, VolumeName};
pub use reading::{hosts, places, read_catalogue};
pub use restore_text::RESTORE_TEXT;
pub use sha256::{InvalidSha256, Sha256Sum};
pub use signature::{
    InvalidSignature, LONGEST_SIGNATURE, NAMESPACE, PublicSigner, Signer, SignerError,
};
pub use trust::{InvalidSigners, TrustedBy, TrustedSignature, TrustedSigners, Untrusted};
