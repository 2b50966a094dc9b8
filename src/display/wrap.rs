//! Text within the width of a terminal.

/// Lines are no longer, if that can be helped.
pub(crate) const WIDTH: usize = 80;

/// A text behind a head, broken between words, its further lines indented as deep. What stands between
/// backquotes is not broken: it is for copying.
pub(crate) fn wrapped(head: &str, text: &str) -> Vec<String> {
    hanging(head, head.chars().count(), text)
}

/// The same with further lines that are indented by so many columns.
pub(crate) fn hanging(head: &str, indent: usize, text: &str) -> Vec<String> {
    let indent = " ".repeat(indent);
    let mut lines = Vec::new();
    let mut line = head.to_owned();
    let mut is_empty = true;
    for word in words(text) {
        let length = line.chars().count() + usize::from(!is_empty) + word.chars().count();
        if !is_empty && length > WIDTH {
            lines.push(line.trim_end().to_owned());
            line.clone_from(&indent);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(&word);
        is_empty = false;
    }
    lines.push(line.trim_end().to_owned());
    lines
}

/// The words of a text; what stands between backquotes is one.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for c in text.chars() {
        is_quoted ^= c == '`';
        if c == ' ' && !is_quoted {
            words.push(String::new());
        } else if let Some(word) = words.last_mut() {
            word.push(c);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
