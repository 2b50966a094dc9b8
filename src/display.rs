//! Numbers, sizes, times and names as people read them.

pub(crate) mod wrap;

use std::error::Error;
use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Datelike, FixedOffset, Timelike};

/// Bytes as people read them.
pub(crate) fn size(bytes: u64) -> String {
    bytesize::ByteSize::b(bytes).display().iec().to_string()
}

/// A count with its thousands set apart.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// What runs under a lock or in a ledger, by the name of the command that does the same.
pub(crate) fn operation_word(operation: &str) -> &str {
    match operation {
        "verification" => "verify",
        "verification of copies" => "verify of copies",
        "test restore" => "drill",
        "clean-up" => "prune",
        other => other,
    }
}

/// Names in a sentence, behind the noun in the singular or the plural: `the roles "a", "b"`.
pub(crate) fn named(one: &str, many: &str, names: &[&str]) -> String {
    let list: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    let noun = if names.len() == 1 { one } else { many };
    format!("{noun} {}", list.join(", "))
}

/// A length of time as people say it, in the largest unit of which there are two, rounded down:
/// "47 hours", "2 days".
pub(crate) fn rough_span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [
        (86_400, "day"),
        (3600, "hour"),
        (60, "minute"),
        (1, "second"),
    ];
    let (length, unit) = units
        .into_iter()
        .find(|(length, _)| seconds >= 2 * length)
        .unwrap_or((1, "second"));
    let count = seconds / length;
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// A length of time to the last digit, in words that the configuration takes as well: "1 day",
/// "90 seconds" as "1 minute 30 seconds". No unit is longer than a day, so that 35 days are 35 days.
pub(crate) fn span(span: Duration) -> String {
    const UNITS: [(u128, &str, &str); 7] = [
        (86_400_000_000_000, "day", "days"),
        (3_600_000_000_000, "hour", "hours"),
        (60_000_000_000, "minute", "minutes"),
        (1_000_000_000, "second", "seconds"),
        (1_000_000, "ms", "ms"),
        (1_000, "us", "us"),
        (1, "ns", "ns"),
    ];
    let mut left = span.as_nanos();
    let mut parts = Vec::new();
    for (length, one, many) in UNITS {
        let number = left / length;
        left %= length;
        if number > 0 {
            parts.push(format!("{number} {}", if number == 1 { one } else { many }));
        }
    }
    if parts.is_empty() {
        "0 seconds".to_owned()
    } else {
        parts.join(" ")
    }
}

/// How long something took, as people read it: to the tenth of a second below a minute, and to the
/// second above.
pub(crate) fn duration(duration: Duration) -> String {
    if duration < Duration::from_secs(60) {
        return format!("{:.1} s", duration.as_secs_f64());
    }
    span(Duration::from_secs(duration.as_secs()))
}

/// Writes a moment on the wall clock of its zone. Chrono's own formatting takes several times as
/// long, which counts in a list of many backups.
fn write_moment(text: &mut String, moment: DateTime<FixedOffset>) -> fmt::Result {
    let local = moment.naive_local();
    let (date, time) = (local.date(), local.time());
    write!(
        text,
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02} {}",
        date.year(),
        date.month(),
        date.day(),
        time.hour(),
        time.minute(),
        time.second(),
        moment.offset()
    )
}

/// The same without the seconds, for a table.
pub(crate) fn minute(moment: DateTime<FixedOffset>) -> String {
    let local = moment.naive_local();
    let (date, time) = (local.date(), local.time());
    format!(
        "{date} {:02}:{:02} {}",
        time.hour(),
        time.minute(),
        moment.offset()
    )
}

/// A moment on the wall clock of its zone.
pub(crate) fn moment(moment: DateTime<FixedOffset>) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_moment(&mut text, moment);
    text
}

/// Whether a terminal may take a character for a command, or show what follows it elsewhere: control
/// characters but line feed and tab, the line and paragraph separators of Unicode, and the
/// characters that change the direction of what follows them.
pub(crate) fn is_hostile(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        // Nothing is to be seen of these, and two names that differ look alike.
        | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}' => true,
        _ => c.is_control(),
    }
}

/// Text whose control characters are shown instead of sent.
///
/// Escaped are all hostile characters. What shows the text has to indent what comes
/// after a line feed.
#[derive(Clone, Copy, Debug)]
pub struct Printable<T>(pub T);

impl<T: fmt::Display> fmt::Display for Printable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<W>(W);

impl<W: fmt::Write> fmt::Write for Escaping<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(is_hostile) {
            let (before, after) = rest.split_at(at);
            self.0.write_str(before)?;
            let mut after = after.chars();
            if let Some(c) = after.next() {
                write!(self.0, "{}", c.escape_default())?;
            }
            rest = after.as_str();
        }
        self.0.write_str(rest)
    }
}

/// A name as one word of a shell's.
pub(crate) fn shell_word(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    if !name.is_empty() && !name.starts_with('-') && name.chars().all(plain) {
        return name.to_owned();
    }
    if name.contains(|c: char| c.is_control() || is_hostile(c)) {
        // The form of bash, and of POSIX since 2024, that can hold them. Only three octal digits are
        // read alike by all, whatever follows.
        let mut word = String::from("$'");
        for c in name.chars() {
            if plain(c) || matches!(c, ' '..='~' if c != '\'' && c != '\\') {
                word.push(c);
            } else {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    // Writing to a string cannot fail.
                    let _ = write!(word, "\\{byte:03o}");
                }
            }
        }
        word.push('\'');
        return word;
    }
    format!("'{}'", name.replace('\'', r"'\''"))
}

/// Text that may hold anything, on one line, with nothing in it that a terminal would obey.
pub(crate) fn one_line(text: &str) -> String {
    Printable(text)
        .to_string()
        .replace('\n', "\\n")
        .replace('\t', "\\t")
}

/// What stands before the way out, in a line of its own, at the end of an error.
pub(crate) const HINT: &str = "\nhint: ";

/// A message whose way out is to stand in the same line, for a log.
pub(crate) fn with_hint_in_line(text: &str) -> String {
    text.replace(HINT, "; hint: ")
}

/// A message of several lines on one, with nothing in it that a terminal would obey.
pub(crate) fn joined_lines(text: &str) -> String {
    let text = with_hint_in_line(text);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    one_line(&lines.join(" "))
}

/// An error with its causes, each said once.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(one) = cause {
        let said = one.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = one.source();
    }
    text
}

/// A database as people read it and write it: `server/database` where there are several servers, else
/// its name alone.
pub(crate) fn label(several: bool, server: &str, database: &str) -> String {
    // Alone, it would be read as another database of the server.
    let is_misread = database
        .strip_prefix(server)
        .is_some_and(|rest| rest.starts_with('/'));
    if several || is_misread {
        format!("{server}/{database}")
    } else {
        database.to_owned()
    }
}

/// A command on one database, for a shell: with its label, it means no other.
pub(crate) fn command(name: &str, label: &str, more: &str) -> String {
    let space = if more.is_empty() { "" } else { " " };
    let database = database_option(label);
    format!("pgbackupd {name} {database}{space}{more}")
}

/// The option that names a database by its label, for a shell.
pub(crate) fn database_option(label: &str) -> String {
    option("--database", label)
}

/// An option with its value, for a shell.
pub(crate) fn option(name: &str, value: &str) -> String {
    // A value of its own would be taken for an option.
    let sign = if value.starts_with('-') { '=' } else { ' ' };
    format!("{name}{sign}{}", shell_word(value))
}

/// A command for a shell with what opens an encrypted backup, if it is one; FILE is left for whoever pastes it.
pub(crate) fn with_identity(command: String, is_encrypted: bool) -> String {
    if is_encrypted {
        command + " --identity FILE"
    } else {
        command
    }
}

/// Whether a file of a backup is encrypted, by its name.
pub(crate) fn is_encrypted_by_name(path: &Path) -> bool {
    path.extension() == Some(OsStr::new("age"))
}

/// The command that salvages a backup of a database, which its label names.
pub(crate) fn salvage_command(label: &str, backup: &str, is_encrypted: bool) -> String {
    let database = label.rsplit('/').next().unwrap_or(label);
    let command = command("restore", label, &salvage_options(backup, database));
    with_identity(command, is_encrypted)
}

/// What follows `restore` to salvage a backup, or a dump file, into a new database named after this one.
pub(crate) fn salvage_options(backup: &str, database: &str) -> String {
    const MARK: &str = "_salvaged";
    // PostgreSQL cuts a name off behind so many bytes.
    const LONGEST: usize = 63;
    let mut stem = String::new();
    for c in database.chars() {
        if stem.len() + c.len_utf8() + MARK.len() > LONGEST {
            break;
        }
        stem.push(c);
    }
    let into = option("--into", &format!("{stem}{MARK}"));
    format!("{} --salvage {into}", shell_word(backup))
}

/// That a copy has what the server has computed, of which a dump holds nothing: the first of the names.
pub(crate) fn recomputed(names: &[String]) -> String {
    const NAMED: usize = 10;
    let first = names[..names.len().min(NAMED)].join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => format!("recomputed, not compared: {first}"),
        more => format!("recomputed, not compared: {first} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    #[test]
    fn a_salvage_goes_into_a_database_whose_name_postgresql_accepts() {
        for (label, expected) in [
            ("app", "--database app b --salvage --into app_salvaged"),
            (
                "hr/app",
                "--database hr/app b --salvage --into app_salvaged",
            ),
            ("-x", "--database='-x' b --salvage --into='-x_salvaged'"),
            ("a b", "--database 'a b' b --salvage --into 'a b_salvaged'"),
        ] {
            let command = super::salvage_command(label, "b", false);
            assert_eq!(command, format!("pgbackupd restore {expected}"));
            let command = super::salvage_command(label, "b", true);
            let expected = format!("pgbackupd restore {expected} --identity FILE");
            assert_eq!(command, expected);
        }
        let long = super::salvage_options("b", &"ö".repeat(31));
        let into = long.rsplit(' ').next().unwrap();
        assert_eq!(into, format!("{}_salvaged", "ö".repeat(27)));
    }

    #[test]
    fn rough_lengths_of_time_read_as_people_say_them() {
        for (seconds, words) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (7199, "119 minutes"),
            (7200, "2 hours"),
            (24 * 3600, "24 hours"),
            (47 * 3600 + 3599, "47 hours"),
            (48 * 3600, "2 days"),
            (400 * 86_400, "400 days"),
        ] {
            assert_eq!(super::rough_span(Duration::from_secs(seconds)), words);
        }
    }

    #[test]
    fn a_message_of_several_lines_stands_on_one() {
        for (said, shown) in [
            ("first\n  second\r\n", "first second"),
            ("a\tb", "a\\tb"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("a\u{202e}b\u{2066}c", "a\\u{202e}b\\u{2066}c"),
            ("قاعدة \u{200f}بيانات", "قاعدة \u{200f}بيانات"),
        ] {
            assert_eq!(super::joined_lines(said), shown, "{said:?}");
        }
    }

    #[test]
    fn a_command_on_a_database_can_be_pasted() {
        for (label, command) in [
            ("app", "pgbackupd backup --database app"),
            ("it's", r"pgbackupd backup --database 'it'\''s'"),
            ("-dash", "pgbackupd backup --database='-dash'"),
        ] {
            assert_eq!(super::command("backup", label, ""), command);
        }
    }

    #[test]
    fn nothing_in_a_line_commands_a_terminal() {
        for (text, shown) in [
            ("قاعدة \u{200f}بيانات", "قاعدة \u{200f}بيانات"),
            ("it's \"a\\b\"", "it's \"a\\b\""),
            ("\"a\"\nb", "\"a\"\\nb"),
            ("a\nb\tc", "a\\nb\\tc"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{7f}", "\\u{7f}"),
            ("a\u{202e}b", "a\\u{202e}b"),
            ("a\u{2028}b", "a\\u{2028}b"),
        ] {
            assert_eq!(super::one_line(text), shown);
        }
    }

    #[test]
    fn numbers_read_well() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_204_338, "1,204,338"),
        ] {
            assert_eq!(super::count(number), text);
        }
        assert_eq!(super::counted(1, "row", "rows"), "1 row");
        assert_eq!(super::duration(Duration::from_millis(1250)), "1.2 s");
        assert_eq!(
            super::duration(Duration::from_millis(3_720_900)),
            "1 hour 2 minutes"
        );
    }

    #[test]
    fn a_length_of_time_is_written_as_the_configuration_takes_it() {
        for (written, text) in [
            ("0 seconds", "0 seconds"),
            ("1ms", "1 ms"),
            ("1s", "1 second"),
            ("90 seconds", "1 minute 30 seconds"),
            ("24h", "1 day"),
            ("12 weeks", "84 days"),
            ("1 day 1 ns", "1 day 1 ns"),
        ] {
            let length = humantime::parse_duration(written).unwrap();
            assert_eq!(super::span(length), text);
            assert_eq!(humantime::parse_duration(text).unwrap(), length);
        }
    }

    #[test]
    fn a_command_on_one_database_has_its_label_as_one_word() {
        let restore = super::command("restore", "reports/my db", "backup_20250709_020000");
        assert_eq!(
            restore,
            "pgbackupd restore --database 'reports/my db' backup_20250709_020000"
        );
        assert_eq!(
            super::command("drill", "app", ""),
            "pgbackupd drill --database app"
        );
    }

    #[test]
    fn a_command_names_a_database_as_a_shell_takes_it() {
        for (name, word) in [
            ("sales", "sales"),
            ("reports/sales", "reports/sales"),
            ("قاعدة", "قاعدة"),
            ("my db", "'my db'"),
            ("-rf", "'-rf'"),
            ("it's", r"'it'\''s'"),
            ("$(reboot)", "'$(reboot)'"),
            ("a\nb", r"$'a\012b'"),
            ("it's\u{1b}[31m \\", r"$'it\047s\033[31m \134'"),
            ("\u{202e}قاعدة 1", r"$'\342\200\256قاعدة 1'"),
        ] {
            assert_eq!(super::shell_word(name), word, "{name:?}");
        }
    }
}
