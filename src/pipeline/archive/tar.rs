//! Whether a tar archive of `pg_dump` has all of its members. `pg_restore` does not come to an end on one that
//! breaks off within a member: it reads at the end of the file again and again.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// A tar archive consists of blocks of this length (the POSIX standard's "ustar Interchange Format").
const BLOCK: usize = 512;

/// The member for people, which `pg_dump` writes last and `pg_restore` does not read.
const FOR_PEOPLE: &str = "restore.sql";

/// Follows the members of an archive while its bytes pass; of any other file it says nothing.
#[derive(Debug, Default)]
pub struct TarMembers {
    /// The head of a member, as far as it has passed.
    head: Vec<u8>,
    member: String,
    /// Bytes of the member that has begun.
    size: u64,
    /// So many of them and of what fills its last block are to come.
    left: u64,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Unknown,
    Tar,
    /// All that `pg_restore` reads has passed.
    Complete,
    /// It is no tar archive.
    Other,
}

impl TarMembers {
    /// Those of a file, found without reading what is in them.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of_file(file: &File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let mut members = Self::default();
        let mut at = 0;
        while at < length && !members.is_settled() {
            let mut head = [0; BLOCK];
            let ahead = usize::try_from(length - at).map_or(BLOCK, |ahead| ahead.min(BLOCK));
            file.read_exact_at(&mut head[..ahead], at)?;
            members.push(&head[..ahead]);
            at += ahead as u64;
            let content = members.left.min(length - at);
            members.left -= content;
            at += content;
        }
        Ok(members)
    }

    /// Takes the next bytes.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.is_settled() {
            if self.left > 0 {
                let here =
                    usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
                self.left -= here as u64;
                bytes = &bytes[here..];
                continue;
            }
            let here = (BLOCK - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..here]);
            bytes = &bytes[here..];
            if self.head.len() == BLOCK {
                self.begin_member();
                self.head.clear();
            }
        }
    }

    /// Whether what follows changes nothing any more.
    pub fn is_settled(&self) -> bool {
        matches!(self.kind, Kind::Complete | Kind::Other)
    }

    fn begin_member(&mut self) {
        let head = &self.head;
        if head.iter().all(|byte| *byte == 0) {
            self.kind = Kind::Complete;
            return;
        }
        if &head[257..262] != b"ustar" {
            // Behind the first head it is damage, which pg_restore reports.
            self.kind = Kind::Other;
            return;
        }
        self.kind = Kind::Tar;
        let end = memchr::memchr(0, &head[..100]).unwrap_or(100);
        self.member = String::from_utf8_lossy(&head[..end]).into_owned();
        self.size = number(&head[124..136]);
        self.left = self.size.next_multiple_of(BLOCK as u64);
        if self.member == FOR_PEOPLE {
            self.kind = Kind::Complete;
        }
    }

    /// Where a tar archive breaks off whose bytes have all passed, in words; none if it does not.
    pub fn breaks_off(&self) -> Option<String> {
        if self.kind != Kind::Tar {
            return None;
        }
        let blocks = self.size.next_multiple_of(BLOCK as u64);
        let passed = blocks.saturating_sub(self.left).min(self.size);
        Some(if self.left > 0 {
            format!(
                "the tar archive breaks off in its member {}, after {passed} of {} bytes",
                self.member, self.size
            )
        } else {
            format!(
                "the tar archive breaks off behind its member {}",
                self.member
            )
        })
    }
}

/// A number in a head: octal digits, or, where there are too few of them, binary behind a bit that is set.
fn number(field: &[u8]) -> u64 {
    let binary = field.first().is_some_and(|first| first & 0x80 != 0);
    if binary {
        return field[1..]
            .iter()
            .fold(0, |value, byte| (value << 8) | u64::from(*byte));
    }
    let digits = field.iter().filter(|byte| (b'0'..=b'7').contains(*byte));
    digits.fold(0, |value, digit| (value << 3) | u64::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn member(name: &str, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; BLOCK + size.div_ceil(BLOCK) * BLOCK];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        bytes[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        bytes[257..262].copy_from_slice(b"ustar");
        bytes
    }

    fn found(bytes: &[u8], piece: usize) -> Option<String> {
        let mut members = TarMembers::default();
        for bytes in bytes.chunks(piece) {
            members.push(bytes);
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let of_file = TarMembers::of_file(&file).unwrap().breaks_off();
        assert_eq!(members.breaks_off(), of_file);
        of_file
    }

    #[test]
    fn an_archive_that_is_cut_says_where() {
        let all = [
            member("toc.dat", 1000),
            member("1.dat", 3),
            member(FOR_PEOPLE, 700),
            vec![0; 1024],
        ]
        .concat();
        for piece in [1, 511, 4096] {
            for (length, expected) in [
                (all.len(), None),
                // In what is for people.
                (all.len() - 1024 - 600, None),
                (
                    512 + 100,
                    Some("in its member toc.dat, after 100 of 1000 bytes"),
                ),
                (
                    512 + 1010,
                    Some("in its member toc.dat, after 1000 of 1000 bytes"),
                ),
                (512 + 1024, Some("behind its member toc.dat")),
                (512 + 1024 + 100, Some("behind its member toc.dat")),
                (
                    512 + 1024 + 512 + 2,
                    Some("in its member 1.dat, after 2 of 3 bytes"),
                ),
            ] {
                let found = found(&all[..length], piece);
                let expected = expected.map(|words| format!("the tar archive breaks off {words}"));
                assert_eq!(found, expected, "{length}");
            }
        }
    }

    #[test]
    fn of_what_is_no_tar_archive_nothing_is_said() {
        for bytes in [b"PGDMP".as_slice(), &[b'x'; 2000], b""] {
            assert_eq!(found(bytes, 7), None);
        }
    }

    #[test]
    fn the_size_of_a_member_is_octal_or_binary() {
        for (field, expected) in [
            (b"00000000012 ".as_slice(), 10),
            (b"77777777777\0", (8 << 30) - 1),
            (b"\x80\0\0\0\0\0\0\x02\0\0\0\0", 8 << 30),
        ] {
            assert_eq!(number(field), expected);
        }
    }
}
