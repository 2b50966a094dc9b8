//! The objects of a copy, in the order in which they are removed.

use crate::copies::{Catalogue, Copy, Object, Place};
use crate::destination::Key;

/// So many objects are removed with one request at most: what S3 takes.
const BATCH: usize = 1000;

/// All objects of a copy: the manifests, the facts, their signatures, the volumes. Without its manifests, it is a
/// copy no longer.
pub(in crate::jobs) fn objects(place: &Place, there: &Catalogue, copy: &Copy) -> Vec<Vec<Key>> {
    let manifests: Vec<Key> = copy
        .others
        .iter()
        .chain([&copy.manifest])
        .map(|signed| signed.key.clone())
        .collect();
    let facts: Vec<Key> = copy.facts.iter().map(|(key, _)| key.clone()).collect();
    let signature = |key: &Key| {
        let (name, object) = place.parse(key)?;
        Some(place.object(&name, &object.signature()?))
    };
    let signatures = manifests.iter().chain(&facts).filter_map(signature);
    let signed = copy.others.iter().chain([&copy.manifest]);
    let volumes = signed
        .flat_map(|signed| signed.manifest.volumes())
        .filter_map(|volume| Key::new(&volume.key).ok())
        // No others than its own, whatever its manifest says.
        .filter(|key| {
            matches!(
                place.parse(key),
                Some((name, Object::Volume(_))) if name == copy.name
            )
        });
    // What another attempt has left under its name is nothing without it.
    let unclaimed = there.unclaimed.iter();
    let unclaimed = unclaimed.filter(|one| one.copy == copy.name);
    let mut rest: Vec<Key> = volumes
        .chain(unclaimed.map(|one| one.listed.key.clone()))
        .collect();
    rest.sort();
    rest.dedup();
    let signatures: Vec<Key> = signatures.collect();
    [manifests, facts, signatures, rest]
        .into_iter()
        .flat_map(|keys| batches(&keys))
        .collect()
}

/// Keys in requests.
pub(in crate::jobs) fn batches(keys: &[Key]) -> Vec<Vec<Key>> {
    keys.chunks(BATCH).map(<[Key]>::to_vec).collect()
}
