//! Whoever holds the store's key can change, swap and replay whatever is there, and cannot sign: none of it becomes
//! a backup.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pgbackupd::config::{Source, load};
use pgbackupd::copies::{Identities, Place, Signer, TrustedSigners};
use pgbackupd::destination::DirectoryStore;
use pgbackupd::jobs::{
    CopySource, FetchRequest, JobContext, JobError, JobErrorKind, Run, WhichCopy, choose_copy,
    fetch as fetch_copy,
};
use pgbackupd::repository::Repository;

use crate::support::cluster::Cluster;
use crate::support::operator::Operator;
use crate::support::restored::small;

use super::{Far, backups_in, copy, fetch, listed};

/// Somebody who fetches without a command, and so a thousand times.
struct Reader {
    context: JobContext,
    source: CopySource,
    identities: Option<Identities>,
    place: Place,
}

impl Reader {
    fn new(operator: &Operator, far: &Far) -> Self {
        let source = Source {
            file: Some(operator.configuration()),
            environment: BTreeMap::new(),
            ..Source::of_process(None)
        };
        let loaded = load(&source).unwrap();
        let signer = Signer::open(&operator.path("state").join("signer")).unwrap();
        let store = DirectoryStore::new(far.path.clone(), false, Duration::from_secs(60));
        let identity = far.identity.as_ref().map(|file| fs::read(file).unwrap());
        let identities = identity.map(|text| Identities::read(&text, &mut |_| None).unwrap());
        Self {
            context: JobContext::new(&loaded.plan, &BTreeMap::new()),
            source: CopySource {
                label: "far".to_owned(),
                store: Arc::new(store),
                trusted: TrustedSigners::default().with_own("db1", signer.public()),
            },
            identities,
            place: Place::new("db1", "main", "app").unwrap(),
        }
    }

    async fn fetch(&self, to: &Path) -> Result<(), JobError> {
        let run = Run::alone(&self.context);
        let which = WhichCopy::Newest {
            before: None,
            series: None,
        };
        let chosen = choose_copy(&run, &self.source, &self.place, &which).await?;
        let request = FetchRequest {
            source: &self.source,
            copy: &chosen.copy,
            identities: self.identities.as_ref(),
            to: &Repository::at(to),
        };
        fetch_copy(&run, &request).await.map(drop)
    }
}

#[tokio::test]
async fn none_of_a_thousand_flipped_bits_becomes_a_backup() {
    let cluster = Cluster::start();
    for is_encrypted in [true, false] {
        let name = "app";
        if !is_encrypted {
            cluster.psql("DROP DATABASE app");
        }
        let mut operator = small(&cluster, name);
        let far = Far::of(&mut operator, is_encrypted);
        copy(&operator);
        let reader = Reader::new(&operator, &far);
        let to = operator.path("to");
        reader.fetch(&to).await.unwrap();
        let made = backups_in(&to);
        assert_eq!(made, backups_in(&operator.backups()));
        fs::remove_dir_all(&to).unwrap();

        let objects: Vec<PathBuf> =
            [far.volumes(), far.ending(".json"), far.ending(".sig")].concat();
        assert!(objects.len() >= 6, "{objects:?}");
        let (mut flipped, mut refused) = (0, 0);
        for object in &objects {
            let whole = fs::read(object).unwrap();
            let is_signature = object.extension().is_some_and(|end| end == "sig");
            let bits = whole.len() * 8;
            let flips = 100.min(bits);
            for flip in 0..flips {
                let bit = flip * bits / flips + flip % 8;
                let mut other = whole.clone();
                other[(bit / 8).min(whole.len() - 1)] ^= 1 << (bit % 8);
                // A copy's objects keep their times.
                let time = fs::metadata(object).unwrap().modified().unwrap();
                fs::write(object, &other).unwrap();
                fs::File::options()
                    .write(true)
                    .open(object)
                    .and_then(|file| file.set_modified(time))
                    .unwrap();
                flipped += 1;
                if let Err(error) = reader.fetch(&to).await {
                    refused += 1;
                    let kind = error.kind();
                    assert!(
                        matches!(kind, JobErrorKind::Damaged | JobErrorKind::Unavailable),
                        "{kind:?}: {error}"
                    );
                    let left = backups_in(&to);
                    assert!(left.is_empty(), "bit {bit} of {}", object.display());
                } else {
                    // Blanks around a signature are none of it: the bytes that it signs are the same.
                    assert!(is_signature, "bit {bit} of {}", object.display());
                    assert_eq!(backups_in(&to), made);
                    fs::remove_dir_all(&to).unwrap();
                }
            }
            fs::write(object, &whole).unwrap();
        }
        assert!(flipped >= 600, "{flipped}");
        assert!(refused * 100 >= flipped * 98, "{refused} of {flipped}");
        reader.fetch(&to).await.unwrap();
        assert_eq!(backups_in(&to), made);
    }
}

#[test]
fn volumes_that_are_swapped_or_cut_are_refused() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    let far = Far::of(&mut operator, true);
    copy(&operator);
    let to = operator.path("to");
    let words = ["--latest", "--to", to.to_str().unwrap()];
    let volumes = far.volumes();
    let contents: Vec<Vec<u8>> = volumes.iter().map(|path| fs::read(path).unwrap()).collect();
    let mut tried = 0;
    for one in 0..volumes.len() {
        for other in 0..one {
            if contents[one].len() == contents[other].len() {
                continue;
            }
            // Padded or cut to the length that the listing should have.
            let mut first = contents[other].clone();
            first.resize(contents[one].len(), 0);
            fs::write(&volumes[one], &first).unwrap();
            let output = fetch(&operator, &far, &words);
            assert_eq!(output.code, 65, "{output}");
            assert!(output.stderr.contains("was signed"), "{output}");
            assert!(backups_in(&to).is_empty());
            fs::write(&volumes[one], &contents[one]).unwrap();
            tried += 1;
        }
        fs::write(&volumes[one], &contents[one][..contents[one].len() / 2]).unwrap();
        let output = fetch(&operator, &far, &words);
        assert_eq!(output.code, 69, "it is incomplete: {output}");
        fs::write(&volumes[one], &contents[one]).unwrap();
    }
    assert!(tried > 2, "{tried}");
    let output = fetch(&operator, &far, &words);
    assert_eq!(output.code, 0, "{output}");
}

/// Copies the objects of one prefix under another one.
fn under_another(far: &Far, from: &str, to: &str, keep: impl Fn(&str) -> bool) {
    for (key, path) in far.objects() {
        if !keep(&key) || !key.contains(from) {
            continue;
        }
        let other = far.path.join(key.replace(from, to));
        fs::create_dir_all(other.parent().unwrap()).unwrap();
        fs::copy(path, other).unwrap();
    }
}

#[test]
fn a_manifest_counts_only_where_it_was_put_and_only_by_its_signer() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    let far = Far::of(&mut operator, false);
    copy(&operator);
    let is_copy = |key: &str| !key.ends_with("RESTORE.txt");

    // Another database's, and another host's.
    under_another(&far, "/main/app/", "/main/other/", is_copy);
    under_another(&far, "v1/db1/", "v1/db2/", is_copy);
    let listed_other = listed(&operator, &["far", "--database", "other"]);
    assert_eq!(
        listed_other[0]["copies"],
        serde_json::json!([]),
        "{listed_other}"
    );
    let reason = listed_other[0]["unexpected"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("belongs under"), "{reason}");
    let to = operator.path("to");
    let words = ["--latest", "--to", to.to_str().unwrap(), "--database"];
    let output = fetch(&operator, &far, &[&words[..], &["other"]].concat());
    assert_eq!(output.code, 65, "{output}");
    let output = fetch(
        &operator,
        &far,
        &[&words[..], &["app", "--host", "db2"]].concat(),
    );
    assert_eq!(output.code, 65, "{output}");

    // An old manifest under a newer attempt.
    let manifest = far
        .ending(".json")
        .into_iter()
        .find(|path| path.display().to_string().contains("db1/main/app/"));
    let manifest = manifest.unwrap();
    let name = manifest.file_name().unwrap().to_str().unwrap().to_owned();
    let attempt = name
        .trim_end_matches(".json")
        .rsplit_once('.')
        .unwrap()
        .1
        .to_owned();
    let newer = uuid::Uuid::now_v7().to_string();
    under_another(&far, &attempt, &newer, |key| key.contains("db1/main/app/"));
    let there = listed(&operator, &["far", "--database", "app"]);
    assert_eq!(there[0]["copies"].as_array().unwrap().len(), 1, "{there}");
    assert_eq!(
        there[0]["unexpected"].as_array().unwrap().len(),
        1,
        "{there}"
    );

    // Signed by somebody else: it is somebody else's, whatever it says.
    let forger = Signer::open_or_create(&operator.path("forger")).unwrap();
    let signature = PathBuf::from(format!("{}.sig", manifest.display()));
    fs::write(
        &signature,
        forger.sign(&fs::read(&manifest).unwrap()).unwrap(),
    )
    .unwrap();
    let output = fetch(&operator, &far, &[&words[..], &["app"]].concat());
    assert_eq!(output.code, 65, "{output}");
    assert!(backups_in(&to).is_empty());
}
