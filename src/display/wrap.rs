//! Text within the width of a terminal.

/// Lines are no longer, if that can be helped.
pub(crate) const WIDTH: usize = 80;

/// A text behind a head, broken between words, its further lines indented as deep. What stands between
/// backquotes is not broken: it is for copying.
pub(crate) fn wrapped(head: &str, text: &str) -> Vec<String> {
    hanging(head, head.chars().count(), text)
}

/// The same with further lines that are indented by so many columns. A line of the text begins a line, and so a
/// hint does.
pub(crate) fn hanging(head: &str, indent: usize, text: &str) -> Vec<String> {
    let indent = " ".repeat(indent);
    let mut lines = Vec::new();
    let mut head = head;
    for paragraph in text.trim_end_matches('\n').split('\n') {
        one_paragraph(head, &indent, paragraph, &mut lines);
        head = &indent;
    }
    lines
}

fn one_paragraph(head: &str, indent: &str, text: &str, lines: &mut Vec<String>) {
    let mut line = head.to_owned();
    let mut is_empty = true;
    for word in words(text) {
        let length = line.chars().count() + usize::from(!is_empty) + word.chars().count();
        if !is_empty && length > WIDTH {
            lines.push(line.trim_end().to_owned());
            indent.clone_into(&mut line);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(&word);
        is_empty = false;
    }
    lines.push(line.trim_end().to_owned());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words_and_a_hint_begins_one() {
        let long = "a".repeat(70);
        let command = format!("`command {long}`");
        for (head, indent, text, expected) in [
            ("- ", 2, String::new(), vec!["-".to_owned()]),
            ("- ", 2, "one two".to_owned(), vec!["- one two".to_owned()]),
            (
                "- ",
                2,
                format!("{long} next words"),
                vec![format!("- {long} next"), "  words".to_owned()],
            ),
            (
                "",
                4,
                "b: UNCHECKED: closed\nhint: `age-keygen -y FILE` prints it".to_owned(),
                vec![
                    "b: UNCHECKED: closed".to_owned(),
                    "    hint: `age-keygen -y FILE` prints it".to_owned(),
                ],
            ),
            (
                "  ",
                2,
                format!("one\nhint: run {command}\n"),
                vec![
                    "  one".to_owned(),
                    "  hint: run".to_owned(),
                    format!("  {command}"),
                ],
            ),
            // A quote that is not closed ends with its line.
            (
                "",
                2,
                format!("one `two\n{long} three four"),
                vec![
                    "one `two".to_owned(),
                    format!("  {long} three"),
                    "  four".to_owned(),
                ],
            ),
        ] {
            assert_eq!(hanging(head, indent, &text), expected, "{text:?}");
        }
    }
}
