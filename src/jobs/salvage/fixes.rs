//! What to do about kinds of refusals that are known. Pure.

use crate::postgres::StatementRefusal;

/// What to do about a refusal, where its kind is known.
pub(super) fn fix_of(refusal: &StatementRefusal) -> Option<String> {
    let code = refusal.sqlstate.as_str();
    let context = refusal.context.as_deref().unwrap_or_default();
    if is_about_a_name(code) {
        if let Some(function) = function_in(context) {
            return Some(format!(
                "ALTER FUNCTION {function} SET search_path = …, with the schemas that it uses"
            ));
        }
        if code == "42883" && refusal.message.starts_with("operator does not exist") {
            return Some(
                "write the operator with its schema, as OPERATOR(schema.=), or compare in a function that \
                 sets its search_path"
                    .to_owned(),
            );
        }
    }
    let fix = match code {
        "23503" => "remove or complete the rows whose parent is missing, then run the statement",
        "23505" => "remove the duplicates, then run the statement",
        "23P01" => "change the rows that exclude each other, then run the statement",
        "23514" | "23502" => "correct the rows that break it, then run the statement",
        "22021" => "correct the bytes of these rows (iconv), then load them",
        "22P02" | "22007" | "22008" | "22003" | "22001" => {
            "correct the values of these rows, then load them"
        }
        "42704" if refusal.message.starts_with("role ") => {
            "CREATE ROLE, or leave it out: the role was not in the backup"
        }
        "42704" if refusal.message.starts_with("tablespace ") => {
            "what was to be in it is in the database's default tablespace; CREATE TABLESPACE and move it"
        }
        "0A000" | "58P01" if is_about_an_extension(&refusal.message) => {
            "install the package of the extension on the server's machine, then salvage it again"
        }
        "42501" => "salvage it again as a superuser",
        _ => return None,
    };
    Some(fix.to_owned())
}

/// Undefined function, table, object, column, schema.
fn is_about_a_name(code: &str) -> bool {
    ["42883", "42P01", "42704", "42703", "3F000"].contains(&code)
}

fn is_about_an_extension(message: &str) -> bool {
    message.contains("extension") || message.contains("could not access file")
}

/// The function that a context names first.
fn function_in(context: &str) -> Option<String> {
    context.lines().find_map(|line| {
        if let Some(rest) = line.strip_prefix("PL/pgSQL function ") {
            let end = rest.find(')')? + 1;
            return Some(rest[..end].to_owned());
        }
        let rest = line.strip_prefix("SQL function \"")?;
        let name = &rest[..rest.find('"')?];
        Some(format!("{name}(…)"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_kinds_have_a_way_out() {
        for (sqlstate, message, context, fix) in [
            (
                "42883",
                "function enc(bytea) does not exist",
                "SQL function \"enc\" during inlining",
                Some("ALTER FUNCTION enc(…) SET search_path"),
            ),
            (
                "42P01",
                "relation \"kinds\" does not exist",
                "PL/pgSQL function public.known(text,integer) line 1 at RETURN\nCOPY a, line 1",
                Some("ALTER FUNCTION public.known(text,integer) SET search_path"),
            ),
            (
                "42883",
                "operator does not exist: public.ltree = public.ltree",
                "",
                Some("OPERATOR(schema.=)"),
            ),
            ("42883", "function f() does not exist", "", None),
            (
                "23503",
                "insert or update on table",
                "",
                Some("whose parent is missing"),
            ),
            (
                "42704",
                "role \"gone\" does not exist",
                "",
                Some("CREATE ROLE"),
            ),
            ("42704", "type \"vector\" does not exist", "", None),
            (
                "58P01",
                "could not access file \"$libdir/x\"",
                "",
                Some("install the package"),
            ),
            (
                "0A000",
                "extension \"x\" is not available",
                "",
                Some("install the package"),
            ),
            ("0A000", "cannot do that", "", None),
            ("42601", "syntax error", "", None),
        ] {
            let refusal = StatementRefusal {
                sqlstate: sqlstate.to_owned(),
                message: message.to_owned(),
                context: Some(context.to_owned()),
                ..StatementRefusal::default()
            };
            let found = fix_of(&refusal);
            assert_eq!(found.is_some(), fix.is_some(), "{message}: {found:?}");
            if let (Some(found), Some(fix)) = (found, fix) {
                assert!(found.contains(fix), "{found}");
            }
        }
    }
}
