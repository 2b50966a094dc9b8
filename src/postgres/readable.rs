//! What of a database our role may not read: a dump would fail on it, perhaps hours after its start.

use super::client::Client;
use super::query_error::QueryError;
use super::quote::identifier;
use super::system_catalog_text::{as_bytes, required, value};
use crate::display::count;

/// As many objects as a sentence names.
const NAMED: i64 = 3;

/// One kind of objects that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unreadable {
    kind: Kind,
    /// The first of them, as SQL writes them.
    first: Vec<String>,
    all: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// For lack of a privilege, in or under a schema.
    Relation,
    /// For lack of a privilege that no predefined role has.
    LargeObject,
    /// Row-level security hides rows, which `pg_dump` does not accept.
    Policy,
}

/// What keeps the database from being dumped in full, in one sentence each with the way out; none where
/// the role may read all of it.
///
/// Asked of what `pg_dump` reads: tables, sequences and large objects; of an extension's tables those
/// whose rows it marks as the user's own.
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn unreadable(client: &Client) -> Result<Vec<String>, QueryError> {
    const WHAT: &str = "ask what our role may read";
    let sql = format!(
        "WITH dumped AS ( \
           SELECT c.oid, c.relkind, n.oid AS schema, n.nspname, c.relname \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
            WHERE c.relkind IN ('r', 'p', 'S') AND n.nspname !~ '^pg_' \
              AND n.nspname <> 'information_schema' \
              AND (NOT EXISTS (SELECT FROM pg_depend d \
                                WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid \
                                  AND d.deptype = 'e') \
                   OR EXISTS (SELECT FROM pg_extension e WHERE c.oid = ANY (e.extconfig)))), \
         found AS ( \
           SELECT DISTINCT 0 AS kind, 'schema ' || quote_ident(nspname) AS name FROM dumped \
            WHERE NOT has_schema_privilege(schema, 'USAGE') \
           UNION ALL \
           SELECT 0, CASE relkind WHEN 'S' THEN 'sequence ' ELSE 'table ' END \
                     || quote_ident(nspname) || '.' || quote_ident(relname) FROM dumped \
            WHERE CASE relkind WHEN 'S' THEN NOT has_sequence_privilege(oid, 'SELECT') \
                  ELSE NOT has_table_privilege(oid, 'SELECT') END \
           UNION ALL \
           SELECT 1, m.oid::text FROM pg_largeobject_metadata m \
            WHERE current_setting('lo_compat_privileges') = 'off' \
              AND NOT pg_has_role(m.lomowner, 'USAGE') \
              AND NOT EXISTS (SELECT FROM aclexplode(m.lomacl) a \
                               WHERE a.privilege_type = 'SELECT' \
                                 AND (a.grantee = 0 OR pg_has_role(a.grantee, 'USAGE'))) \
           UNION ALL \
           SELECT 2, quote_ident(nspname) || '.' || quote_ident(relname) FROM dumped \
            WHERE relkind = 'r' AND has_table_privilege(oid, 'SELECT') \
              AND has_schema_privilege(schema, 'USAGE') AND row_security_active(oid)), \
         counted AS ( \
           SELECT kind, name, count(*) OVER (PARTITION BY kind) AS total, \
                  row_number() OVER (PARTITION BY kind ORDER BY name) AS number FROM found) \
         SELECT kind, {}, total FROM counted WHERE number <= {NAMED} ORDER BY kind, number",
        as_bytes(client, "name")
    );
    let mut found: Vec<Unreadable> = Vec::new();
    for row in client.query(WHAT, &sql, &[]).await? {
        let kind = match value::<i32>(client, WHAT, &row, 0)? {
            0 => Kind::Relation,
            1 => Kind::LargeObject,
            _ => Kind::Policy,
        };
        let name = required(client, WHAT, &row, 1)?;
        let all: i64 = value(client, WHAT, &row, 2)?;
        match found.last_mut().filter(|last| last.kind == kind) {
            Some(last) => last.first.push(name),
            None => found.push(Unreadable {
                kind,
                first: vec![name],
                all: all.unsigned_abs(),
            }),
        }
    }
    let role = identifier(client.conninfo().user());
    Ok(found.iter().map(|one| one.sentence(&role)).collect())
}

impl Unreadable {
    fn sentence(&self, role: &str) -> String {
        let names = self.first.join(", ");
        let more = match self.all.saturating_sub(self.first.len() as u64) {
            0 => String::new(),
            more => format!(" and {} more", count(more)),
        };
        match self.kind {
            Kind::Relation => format!(
                "role {role} may not read {names}{more}: as a superuser, run GRANT pg_read_all_data TO \
                 {role}"
            ),
            Kind::LargeObject => format!(
                "role {role} may not read large object {names}{more}: for each, run GRANT SELECT ON LARGE \
                 OBJECT {} TO {role}, or let a superuser make the backup",
                self.first.first().map_or("", String::as_str)
            ),
            Kind::Policy => format!(
                "row-level security hides rows of {names}{more} from role {role}: as a superuser, run \
                 ALTER ROLE {role} BYPASSRLS"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_way_out_that_reaches_it() {
        let sentence = |kind, all| {
            let first = vec!["one".to_owned(), "two".to_owned()];
            Unreadable { kind, first, all }.sentence("\"keeper\"")
        };
        assert_eq!(
            sentence(Kind::Relation, 2),
            "role \"keeper\" may not read one, two: as a superuser, run GRANT pg_read_all_data TO \
             \"keeper\""
        );
        assert_eq!(
            sentence(Kind::LargeObject, 1002),
            "role \"keeper\" may not read large object one, two and 1,000 more: for each, run GRANT \
             SELECT ON LARGE OBJECT one TO \"keeper\", or let a superuser make the backup"
        );
        assert!(sentence(Kind::Policy, 3).ends_with(
            " and 1 more from role \"keeper\": as a superuser, \
             run ALTER ROLE \"keeper\" BYPASSRLS"
        ));
    }
}
