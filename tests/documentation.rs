//! The documentation says what the program does: manual pages are those that the command line
//! makes, links lead somewhere, command lines parse, configurations are sound, and exit codes are
//! the ones of `--help`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use clap::{Command, CommandFactory, Parser};
use clap_mangen::Man;
use pgbackupd::cli::Cli;
use pgbackupd::config::{Source, load, schema};
use serde_json::Value;

const SETTINGS_PAGE: &str = "docs/man/pgbackupd.toml.5";

#[test]
fn the_manual_pages_are_those_of_the_command_line() {
    let directory = root().join("docs/man");
    let pages = pages();
    if std::env::var_os("UPDATE_MAN").is_some() {
        for (name, page) in &pages {
            fs::write(directory.join(name), page).unwrap();
        }
    }
    let written: BTreeSet<String> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| is_of_section(name, "1"))
        .collect();
    let expected: BTreeSet<String> = pages.keys().cloned().collect();
    assert_eq!(written, expected, "{UPDATE}");
    for (name, page) in pages {
        let found = fs::read_to_string(directory.join(&name)).unwrap();
        assert!(found == page, "docs/man/{name} is out of date; {UPDATE}");
    }
}

const UPDATE: &str = "write them again with: UPDATE_MAN=1 cargo test --test suite documentation";

#[test]
fn man_shows_every_page_without_a_warning() {
    if Process::new("man").arg("--version").output().is_err() {
        println!("skipped: man is not installed");
        return;
    }
    for entry in fs::read_dir(root().join("docs/man")).unwrap() {
        let path = entry.unwrap().path();
        let shown = Process::new("man")
            // Only the formatter's own output, -Z, lets its warnings through.
            .args([
                "--warnings",
                "--encoding=UTF-8",
                "-Tutf8",
                "-Z",
                "--local-file",
            ])
            .arg(&path)
            .env("LC_ALL", "C.UTF-8")
            .env("MANWIDTH", "80")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&shown.stderr);
        assert!(
            shown.status.success() && said.is_empty(),
            "{path:?}: {said}"
        );
        assert!(!shown.stdout.is_empty(), "{path:?} shows nothing");
    }
}

#[test]
fn the_manual_page_of_the_configuration_names_every_setting() {
    let page = fs::read_to_string(root().join(SETTINGS_PAGE)).unwrap();
    let named: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix(".B "))
        .flat_map(|line| line.split([' ', ',']))
        .collect();
    let example = fs::read_to_string(root().join("config/pgbackupd.toml")).unwrap();
    let mut count = 0;
    for line in example.lines() {
        let Some(setting) = line.strip_prefix('#') else {
            continue;
        };
        let setting = setting.strip_prefix(['?', ' ']).unwrap_or(setting).trim();
        let Some((key, _)) = setting.split_once(" = ") else {
            continue;
        };
        if key.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
            assert!(named.contains(key), "{key} is not in {SETTINGS_PAGE}");
            count += 1;
        }
    }
    assert!(count > 50, "only {count} settings were found");
}

#[test]
fn the_manual_page_of_the_configuration_has_every_key_of_the_schema_in_its_section() {
    let page = fs::read_to_string(root().join(SETTINGS_PAGE)).unwrap();
    let mut sections: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut section = "";
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix(".SH ") {
            section = heading;
        } else if let Some(keys) = line.strip_prefix(".B ") {
            sections
                .entry(section)
                .or_default()
                .extend(keys.split([' ', ',']));
        }
    }
    let schema = schema();
    let schema = schema.as_value();
    let mut count = 0;
    let mut check = |heading: &str, table: &Value| {
        let named = sections
            .get(heading)
            .unwrap_or_else(|| panic!("no section {heading}"));
        for (key, below) in table["properties"].as_object().unwrap() {
            // A table has a section of its own.
            let is_table = heading == TOP && resolved(schema, below)["type"] == "object";
            assert!(
                is_table || named.contains(key.as_str()),
                "{key} is not under {heading}"
            );
            count += usize::from(!is_table);
        }
    };
    check(TOP, schema);
    for (key, below) in schema["properties"].as_object().unwrap() {
        let table = resolved(schema, below);
        if table["properties"].is_object() {
            check(&format!("[{key}]"), table);
        } else if table["additionalProperties"].is_object() {
            let each = resolved(schema, &table["additionalProperties"]);
            check(&format!("[{key}.NAME]"), each);
        }
    }
    assert!(count > 70, "only {count} keys were found");
}

const TOP: &str = "AT THE TOP OF THE FILE";

/// A part of the schema, wherever it is defined.
fn resolved<'a>(schema: &'a Value, part: &'a Value) -> &'a Value {
    let reference = part["$ref"].as_str().or_else(|| {
        // What may be left out is one of its own and null.
        part["anyOf"]
            .as_array()?
            .iter()
            .find_map(|one| one["$ref"].as_str())
    });
    reference
        .and_then(|reference| schema.pointer(reference.trim_start_matches('#')))
        .unwrap_or(part)
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut count = 0;
    for (path, text) in documents() {
        for target in links(&text) {
            if target.contains("://") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() {
                path.clone()
            } else {
                path.parent().unwrap().join(file)
            };
            assert!(file.exists(), "{}: {target} is not there", path.display());
            if !heading.is_empty() {
                let headings = headings(&fs::read_to_string(&file).unwrap());
                assert!(
                    headings.contains(heading),
                    "{}: {target} is no heading",
                    path.display()
                );
            }
            count += 1;
        }
    }
    assert!(count > 10, "only {count} links were found");
}

#[test]
fn every_command_line_parses() {
    let mut count = 0;
    for (path, text) in documents() {
        let shown = blocks(&text, &["sh", "crontab", "ini"]);
        let mut lines: Vec<&str> = shown.iter().flat_map(|block| block.lines()).collect();
        let sessions = blocks(&text, &["console"]);
        let typed = sessions.iter().flat_map(|block| block.lines());
        lines.extend(typed.filter(|line| is_typed(line)));
        lines.extend(inline_code(&text));
        for line in lines {
            for words in command_lines(line) {
                let parsed = Cli::try_parse_from(&words);
                let fine = match &parsed {
                    Ok(_) => true,
                    Err(told) => !told.use_stderr(),
                };
                assert!(fine, "{}: {line}\n{parsed:?}", path.display());
                count += 1;
            }
        }
    }
    assert!(count > 30, "only {count} command lines were found");
}

#[test]
fn every_example_of_the_help_parses() {
    let mut count = 0;
    for command in Cli::command().get_subcommands() {
        for (example, _) in examples(command) {
            let calls = command_lines(&example);
            assert_eq!(calls.len(), 1, "{example}");
            let parsed = Cli::try_parse_from(&calls[0]);
            assert!(parsed.is_ok(), "{example}\n{parsed:?}");
            let own = calls[0].get(1).map(String::as_str);
            assert_eq!(own, Some(command.get_name()), "{example}");
            count += 1;
        }
    }
    assert!(count > 20, "only {count} examples were found");
}

#[test]
fn every_configuration_is_sound() {
    let directory = tempfile::tempdir().unwrap();
    let mut count = 0;
    for (path, text) in documents() {
        for block in blocks(&text, &["toml"]) {
            let file = directory.path().join(format!("{count}.toml"));
            fs::write(&file, block).unwrap();
            // As packaged, it is closed to others, and may hold secrets.
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            let source = Source {
                default_file: file.clone(),
                file: Some(file),
                environment: BTreeMap::from([("PGDATABASE".to_owned(), "a".to_owned())]),
                ..Source::of_process(None)
            };
            if let Err(error) = load(&source) {
                panic!("{}:\n{block}\n{error}", path.display());
            }
            count += 1;
        }
    }
    assert!(count > 5, "only {count} configurations were found");
}

#[test]
fn the_map_of_the_code_names_files_that_are_there() {
    let map = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let mut count = 0;
    for path in inline_code(&map) {
        if path.starts_with("src/") || path.starts_with("packaging/") {
            assert!(root().join(path).exists(), "{path}");
            count += 1;
        }
    }
    assert!(count > 30, "only {count} files were found");
}

#[test]
fn the_exit_codes_are_those_of_the_help() {
    let expected = exit_codes();
    assert_eq!(expected.len(), 12);
    for name in ["README.md", "docs/operations.md"] {
        let text = fs::read_to_string(root().join(name)).unwrap();
        let (_, section) = text.split_once("# Exit codes\n").unwrap();
        let section = section.split("\n#").next().unwrap();
        let found: Vec<(String, String)> = section
            .lines()
            .filter_map(|line| {
                let mut cells = line.strip_prefix("| ")?.split(" | ");
                let code = cells.next()?.trim();
                let meaning = cells.next()?.trim().trim_end_matches(" |");
                code.starts_with(|c: char| c.is_ascii_digit())
                    .then(|| (code.to_owned(), meaning.to_owned()))
            })
            .collect();
        assert_eq!(found, expected, "{name}");
    }
}

// The manual pages.

fn pages() -> BTreeMap<String, String> {
    let mut pages = BTreeMap::new();
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    add_pages(&command, &mut pages);
    pages
}

fn add_pages(command: &Command, pages: &mut BTreeMap<String, String>) {
    let name = command.get_display_name().unwrap_or("pgbackupd").to_owned();
    pages.insert(format!("{name}.1"), page(command, &name));
    for below in command.get_subcommands() {
        add_pages(below, pages);
    }
}

fn page(command: &Command, name: &str) -> String {
    let is_main = name == "pgbackupd";
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    // Of commands with a hyphen in their own name, only this tells.
    let call = command.get_bin_name().unwrap_or(name);
    let arguments = usage.strip_prefix(call).unwrap().trim();
    // The exit codes are set apart below; mangen would call them EXTRA.
    let man = Man::new(
        command
            .clone()
            .after_help("")
            .after_long_help("")
            .subcommand_help_heading("COMMANDS"),
    );
    // Mangen's own title loses its place without a date, and its synopsis has no values.
    let mut page = Vec::new();
    let version = env!("CARGO_PKG_VERSION");
    let title = name.to_uppercase();
    writeln!(
        page,
        ".TH \"{title}\" 1 \"\" \"pgbackupd {version}\" \"pgbackupd\""
    )
    .unwrap();
    man.render_name_section(&mut page).unwrap();
    writeln!(page, ".SH SYNOPSIS\n.B {call}\n{arguments}").unwrap();
    man.render_description_section(&mut page).unwrap();
    man.render_options_section(&mut page).unwrap();
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page).unwrap();
    }
    let mut page = String::from_utf8(page).unwrap();
    page.push_str(".SH \"EXIT STATUS\"\n");
    for (code, meaning) in exit_codes() {
        writeln!(page, ".TP\n.B {code}\n{meaning}").unwrap();
    }
    let examples = examples(command);
    if !examples.is_empty() {
        page.push_str(".SH EXAMPLES\n");
    }
    for (example, purpose) in examples {
        let example = example.replace('-', "\\-").replace('\'', "\\(aq");
        writeln!(page, ".TP\n.B {example}\n{purpose}").unwrap();
    }
    if is_main {
        page.push_str(SURROUNDINGS);
    }
    page.push_str(".SH \"SEE ALSO\"\n");
    if !is_main {
        page.push_str(".BR pgbackupd (1),\n");
    }
    page.push_str(".BR pgbackupd.toml (5),\n.BR pgbackupd (7),\n.BR pg_dump (1)\n");
    page
}

const SURROUNDINGS: &str = r#".SH ENVIRONMENT
.TP
.B PGBACKUPD_CONFIG
The configuration file; \-\-config overrides it.
.TP
.B PGBACKUPD_LOG
What is logged to stderr: directives of the tracing library, such as pgbackupd=debug.
.TP
.B PGBACKUPD_...
Every setting of the configuration; see
.BR pgbackupd.toml (5).
.TP
.BR PGHOST ", " PGPORT ", " PGUSER ", " PGDATABASE ", " PGSERVICE ", " PGPASSFILE ", ..."
Connection parameters that the configuration does not set, as for every program of PostgreSQL.
.SH FILES
.TP
.I /etc/pgbackupd/pgbackupd.toml
The configuration.
.TP
.I /etc/pgbackupd/conf.d/*.toml
More of it; these files override the first, in the order of their names.
.TP
.I /var/backups/DATABASE/
The backups of a database, with their manifests, and backup.log, the ledger of every run.
"#;

/// Codes and meanings, as `--help` tells them.
fn exit_codes() -> Vec<(String, String)> {
    let help = Cli::command().render_help().to_string();
    let (_, list) = help.split_once("Exit codes:\n").unwrap();
    list.lines()
        .filter_map(|line| line.trim().split_once("  "))
        .map(|(code, meaning)| (code.to_owned(), meaning.trim().to_owned()))
        .collect()
}

/// Commands and what they are for, as a command's `--help` has them at its end.
fn examples(command: &Command) -> Vec<(String, String)> {
    let Some(text) = command.get_after_long_help() else {
        return Vec::new();
    };
    let text = text.to_string();
    let lines: Vec<&str> = text.lines().skip(1).map(str::trim).collect();
    let pairs = lines.chunks_exact(2);
    assert!(pairs.remainder().is_empty(), "{text}");
    pairs
        .map(|pair| (pair[0].to_owned(), pair[1].to_owned()))
        .collect()
}

fn is_of_section(name: &str, section: &str) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|end| end == section)
}

// The documents and what is in them.

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documents() -> Vec<(PathBuf, String)> {
    let mut documents = Vec::new();
    for directory in [root().to_owned(), root().join("docs")] {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|end| end == "md") {
                let text = fs::read_to_string(&path).unwrap();
                documents.push((path, dedented(&text)));
            }
        }
    }
    documents
}

/// The text with the blocks that stand in lists at the beginning of the line, as all others.
fn dedented(text: &str) -> String {
    let mut indent = None;
    let mut lines = Vec::new();
    for line in text.lines() {
        let bare = line.trim_start();
        if bare.starts_with("```") {
            let of_this = line.len() - bare.len();
            indent = indent.is_none().then_some(of_this);
            lines.push(bare);
        } else {
            // A line of a block that is indented less than its fence is as it is.
            lines.push(line.get(indent.unwrap_or(0)..).unwrap_or(line));
        }
    }
    lines.join("\n")
}

/// The fenced blocks in one of these languages.
fn blocks<'a>(text: &'a str, languages: &[&str]) -> Vec<&'a str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("\n```") {
        let (language, after) = after.split_once('\n').unwrap();
        let (block, after) = after.split_once("```").unwrap();
        if languages.contains(&language) {
            found.push(block);
        }
        rest = after;
    }
    found
}

fn without_blocks(text: &str) -> String {
    text.split("\n```").step_by(2).collect()
}

/// What stands between backquotes outside of blocks, on one line.
fn inline_code(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (index, part) in text.split("\n```").enumerate() {
        if index % 2 == 0 {
            found.extend(part.split('`').skip(1).step_by(2));
        }
    }
    found
}

fn links(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|after| Some(after.split_once(')')?.0))
        .filter(|target| !target.contains(char::is_whitespace))
        .collect()
}

/// The anchors of a document's headings, as forges make them.
fn headings(text: &str) -> BTreeSet<String> {
    without_blocks(text)
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

/// Whether a line of a session is what the operator typed; the others are answers.
fn is_typed(line: &str) -> bool {
    ["$ ", "# ", "> "]
        .iter()
        .any(|prompt| line.starts_with(prompt))
}

/// The calls of the program in a line of shell, of a crontab or of a unit, each as its words.
fn command_lines(line: &str) -> Vec<Vec<String>> {
    let mut found: Vec<Vec<String>> = Vec::new();
    let mut call: Option<Vec<String>> = None;
    for word in shell_words(line) {
        let ends = ["|", "||", "&&", ";", "&", "#"].contains(&word.as_str())
            || word.trim_start_matches('2').starts_with('>')
            || word.starts_with('<');
        if ends {
            found.extend(call.take());
        } else if let Some(words) = &mut call {
            words.push(word);
        } else if is_the_program(&word) && !line.starts_with("install ") {
            // install(1) puts the program somewhere and does not call it.
            call = Some(vec![word]);
        }
    }
    found.extend(call);
    // What is only named, or shortened, is no call.
    found.retain(|words| words.len() > 1 && !words.iter().any(|word| word.contains('…')));
    found
}

/// `pgbackupd`, wherever it stands, also behind `ExecStart=`.
fn is_the_program(word: &str) -> bool {
    word.rsplit(['/', '=']).next() == Some("pgbackupd")
}

/// Words as a shell would have them, as far as examples need it.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None, ' ' | '\t') => words.extend(Some(std::mem::take(&mut word))),
            (None, ';' | '(' | ')') => {
                words.extend([std::mem::take(&mut word), ";".to_owned()]);
            }
            _ => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}
