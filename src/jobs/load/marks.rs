//! How a psql tells how far it has come: statements of ours, of which each gives a line with a number
//! in it, stand between those of the dump.
//!
//! The line begins with a word that was made up for this load. A dump that finds it out, which it can
//! by looking at what the server carries out, and prints such a line, has its own statements carried
//! out in another order, and no more: that a load is complete follows from how the programs end, and what
//! was loaded by comparing it.

use tokio::io::{AsyncRead, AsyncReadExt as _};
use uuid::Uuid;

/// The word that begins the lines of one load.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    word: String,
}

impl Marks {
    /// With a word that nobody can know before.
    pub(super) fn new() -> Self {
        Self {
            word: Uuid::now_v7().simple().to_string(),
        }
    }

    /// The statement that has psql write a line.
    pub(super) fn statement(&self, number: u64) -> String {
        format!("SELECT '{}-{number}';", self.word)
    }

    fn number(&self, line: &[u8]) -> Option<u64> {
        let digits = line
            .strip_prefix(self.word.as_bytes())?
            .strip_prefix(b"-")?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// Reads what a psql writes until it ends, and gives each number that it comes to. Everything
    /// else that it writes is the dump's, and nobody wants it.
    pub(super) async fn read(&self, mut source: impl AsyncRead + Unpin, mut each: impl FnMut(u64)) {
        // Two more than the longest line of ours.
        let longest = self.word.len() + 1 + 20 + 2;
        let mut line = Vec::with_capacity(longest);
        let mut block = [0; 4096];
        // A pipe that cannot be read any more has as little to tell as one that was closed.
        while let Ok(count @ 1..) = source.read(&mut block).await {
            for part in block[..count].split_inclusive(|byte| *byte == b'\n') {
                let text = part.strip_suffix(b"\n").unwrap_or(part);
                let room = longest - line.len();
                line.extend_from_slice(&text[..text.len().min(room)]);
                if part.ends_with(b"\n") {
                    if let Some(number) = self.number(&line) {
                        each(number);
                    }
                    line.clear();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Marks;

    #[tokio::test]
    async fn our_lines_are_reported_from_all_others_however_they_arrive() {
        let marks = Marks::new();
        let word = &marks.word;
        let long = "x".repeat(10_000);
        let text = format!(
            "{word}-1\n{long}{word}-2\n{long}\n\n-3\n{word}\n{word}-4 \n{word}-5x\n{word}-99999999999999999999999\n{word}-7\n{word}-8"
        );
        for piece in [1, 7, 4096] {
            let (mut sink, source) = tokio::io::duplex(piece);
            let mut numbers = Vec::new();
            let writing = async {
                tokio::io::AsyncWriteExt::write_all(&mut sink, text.as_bytes())
                    .await
                    .unwrap();
                drop(sink);
            };
            tokio::join!(writing, marks.read(source, |number| numbers.push(number)));
            assert_eq!(numbers, [1, 7], "pieces of {piece}");
        }
    }

    #[test]
    fn the_statement_gives_the_line() {
        let marks = Marks::new();
        let statement = marks.statement(42);
        let line = statement.split('\'').nth(1).unwrap();
        assert_eq!(marks.number(line.as_bytes()), Some(42));
        assert_ne!(Marks::new().word, marks.word);
    }
}
