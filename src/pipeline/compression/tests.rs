//! What goes in comes out, and what is damaged does not.

use std::num::NonZeroU8;

use super::{BLOCK, Decoder, Encoder, Settings};
use crate::config::Compression;

const ALL: [Compression; 3] = [Compression::Gzip, Compression::Zstd, Compression::None];

fn text(length: usize) -> Vec<u8> {
    // Neither constant nor random, so that there are matches and literals.
    (0..length)
        .map(|i| b"0123456789abcdef\n\t"[(i * i / 7 + i % 13) % 18])
        .collect()
}

fn encode(compression: Compression, input: &[u8]) -> Vec<u8> {
    let settings = Settings::new(compression, None, NonZeroU8::new(3));
    let mut encoder = Encoder::new(settings, Vec::new()).unwrap();
    for block in input.chunks(BLOCK) {
        encoder.write_block(block.to_vec()).unwrap();
    }
    encoder.finish().unwrap()
}

fn decode(compression: Compression, input: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut decoder = Decoder::new(compression, input)?;
    let mut output = Vec::new();
    let mut block = Vec::new();
    loop {
        decoder.next_block(&mut block)?;
        if block.is_empty() {
            return Ok(output);
        }
        output.extend_from_slice(&block);
    }
}

#[test]
fn small_writes_are_collected_into_blocks() {
    use std::io::Write;
    let input = text(2 * BLOCK + 77);
    let settings = Settings::new(Compression::Gzip, None, None);
    let mut writer = super::BlockWriter::new(Encoder::new(settings, Vec::new()).unwrap());
    for piece in input.chunks(999) {
        writer.write_all(piece).unwrap();
    }
    let encoded = writer.finish().unwrap();
    assert!(decode(Compression::Gzip, &encoded).unwrap() == input);
}

/// What a command of the system's makes of the bytes.
fn through(command: &[&str], input: &[u8]) -> Vec<u8> {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    output.stdout
}

#[test]
fn what_goes_in_comes_out() {
    for compression in ALL {
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 7 * BLOCK + 5] {
            let input = text(length);
            let encoded = encode(compression, &input);
            let decoded = decode(compression, &encoded).unwrap();
            assert!(decoded == input, "{compression:?} of {length} bytes");
        }
    }
}

#[test]
fn the_system_s_own_programs_read_it() {
    let input = text(5 * BLOCK + 17);
    for (compression, command) in [
        (Compression::Gzip, ["zcat", "-"]),
        (Compression::Gzip, ["pigz", "-dc"]),
        (Compression::Zstd, ["zstd", "-dc"]),
    ] {
        let output = through(&command, &encode(compression, &input));
        assert!(output == input, "{command:?}");
    }
    assert!(through(&["zcat", "-"], &encode(Compression::Gzip, b"")).is_empty());
}

#[test]
fn what_the_system_s_own_programs_write_is_read() {
    let input = text(3 * BLOCK + 17);
    for (compression, command) in [
        (Compression::Gzip, ["gzip", "-c"]),
        (Compression::Gzip, ["pigz", "-c"]),
        (Compression::Zstd, ["zstd", "-c"]),
    ] {
        let encoded = through(&command, &input);
        assert!(
            decode(compression, &encoded).unwrap() == input,
            "{command:?}"
        );
        // Two files joined are one stream; ours before theirs changes the way of decoding midway.
        let mut joined = encode(compression, &input);
        joined.extend_from_slice(&encoded);
        let twice = [input.as_slice(), input.as_slice()].concat();
        assert!(
            decode(compression, &joined).unwrap() == twice,
            "joined with {command:?}"
        );
    }
}

#[test]
fn damage_anywhere_is_an_error_or_changes_nothing() {
    let input = text(BLOCK + BLOCK / 2);
    for compression in [Compression::Gzip, Compression::Zstd] {
        let encoded = encode(compression, &input);
        for at in (0..encoded.len()).step_by(encoded.len() / 97) {
            let mut flipped = encoded.clone();
            flipped[at] ^= 0x10;
            // A bit of the header that nobody reads may turn.
            if let Ok(decoded) = decode(compression, &flipped) {
                assert!(
                    decoded == input,
                    "{compression:?}: byte {at} changed the content"
                );
            }
            if at > 0 {
                let cut = decode(compression, &encoded[..at]);
                assert!(
                    cut.is_err() || cut.unwrap().len() < input.len(),
                    "{compression:?}: cut at {at} came out whole"
                );
            }
        }
        let mut longer = encoded.clone();
        longer.extend_from_slice(b"something else");
        assert!(
            decode(compression, &longer).is_err(),
            "{compression:?}: rubbish behind"
        );
    }
}
