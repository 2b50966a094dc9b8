//! The probe of a store of which no more is known than what all have in common.

use bytes::Bytes;

use super::Store;
use super::error::{DestinationError, DestinationErrorKind};
use super::key::Key;
use crate::display::joined_lines;
use crate::policy::protection::{Attempt, Probed, ProbedPlace};

/// The name of the object of a probe.
pub(super) const OBJECT: &str = "object";

/// So many objects are left at most where none can be removed.
const OBJECTS: usize = 9;

/// What a probe puts.
pub(super) const BODY: &[u8] = b"pgbackupd check destination\n";

/// What a probe puts in its place, and should not be able to.
pub(super) const OTHER: &[u8] = b"pgbackupd check destination: replaced\n";

/// The key of an object of a probe.
pub(super) fn object(folder: &Key, name: &str) -> Result<Key, DestinationError> {
    folder.below(name).map_err(|error| DestinationError {
        doing: format!("probe {folder}"),
        kind: DestinationErrorKind::Settings,
        cause: error.to_string(),
    })
}

/// Probes a store by the calls that all have.
pub(super) async fn probe<S: Store + ?Sized>(
    store: &S,
    folder: &Key,
) -> Result<Probed, DestinationError> {
    let probed = probe_with(store, folder, async |_: &Key| Ok(())).await?;
    Ok(Probed {
        replace: Attempt::Unknown("it is not tried".to_owned()),
        ..probed
    })
}

/// The same, with a way to put [`OTHER`] in the place of an object.
pub(super) async fn probe_with<S: Store + ?Sized>(
    store: &S,
    folder: &Key,
    replace: impl AsyncFnOnce(&Key) -> Result<(), DestinationError>,
) -> Result<Probed, DestinationError> {
    let (put, key) = match free_key(store, folder).await? {
        Ok(key) => {
            let put = store.put_new(&key, Bytes::from_static(BODY)).await;
            (attempt(put)?, key)
        }
        Err(why) => (why, object(folder, OBJECT)?),
    };
    let is_create_only = match store.put_new(&key, Bytes::from_static(OTHER)).await {
        _ if put != Attempt::Done => None,
        Ok(_) => Some(false),
        Err(error) if error.kind == DestinationErrorKind::Exists => Some(true),
        Err(error) => attempt::<()>(Err(error)).map(|_| None)?,
    };
    let read = match store.get(&key, None).await {
        _ if put != Attempt::Done => nothing_there(),
        Ok(bytes) if bytes == BODY || bytes == OTHER => Attempt::Done,
        Ok(_) => Attempt::Unknown("other bytes came back than were put".to_owned()),
        Err(error) => attempt::<()>(Err(error))?,
    };
    let list = match store.list(folder).await {
        Ok(_) if put != Attempt::Done => Attempt::Done,
        Ok(listed) => found(listed.iter().any(|one| one.key == key)),
        Err(error) => attempt::<()>(Err(error))?,
    };
    let replace = match put {
        Attempt::Done => attempt(replace(&key).await)?,
        Attempt::Refused(_) | Attempt::Unknown(_) => nothing_there(),
    };
    let deleted = attempt(store.delete(std::slice::from_ref(&key)).await)?;
    let (delete, left) = match put {
        Attempt::Done => (deleted.clone(), u64::from(deleted != Attempt::Done)),
        Attempt::Refused(_) | Attempt::Unknown(_) => (nothing_there(), 0),
    };
    Ok(Probed {
        put,
        is_create_only,
        replace,
        read,
        list,
        left,
        delete,
        place: ProbedPlace::Other,
    })
}

/// A key that has no object, or why there is none of the few. What an earlier probe left would hide whether another
/// object can be put.
async fn free_key<S: Store + ?Sized>(
    store: &S,
    folder: &Key,
) -> Result<Result<Key, Attempt>, DestinationError> {
    for number in 1..=OBJECTS {
        let key = match number {
            1 => object(folder, OBJECT)?,
            number => object(folder, &format!("{OBJECT}-{number}"))?,
        };
        for is_left_over in [false, true] {
            if is_left_over {
                attempt(store.delete(std::slice::from_ref(&key)).await)?;
            }
            match store.head(&key).await {
                Ok(None) => return Ok(Ok(key)),
                Ok(Some(_)) => {}
                Err(error) => {
                    let why = attempt::<()>(Err(error))?;
                    return Ok(Err(match why {
                        Attempt::Refused(why) => Attempt::Refused(format!(
                            "each put begins with a look at what is there, which is refused: {why}"
                        )),
                        why => why,
                    }));
                }
            }
        }
    }
    let why = format!("{OBJECTS} objects of earlier checks cannot be removed");
    Ok(Err(Attempt::Unknown(why)))
}

/// Of what needs an object where none could be put.
pub(super) fn nothing_there() -> Attempt {
    Attempt::Unknown("nothing could be put".to_owned())
}

/// What a listing shows that should have the object.
pub(super) fn found(is_listed: bool) -> Attempt {
    if is_listed {
        Attempt::Done
    } else {
        Attempt::Unknown("the listing does not have what was put".to_owned())
    }
}

/// What became of a call. What is no refusal is an error of the probe as a whole.
fn attempt<T>(outcome: Result<T, DestinationError>) -> Result<Attempt, DestinationError> {
    match outcome {
        Ok(_) => Ok(Attempt::Done),
        Err(error) => match error.kind {
            DestinationErrorKind::Denied
            | DestinationErrorKind::Full
            | DestinationErrorKind::Missing
            | DestinationErrorKind::Exists
            | DestinationErrorKind::Damaged => Ok(Attempt::Refused(joined_lines(&error.cause))),
            DestinationErrorKind::Unavailable | DestinationErrorKind::Settings => Err(error),
        },
    }
}
