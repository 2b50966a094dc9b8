//! Lists in the text of a statement.

use std::ops::Range;

use memchr::memchr;

use super::identifier;

/// Where a list stands in a statement, and its elements.
pub(in crate::pipeline) type List<'a> = (Range<usize>, Vec<&'a [u8]>);

/// The elements of the first parenthesised list of a statement; none if the parentheses do not
/// match.
pub(in crate::pipeline) fn elements_of(text: &[u8]) -> Option<List<'_>> {
    let mut open = 0;
    loop {
        match *text.get(open)? {
            b'(' => break,
            b'"' => open = identifier(text, open)?.1,
            _ => open += 1,
        }
    }
    let mut list = open + 1..open + 1;
    let elements = split(text, &mut list, |rest| rest.starts_with(b")"))?;
    Some((list, elements))
}

/// Splits at the commas that stand in no parentheses and no quotes, from the start of a range up
/// to where the rest of the text is an end, which becomes the range's end.
pub(in crate::pipeline) fn split<'a>(
    text: &'a [u8],
    list: &mut Range<usize>,
    is_end: impl Fn(&[u8]) -> bool,
) -> Option<Vec<&'a [u8]>> {
    let mut depth = 0_u32;
    let mut elements = Vec::new();
    let mut start = list.start;
    let mut at = start;
    loop {
        if depth == 0 && is_end(&text[at..]) {
            elements.push(&text[start..at]);
            list.end = at;
            return Some(elements);
        }
        match *text.get(at)? {
            b'\'' => at = string_end(text, at)?,
            b'"' => at += 1 + memchr(b'"', &text[at + 1..])?,
            b'(' => depth += 1,
            b')' => depth = depth.checked_sub(1)?,
            b',' if depth == 0 => {
                elements.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
}

/// The offset of the quote that ends the string starting at an offset. A doubled quote looks like
/// the end of one string and the start of another, which is the same to the caller.
fn string_end(text: &[u8], start: usize) -> Option<usize> {
    let escapes = start > 0 && matches!(text[start - 1], b'e' | b'E');
    let mut at = start + 1;
    loop {
        match *text.get(at)? {
            b'\'' if escapes && text.get(at + 1) == Some(&b'\'') => at += 2,
            b'\'' => return Some(at),
            b'\\' if escapes => at += 2,
            _ => at += 1,
        }
    }
}
