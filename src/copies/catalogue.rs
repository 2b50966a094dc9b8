//! What copies there are at a place: those that a trusted signature vouches for, and apart from them whatever
//! else lies there. Whoever holds the store's key can put any bytes under any key, so nothing is read before
//! its signature is verified, and nothing unexpected counts.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::fact::CopyFact;
use super::layout::Place;
use super::manifest::{CopyManifest, LONGEST_DOCUMENT};
use super::object::{CopyName, FactKind, Object};
use super::sha256::Sha256Sum;
use super::signature::LONGEST_SIGNATURE;
use super::trust::{TrustedSignature, TrustedSigners};
use crate::destination::{Key, Listed};
use crate::repository::Stem;

/// So far a host's clock may be ahead of the store's: a date that is later than that is refused.
pub const CLOCK_TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// What lies at a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// The copies, by the start of their backups, oldest first.
    pub copies: Vec<Copy>,
    /// What counts for nothing, by key. It is shown, and never deleted.
    pub unexpected: Vec<Unexpected>,
    /// Volumes and signatures that no trusted manifest or fact names, by key: of an upload that goes on, was
    /// broken off, or was of another attempt; and what is left of the manifest of such.
    pub unclaimed: Vec<Unclaimed>,
    /// The copies of which a volume is later than the manifest, each with the time of its latest volume, by the
    /// store's clock. Volumes are put first, and never again: somebody may have replaced one.
    pub replaced: BTreeMap<CopyName, DateTime<Utc>>,
}

/// A copy: one backup, whatever the number of its manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Its name in keys.
    pub name: CopyName,
    /// The manifest that serves: of a whole one if there is any, the newest.
    pub manifest: SignedManifest,
    /// Further trusted manifests of the same run.
    pub others: Vec<SignedManifest>,
    /// Whether it is kept whatever the rules say, by its manifest or a later fact.
    pub is_pinned: bool,
    /// The trusted facts, by key.
    pub facts: Vec<(Key, CopyFact)>,
    /// What its manifest names and the listing does not have, or not in that length. A listing alone proves
    /// no loss.
    pub lacking: Vec<Lacking>,
}

/// A manifest that a trusted signature vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedManifest {
    /// What it says.
    pub manifest: CopyManifest,
    /// Its key.
    pub key: Key,
    /// When the store got it.
    pub stored: DateTime<Utc>,
    /// Who signed it.
    pub signature: TrustedSignature,
    /// The SHA-256 of its bytes, which the next manifest has as `previous`.
    pub sha256: Sha256Sum,
}

/// The key of a copy, sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedKey<'a> {
    /// In ASCII armour.
    pub sealed: &'a str,
    /// The fingerprints of its recipients.
    pub recipients: &'a [String],
}

/// Something that a copy should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// The volume's key, as the manifest has it.
    pub key: String,
    /// The length that it should have, in bytes.
    pub bytes: u64,
    /// The length that the listing has; none if it is not listed.
    pub listed: Option<u64>,
}

/// Something that counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unexpected {
    /// Its key.
    pub key: Key,
    /// Why it does not count.
    pub reason: String,
    /// Of a document that would count if its signer were trusted: who has signed it.
    pub signed: Option<Distrusted>,
}

/// A document whose signature is in order, by a key that is not trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distrusted {
    /// The fingerprint of the key: `SHA256:…`.
    pub fingerprint: String,
    /// The SHA-256 of the document.
    pub sha256: Sha256Sum,
}

/// Why a document does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// In words.
    pub reason: String,
    /// Who has signed it, if that is all that is wrong with it.
    pub signed: Option<Distrusted>,
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self {
            reason,
            signed: None,
        }
    }
}

/// Something that no trusted manifest or fact names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unclaimed {
    /// The copy in its key.
    pub copy: CopyName,
    /// The object.
    pub listed: Listed,
    /// Whether a manifest of any kind lies under the copy's name. It protects what may be its own, even if
    /// nobody can read it or its signer is not trusted.
    pub has_manifest: bool,
}

impl Copy {
    /// Whether the listing has all that its manifest names.
    pub fn is_complete(&self) -> bool {
        self.lacking.is_empty()
    }

    /// Its sealed keys: the manifest's own and every fact's, each of which opens the copy. None of a plain one.
    pub fn keys(&self) -> Vec<SealedKey<'_>> {
        let own = &self.manifest.manifest;
        let facts = self
            .facts
            .iter()
            .map(|(_, fact)| (&fact.key, &fact.recipients));
        std::iter::once((&own.key, &own.recipients))
            .chain(facts)
            .filter_map(|(key, recipients)| {
                let sealed = key.as_deref()?;
                Some(SealedKey { sealed, recipients })
            })
            .collect()
    }

    /// Whether an operator means it by this name: as `list --from` shows it, or as its backup is called on the host.
    pub fn is_called(&self, name: &str) -> bool {
        let own = self.name.stem();
        if self.name.to_string() == name || own.to_string() == name {
            return true;
        }
        // In the keys of encrypted copies a reason is left out.
        let meant = name.parse::<Stem>();
        own.slug.is_none() && meant.is_ok_and(|meant| meant.without_slug() == *own)
    }

    /// The ids that the next pin or unpin supersedes.
    pub fn superseded_by_next(&self) -> Vec<Uuid> {
        let pins = self
            .facts
            .iter()
            .filter(|(_, fact)| fact.fact != FactKind::Key);
        pins.map(|(_, fact)| fact.id).collect()
    }
}

/// A document that has to be read, with its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The copy in its key.
    pub copy: CopyName,
    /// What it is: a manifest or a fact.
    pub object: Object,
    /// The document in the listing.
    pub document: Listed,
    /// Its signature in the listing.
    pub signature: Listed,
}

/// A document that a trusted signature vouches for, and whose names and date are those of its object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verified {
    /// A manifest.
    Manifest(Box<SignedManifest>),
    /// A fact.
    Fact(Box<CopyFact>),
}

/// The documents of a listing that are worth reading, and what is not and why.
pub fn wanted(place: &Place, listing: &[Listed]) -> (Vec<Wanted>, Vec<Unexpected>) {
    let by_key: HashMap<&Key, &Listed> = listing.iter().map(|one| (&one.key, one)).collect();
    let (mut wanted, mut unexpected) = (Vec::new(), Vec::new());
    let mut refuse = |listed: &Listed, reason: String| {
        unexpected.push(Unexpected {
            key: listed.key.clone(),
            reason,
            signed: None,
        });
    };
    for listed in listing {
        let Some((copy, object)) = place.parse(&listed.key) else {
            refuse(listed, "no object of a copy has such a name".to_owned());
            continue;
        };
        let Some(signature) = object.signature() else {
            continue;
        };
        match by_key.get(&place.object(&copy, &signature)) {
            None => refuse(listed, "it has no signature".to_owned()),
            Some(signature)
                if listed.bytes > LONGEST_DOCUMENT || signature.bytes > LONGEST_SIGNATURE =>
            {
                refuse(listed, format!("it has {} bytes: too many", listed.bytes));
            }
            Some(signature) => wanted.push(Wanted {
                copy,
                object,
                document: listed.clone(),
                signature: (*signature).clone(),
            }),
        }
    }
    (wanted, unexpected)
}

/// Verifies a document: first its signature, then its names, then its date.
///
/// # Errors
/// The reason why it does not count.
pub fn verify(
    place: &Place,
    trusted: &TrustedSigners,
    wanted: &Wanted,
    (document, signature): (&[u8], &[u8]),
) -> Result<Verified, Refusal> {
    let Listed { key, modified, .. } = &wanted.document;
    let signed = trusted.verify(&place.host, document, (signature, *modified));
    let signed = signed.map_err(|untrusted| Refusal {
        reason: untrusted.to_string(),
        signed: untrusted.fingerprint().map(|fingerprint| Distrusted {
            fingerprint: fingerprint.to_owned(),
            sha256: Sha256Sum::of(document),
        }),
    })?;
    let in_time = |date: DateTime<Utc>| {
        if date <= *modified + CLOCK_TOLERANCE {
            return Ok(());
        }
        Err(Refusal::from(format!(
            "it is dated {date}, later than {modified}, when the store got it"
        )))
    };
    if matches!(wanted.object, Object::Fact { .. }) {
        let fact = CopyFact::read(document, key).map_err(|reason| reason.to_string())?;
        in_time(fact.made)?;
        return Ok(Verified::Fact(Box::new(fact)));
    }
    let manifest = CopyManifest::read(document, key).map_err(|reason| reason.to_string())?;
    in_time(manifest.latest_date())?;
    if manifest.signer != signed.fingerprint {
        return Err(Refusal::from(format!(
            "it names the signer {:?}, and is signed by {}",
            manifest.signer, signed.fingerprint
        )));
    }
    Ok(Verified::Manifest(Box::new(SignedManifest {
        manifest,
        key: key.clone(),
        stored: *modified,
        signature: signed,
        sha256: Sha256Sum::of(document),
    })))
}

/// Makes the catalogue of a listing and of what became of its documents.
pub fn assemble(
    place: &Place,
    listing: &[Listed],
    documents: Vec<(Wanted, Result<Verified, Refusal>)>,
) -> Catalogue {
    let listed: HashMap<&str, &Listed> =
        listing.iter().map(|one| (one.key.as_str(), one)).collect();
    let (_, mut unexpected) = wanted(place, listing);
    let mut found: BTreeMap<CopyName, Found> = BTreeMap::new();
    let mut claimed: HashSet<String> = HashSet::new();
    for (wanted, verified) in documents {
        let Listed { key, modified, .. } = wanted.document;
        match verified {
            Err(Refusal { reason, signed }) => unexpected.push(Unexpected {
                key,
                reason,
                signed,
            }),
            Ok(verified) => {
                claimed.insert(wanted.signature.key.to_string());
                let found = found.entry(wanted.copy).or_default();
                match verified {
                    Verified::Manifest(manifest) => found.manifests.push(*manifest),
                    Verified::Fact(fact) => found.facts.push((key, modified, *fact)),
                }
            }
        }
    }
    let mut copies = Vec::new();
    let mut replaced = BTreeMap::new();
    for (name, found) in found {
        for manifest in &found.manifests {
            claimed.extend(manifest.manifest.volumes().map(|volume| volume.key.clone()));
        }
        match found.into_copy(name, &listed) {
            Ok(copy) => {
                replaced.extend(replaced_at(&copy, &listed).map(|at| (copy.name.clone(), at)));
                copies.push(copy);
            }
            Err(facts) => unexpected.extend(facts),
        }
    }
    // Next to a manifest that counts, it is what a killed put left at a store whose puts are not atomic.
    let names: HashSet<&CopyName> = copies.iter().map(|copy: &Copy| &copy.name).collect();
    let is_left = |listed: &Listed| is_left_by_a_put(place, listed, &names);
    let left: HashSet<&Key> = listing
        .iter()
        .filter(|listed| is_left(listed))
        .map(|listed| &listed.key)
        .collect();
    unexpected.retain(|one| !left.contains(&one.key));
    let unclaimed = unclaimed(place, listing, (&claimed, &left));
    copies.sort_by_cached_key(|copy| (copy.manifest.manifest.started.to_utc(), copy.name.clone()));
    unexpected.sort_by(|one, other| one.key.cmp(&other.key));
    Catalogue {
        copies,
        unexpected,
        unclaimed,
        replaced,
    }
}

/// When the store got the latest volume of a copy, if that is later than its manifest.
fn replaced_at(copy: &Copy, listed: &HashMap<&str, &Listed>) -> Option<DateTime<Utc>> {
    let volumes = copy.manifest.manifest.volumes();
    let modified = volumes.filter_map(|volume| Some(listed.get(volume.key.as_str())?.modified));
    modified
        .max()
        .filter(|modified| *modified > copy.manifest.stored)
}

/// Whether it is an empty document under the name of one of these copies.
fn is_left_by_a_put(place: &Place, listed: &Listed, copies: &HashSet<&CopyName>) -> bool {
    listed.bytes == 0
        && place
            .parse(&listed.key)
            .is_some_and(|(copy, object)| object.signature().is_some() && copies.contains(&copy))
}

/// The volumes and signatures that nothing trusted names, and empty documents of killed puts.
fn unclaimed(
    place: &Place,
    listing: &[Listed],
    (claimed, left): (&HashSet<String>, &HashSet<&Key>),
) -> Vec<Unclaimed> {
    let parsed = || {
        let parsed = listing.iter();
        parsed.filter_map(|listed| place.parse(&listed.key).map(|parsed| (listed, parsed)))
    };
    let with_manifest: HashSet<CopyName> = parsed()
        .filter(|(_, (_, object))| matches!(object, Object::Manifest { .. }))
        .map(|(_, (copy, _))| copy)
        .collect();
    let mut unclaimed: Vec<Unclaimed> = parsed()
        .filter(|(listed, (_, object))| {
            let is_plain = object.signature().is_none() && !claimed.contains(listed.key.as_str());
            is_plain || left.contains(&listed.key)
        })
        .map(|(listed, (copy, _))| Unclaimed {
            has_manifest: with_manifest.contains(&copy),
            copy,
            listed: listed.clone(),
        })
        .collect();
    unclaimed.sort_by(|one, other| one.listed.key.cmp(&other.listed.key));
    unclaimed
}

/// The trusted documents of one copy.
#[derive(Default)]
struct Found {
    manifests: Vec<SignedManifest>,
    facts: Vec<(Key, DateTime<Utc>, CopyFact)>,
}

impl Found {
    /// The copy; without a manifest there is none, and its facts are unexpected.
    fn into_copy(
        mut self,
        name: CopyName,
        listed: &HashMap<&str, &Listed>,
    ) -> Result<Copy, Vec<Unexpected>> {
        self.facts.sort_by(|one, other| one.0.cmp(&other.0));
        let mut manifests: Vec<(SignedManifest, Vec<Lacking>)> = self
            .manifests
            .into_iter()
            .map(|manifest| {
                let lacking = lacking(&manifest.manifest, listed);
                (manifest, lacking)
            })
            .collect();
        let was_pinned = |(one, _): &(SignedManifest, _)| one.manifest.is_pinned;
        let is_pinned = is_pinned(&self.facts).unwrap_or_else(|| manifests.iter().any(was_pinned));
        // The last one serves: whole ones behind others, newer ones behind older ones.
        manifests.sort_by_key(|(manifest, lacking)| {
            (lacking.is_empty(), manifest.stored, manifest.key.clone())
        });
        let Some((manifest, lacking)) = manifests.pop() else {
            let mut unexpected = Vec::new();
            for (key, ..) in self.facts {
                let reason = "there is no copy that it is about".to_owned();
                unexpected.push(Unexpected {
                    key,
                    reason,
                    signed: None,
                });
            }
            return Err(unexpected);
        };
        Ok(Copy {
            name,
            manifest,
            others: manifests
                .into_iter()
                .map(|(manifest, _)| manifest)
                .collect(),
            is_pinned,
            facts: self
                .facts
                .into_iter()
                .map(|(key, _, fact)| (key, fact))
                .collect(),
            lacking,
        })
    }
}

/// What the facts say of the pin: of those that no other supersedes, the newest by the store's time. None
/// without such a fact.
fn is_pinned(facts: &[(Key, DateTime<Utc>, CopyFact)]) -> Option<bool> {
    let pins = || {
        facts
            .iter()
            .filter(|(_, _, fact)| fact.fact != FactKind::Key)
    };
    let superseded: HashSet<Uuid> = pins()
        .flat_map(|(_, _, fact)| fact.supersedes.iter().copied())
        .collect();
    let counts = pins().filter(|(_, _, fact)| !superseded.contains(&fact.id));
    let newest = counts.max_by_key(|(_, stored, fact)| (*stored, fact.fact == FactKind::Pin));
    match newest {
        Some((_, _, fact)) => Some(fact.fact == FactKind::Pin),
        // Each supersedes another in a circle: only a faulty signer makes that, and keeping is harmless.
        None => pins().next().map(|_| true),
    }
}

/// What a manifest names and the listing does not have.
fn lacking(manifest: &CopyManifest, listed: &HashMap<&str, &Listed>) -> Vec<Lacking> {
    let volumes = manifest.volumes();
    volumes
        .filter_map(|volume| {
            let listed = listed.get(volume.key.as_str()).map(|one| one.bytes);
            (listed != Some(volume.bytes)).then(|| Lacking {
                key: volume.key.clone(),
                bytes: volume.bytes,
                listed,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
