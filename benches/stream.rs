//! The parts of the stream by themselves: census, compression, decompression, digest.
//!
//! `cargo bench --bench stream`; with `DUMP=FILE` over a dump of your own instead of made-up text.
//! Compare numbers of one run only.

use std::fmt::Write as _;
use std::io::Write as _;
use std::num::NonZeroU8;
use std::sync::LazyLock;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use pgbackupd::config::Compression;
use pgbackupd::pipeline::Digesting;
use pgbackupd::pipeline::census::Scanner;
use pgbackupd::pipeline::compression::{BLOCK, Decoder, Encoder, Settings};

fn main() {
    divan::main();
}

static TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| match std::env::var_os("DUMP") {
    Some(path) => {
        std::fs::read(path).unwrap_or_else(|error| panic!("cannot read the dump: {error}"))
    }
    None => made_up(32 << 20),
});

/// A table of orders as `pg_dump` writes it, of about this many bytes.
fn made_up(bytes: usize) -> Vec<u8> {
    let words = [
        "review",
        "deploy",
        "meeting",
        "invoice",
        "مراجعة",
        "تقرير",
        "weekly",
        "draft",
    ];
    let mut text =
        String::from("COPY public.orders (id, customer, placed, amount, note) FROM stdin;\n");
    let mut state = 1_u64;
    let mut random = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state >> 33
    };
    let mut id = 0;
    while text.len() < bytes {
        id += 1;
        let (customer, cents) = (random() % 100_000, random() % 10_000_000);
        let (hour, minute) = (random() % 24, random() % 60);
        let _ = write!(
            text,
            "{id}\t{customer}\t2025-07-09 {hour:02}:{minute:02}:00+00\t{}.{:02}\t",
            cents / 100,
            cents % 100
        );
        for _ in 0..random() % 8 {
            let word = usize::try_from(random()).unwrap_or_default() % words.len();
            let _ = write!(text, "{} {:x} ", words[word], random());
        }
        text.push('\n');
    }
    text.push_str("\\.\n\n--\n-- PostgreSQL database dump complete\n--\n\n");
    text.into_bytes()
}

#[divan::bench]
fn census(bencher: Bencher<'_, '_>) {
    bencher
        .counter(BytesCount::of_slice(TEXT.as_slice()))
        .bench(|| {
            let mut scanner = Scanner::new();
            for block in TEXT.chunks(BLOCK) {
                scanner
                    .push(black_box(block))
                    .unwrap_or_else(|flaw| panic!("{flaw}"));
            }
            scanner.finish().unwrap_or_else(|flaw| panic!("{flaw}"))
        });
}

#[divan::bench(args = [1, 2, 3, 4, 5, 6])]
#[allow(clippy::print_stderr, reason = "divan has no column for ratios")]
fn gzip(bencher: Bencher<'_, '_>, level: u8) {
    let size = encode(Compression::Gzip, level, 1).len();
    eprintln!("gzip level {level}: ratio {:.3}", ratio(size));
    bencher
        .counter(BytesCount::of_slice(TEXT.as_slice()))
        .bench(|| encode(Compression::Gzip, level, 1));
}

#[divan::bench(args = [1, 2, 3, 4])]
#[allow(clippy::print_stderr, reason = "divan has no column for ratios")]
fn zstd(bencher: Bencher<'_, '_>, level: u8) {
    let size = encode(Compression::Zstd, level, 1).len();
    eprintln!("zstd level {level}: ratio {:.3}", ratio(size));
    bencher
        .counter(BytesCount::of_slice(TEXT.as_slice()))
        .bench(|| encode(Compression::Zstd, level, 1));
}

#[divan::bench(args = [Compression::Gzip, Compression::Zstd])]
fn decompression(bencher: Bencher<'_, '_>, compression: Compression) {
    let encoded = encode(compression, Settings::new(compression, None, None).level, 1);
    bencher
        .counter(BytesCount::of_slice(TEXT.as_slice()))
        .bench(|| {
            let decoder = Decoder::new(compression, encoded.as_slice());
            let mut decoder = decoder.unwrap_or_else(|error| panic!("{error}"));
            let mut block = Vec::new();
            loop {
                decoder
                    .next_block(&mut block)
                    .unwrap_or_else(|error| panic!("{error}"));
                if block.is_empty() {
                    break;
                }
                black_box(&block);
            }
        });
}

#[divan::bench]
fn sha256(bencher: Bencher<'_, '_>) {
    bencher
        .counter(BytesCount::of_slice(TEXT.as_slice()))
        .bench(|| {
            let mut digesting = Digesting::new(std::io::sink());
            digesting
                .write_all(&TEXT)
                .unwrap_or_else(|error| panic!("{error}"));
            digesting.finish().0
        });
}

fn encode(compression: Compression, level: u8, threads: u8) -> Vec<u8> {
    let settings = Settings::new(compression, Some(level), NonZeroU8::new(threads));
    let encoder = Encoder::new(settings, Vec::new());
    let mut encoder = encoder.unwrap_or_else(|error| panic!("{error}"));
    let mut buffer = Vec::new();
    for block in TEXT.chunks(BLOCK) {
        buffer.clear();
        buffer.extend_from_slice(block);
        buffer = encoder
            .write_block(buffer)
            .unwrap_or_else(|error| panic!("{error}"));
    }
    encoder.finish().unwrap_or_else(|error| panic!("{error}"))
}

#[allow(clippy::cast_precision_loss, reason = "a ratio for people")]
fn ratio(size: usize) -> f64 {
    TEXT.len() as f64 / size as f64
}
