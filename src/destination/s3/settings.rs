//! What a bucket is set to: versions, Object Lock, and what it removes by itself.

use super::bucket::S3Bucket;
use super::xml::Element;
use crate::destination::bucket::{Fault, Refusal};
use crate::policy::protection::{Asked, Lifecycle, Lock, Versioning};

/// The days of a year of a lock, as S3 counts them.
const YEAR: u64 = 365;

impl S3Bucket {
    /// Whether it keeps versions.
    pub(super) async fn versioning(&self) -> Result<Asked<Versioning>, Fault> {
        self.setting("versioning", versioning).await
    }

    /// How it locks new objects.
    pub(super) async fn lock(&self) -> Result<Asked<Option<Lock>>, Fault> {
        self.setting("object-lock", |document| document.and_then(lock))
            .await
    }

    /// What it removes by itself of what lies below a key in the bucket.
    pub(super) async fn lifecycle(&self, below: &str) -> Result<Asked<Lifecycle>, Fault> {
        self.setting("lifecycle", |document| match document {
            Some(document) => lifecycle(document, below),
            None => Lifecycle::default(),
        })
        .await
    }

    /// Asks for a setting; `read` gets none where the bucket has none.
    async fn setting<T>(
        &self,
        name: &str,
        read: impl Fn(Option<&Element>) -> T,
    ) -> Result<Asked<T>, Fault> {
        match self.ask_bucket(&[(name, "")]).await {
            Ok(document) => Ok(Asked::Known(read(Some(&Element::parse(&document)?)))),
            Err(Fault::Refused(refusal)) if is_not_set(&refusal) => Ok(Asked::Known(read(None))),
            Err(Fault::Refused(refusal)) if is_no_answer(&refusal) => Ok(Asked::Unknown),
            Err(fault) => Err(fault),
        }
    }
}

/// Whether a bucket just has no such setting.
fn is_not_set(refusal: &Refusal) -> bool {
    matches!(
        refusal.code.as_deref(),
        Some("ObjectLockConfigurationNotFoundError" | "NoSuchLifecycleConfiguration")
    )
}

/// Whether the key may not ask, or the store does not know the question.
fn is_no_answer(refusal: &Refusal) -> bool {
    refusal.is_denial() || matches!(refusal.status, 405 | 501)
}

fn versioning(document: Option<&Element>) -> Versioning {
    match document.and_then(|document| document.text_of("Status")) {
        Some("Enabled") => Versioning::On,
        Some(_) => Versioning::Suspended,
        None => Versioning::Off,
    }
}

fn lock(document: &Element) -> Option<Lock> {
    let rule = document.child("Rule")?.child("DefaultRetention")?;
    let years = rule.number_of("Years").map(|years| years * YEAR);
    Some(Lock {
        is_compliance: rule.text_of("Mode") == Some("COMPLIANCE"),
        days: rule.number_of("Days").or(years)?,
    })
}

/// The rules that apply to any of what lies below a key.
fn lifecycle(document: &Element, below: &str) -> Lifecycle {
    let rules = document.all("Rule");
    let rules = rules.filter(|rule| rule.text_of("Status") == Some("Enabled"));
    let mut found = Lifecycle::default();
    for rule in rules.filter(|rule| applies(rule, below)) {
        let current = rule.child("Expiration").and_then(|expiration| {
            // A date removes everything from then on.
            let by_date = expiration.child("Date").map(|_| 0);
            expiration.number_of("Days").or(by_date)
        });
        let noncurrent = rule.child("NoncurrentVersionExpiration");
        let noncurrent = noncurrent.and_then(|one| one.number_of("NoncurrentDays"));
        found.current_days = found.current_days.into_iter().chain(current).min();
        found.noncurrent_days = found.noncurrent_days.into_iter().chain(noncurrent).min();
    }
    found
}

/// Whether a rule applies to any of what lies below a key. No object of ours has tags.
fn applies(rule: &Element, below: &str) -> bool {
    let filter = rule.child("Filter");
    let all_of = filter.and_then(|filter| filter.child("And"));
    let parts = [Some(rule), filter, all_of];
    let has_tag = parts
        .iter()
        .flatten()
        .any(|part| part.child("Tag").is_some());
    let mut prefixes = parts.iter().flatten();
    let prefix = prefixes.find_map(|part| part.text_of("Prefix"));
    let prefix = prefix.unwrap_or_default();
    !has_tag && (below.starts_with(prefix) || prefix.starts_with(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_retention_is_in_days_or_years() {
        for (rule, expected) in [
            (
                "<Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>30</Days></DefaultRetention></Rule>",
                Some((true, 30)),
            ),
            (
                "<Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Years>2</Years></DefaultRetention></Rule>",
                Some((false, 730)),
            ),
            ("", None),
            ("<Rule></Rule>", None),
        ] {
            let document = format!("<O><ObjectLockEnabled>Enabled</ObjectLockEnabled>{rule}</O>");
            let found = lock(&Element::parse(document.as_bytes()).unwrap());
            let found = found.map(|lock| (lock.is_compliance, lock.days));
            assert_eq!(found, expected, "{rule}");
        }
        for (status, expected) in [
            ("<Status>Enabled</Status>", Versioning::On),
            ("<Status>Suspended</Status>", Versioning::Suspended),
            ("", Versioning::Off),
        ] {
            let document = format!("<V>{status}</V>");
            let document = Element::parse(document.as_bytes()).unwrap();
            assert_eq!(versioning(Some(&document)), expected);
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of cases")]
    fn the_shortest_rule_that_applies_to_the_copies_counts() {
        let noncurrent = |days: u64| {
            format!(
                "<NoncurrentVersionExpiration><NoncurrentDays>{days}</NoncurrentDays>\
                 </NoncurrentVersionExpiration>"
            )
        };
        let on = "<Status>Enabled</Status>";
        for (rules, expected) in [
            (String::new(), (None, None)),
            (
                format!("<Rule>{on}{}</Rule>", noncurrent(30)),
                (None, Some(30)),
            ),
            (
                format!(
                    "<Rule>{on}<Filter><Prefix>p/</Prefix></Filter>{}</Rule>",
                    noncurrent(9)
                ),
                (None, Some(9)),
            ),
            (
                format!(
                    "<Rule>{on}<Prefix>p/v1/db1/main/</Prefix>{}</Rule>",
                    noncurrent(8)
                ),
                (None, Some(8)),
            ),
            (
                format!("<Rule>{on}<Prefix>other/</Prefix>{}</Rule>", noncurrent(1)),
                (None, None),
            ),
            (
                format!("<Rule><Status>Disabled</Status>{}</Rule>", noncurrent(1)),
                (None, None),
            ),
            (
                format!(
                    "<Rule>{on}<Filter><And><Prefix>p/</Prefix><Tag><Key>a</Key></Tag></And></Filter>{}</Rule>",
                    noncurrent(1)
                ),
                (None, None),
            ),
            (
                format!(
                    "<Rule>{on}<Expiration><Days>90</Days></Expiration>{}</Rule>\
                     <Rule>{on}<Filter><Prefix>p/v1/</Prefix></Filter><Expiration><Days>60</Days></Expiration>{}</Rule>",
                    noncurrent(30),
                    noncurrent(40)
                ),
                (Some(60), Some(30)),
            ),
            (
                format!(
                    "<Rule>{on}<Expiration><Date>2027-01-01T00:00:00Z</Date></Expiration></Rule>"
                ),
                (Some(0), None),
            ),
            (
                format!(
                    "<Rule>{on}<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker>\
                     </Expiration></Rule>"
                ),
                (None, None),
            ),
        ] {
            let document = format!("<LifecycleConfiguration>{rules}</LifecycleConfiguration>");
            let found = lifecycle(&Element::parse(document.as_bytes()).unwrap(), "p/v1/db1/");
            assert_eq!(
                (found.current_days, found.noncurrent_days),
                expected,
                "{rules}"
            );
        }
    }
}
