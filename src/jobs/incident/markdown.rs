//! Names and messages in Markdown: whatever they hold, they show as what they are. Pure.

use crate::display::one_line;

/// A name as code, on one line.
pub(super) fn code(name: &str) -> String {
    let name = visible(name);
    let fence = "`".repeat(longest_run(&name, '`') + 1);
    // A renderer takes one space off each side, and only where there is one at both.
    let touches = name.starts_with(['`', ' ']) || name.ends_with(['`', ' ']) || name.is_empty();
    if touches {
        format!("{fence} {name} {fence}")
    } else {
        format!("{fence}{name}{fence}")
    }
}

/// Words in a paragraph, a list or a table, on one line.
pub(super) fn text(words: &str) -> String {
    let words = visible(words);
    let characters: Vec<char> = words.chars().collect();
    let mut escaped = String::with_capacity(words.len());
    for (index, character) in characters.iter().enumerate() {
        let is_special = match character {
            '\\' | '`' | '*' | '[' | ']' | '<' | '>' | '|' | '#' | '~' | '&' => true,
            // Inside of a word it means nothing.
            '_' => {
                let inside = |neighbour: Option<&char>| neighbour.is_some_and(|c| is_of_word(*c));
                !(index > 0
                    && inside(characters.get(index - 1))
                    && inside(characters.get(index + 1)))
            }
            _ => false,
        };
        if is_special {
            escaped.push('\\');
        }
        escaped.push(*character);
    }
    escaped
}

/// Several lines as they are, each as far from the margin as the list that they stand in.
pub(super) fn block(detail: &str, margin: &str) -> String {
    let fence = "`".repeat(longest_run(detail, '`').max(2) + 1);
    let mut block = format!("{margin}{fence}text\n");
    for line in detail.trim_end().lines() {
        block.push_str(margin);
        block.push_str(&visible(line));
        block.push('\n');
    }
    block.push_str(margin);
    block.push_str(&fence);
    block.push('\n');
    block
}

fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Control characters written out, and with them those that turn the direction of what follows:
/// a name must not rearrange the line that it stands in.
fn visible(words: &str) -> String {
    one_line(words)
        .chars()
        .flat_map(|character| {
            let turns = matches!(
                character,
                '\u{200e}'
                    | '\u{200f}'
                    | '\u{061c}'
                    | '\u{202a}'..='\u{202e}'
                    | '\u{2066}'..='\u{2069}'
                    | '\u{2028}'
                    | '\u{2029}'
            );
            if turns {
                character.escape_unicode().collect::<Vec<char>>()
            } else {
                vec![character]
            }
        })
        .collect()
}

fn longest_run(words: &str, character: char) -> usize {
    words
        .split(|other| other != character)
        .map(str::len)
        .max()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_shows_as_what_it_is() {
        for (name, shown) in [
            ("productivity_tracker", "`productivity_tracker`"),
            ("متتبع الإنتاجية", "`متتبع الإنتاجية`"),
            ("a`b", "``a`b``"),
            ("`a``", "``` `a`` ```"),
            (" a ", "`  a  `"),
            ("", "`  `"),
            ("a\nb", "`a\\nb`"),
            ("a\u{202e}b", "`a\\u{202e}b`"),
        ] {
            assert_eq!(code(name), shown, "{name:?}");
        }
    }

    #[test]
    fn words_are_no_markup() {
        for (words, shown) in [
            ("renaming a_restoring_1 to a", "renaming a_restoring_1 to a"),
            ("_a_", "\\_a\\_"),
            ("**a** | [b](c)", "\\*\\*a\\*\\* \\| \\[b\\](c)"),
            ("<script>&amp;", "\\<script\\>\\&amp;"),
            ("قاعدة_بيانات", "قاعدة_بيانات"),
            ("two\nlines", "two\\\\nlines"),
        ] {
            assert_eq!(text(words), shown, "{words:?}");
        }
    }

    #[test]
    fn a_message_cannot_end_its_block() {
        let shown = block("one\n```\nthree `a`\u{202e}\n", "  ");
        assert_eq!(
            shown,
            "  ````text\n  one\n  ```\n  three `a`\\u{202e}\n  ````\n"
        );
        assert_eq!(block("one", ""), "```text\none\n```\n");
    }
}
