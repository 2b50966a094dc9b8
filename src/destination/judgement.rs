//! What is wrong with a file under a key, in words: the same wherever keys are names of files.

use super::error::DestinationErrorKind;

/// Of which kind it is, and the cause.
pub(super) type Judgement = (DestinationErrorKind, String);

/// There is no object to read.
pub(super) fn no_object() -> Judgement {
    let message = "there is no such file".to_owned();
    (DestinationErrorKind::Missing, message)
}

/// The key is another object's.
pub(super) fn taken() -> Judgement {
    let message = "another file has this name, and it is not replaced".to_owned();
    (DestinationErrorKind::Exists, message)
}

/// Something is where a directory or a file of ours should be.
pub(super) fn in_the_way(name: &str) -> Judgement {
    let message =
        format!("{name} is a link, which is not followed, or a file in place of a directory");
    (DestinationErrorKind::Exists, message)
}

/// Fewer bytes are there than were asked for.
pub(super) fn too_short(length: u64, wanted: u64) -> Judgement {
    let message = format!("the file has {length} bytes, and {wanted} were expected");
    (DestinationErrorKind::Damaged, message)
}

/// The file that was just written has not the length that it should have.
pub(super) fn other_length(length: u64, wanted: usize) -> Judgement {
    let message = format!("the file has {length} bytes after {wanted} were written");
    (DestinationErrorKind::Damaged, message)
}
