//! Identifiers in the text of a statement.

use memchr::memchr;

/// The offset behind a word that stands at an offset.
pub(in crate::pipeline) fn after(text: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    text[at..].starts_with(word).then_some(at + word.len())
}

/// The name that starts at an offset, with or without a schema before it, as written, and the
/// offset behind it.
pub(in crate::pipeline) fn qualified(text: &[u8], start: usize) -> Option<(&[u8], usize)> {
    let mut at = identifier(text, start)?.1;
    while text.get(at) == Some(&b'.') {
        at = identifier(text, at + 1)?.1;
    }
    Some((&text[start..at], at))
}

pub(in crate::pipeline) fn starts_with_any(text: &[u8], heads: &[&[u8]]) -> bool {
    heads.iter().any(|head| text.starts_with(head))
}

/// The identifier that starts at an offset, without its quotes, and the offset behind it.
pub(in crate::pipeline) fn identifier(text: &[u8], start: usize) -> Option<(Vec<u8>, usize)> {
    if text.get(start) != Some(&b'"') {
        let end = text[start..]
            .iter()
            .position(|b| matches!(b, b'.' | b',' | b' ' | b'\n' | b'(' | b')' | b'"' | b';'))
            .map_or(text.len(), |length| start + length);
        return (end > start).then(|| (text[start..end].to_vec(), end));
    }
    let mut name = Vec::new();
    let mut at = start + 1;
    loop {
        let quote = at + memchr(b'"', &text[at..])?;
        name.extend_from_slice(&text[at..quote]);
        if text.get(quote + 1) != Some(&b'"') {
            return Some((name, quote + 1));
        }
        name.push(b'"');
        at = quote + 2;
    }
}
