//! What a file is, by its first bytes and by nothing else. Pure.

/// So many bytes are enough to say what a file is.
pub const FIRST: usize = 512 + 16;

/// What the first bytes of a file are those of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Text.
    Text,
    /// An archive in one file, custom or tar, with this version of its format.
    Archive([u8; 2]),
    /// Something in gzip.
    Gzip,
    /// Something in zstd.
    Zstd,
    /// Something that is encrypted with age.
    Age,
    /// Nothing at all.
    Empty,
    /// What a restore does not read.
    Unread(Unread),
}

/// What a restore does not read, and what makes a file of it that it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Completes the sentence "the file is …".
    pub is: &'static str,
    /// A command that writes what is in it to its standard output, without the file's name at its end;
    /// none where there is none.
    pub command: Option<&'static str>,
}

/// The beginnings of files that are not read.
const UNREAD: [(&[u8], Unread); 28] = [
    // Compressed.
    unread(b"\xfd7zXZ\0", "compressed with xz", "xz -dc"),
    unread(b"BZh", "compressed with bzip2", "bzip2 -dc"),
    unread(b"\x04\x22\x4d\x18", "compressed with lz4", "lz4 -dc"),
    unread(b"\x02\x21\x4c\x18", "compressed with lz4", "lz4 -dc"),
    unread(
        b"\x5d\0\0\x80\0",
        "compressed with lzma",
        "xz --format=lzma -dc",
    ),
    unread(
        b"\x5d\0\0\0\x01",
        "compressed with lzma",
        "xz --format=lzma -dc",
    ),
    unread(b"LZIP", "compressed with lzip", "lzip -dc"),
    unread(b"\x89LZO\0\r\n\x1a\n", "compressed with lzop", "lzop -dc"),
    unread(b"\x1f\x9d", "compressed with compress", "gunzip -c"),
    unread(b"PK\x03\x04", "a zip archive", "unzip -p"),
    unread(b"7z\xbc\xaf\x27\x1c", "a 7z archive", "7z x -so"),
    // Encrypted.
    unread(
        b"-----BEGIN AGE ENCRYPTED FILE-----",
        "encrypted with age, in ASCII armor",
        "age -d -i KEY",
    ),
    unread(
        b"-----BEGIN PGP MESSAGE-----",
        "encrypted with OpenPGP",
        "gpg -d",
    ),
    unread(
        b"Salted__",
        "encrypted with openssl enc",
        "openssl enc -d -pbkdf2 -aes-256-cbc -in",
    ),
    unread(
        b"U2FsdGVkX1",
        "encrypted with openssl enc",
        "openssl enc -d -a -pbkdf2 -aes-256-cbc -in",
    ),
    // Text that is not in bytes of ASCII.
    unread(
        b"\xff\xfe\0\0",
        "text in UTF-32",
        "iconv -f UTF-32 -t UTF-8",
    ),
    unread(
        b"\xff\xfe",
        "text in UTF-16, as PowerShell writes it",
        "iconv -f UTF-16 -t UTF-8",
    ),
    unread(b"\xfe\xff", "text in UTF-16", "iconv -f UTF-16 -t UTF-8"),
    // Of other programs.
    of_another(
        b"PGCOPY\n\xff\r\n\0",
        "rows of one table in COPY's binary format, and no dump",
    ),
    of_another(b"-- MySQL dump ", "a dump of MySQL, and not of PostgreSQL"),
    of_another(
        b"-- MariaDB dump ",
        "a dump of MariaDB, and not of PostgreSQL",
    ),
    of_another(b"/*M!999999", "a dump of MariaDB, and not of PostgreSQL"),
    of_another(b"/*!", "a dump of MySQL, and not of PostgreSQL"),
    of_another(
        b"SQLite format 3\0",
        "a database of SQLite, and no dump of PostgreSQL",
    ),
    of_another(b"REDIS", "a file of Redis, and no dump of PostgreSQL"),
    of_another(b"\x7fELF", "a program, and no dump"),
    of_another(b"<!DOCTYPE", "a web page, and no dump"),
    of_another(b"<html", "a web page, and no dump"),
];

const fn unread(
    first: &'static [u8],
    is: &'static str,
    command: &'static str,
) -> (&'static [u8], Unread) {
    let command = Some(command);
    (first, Unread { is, command })
}

const fn of_another(first: &'static [u8], is: &'static str) -> (&'static [u8], Unread) {
    (first, Unread { is, command: None })
}

/// What the first bytes of a file say, [`FIRST`] of them or all.
pub fn form_of(first: &[u8]) -> Form {
    if first.is_empty() {
        return Form::Empty;
    }
    if let [b'P', b'G', b'D', b'M', b'P', major, minor, ..] = *first {
        return Form::Archive([major, minor]);
    }
    if first.starts_with(b"PGDMP") {
        return Form::Archive([1, 0]);
    }
    if first.starts_with(&[0x1f, 0x8b]) {
        return Form::Gzip;
    }
    // A frame that is skipped may come first, as pzstd writes it (RFC 8878).
    let is_skippable = matches!(first, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
    if is_skippable || first.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Form::Zstd;
    }
    if first.starts_with(b"age-encryption.org/") {
        return Form::Age;
    }
    if first.get(257..262) == Some(b"ustar") {
        return of_tar(first);
    }
    if is_openpgp(first) {
        return Form::Unread(Unread {
            is: "encrypted with OpenPGP",
            command: Some("gpg -d"),
        });
    }
    let known = UNREAD.iter().find(|(bytes, _)| first.starts_with(bytes));
    known.map_or(Form::Text, |(_, unread)| Form::Unread(*unread))
}

/// `pg_dump --format=tar` writes its list of contents first.
fn of_tar(first: &[u8]) -> Form {
    let end = memchr::memchr(0, &first[..100]).unwrap_or(100);
    let name = &first[..end];
    if name == b"toc.dat"
        && let Some([b'P', b'G', b'D', b'M', b'P', major, minor, ..]) = first.get(512..)
    {
        return Form::Archive([*major, *minor]);
    }
    let is = if name == b"backup_label" || name.ends_with(b"PG_VERSION") {
        "a tar archive of a server's data directory, as pg_basebackup writes it, and no dump"
    } else {
        "a tar archive, and none of pg_dump's: unpack it (tar -xf), and restore the file or directory \
         that was in it"
    };
    Form::Unread(Unread { is, command: None })
}

/// The beginning of an encrypted `OpenPGP` message: a session key for a public key (tag 1) or a passphrase
/// (tag 3), or encrypted data (tags 9, 18 and 20), in a packet of the old or the new format (RFC 9580).
/// Text in UTF-8 or ASCII begins with none of these bytes and versions.
fn is_openpgp(first: &[u8]) -> bool {
    let [head, rest @ ..] = first else {
        return false;
    };
    let (tag, length) = match head {
        0x80..=0xbf => ((head >> 2) & 0x0f, [1, 2, 4, 0][usize::from(head & 3)]),
        0xc0..=0xff => (
            head & 0x3f,
            match rest.first() {
                Some(192..=223) => 2,
                Some(255) => 5,
                _ => 1,
            },
        ),
        _ => return false,
    };
    let version = rest.get(length).copied().unwrap_or_default();
    match tag {
        1 => matches!(version, 2 | 3 | 6),
        3 => matches!(version, 4..=6),
        18 => matches!(version, 1 | 2),
        9 => *head == 0xa4 || *head == 0xa5 || *head == 0xa6,
        20 => version == 1,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar(name: &str, content: &[u8]) -> Vec<u8> {
        let mut first = vec![0; 512];
        first[..name.len()].copy_from_slice(name.as_bytes());
        first[257..262].copy_from_slice(b"ustar");
        first.extend_from_slice(content);
        first
    }

    #[test]
    fn a_file_is_what_its_first_bytes_say() {
        for (first, expected) in [
            (b"".as_slice(), Form::Empty),
            (b"PGDMP\x01\x0e\x00", Form::Archive([1, 14])),
            (b"PGDMP\x01\x10\x00", Form::Archive([1, 16])),
            (b"PGDMP", Form::Archive([1, 0])),
            (b"\x1f\x8b\x08\x00\x00", Form::Gzip),
            (b"\x28\xb5\x2f\xfd\x00", Form::Zstd),
            (b"\x50\x2a\x4d\x18\x04\0\0\0", Form::Zstd),
            (b"age-encryption.org/v1\n", Form::Age),
            (b"age-encryption.org/v2\n", Form::Age),
            (b"--\n-- PostgreSQL database dump", Form::Text),
            (b"\xef\xbb\xbf--\r\n", Form::Text),
            (b"-", Form::Text),
            (b"SET client_encoding", Form::Text),
            (b"PGDM", Form::Text),
            // Text in other encodings.
            (b"\xc4rger\n", Form::Text),
            (b"\xd0\xb6\n", Form::Text),
        ] {
            assert_eq!(form_of(first), expected, "{first:?}");
        }
        assert_eq!(
            form_of(&tar("toc.dat", b"PGDMP\x01\x0e\x00")),
            Form::Archive([1, 14])
        );
    }

    #[test]
    fn what_is_not_read_is_called_by_its_name() {
        for (first, is, command) in [
            (b"\xfd7zXZ\0\0".as_slice(), "with xz", Some("xz -dc")),
            (b"BZh91AY&SY", "bzip2", Some("bzip2 -dc")),
            (b"\x04\x22\x4d\x18\x64", "lz4", Some("lz4 -dc")),
            (b"PK\x03\x04\x14", "zip", Some("unzip -p")),
            (
                b"-----BEGIN AGE ENCRYPTED FILE-----\n",
                "age",
                Some("age -d -i KEY"),
            ),
            (b"-----BEGIN PGP MESSAGE-----\n", "OpenPGP", Some("gpg -d")),
            // gpg --symmetric, gpg --encrypt with RSA and with a curve, and of a newer format.
            (b"\x8c\x0d\x04\x09\x03\x08", "OpenPGP", Some("gpg -d")),
            (b"\x85\x01\x8c\x03\x11\x22", "OpenPGP", Some("gpg -d")),
            (b"\x84\x5e\x03\x11\x22", "OpenPGP", Some("gpg -d")),
            (b"\xc1\xc0\x4c\x03\x11", "OpenPGP", Some("gpg -d")),
            (b"\xc3\x2e\x04\x09", "OpenPGP", Some("gpg -d")),
            (b"\xd2\xe9\x01\x22", "OpenPGP", Some("gpg -d")),
            (
                b"Salted__\x01\x02",
                "openssl",
                Some("openssl enc -d -pbkdf2 -aes-256-cbc -in"),
            ),
            (
                b"\xff\xfe-\0-\0",
                "UTF-16",
                Some("iconv -f UTF-16 -t UTF-8"),
            ),
            (b"-- MySQL dump 10.13", "MySQL", None),
            (b"PGCOPY\n\xff\r\n\0", "COPY", None),
        ] {
            let Form::Unread(unread) = form_of(first) else {
                panic!("{first:?}");
            };
            assert!(unread.is.contains(is), "{first:?}: {}", unread.is);
            assert_eq!(unread.command, command, "{first:?}");
        }
        for (file, is) in [
            (tar("backup_label", b"START WAL"), "pg_basebackup"),
            (tar("dump/toc.dat", b"PGDMP\x01\x0e\x00"), "tar -xf"),
            (tar("toc.dat", b"x"), "tar -xf"),
        ] {
            let Form::Unread(unread) = form_of(&file) else {
                panic!("{is}");
            };
            assert!(unread.is.contains(is), "{}", unread.is);
        }
    }
}
