//! The statements that make a database like another one, give it the other one's properties, and
//! put it into the other one's place. Pure.

use std::fmt::Write as _;

use super::properties::ServerSetting;
use super::properties::{DatabaseProperties, Setting};
use super::quote::{identifier, literal};
use super::server_settings::is_for_loading;

/// Settings whose value is a list of names, each quoted by itself (`variable_is_guc_list_quote` in
/// `PostgreSQL`'s `dumputils.c`).
const LISTS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// Who owns a database that is made like another one, and where it stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Placement {
    /// The recorded owner and tablespace.
    Recorded,
    /// Whoever makes it, and the usual tablespace.
    Usual,
}

/// The statement that makes an empty database like another one, on a server of this major version.
/// Without properties it gets the server's defaults.
pub fn create_database(name: &str, like: Option<&DatabaseProperties>, major: u32) -> String {
    match like {
        Some(like) => create_like(name, like, major, Placement::Recorded),
        None => create(name),
    }
}

/// The same, for one that is dropped soon: only what decides how text is read and compared is taken over.
pub fn create_throw_away(name: &str, like: &DatabaseProperties, major: u32) -> String {
    create_like(name, like, major, Placement::Usual)
}

fn create(name: &str) -> String {
    format!("CREATE DATABASE {} TEMPLATE template0", identifier(name))
}

fn create_like(name: &str, like: &DatabaseProperties, major: u32, placement: Placement) -> String {
    let mut sql = create(name);
    let mut add = |keyword: &str, value: String| {
        sql.push_str(keyword);
        sql.push_str(&value);
    };
    if placement == Placement::Recorded {
        add(" OWNER ", identifier(&like.owner));
    }
    add(" ENCODING ", literal(&like.encoding));
    add(" LC_COLLATE ", literal(&like.lc_collate));
    add(" LC_CTYPE ", literal(&like.lc_ctype));
    // Only a superuser may name the usual one, which it gets in any case.
    if let Some(tablespace) = &like.tablespace
        && placement == Placement::Recorded
        && tablespace != "pg_default"
    {
        add(" TABLESPACE ", identifier(tablespace));
    }
    // A server of 14 or older knows libc alone.
    if major < 15 {
        return sql;
    }
    add(" LOCALE_PROVIDER ", identifier(&like.locale_provider));
    if let Some(locale) = &like.locale {
        let keyword = if like.locale_provider == "builtin" {
            " BUILTIN_LOCALE "
        } else {
            " ICU_LOCALE "
        };
        add(keyword, literal(locale));
    }
    if let Some(rules) = &like.icu_rules {
        add(" ICU_RULES ", literal(rules));
    }
    sql
}

/// The statement that removes a database and ends whatever is connected to it.
pub fn drop_database(name: &str) -> String {
    format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", identifier(name))
}

/// The statements that take a subscription away without a word to its publisher: the slot there stays.
pub fn forget_subscription(name: &str) -> [String; 3] {
    let name = identifier(name);
    [
        format!("ALTER SUBSCRIPTION {name} DISABLE"),
        format!("ALTER SUBSCRIPTION {name} SET (slot_name = NONE)"),
        format!("DROP SUBSCRIPTION {name}"),
    ]
}

/// The statement that lets a template be dropped like any other database.
pub fn no_template(name: &str) -> String {
    format!("ALTER DATABASE {} IS_TEMPLATE false", identifier(name))
}

/// The statement that writes a comment on a database.
pub fn comment_on_database(name: &str, comment: Option<&str>) -> String {
    let text = comment.map_or_else(|| "NULL".to_owned(), literal);
    format!("COMMENT ON DATABASE {} IS {text}", identifier(name))
}

/// The statement that drops a role.
pub fn drop_role(name: &str) -> String {
    format!("DROP ROLE IF EXISTS {}", identifier(name))
}

/// A setting that a database gets before a dump is loaded into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingForLoading {
    /// Its name. The value is not shown.
    pub name: String,
    /// Whether it is the server's, and not the database's own.
    pub is_of_server: bool,
    /// The statement that gives it.
    pub sql: String,
}

/// The settings that a database needs before a dump is loaded into it, in this order: those of its
/// server, and its own, which count more. They decide how the dump is read, and what functions do that
/// are called meanwhile.
pub fn settings_for_loading(
    name: &str,
    server: &[ServerSetting],
    like: &DatabaseProperties,
) -> Vec<SettingForLoading> {
    let of_server = server.iter().map(|one| {
        let setting = format!("{}={}", one.name, one.value);
        let role = None;
        (true, Setting { role, setting })
    });
    let own = like.settings.iter().map(|one| (false, one.clone()));
    of_server
        .chain(own)
        .filter_map(|(is_of_server, one)| {
            let (setting, _) = one.setting.split_once('=')?;
            is_for_loading(setting).then_some(SettingForLoading {
                name: setting.to_owned(),
                is_of_server,
                sql: give_setting(name, &one)?,
            })
        })
        .collect()
}

/// The statement that takes all settings from a database that are not a role's.
pub fn reset_settings(name: &str) -> String {
    format!("ALTER DATABASE {} RESET ALL", identifier(name))
}

/// The statements that give a database the settings, security labels and privileges of another one. Its comment, its
/// limit of connections, and whether it is a template come with its name: see
/// [`comes_with_its_name`].
pub fn settings_and_privileges(name: &str, like: &DatabaseProperties) -> Vec<String> {
    let settings = like.settings.iter();
    let mut statements: Vec<String> = settings.filter_map(|one| give_setting(name, one)).collect();
    statements.extend(like.labels.iter().map(|one| {
        format!(
            "SECURITY LABEL FOR {} ON DATABASE {} IS {}",
            identifier(&one.provider),
            identifier(name),
            literal(&one.label)
        )
    }));
    if let Some(privileges) = &like.privileges {
        let database = identifier(name);
        statements.push(format!("REVOKE ALL ON DATABASE {database} FROM PUBLIC"));
        statements.push(format!(
            "REVOKE ALL ON DATABASE {database} FROM {}",
            identifier(&like.owner)
        ));
        let grants = privileges.iter().filter_map(|item| Grant::parse(item));
        statements.extend(grants.flat_map(|grant| grant.statements(name, &like.owner)));
    }
    statements
}

/// The statement that gives a database a setting, of everybody's or of a role's; none if there is no
/// value in it.
pub fn give_setting(name: &str, one: &Setting) -> Option<String> {
    let database = identifier(name);
    let (name, value) = one.setting.split_once('=')?;
    let whose = match &one.role {
        None => format!("ALTER DATABASE {database}"),
        Some(role) => format!("ALTER ROLE {} IN DATABASE {database}", identifier(role)),
    };
    let value = if LISTS.contains(&name.to_ascii_lowercase().as_str()) {
        let names: Vec<String> = listed(value).iter().map(|name| literal(name)).collect();
        if names.is_empty() {
            literal("")
        } else {
            names.join(", ")
        }
    } else {
        literal(value)
    };
    Some(format!("{whose} SET {} TO {value}", identifier(name)))
}

/// The names in a list as the system catalog keeps it: separated by commas, in double quotes where needed.
fn listed(list: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut name = String::new();
    let (mut quoted, mut was_quoted) = (false, false);
    let mut characters = list.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                name.push('"');
            }
            '"' => {
                quoted = !quoted;
                was_quoted = true;
            }
            ',' if !quoted => {
                names.push(std::mem::take(&mut name));
                was_quoted = false;
            }
            ' ' if !quoted && (was_quoted || name.is_empty()) => {}
            other => name.push(other),
        }
    }
    if was_quoted || !name.is_empty() {
        names.push(name);
    }
    names
}

/// One entry of a database's access list (`aclitem` in the manual's "Privileges").
#[derive(Clone, Debug, PartialEq, Eq)]
struct Grant {
    /// None for PUBLIC.
    grantee: Option<String>,
    /// Each right, and whether it may be granted on.
    rights: Vec<(&'static str, bool)>,
    grantor: String,
}

impl Grant {
    /// Reads `grantee=rights/grantor`.
    fn parse(item: &str) -> Option<Self> {
        let (grantee, rest) = role_in_list(item)?;
        let rest = rest.strip_prefix('=')?;
        let (letters, grantor) = rest.split_once('/')?;
        let mut rights = Vec::new();
        let mut letters = letters.chars().peekable();
        while let Some(letter) = letters.next() {
            let right = match letter {
                'C' => "CREATE",
                'T' => "TEMPORARY",
                'c' => "CONNECT",
                _ => return None,
            };
            rights.push((right, letters.next_if_eq(&'*').is_some()));
        }
        Some(Self {
            grantee: Some(grantee).filter(|name| !name.is_empty()),
            rights,
            grantor: role_in_list(grantor)?.0,
        })
    }

    fn statements(&self, database: &str, owner: &str) -> Vec<String> {
        let grantee = self.grantee.as_deref().map(identifier);
        let grantee = grantee.unwrap_or_else(|| "PUBLIC".to_owned());
        let mut statements = Vec::new();
        for with_option in [false, true] {
            let rights: Vec<&str> = self
                .rights
                .iter()
                .filter(|(_, option)| *option == with_option)
                .map(|(right, _)| *right)
                .collect();
            if rights.is_empty() {
                continue;
            }
            let grant = format!(
                "GRANT {} ON DATABASE {} TO {grantee}{}",
                rights.join(", "),
                identifier(database),
                if with_option {
                    " WITH GRANT OPTION"
                } else {
                    ""
                }
            );
            statements.push(if self.grantor == owner {
                grant
            } else {
                // Whoever grants is on record; statements sent together are one transaction.
                in_the_name_of(&self.grantor, &grant)
            });
        }
        statements
    }
}

/// Statements, sent together, that grant in another role's name.
pub fn in_the_name_of(grantor: &str, grant: &str) -> String {
    let grant = grant.trim_end_matches(';');
    format!(
        "SET LOCAL ROLE {}; {grant}; RESET ROLE",
        identifier(grantor)
    )
}

/// Reads a role's name as it stands in an access list, and gives it with the rest.
fn role_in_list(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(['=', '/']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut name = String::new();
    let mut rest = quoted;
    loop {
        let end = rest.find('"')?;
        name.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Some((name, rest)),
        }
    }
}

/// The roles that have granted privileges on a database that is not theirs.
pub fn foreign_grantors(properties: &DatabaseProperties) -> Vec<String> {
    let items = properties.privileges.iter().flatten();
    let mut grantors: Vec<String> = items
        .filter_map(|item| Some(Grant::parse(item)?.grantor))
        .filter(|grantor| *grantor != properties.owner)
        .collect();
    grantors.sort();
    grantors.dedup();
    grantors
}

/// The roles that somebody needs who wants to give a database its owner, settings and privileges.
pub fn roles_of(properties: &DatabaseProperties) -> Vec<String> {
    let mut roles = vec![properties.owner.clone()];
    roles.extend(
        properties
            .settings
            .iter()
            .filter_map(|one| one.role.clone()),
    );
    for item in properties.privileges.iter().flatten() {
        if let Some(grant) = Grant::parse(item) {
            roles.extend(grant.grantee);
            roles.push(grant.grantor);
        }
    }
    roles.sort();
    roles.dedup();
    roles
}

/// The statements that give a database what belongs to another one's name: its comment, its limit of
/// connections, and its mark as a template.
pub fn comes_with_its_name(name: &str, like: &DatabaseProperties) -> Vec<String> {
    let database = identifier(name);
    let mut statements = vec![comment_on_database(name, like.comment.as_deref())];
    if like.connection_limit >= 0 {
        let limit = like.connection_limit;
        statements.push(format!(
            "ALTER DATABASE {database} CONNECTION LIMIT {limit}"
        ));
    }
    if like.is_template {
        statements.push(format!("ALTER DATABASE {database} IS_TEMPLATE true"));
    }
    statements
}

/// What a database is to become when it takes another one's place.
#[derive(Clone, Copy, Debug)]
pub struct TakePlace<'a> {
    /// The database as it is called now.
    pub from: &'a str,
    /// The name that it gets.
    pub name: &'a str,
    /// The name that the database gets which bears that name now, if one does.
    pub aside: Option<&'a str>,
    /// Whether it was made for this, and bears a comment that says so until now.
    pub is_new: bool,
    /// Whose comment, limit of connections and mark as a template it gets; without, it keeps its
    /// own, or has none if it is new.
    pub like: Option<&'a DatabaseProperties>,
}

/// The statements that put a database into another one's place: one transaction, so that at every
/// moment a whole database bears the name.
pub fn take_place(swap: &TakePlace<'_>) -> String {
    let name = identifier(swap.name);
    // Writing to a string cannot fail.
    let mut sql = "BEGIN; ".to_owned();
    if let Some(aside) = swap.aside {
        let aside = identifier(aside);
        let _ = write!(sql, "ALTER DATABASE {name} RENAME TO {aside}; ");
    }
    let from = identifier(swap.from);
    let _ = write!(sql, "ALTER DATABASE {from} RENAME TO {name}; ");
    let belongings = match swap.like {
        Some(like) => comes_with_its_name(swap.name, like),
        None if swap.is_new => vec![comment_on_database(swap.name, None)],
        None => Vec::new(),
    };
    for statement in belongings {
        sql.push_str(&statement);
        sql.push_str("; ");
    }
    sql.push_str("COMMIT");
    sql
}

/// The statements that give a database that was being made its name, and take its mark off it: one
/// transaction, so that nobody takes a finished one for what a killed restore left.
pub fn finish_database(from: &str, name: &str) -> String {
    format!(
        "BEGIN; ALTER DATABASE {} RENAME TO {}; {}; COMMIT",
        identifier(from),
        identifier(name),
        comment_on_database(name, None)
    )
}

#[cfg(test)]
pub(crate) mod tests;
