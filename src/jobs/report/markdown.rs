//! A report as Markdown.

use std::fmt::Write as _;

use super::text::{entry, shown_checks, targets};
use crate::policy::{Answer, Report};

/// A report as Markdown. Names and messages in it are from servers and files: nothing in them becomes
/// markup.
pub fn markdown(report: &Report) -> String {
    let mut text = format!("# {}\n\n", escaped(&report.title));
    for (answer, sentence) in shown_checks(report) {
        let answer = match answer {
            Answer::Yes => "yes",
            Answer::No => "**NO**",
            Answer::Unknown => "unknown",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "- {answer}: {}", escaped(&sentence));
    }
    if !report.targets.is_empty() {
        text.push_str("\n## Targets\n\n");
        for line in targets(&report.targets) {
            let _ = writeln!(text, "- {}", escaped(&line));
        }
    }
    for section in &report.sections {
        let _ = write!(text, "\n## {}\n\n", section.heading);
        for one in &section.entries {
            let _ = writeln!(text, "- {}", escaped(&entry(one, false)));
        }
        if section.more > 0 {
            let _ = writeln!(text, "- and {} more", section.more);
        }
    }
    text
}

/// Text in which no character begins markup: neither a list, a heading or code at its beginning, nor
/// emphasis, code, a link or HTML in it. Underscores within a word are none.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    let trimmed = text.trim_start();
    escaped.push_str(&"&#32;".repeat(text.len() - trimmed.len()));
    let number = trimmed.trim_start_matches(|c: char| c.is_ascii_digit());
    let begins_list = trimmed.len() - number.len();
    let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let mut before = None;
    let mut rest = trimmed.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        let next = rest.peek().map(|(_, next)| *next);
        let is_markup = match c {
            '\\' | '*' | '[' | ']' | '#' | '|' | '~' | '!' | '`' => true,
            '_' => !is_word(before) || !is_word(next),
            ':' => next == Some('/'),
            '-' | '+' => at == 0,
            '.' | ')' => begins_list > 0 && at == begins_list,
            _ => false,
        };
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            other => {
                if is_markup {
                    escaped.push('\\');
                }
                escaped.push(other);
            }
        }
        before = Some(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn no_text_becomes_markup() {
        for (text, expected) in [
            ("app: backup_20261129_020000", "app: backup_20261129_020000"),
            ("1. one", "1\\. one"),
            ("12) x", "12\\) x"),
            ("1.5 MiB", "1\\.5 MiB"),
            ("- item", "\\- item"),
            ("+x", "\\+x"),
            ("    four", "&#32;&#32;&#32;&#32;four"),
            ("_emph_", "\\_emph\\_"),
            ("a `b` c", "a \\`b\\` c"),
            ("http://x.example/y", "http\\://x.example/y"),
            ("<b> & *c* [d](e)", "&lt;b&gt; &amp; \\*c\\* \\[d\\](e)"),
            ("a-b c.d", "a-b c.d"),
        ] {
            assert_eq!(escaped(text), expected, "{text}");
        }
    }
}
