//! What a text says of a database itself: how it is made, and what `ALTER DATABASE`, `GRANT`, `COMMENT` and
//! the like give it. None of it is carried out as it stands. Pure.

use std::collections::BTreeMap;

use super::databases::name_of;
use super::keywords::needs_quotes;
use crate::pipeline::allow::tokens::{Token, Tokens};
use crate::pipeline::sql::statements;

/// Settings whose value is a list of names (`variable_is_guc_list_quote` in `dumputils.c`).
const LISTS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// What a database is made like; none where the text does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatabaseOptions {
    /// Its encoding.
    pub encoding: Option<String>,
    /// `libc`, `icu` or `builtin`.
    pub locale_provider: Option<String>,
    /// `LC_COLLATE`.
    pub lc_collate: Option<String>,
    /// `LC_CTYPE`.
    pub lc_ctype: Option<String>,
    /// The locale of the providers `icu` and `builtin`.
    pub locale: Option<String>,
    /// Rules that change ICU's order.
    pub icu_rules: Option<String>,
    /// Whose it is.
    pub owner: Option<String>,
    /// Where it stands by default.
    pub tablespace: Option<String>,
    /// How many connections it admits.
    pub connection_limit: Option<i32>,
    /// Whether it is a template.
    pub is_template: bool,
    /// Whether it refuses connections.
    pub refuses_connections: bool,
    /// Its comment.
    pub comment: Option<String>,
    /// Security labels: provider and label.
    pub labels: Vec<(String, String)>,
    /// Settings as `name=value`, each for a role or for everybody.
    pub settings: Vec<(Option<String>, String)>,
    /// Privileges as the server writes them, `grantee=rights/grantor`, where they were changed.
    pub privileges: Option<Vec<String>>,
    /// The first words of statements that are not understood.
    pub not_understood: Vec<String>,
}

/// Privileges on a database by grantee: for each letter, whether it may be passed on. The empty name stands
/// for everybody.
type Granted = BTreeMap<String, BTreeMap<char, bool>>;

impl DatabaseOptions {
    /// Reads the statements about one database.
    pub(super) fn read(script: &[u8]) -> Self {
        let mut options = Self::default();
        let mut rights = Vec::new();
        for range in statements(script) {
            let text = &script[range];
            if options.take(text, &mut rights).is_none() {
                let words = crate::pipeline::allow::shown(text);
                options.not_understood.push(words);
            }
        }
        options.settle(&rights);
        options
    }

    fn take<'a>(&mut self, text: &'a [u8], rights: &mut Vec<&'a [u8]>) -> Option<()> {
        let mut tokens = Tokens::of(text, false);
        let verb = tokens.next()?;
        if verb.is("drop") {
            return Some(());
        }
        if verb.is("grant") || verb.is("revoke") {
            rights.push(text);
            return Some(());
        }
        if verb.is("comment") {
            tokens.accept_all("on database").then_some(())?;
            tokens.next()?;
            tokens.accept("is").then_some(())?;
            self.comment = Some(string(tokens.next()?, text)?);
            return tokens.is_at_end().then_some(());
        }
        if verb.is("security") {
            tokens.accept_all("label for").then_some(())?;
            let provider = name(tokens.next()?)?;
            tokens.accept_all("on database").then_some(())?;
            tokens.next()?;
            tokens.accept("is").then_some(())?;
            let label = string(tokens.next()?, text)?;
            self.labels.push((provider, label));
            return tokens.is_at_end().then_some(());
        }
        if verb.is("create") {
            tokens.accept("database").then_some(())?;
            tokens.next()?;
            tokens.accept("with");
            return self.made_with(tokens, text);
        }
        verb.is("alter").then_some(())?;
        let role = if tokens.accept("role") {
            let role = name(tokens.next()?)?;
            tokens.accept("in").then_some(())?;
            Some(role)
        } else {
            None
        };
        tokens.accept("database").then_some(())?;
        tokens.next()?;
        if tokens.accept("set") {
            let setting = setting(&mut tokens, text)?;
            self.settings.push((role, setting));
            return Some(());
        }
        if role.is_some() {
            return None;
        }
        if tokens.accept_all("owner to") {
            self.owner = Some(name(tokens.next()?)?);
            return tokens.is_at_end().then_some(());
        }
        self.made_with(tokens, text)
    }

    /// `ENCODING = 'UTF8' LOCALE = 'C' …`
    fn made_with(&mut self, mut tokens: Tokens<'_>, text: &[u8]) -> Option<()> {
        while !tokens.is_at_end() {
            let Token::Word(word) = tokens.next()? else {
                return None;
            };
            let mut option = String::from_utf8_lossy(word).to_ascii_lowercase();
            if option == "connection" && tokens.accept("limit") {
                option.push_str(" limit");
            }
            if tokens.peek() == Some(Token::Sign(b'=')) {
                tokens.next();
            }
            let is_negative = tokens.peek() == Some(Token::Sign(b'-'));
            if is_negative {
                tokens.next();
            }
            let token = tokens.next()?;
            let value = || string(token, text).or_else(|| name(token));
            match option.as_str() {
                "template" | "strategy" | "collation_version" | "oid" => {}
                "encoding" => self.encoding = Some(value()?),
                "locale_provider" => self.locale_provider = Some(value()?),
                "locale" => {
                    self.lc_collate = Some(value()?);
                    self.lc_ctype = Some(value()?);
                }
                "lc_collate" => self.lc_collate = Some(value()?),
                "lc_ctype" => self.lc_ctype = Some(value()?),
                "icu_locale" | "builtin_locale" => self.locale = Some(value()?),
                "icu_rules" => self.icu_rules = Some(value()?),
                "owner" => self.owner = Some(value()?),
                "tablespace" => self.tablespace = Some(value()?),
                "is_template" => self.is_template = is_true(token)?,
                "allow_connections" => self.refuses_connections = !is_true(token)?,
                "connection limit" => {
                    let Token::Number(digits) = token else {
                        return None;
                    };
                    let number: i32 = std::str::from_utf8(digits).ok()?.parse().ok()?;
                    self.connection_limit = Some(if is_negative { -number } else { number });
                }
                _ => return None,
            }
        }
        Some(())
    }

    /// What the database's privileges are once all of these were carried out, in their order.
    fn settle(&mut self, statements: &[&[u8]]) {
        let Some(owner) = self.owner.clone().filter(|_| !statements.is_empty()) else {
            let words = statements
                .iter()
                .map(|text| crate::pipeline::allow::shown(text));
            self.not_understood.extend(words);
            return;
        };
        let rights = |letters: &str| letters.chars().map(|one| (one, false)).collect();
        let mut granted: Granted = BTreeMap::from([
            (String::new(), rights("Tc")),
            (owner.clone(), rights("CTc")),
        ]);
        for text in statements {
            if change(text, &mut granted).is_none() {
                self.not_understood
                    .push(crate::pipeline::allow::shown(text));
            }
        }
        let items = granted.iter().filter(|(_, rights)| !rights.is_empty());
        let items = items.map(|(grantee, rights)| {
            let letters: String = "CTc"
                .chars()
                .filter_map(|letter| Some((letter, rights.get(&letter)?)))
                .flat_map(|(letter, passes)| [Some(letter), passes.then_some('*')])
                .flatten()
                .collect();
            format!("{}={letters}/{}", in_item(grantee), in_item(&owner))
        });
        self.privileges = Some(items.collect());
    }
}

/// One GRANT or REVOKE.
fn change(text: &[u8], granted: &mut Granted) -> Option<()> {
    let mut tokens = Tokens::of(text, false);
    let gives = tokens.next()?.is("grant");
    let mut letters = Vec::new();
    loop {
        let token = tokens.next()?;
        match token {
            Token::Sign(b',') => {}
            _ if token.is("on") => break,
            _ if token.is("all") => letters.extend(['C', 'T', 'c']),
            _ if token.is("create") => letters.push('C'),
            _ if token.is("temporary") || token.is("temp") => letters.push('T'),
            _ if token.is("connect") => letters.push('c'),
            _ => return None,
        }
    }
    tokens.accept("database").then_some(())?;
    tokens.next()?;
    tokens
        .accept(if gives { "to" } else { "from" })
        .then_some(())?;
    let role = tokens.next()?;
    let role = if role.is("public") {
        String::new()
    } else {
        name(role)?
    };
    let passes = gives && tokens.accept_all("with grant option");
    tokens.is_at_end().then_some(())?;
    let rights = granted.entry(role).or_default();
    for letter in letters {
        if gives {
            *rights.entry(letter).or_default() |= passes;
        } else {
            rights.remove(&letter);
        }
    }
    Some(())
}

/// A role in an item of an access list (`putid` in `acl.c`).
fn in_item(role: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if role.bytes().all(is_plain) {
        role.to_owned()
    } else {
        format!("\"{}\"", role.replace('"', "\"\""))
    }
}

/// `name TO value[, value]`, as `name=value`.
fn setting(tokens: &mut Tokens<'_>, text: &[u8]) -> Option<String> {
    let name = name(tokens.next()?)?;
    tokens.accept("to").then_some(())?;
    let is_list = LISTS.contains(&name.to_ascii_lowercase().as_str());
    let mut values = Vec::new();
    loop {
        let value = string(tokens.next()?, text)?;
        values.push(if is_list && needs_quotes(value.as_bytes(), u32::MAX) {
            format!("\"{}\"", value.replace('"', "\"\""))
        } else {
            value
        });
        if tokens.is_at_end() {
            return Some(format!("{name}={}", values.join(", ")));
        }
        (tokens.next()? == Token::Sign(b',')).then_some(())?;
    }
}

fn is_true(token: Token<'_>) -> Option<bool> {
    if token.is("true") {
        Some(true)
    } else {
        token.is("false").then_some(false)
    }
}

fn name(token: Token<'_>) -> Option<String> {
    name_of(token).and_then(|name| String::from_utf8(name).ok())
}

/// The value of a string; none where a backslash in it could mean something.
fn string(token: Token<'_>, text: &[u8]) -> Option<String> {
    let Token::String(inner) = token else {
        return None;
    };
    let may_escape = memchr::memmem::find(text, b"E'").is_some();
    if may_escape && inner.contains(&b'\\') {
        return None;
    }
    let value = std::str::from_utf8(inner).ok()?;
    Some(value.replace("''", "'"))
}

#[cfg(test)]
mod tests {
    use super::DatabaseOptions;

    #[test]
    fn what_the_text_says_of_a_database_is_read() {
        let options = DatabaseOptions::read(
            b"CREATE DATABASE app WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = icu LOCALE = \
              'en_US.UTF-8' ICU_LOCALE = 'de' TABLESPACE = \"Fast\" CONNECTION LIMIT = -1;\n\
              ALTER DATABASE app OWNER TO \"the Boss\";\n\
              COMMENT ON DATABASE app IS 'it''s';\n\
              ALTER DATABASE app SET work_mem TO '64MB';\n\
              ALTER DATABASE app SET search_path TO 'a b', 'public';\n\
              ALTER DATABASE app SET \"app.tenant\" TO 'x, y';\n\
              ALTER ROLE r IN DATABASE app SET datestyle TO 'ISO, MDY';\n\
              ALTER DATABASE app CONNECTION LIMIT = 7;\n\
              ALTER DATABASE app IS_TEMPLATE = true;\n\
              REVOKE CONNECT,TEMPORARY ON DATABASE app FROM PUBLIC;\n\
              GRANT CONNECT ON DATABASE app TO PUBLIC;\n\
              GRANT ALL ON DATABASE app TO \"r-1\" WITH GRANT OPTION;\n\
              ALTER DATABASE app REFRESH COLLATION VERSION;\n",
        );
        let some = |text: &str| Some(text.to_owned());
        let expected = DatabaseOptions {
            encoding: some("UTF8"),
            locale_provider: some("icu"),
            lc_collate: some("en_US.UTF-8"),
            lc_ctype: some("en_US.UTF-8"),
            locale: some("de"),
            tablespace: some("Fast"),
            owner: some("the Boss"),
            connection_limit: Some(7),
            is_template: true,
            comment: some("it's"),
            settings: vec![
                (None, "work_mem=64MB".to_owned()),
                (None, "search_path=\"a b\", public".to_owned()),
                (None, "app.tenant=x, y".to_owned()),
                (some("r"), "datestyle=ISO, MDY".to_owned()),
            ],
            privileges: Some(vec![
                "=c/\"the Boss\"".to_owned(),
                "\"r-1\"=C*T*c*/\"the Boss\"".to_owned(),
                "\"the Boss\"=CTc/\"the Boss\"".to_owned(),
            ]),
            not_understood: vec!["ALTER DATABASE app REFRESH COLLATION VERSION".to_owned()],
            ..DatabaseOptions::default()
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn what_is_not_understood_is_named_and_nothing_else_is_made_of_it() {
        for text in [
            "ALTER DATABASE app SET x TO E'a\\'b';",
            "GRANT ALL ON DATABASE app TO r;",
            "ALTER DATABASE app RENAME TO live;",
            "CREATE DATABASE app WITH ENCODING = f();",
            "COMMENT ON DATABASE app IS 'a' || 'b';",
        ] {
            let options = DatabaseOptions::read(text.as_bytes());
            let named = DatabaseOptions {
                not_understood: options.not_understood.clone(),
                comment: options.comment.clone(),
                encoding: options.encoding.clone(),
                ..DatabaseOptions::default()
            };
            assert_eq!(options, named);
            assert_eq!(options.not_understood.len(), 1, "{text}");
        }
    }
}
