//! What the address of a destination leads to.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use reqwest::Url;

use super::sftp;
use crate::config::plan::SftpSettings;

/// What an address looks like.
const BEGINNINGS: &str = "an address begins with s3://, az://, gs://, sftp:// or file:///";

/// A bucket or a container, and what every key in it begins with.
pub(super) struct Named {
    pub(super) bucket: String,
    pub(super) prefix: Option<String>,
}

/// What an address leads to.
pub(super) enum Place {
    Directory(PathBuf),
    S3(Named),
    Azure(Named),
    Google(Named),
    Sftp(SftpSettings),
}

impl Place {
    /// As an address begins.
    pub(super) fn scheme(&self) -> &'static str {
        match self {
            Self::Directory(_) => "file",
            Self::S3(_) => "s3",
            Self::Azure(_) => "az",
            Self::Google(_) => "gs",
            Self::Sftp(_) => "sftp",
        }
    }
}

/// Reads an address; an error does not show it.
pub(super) fn place(text: &str) -> Result<Place, String> {
    let has_beginning = ["s3://", "az://", "gs://", "sftp://", "file://"]
        .iter()
        .any(|beginning| text.starts_with(beginning));
    let url: Url = text.parse().map_err(|error| {
        if has_beginning {
            format!("the address cannot be read: {error}")
        } else {
            BEGINNINGS.to_owned()
        }
    })?;
    if text.split(['/', '\\']).any(is_relative) {
        return Err("a path in an address has no . and no .. in it".to_owned());
    }
    if url.scheme() == "sftp" {
        return sftp::read(&url).map(Place::Sftp);
    }
    if url.password().is_some()
        || !url.username().is_empty()
        || url.query().is_some()
        || url.fragment().is_some()
    {
        return Err(
            "unexpected user, ? or # in the address: it names a bucket or a directory only"
                .to_owned(),
        );
    }
    match url.scheme() {
        "file" => {
            let path = url
                .to_file_path()
                .ok()
                .filter(|path| path.parent().is_some());
            let path = path.map(|path| path.components().collect());
            path.map(Place::Directory)
                .ok_or_else(|| "file:// is followed by the path of a directory".to_owned())
        }
        "s3" => named(&url, &BUCKET_OF_S3).map(Place::S3),
        "az" => named(&url, &CONTAINER).map(Place::Azure),
        "gs" => named(&url, &BUCKET_OF_GOOGLE).map(Place::Google),
        _ => Err(BEGINNINGS.to_owned()),
    }
}

/// Whether a segment, as it is written, leads to the same or to the upper directory: the address would be read as
/// another one. Tabs and line feeds do not count there.
fn is_relative(segment: &str) -> bool {
    let plain = segment.replace(['\t', '\n', '\r'], "");
    let plain = plain.to_ascii_lowercase().replace("%2e", ".");
    matches!(plain.as_str(), "." | "..")
}

/// What a bucket or a container may be called.
struct Naming {
    noun: &'static str,
    lengths: RangeInclusive<usize>,
    /// The characters other than letters and digits.
    others: &'static str,
    /// Whether it has lower-case letters only, and no two of the others next to each other.
    is_strict: bool,
}

const BUCKET_OF_S3: Naming = Naming {
    noun: "bucket",
    lengths: 3..=63,
    others: ".-_",
    is_strict: false,
};

const BUCKET_OF_GOOGLE: Naming = Naming {
    noun: "bucket",
    lengths: 3..=222,
    others: ".-_",
    is_strict: false,
};

const CONTAINER: Naming = Naming {
    noun: "container",
    lengths: 3..=63,
    others: "-",
    is_strict: true,
};

impl Naming {
    fn allows(&self, name: &str) -> bool {
        let is_of_name = |one: char| one.is_ascii_alphanumeric() || self.others.contains(one);
        let is_fit = self.lengths.contains(&name.len()) && name.chars().all(is_of_name);
        let mut words = name.split(|one: char| self.others.contains(one));
        let is_lower = !name.bytes().any(|byte| byte.is_ascii_uppercase());
        is_fit && (!self.is_strict || is_lower && words.all(|word| !word.is_empty()))
    }

    /// In a sentence.
    fn shown(&self) -> String {
        let (shortest, longest) = self.lengths.clone().into_inner();
        let noun = self.noun;
        if self.is_strict {
            return format!(
                "the name of a {noun} has {shortest} to {longest} lower-case letters, digits, and single hyphens \
                 between them"
            );
        }
        let others: Vec<String> = self.others.chars().map(String::from).collect();
        let others = others.join(" ");
        format!(
            "the name of a {noun} has {shortest} to {longest} ASCII letters, digits, and {others}"
        )
    }
}

/// The bucket or container that an address names.
fn named(url: &Url, naming: &Naming) -> Result<Named, String> {
    let bucket = url.host_str().unwrap_or_default();
    let noun = naming.noun;
    if bucket.is_empty() {
        let scheme = url.scheme();
        return Err(format!("{scheme}:// is followed by the name of a {noun}"));
    }
    if url.port().is_some() {
        return Err(format!("a {noun} has no port: endpoint names the server"));
    }
    if !naming.allows(bucket) {
        return Err(naming.shown());
    }
    let prefix = url.path().trim_matches('/');
    let is_of_prefix = |byte: u8| byte.is_ascii_alphanumeric() || b".-_=".contains(&byte);
    let is_segment =
        |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(is_of_prefix);
    // Keys below it need their own length.
    if !prefix.is_empty() && (prefix.len() > 256 || !prefix.split('/').all(is_segment)) {
        return Err(
            "a prefix is made of ASCII letters, digits, and . _ - = between slashes".to_owned(),
        );
    }
    Ok(Named {
        bucket: bucket.to_owned(),
        prefix: (!prefix.is_empty()).then(|| prefix.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        for text in [
            "az://backups/../evil",
            "az://backups/a/%2e%2E/b",
            "az://backups/.%2e",
            "gs://backups/./x",
            "s3://backups/..",
            "sftp://box/a/../b",
            "sftp://box/~/..",
            "file:///a/../b",
            "file:///a\\..\\b",
            "file:///a/.\t./b",
            "file:///a/.",
        ] {
            let error = place(text).err().unwrap_or_default();
            assert!(error.contains("no . and no .. in it"), "{text}: {error}");
        }
        for text in [
            "az://backups/a..b/.c",
            "file:///a/...",
            "sftp://box/.hidden",
            "s3://a.b.c/x.",
        ] {
            assert!(place(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_container_has_a_name_that_azure_takes() {
        for (name, is_allowed) in [
            ("backups", true),
            ("b-1-c", true),
            ("abc", true),
            ("Backups", false),
            ("ab", false),
            ("a--b", false),
            ("-ab", false),
            ("ab-", false),
            ("a_b", false),
            ("a.b", false),
        ] {
            let read = place(&format!("az://{name}/x"));
            assert_eq!(read.is_ok(), is_allowed, "{name}");
            let error = read.err().unwrap_or_default();
            let is_said = error.contains("lower-case letters, digits, and single hyphens");
            assert!(is_allowed || is_said, "{name}: {error}");
        }
        assert!(place("s3://Old_Bucket").is_ok());
    }
}
