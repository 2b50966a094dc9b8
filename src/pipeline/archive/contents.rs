//! Whether the files of an archive in directory format are those that its own list of contents names.
//!
//! `pg_restore` reads the files that the list names, whatever else a reading of the directory
//! has shown: without this, files that such a reading has missed would be in no digest. And an empty file
//! in place of a table's rows is read by it without a word.
//!
//! How the files are called is in PostgreSQL's `pg_backup_directory.c`: `toc.dat`; for the rows of a
//! table `<id>.dat`, with the id of its entry; for large objects `blobs.toc`, since version 17
//! `blobs_<id>.toc`, with a line `<oid> <file>` for each. All but the lists may be compressed, and then
//! end in `.gz`, `.lz4` or `.zst`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use crate::display::{counted, one_line};
use crate::pipeline::digest_files::StoredFile;

/// What an archive's list names, as far as it has files of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// How many entries it has in all; none where the list does not say.
    pub(super) entries: Option<u64>,
    /// The entries with the rows of a table.
    pub(super) tables: Vec<u64>,
    /// The entries with large objects.
    large_objects: Vec<u64>,
}

/// What the files of a directory are, all of which the list names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Accounted {
    /// How many large objects have a file.
    pub(super) large_objects: u64,
    /// Files that the list does not name.
    pub(super) extra: Vec<String>,
}

impl Contents {
    /// Reads what `pg_restore --list` prints: lines `<id>; <table> <oid> <kind> …`, after remarks that
    /// begin with a semicolon.
    pub(super) fn read(mut list: impl BufRead) -> io::Result<Self> {
        let mut contents = Self::default();
        let mut line = Vec::new();
        while list.read_until(b'\n', &mut line)? > 0 {
            contents.take(&String::from_utf8_lossy(&line));
            line.clear();
        }
        Ok(contents)
    }

    fn take(&mut self, line: &str) {
        if let Some(remark) = line.strip_prefix(';') {
            if let Some(number) = remark.trim().strip_prefix("TOC Entries:") {
                self.entries = number.trim().parse().ok();
            }
            return;
        }
        let mut words = line.splitn(4, ' ');
        let id = words
            .next()
            .and_then(|id| id.strip_suffix(';')?.parse().ok());
        let (Some(id), Some(kind)) = (id, words.nth(2)) else {
            return;
        };
        if kind.starts_with("TABLE DATA ") {
            self.tables.push(id);
        } else if kind.starts_with("BLOBS ") {
            self.large_objects.push(id);
        }
    }
}

/// The endings of files that are not compressed, and of those that are.
const ENDINGS: [&str; 4] = ["", ".gz", ".lz4", ".zst"];

/// Holds the files of a directory against the list; the error is what is wrong, in a sentence.
pub(super) fn account(
    directory: &Path,
    files: &[StoredFile],
    contents: &Contents,
) -> io::Result<Result<Accounted, String>> {
    let mut rest: BTreeMap<&str, u64> = BTreeMap::new();
    let mut accounted = Accounted::default();
    for file in files {
        match file.name.to_str() {
            Some(name) => drop(rest.insert(name, file.bytes)),
            None => accounted.extra.push(one_line(&file.name.to_string_lossy())),
        }
    }
    if rest.remove("toc.dat").is_none() {
        return Ok(Err(missing("toc.dat", "its list of contents")));
    }
    for id in &contents.tables {
        let name = format!("{id}.dat");
        let Some((file, bytes)) = take_file(&mut rest, &name) else {
            return Ok(Err(missing(&name, "rows of a table")));
        };
        if is_empty(&directory.join(&file), bytes)? {
            return Ok(Err(format!(
                "the file {file}, which its list names as rows of a table, is empty: even a table \
                 without rows has their end there"
            )));
        }
    }
    let mut lists = BTreeSet::new();
    for id in &contents.large_objects {
        let own = format!("blobs_{id}.toc");
        let name = if rest.contains_key(own.as_str()) {
            own
        } else {
            "blobs.toc".to_owned()
        };
        if rest.remove(name.as_str()).is_none() && !lists.contains(&name) {
            return Ok(Err(missing(&name, "its list of large objects")));
        }
        lists.insert(name);
    }
    for list in lists {
        let list = BufReader::new(crate::regular_file::open(directory.join(list))?);
        for line in list.lines() {
            let line = line?;
            let Some((_, name)) = line.split_once(' ') else {
                continue;
            };
            let Some((file, bytes)) = take_file(&mut rest, name) else {
                return Ok(Err(missing(name, "a large object")));
            };
            // One that holds nothing has a file of gzip's own bytes, and none of zstd's.
            if bytes == 0 && file.strip_suffix(".gz").is_some() {
                return Ok(Err(format!(
                    "the file {file}, which its list names as a large object, is empty"
                )));
            }
            accounted.large_objects += 1;
        }
    }
    accounted.extra.extend(rest.into_keys().map(one_line));
    Ok(Ok(accounted))
}

/// What to remark of files that the list does not name.
pub(super) fn remark(extra: &[String]) -> Option<String> {
    const SHOWN: usize = 3;
    let first = extra.iter().take(SHOWN).map(String::as_str);
    let names = first.collect::<Vec<_>>().join(", ");
    let more = match extra.len() {
        0 => return None,
        count if count > SHOWN => format!(", … ({})", counted(count as u64, "file", "files")),
        _ => String::new(),
    };
    Some(format!(
        "the dump's directory has files that its list of contents does not name, and that no restore \
         reads: {names}{more}"
    ))
}

fn missing(name: &str, what: &str) -> String {
    format!(
        "the file {name}, which its list names as {what}, was not found in the directory: a file is \
         gone, or the directory was not read to its end"
    )
}

/// Takes out the file of this name, compressed or not.
fn take_file(rest: &mut BTreeMap<&str, u64>, name: &str) -> Option<(String, u64)> {
    ENDINGS.iter().find_map(|ending| {
        let file = format!("{name}{ending}");
        let bytes = rest.remove(file.as_str())?;
        Some((file, bytes))
    })
}

/// Whether a file has nothing in it, or its compression nothing but its own bytes.
fn is_empty(path: &Path, bytes: u64) -> io::Result<bool> {
    /// A file name in gzip's header can be longer than this, and nobody's is.
    const LONGEST_EMPTY: u64 = 300;
    Ok(match path.extension().and_then(|ending| ending.to_str()) {
        // The last four bytes are the length of the text (RFC 1952).
        Some("gz") if bytes <= LONGEST_EMPTY => {
            let text = read(crate::regular_file::open(path)?)?;
            text.last_chunk::<4>()
                .is_none_or(|length| *length == [0; 4])
        }
        // A frame's head and end, before any byte of text (RFC 8878, and lz4's frame format).
        Some("zst") => bytes < 14,
        Some("lz4") => bytes < 20,
        _ => bytes == 0,
    })
}

fn read(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(1024).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `pg_dump` 15, and of 17.
    const OLD: &str = ";\n; Archive created at 2026-11-28\n;     TOC Entries: 20\n;\n\
        215; 1259 16387 TABLE public e postgres\n\
        3364; 2613 4711 BLOB - 4711 postgres\n\
        3360; 0 16387 TABLE DATA public e postgres\n\
        3374; 0 0 SEQUENCE SET public s postgres\n\
        3366; 0 0 BLOBS - BLOBS \n\
        3361; 0 16390 MATERIALIZED VIEW DATA public mv postgres\n";
    const NEW: &str = ";     TOC Entries: 9\n\
        7; 2613 4711 BLOB METADATA - 4711 postgres\n\
        8; 0 0 BLOBS - 4711 postgres\n\
        9; 0 0 BLOBS - 4712 postgres\n\
        12; 0 16387 TABLE DATA public TABLE DATA e postgres\n";

    /// An empty gzip file, with a name in it and without.
    const EMPTY: &[u8] = b"\x1f\x8b\x08\x00\0\0\0\0\x00\x03\x03\x00\0\0\0\0\0\0\0\0";
    const EMPTY_NAMED: &[u8] =
        b"\x1f\x8b\x08\x08\0\0\0\0\x00\x033360.dat\0\x03\x00\0\0\0\0\0\0\0\0";
    /// `\.` and three line breaks.
    const END: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff\x8b\xd1\xe3\xe2\xe2\x02\x00\x98\x89\x81\x6c\x05\x00\x00\x00";

    fn accounted(list: &str, files: &[(&str, &[u8])]) -> Result<Accounted, String> {
        let directory = tempfile::tempdir().unwrap();
        let stored: Vec<StoredFile> = files
            .iter()
            .map(|(name, bytes)| {
                std::fs::write(directory.path().join(name), bytes).unwrap();
                StoredFile {
                    name: name.into(),
                    bytes: bytes.len() as u64,
                }
            })
            .collect();
        let contents = Contents::read(list.as_bytes()).unwrap();
        account(directory.path(), &stored, &contents).unwrap()
    }

    #[test]
    fn what_the_list_names_is_read_from_it() {
        let old = Contents::read(OLD.as_bytes()).unwrap();
        assert_eq!(old.entries, Some(20));
        assert_eq!((old.tables, old.large_objects), (vec![3360], vec![3366]));
        let new = Contents::read(NEW.as_bytes()).unwrap();
        assert_eq!((new.tables, new.large_objects), (vec![12], vec![8, 9]));
    }

    #[test]
    fn every_file_that_the_list_names_has_to_be_there_and_not_empty() {
        let blobs: &[u8] = b"4711 blob_4711.dat\n4712 blob_4712.dat\n";
        let whole: [(&str, &[u8]); 5] = [
            ("toc.dat", b"PGDMP"),
            ("3360.dat.gz", END),
            ("blobs.toc", blobs),
            ("blob_4711.dat.gz", EMPTY),
            ("blob_4712.dat", b""),
        ];
        let found = accounted(OLD, &whole).unwrap();
        assert_eq!(found.large_objects, 2);
        assert_eq!(found.extra, [""; 0]);

        // Each of them gone.
        for (index, (name, _)) in whole.iter().enumerate() {
            let mut files = whole.to_vec();
            files.remove(index);
            let found_text = accounted(OLD, &files).unwrap_err();
            let stem = name.trim_end_matches(".gz");
            assert!(
                found_text.contains(&format!("the file {stem}, ")),
                "{found_text}"
            );
        }
        // Each of them empty in some way.
        let table: [(usize, &str, &[u8], bool); 8] = [
            (1, "3360.dat.gz", b"", false),
            (1, "3360.dat.gz", EMPTY, false),
            (1, "3360.dat.gz", EMPTY_NAMED, false),
            (1, "3360.dat", b"", false),
            (1, "3360.dat", b"\\.\n\n\n", true),
            (1, "3360.dat.zst", b"\x28\xb5\x2f\xfd\x20\0\x01\0\0", false),
            (3, "blob_4711.dat.gz", b"", false),
            (3, "blob_4711.dat", b"", true),
        ];
        for (index, name, bytes, fine) in table {
            let mut files = whole.to_vec();
            files[index] = (name, bytes);
            let outcome = accounted(OLD, &files);
            assert_eq!(outcome.is_ok(), fine, "{name} {bytes:?}: {outcome:?}");
        }
    }

    #[test]
    fn since_17_large_objects_have_several_lists() {
        let whole: [(&str, &[u8]); 6] = [
            ("toc.dat", b"PGDMP"),
            ("12.dat", b"\\.\n"),
            ("blobs_8.toc", b"4711 blob_4711.dat\n"),
            ("blobs_9.toc", b"4712 blob_4712.dat\n"),
            ("blob_4711.dat.lz4", b"x"),
            ("blob_4712.dat", b""),
        ];
        assert_eq!(accounted(NEW, &whole).unwrap().large_objects, 2);
        for gone in 2..whole.len() {
            let mut files = whole.to_vec();
            files.remove(gone);
            accounted(NEW, &files).unwrap_err();
        }
    }

    #[test]
    fn what_the_list_does_not_name_is_remarked() {
        let files: [(&str, &[u8]); 4] = [
            ("toc.dat", b"PGDMP"),
            ("README", b"x"),
            ("99.dat.gz", END),
            (".nfs0001", b""),
        ];
        let found = accounted(";     TOC Entries: 4\n", &files).unwrap();
        assert_eq!(found.extra, [".nfs0001", "99.dat.gz", "README"]);
        let found_text = remark(&found.extra).unwrap();
        assert!(
            found_text.ends_with("reads: .nfs0001, 99.dat.gz, README"),
            "{found_text}"
        );
        assert_eq!(remark(&[]), None);
        let many: Vec<String> = (0..5).map(|number| number.to_string()).collect();
        assert!(remark(&many).unwrap().ends_with("0, 1, 2, … (5 files)"));
    }
}
