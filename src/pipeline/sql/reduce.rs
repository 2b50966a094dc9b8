//! Definitions without what a server refuses in them: a table without its checks, a constraint that is not
//! validated. Pure.

use memchr::memmem;

use super::{after, elements_of, identifier, qualified, split, starts_with_any};

/// A part of a table's definition that computes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `GENERATED ALWAYS AS (…) STORED`
    Generated,
    /// `CONSTRAINT … CHECK (…)`
    Check,
    /// `DEFAULT …`
    Default,
}

/// A table's definition without some of its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reduced {
    /// The statement that makes it.
    pub text: Vec<u8>,
    /// What was left out.
    pub left_out: Vec<LeftOut>,
}

/// A part that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Which kind of part.
    pub part: Part,
    /// The name of the column or the constraint, as written.
    pub name: Vec<u8>,
    /// The statement that brings it back.
    pub statement: Vec<u8>,
}

/// The definition of a table without these parts; none if it is none, or has none of them.
pub fn reduced(text: &[u8], parts: &[Part]) -> Option<Reduced> {
    let heads = [b"CREATE TABLE ".as_slice(), b"CREATE UNLOGGED TABLE "];
    let head = heads.iter().find(|head| text.starts_with(head))?;
    let (table, _) = qualified(text, head.len())?;
    let (list, elements) = elements_of(text)?;
    let mut left_out = Vec::new();
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for element in elements {
        let mut element = element.to_vec();
        let mut is_kept = true;
        for part in parts {
            let found = match part {
                Part::Check => check(&element).map(|name| (name, None)),
                Part::Generated => generated(&element),
                Part::Default => default(&element),
            };
            let Some((name, rest)) = found else { continue };
            let was = element.trim_ascii();
            let statement = match part {
                Part::Check => [b"ALTER TABLE ", table, b" ADD ", was, b";"].concat(),
                Part::Generated => {
                    let drop = [b"ALTER TABLE ", table, b" DROP COLUMN ", &name].concat();
                    [drop.as_slice(), b", ADD COLUMN ", was, b";"].concat()
                }
                Part::Default => {
                    let expression = default_expression(&element).unwrap_or_default();
                    let column = [b"ALTER TABLE ONLY ", table, b" ALTER COLUMN ", &name].concat();
                    [column.as_slice(), b" SET DEFAULT ", expression, b";"].concat()
                }
            };
            left_out.push(LeftOut {
                part: *part,
                name,
                statement,
            });
            match rest {
                Some(rest) => element = rest,
                None => is_kept = false,
            }
        }
        if is_kept {
            kept.push(element);
        }
    }
    if left_out.is_empty() {
        return None;
    }
    let mut list_text = kept.join(&b","[..]);
    if !list_text.ends_with(b"\n") && text[..list.end].ends_with(b"\n") {
        list_text.push(b'\n');
    }
    Some(Reduced {
        text: [&text[..list.start], &list_text, &text[list.end..]].concat(),
        left_out,
    })
}

/// A part of an element: the name that it belongs to, and the element without it, if anything is left.
type Found = (Vec<u8>, Option<Vec<u8>>);

/// The name of a constraint that checks something.
fn check(element: &[u8]) -> Option<Vec<u8>> {
    let element = element.trim_ascii();
    let start = after(element, 0, b"CONSTRAINT ")?;
    let (_, end) = identifier(element, start)?;
    after(element, end, b" CHECK ")?;
    Some(element[start..end].to_vec())
}

/// A column that is computed, and the same as an ordinary one.
fn generated(element: &[u8]) -> Option<Found> {
    let start = position(element, b" GENERATED ALWAYS AS (")?;
    let open = start + b" GENERATED ALWAYS AS (".len();
    let mut inside = open..open;
    split(element, &mut inside, |rest| rest.starts_with(b")"))?;
    let end = inside.end + 1;
    let end = after(element, end, b" STORED").unwrap_or(end);
    Some((
        column(element)?,
        Some([&element[..start], &element[end..]].concat()),
    ))
}

/// A column with a default, and the same without.
fn default(element: &[u8]) -> Option<Found> {
    let start = position(element, b" DEFAULT ")?;
    let expression = default_expression(element)?;
    let end = start + b" DEFAULT ".len() + expression.len();
    Some((
        column(element)?,
        Some([&element[..start], &element[end..]].concat()),
    ))
}

/// The expression of a column's default: up to what `pg_dump` writes behind it.
fn default_expression(element: &[u8]) -> Option<&[u8]> {
    let start = position(element, b" DEFAULT ")? + b" DEFAULT ".len();
    let rest = &element[start..];
    let ends = [b" NOT NULL".as_slice(), b" CONSTRAINT "];
    let end = ends.iter().filter_map(|end| position(rest, end)).min();
    Some(rest[..end.unwrap_or(rest.len())].trim_ascii_end())
}

/// The name of a column, as written.
fn column(element: &[u8]) -> Option<Vec<u8>> {
    let element = element.trim_ascii();
    if starts_with_any(element, &[b"CONSTRAINT ", b"LIKE "]) {
        return None;
    }
    let (_, end) = identifier(element, 0)?;
    Some(element[..end].to_vec())
}

/// Where a text stands outside of all quotes and parentheses.
fn position(text: &[u8], wanted: &[u8]) -> Option<usize> {
    memmem::find(text, wanted)?;
    let mut range = 0..0;
    split(text, &mut range, |rest| rest.starts_with(wanted))?;
    Some(range.end)
}

/// The same constraint, not validated: for rows that come it holds, those that are there may break it. None
/// where the server knows no such thing.
pub fn not_valid(text: &[u8]) -> Option<Vec<u8>> {
    let body = text.strip_suffix(b";")?;
    if body.ends_with(b" NOT VALID") || !starts_with_any(text, &[b"ALTER TABLE ", b"ALTER DOMAIN "])
    {
        return None;
    }
    let at = position(body, b"ADD CONSTRAINT ")? + b"ADD CONSTRAINT ".len();
    let (_, end) = identifier(body, at)?;
    let can = [b" FOREIGN KEY ".as_slice(), b" CHECK ", b" NOT NULL "];
    starts_with_any(&body[end..], &can).then(|| [body, b" NOT VALID;"].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "CREATE TABLE public.\"a b\" (\n    i integer NOT NULL,\n    \
        t text GENERATED ALWAYS AS (public.enc(i, ')')) STORED,\n    \
        \"d,e\" text COLLATE \"C\" DEFAULT public.f('x NOT NULL'::text, 1) NOT NULL,\n    \
        CONSTRAINT \"k c\" CHECK (public.known(i)),\n    n integer\n)\nPARTITION BY LIST (i);";

    fn shown(parts: &[Part]) -> Option<(String, Vec<String>)> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let reduced = reduced(TABLE.as_bytes(), parts)?;
        let left_out = reduced.left_out.into_iter();
        let left_out = left_out.map(|one| format!("{}: {}", text(one.name), text(one.statement)));
        Some((text(reduced.text), left_out.collect()))
    }

    #[test]
    fn a_part_goes_with_nothing_else_and_there_is_a_statement_that_brings_it_back() {
        for (part, gone, instead, back) in [
            (
                Part::Generated,
                " GENERATED ALWAYS AS (public.enc(i, ')')) STORED",
                "",
                "t: ALTER TABLE public.\"a b\" DROP COLUMN t, ADD COLUMN t text GENERATED ALWAYS AS \
                 (public.enc(i, ')')) STORED;",
            ),
            (
                Part::Default,
                " DEFAULT public.f('x NOT NULL'::text, 1)",
                "",
                "\"d,e\": ALTER TABLE ONLY public.\"a b\" ALTER COLUMN \"d,e\" SET DEFAULT \
                 public.f('x NOT NULL'::text, 1);",
            ),
            (
                Part::Check,
                "\n    CONSTRAINT \"k c\" CHECK (public.known(i)),",
                "",
                "\"k c\": ALTER TABLE public.\"a b\" ADD CONSTRAINT \"k c\" CHECK (public.known(i));",
            ),
        ] {
            let (text, left_out) = shown(&[part]).unwrap();
            assert_eq!(text, TABLE.replace(gone, instead));
            assert_eq!(left_out, [back]);
        }
        let (text, left_out) = shown(&[Part::Generated, Part::Check, Part::Default]).unwrap();
        assert_eq!(left_out.len(), 3);
        assert!(!text[20..].contains("public."), "{text}");
        assert_eq!(shown(&[]), None);
        for other in [
            "CREATE TABLE public.t (\n    a integer\n);",
            "CREATE VIEW v AS SELECT 1;",
        ] {
            assert_eq!(
                reduced(other.as_bytes(), &[Part::Default, Part::Check]),
                None
            );
        }
    }

    #[test]
    fn the_last_element_leaves_no_comma() {
        let text = b"CREATE TABLE public.t (\n    a integer,\n    CONSTRAINT c CHECK ((a > 0))\n);";
        let found = reduced(text, &[Part::Check]).unwrap().text;
        assert_eq!(found, b"CREATE TABLE public.t (\n    a integer\n);");
    }

    #[test]
    fn a_constraint_is_not_validated_where_that_can_be() {
        for (text, expected) in [
            (
                "ALTER TABLE ONLY public.c\n    ADD CONSTRAINT f FOREIGN KEY (p) REFERENCES public.p(i);",
                true,
            ),
            (
                "ALTER TABLE public.c\n    ADD CONSTRAINT k CHECK ((a > 0));",
                true,
            ),
            (
                "ALTER DOMAIN public.d ADD CONSTRAINT k CHECK ((VALUE > 0));",
                true,
            ),
            (
                "ALTER TABLE public.c\n    ADD CONSTRAINT k CHECK ((a > 0)) NOT VALID;",
                false,
            ),
            (
                "ALTER TABLE ONLY public.c\n    ADD CONSTRAINT u UNIQUE (a);",
                false,
            ),
            ("CREATE INDEX i ON public.c USING btree (a);", false),
        ] {
            let found = not_valid(text.as_bytes()).map(|text| String::from_utf8(text).unwrap());
            let wanted = expected.then(|| text.replace(';', " NOT VALID;"));
            assert_eq!(found, wanted, "{text}");
        }
    }
}
