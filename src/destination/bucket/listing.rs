//! Pages of listings, before `object_store` reads them: it gives up on a whole listing where one name is none that it
//! knows, and asks without end where a page leads to itself. Whoever may add an object could so keep everybody from
//! reading. Pure.

use std::borrow::Cow;

use object_store::path::Path;
use quick_xml::escape::{EscapeError, unescape};
use reqwest::Url;

/// The elements that stand for an object or a folder, and those that have its name.
const ENTRIES: [(&str, &str); 4] = [
    ("Contents", "Key"),
    ("CommonPrefixes", "Prefix"),
    ("Blob", "Name"),
    ("BlobPrefix", "Name"),
];

/// The elements that lead to the next page, and where a request has what they said.
const NEXT: [(&str, &str); 2] = [
    ("NextContinuationToken", "continuation-token"),
    ("NextMarker", "marker"),
];

/// Whether a request with this query asks for a page of a listing.
pub(super) fn is_listing(query: &str) -> bool {
    query
        .split('&')
        .any(|pair| matches!(pair, "list-type=2" | "comp=list"))
}

/// The page without what has a name that is no path: no object of ours has such a name.
pub(super) fn without_strange_names(page: &str) -> String {
    let mut kept = page.to_owned();
    for (entry, name) in ENTRIES {
        kept = without_strange(&kept, entry, name);
    }
    kept
}

fn without_strange(page: &str, entry: &str, name: &str) -> String {
    let (begin, end) = (format!("<{entry}>"), format!("</{entry}>"));
    let (mut kept, mut rest) = (String::with_capacity(page.len()), page);
    while let Some((before, behind)) = rest.split_once(&begin) {
        kept.push_str(before);
        let Some((content, after)) = behind.split_once(&end) else {
            kept.push_str(&begin);
            rest = behind;
            continue;
        };
        if is_path(content, name) {
            kept.extend([&begin, content, &end]);
        }
        rest = after;
    }
    kept.push_str(rest);
    kept
}

/// Whether the library takes the name in this element. One that is not found is the library's to judge.
fn is_path(content: &str, name: &str) -> bool {
    match text_of(content, name) {
        Ok(Some(text)) => Path::parse(text).is_ok(),
        Ok(None) => true,
        Err(_) => false,
    }
}

/// The text of the first element of this name, which may have attributes.
///
/// # Errors
/// When the text is no XML.
fn text_of<'c>(content: &'c str, name: &str) -> Result<Option<Cow<'c, str>>, EscapeError> {
    let text = || {
        let (_, rest) = content.split_once(&format!("<{name}"))?;
        let (attributes, rest) = rest.split_once('>')?;
        let is_it = attributes.is_empty() || attributes.starts_with(' ');
        if !is_it || attributes.ends_with('/') {
            return None;
        }
        let (text, _) = rest.split_once(&format!("</{name}>"))?;
        Some(text)
    };
    text().map(unescape).transpose()
}

/// Whether a page leads to itself: it was asked for by what it says of the next one.
pub(super) fn leads_to_itself(query: &str, page: &str) -> bool {
    let asked = query_pairs(query);
    NEXT.iter().any(|(element, parameter)| {
        let next = text_of(page, element).ok().flatten();
        let next = next.filter(|next| !next.is_empty());
        next.is_some_and(|next| {
            asked
                .iter()
                .any(|(name, value)| name == parameter && *value == next)
        })
    })
}

/// The names and values of a query, decoded.
pub(super) fn query_pairs(query: &str) -> Vec<(String, String)> {
    let url = Url::parse(&format!("http://host/?{query}"));
    let pairs = url.iter().flat_map(Url::query_pairs);
    pairs
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_with_a_strange_name_hides_no_other() {
        let s3 = |key: &str| format!("<Contents><Key>{key}</Key><Size>1</Size></Contents>");
        let blob = |name: &str| format!("<Blob><Name>{name}</Name><Properties/></Blob>");
        let encoded = "<Blob><Name Encoded=\"true\">a%0Ab</Name></Blob>";
        let folder = |name: &str| format!("<BlobPrefix><Name>{name}</Name></BlobPrefix>");
        let common =
            |name: &str| format!("<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>");
        for (entry, stays) in [
            (s3("v1/db1/main/app/a"), true),
            (s3("a&amp;b"), true),
            (s3("v1//x"), false),
            (s3("v1/../x"), false),
            (s3("v1/./x"), false),
            (s3("a&#xA;b"), false),
            (s3("a&nonsense;b"), false),
            (s3("/"), true),
            (blob("v1/db1"), true),
            (blob("v1//db1"), false),
            (encoded.to_owned(), true),
            (folder("v1/db1/"), true),
            (folder("v1//"), false),
            (folder("v1/../"), false),
            (common("v1/db1/"), true),
            (common("v1//"), false),
            ("<Contents><Size>1</Size></Contents>".to_owned(), true),
            ("<Contents><Key>a".to_owned(), true),
        ] {
            let (first, last) = (s3("first"), s3("last"));
            let page = format!("<R>{first}{entry}{last}</R>");
            let expected = if stays {
                page.clone()
            } else {
                format!("<R>{first}{last}</R>")
            };
            assert_eq!(without_strange_names(&page), expected, "{entry}");
        }
    }

    #[test]
    fn a_page_that_was_asked_for_by_its_own_next_leads_nowhere() {
        for (query, page, expected) in [
            (
                "list-type=2&prefix=a",
                "<NextContinuationToken>x</NextContinuationToken>",
                false,
            ),
            (
                "list-type=2&continuation-token=x",
                "<NextContinuationToken>x</NextContinuationToken>",
                true,
            ),
            (
                "continuation-token=a%2Bb%3D&list-type=2",
                "<NextContinuationToken>a+b=</NextContinuationToken>",
                true,
            ),
            (
                "list-type=2&continuation-token=x",
                "<NextContinuationToken>y</NextContinuationToken>",
                false,
            ),
            (
                "list-type=2&continuation-token=x",
                "<ContinuationToken>x</ContinuationToken>",
                false,
            ),
            ("comp=list&marker=m", "<NextMarker>m</NextMarker>", true),
            ("comp=list&marker=", "<NextMarker />", false),
            ("comp=list&marker=", "<NextMarker></NextMarker>", false),
        ] {
            assert_eq!(leads_to_itself(query, page), expected, "{query} {page}");
            assert!(
                is_listing(query) || query.starts_with("continuation"),
                "{query}"
            );
        }
        assert!(!is_listing(
            "restype=container&comp=properties&prefix=comp=list"
        ));
    }
}
