//! The documents that a store answers with, as a tree.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, Event};

use crate::destination::bucket::Fault;

/// No answer of a store is nested deeper.
const DEEPEST: usize = 16;

/// An element of a document. Attributes and namespaces are left out: no answer needs them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) name: String,
    text: String,
    pub(super) children: Vec<Element>,
}

impl Element {
    /// Reads a document; gives its root.
    ///
    /// # Errors
    /// When it is no XML.
    pub(super) fn parse(document: &[u8]) -> Result<Self, Fault> {
        read(document)
            .map_err(|why| Fault::damaged(format!("the store's answer cannot be read: {why}")))
    }

    fn named(name: &[u8]) -> Self {
        Self {
            name: String::from_utf8_lossy(name).into_owned(),
            ..Self::default()
        }
    }

    /// The first child of this name.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.all(name).next()
    }

    /// The children of this name.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The text of the first child of this name; none where that is empty.
    pub(super) fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name)
            .map(|child| child.text.trim())
            .filter(|text| !text.is_empty())
    }

    /// The number in the first child of this name.
    pub(super) fn number_of(&self, name: &str) -> Option<u64> {
        self.text_of(name)?.parse().ok()
    }
}

fn read(document: &[u8]) -> Result<Element, String> {
    let mut reader = Reader::from_reader(document);
    // The first one holds the root.
    let mut open = vec![Element::default()];
    loop {
        let event = reader.read_event().map_err(|error| error.to_string())?;
        if open.len() > DEEPEST {
            return Err("it is nested too deep".to_owned());
        }
        match event {
            Event::Start(start) => open.push(Element::named(start.local_name().as_ref())),
            Event::Empty(start) => {
                let element = Element::named(start.local_name().as_ref());
                last(&mut open)?.children.push(element);
            }
            Event::End(_) => {
                let element = open.pop().unwrap_or_default();
                last(&mut open)?.children.push(element);
            }
            Event::Text(text) => {
                let text = text.decode().map_err(|error| error.to_string())?;
                last(&mut open)?.text.push_str(&text);
            }
            Event::CData(text) => {
                let text = text.decode().map_err(|error| error.to_string())?;
                last(&mut open)?.text.push_str(&text);
            }
            Event::GeneralRef(reference) => {
                let text = resolved(&reference)?;
                last(&mut open)?.text.push_str(&text);
            }
            Event::Eof => break,
            _ => {}
        }
    }
    match &mut open[..] {
        [above] => above.children.pop().ok_or("it is empty".to_owned()),
        _ => Err("it ends too early".to_owned()),
    }
}

fn last(open: &mut [Element]) -> Result<&mut Element, String> {
    open.last_mut().ok_or_else(|| "it ends twice".to_owned())
}

/// The text that a reference like `&amp;` or `&#34;` stands for.
fn resolved(reference: &BytesRef<'_>) -> Result<String, String> {
    let character = reference.resolve_char_ref();
    if let Some(character) = character.map_err(|error| error.to_string())? {
        return Ok(character.into());
    }
    let name = reference.decode().map_err(|error| error.to_string())?;
    let text = resolve_predefined_entity(&name);
    text.map(str::to_owned)
        .ok_or_else(|| format!("unknown entity {name:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_with_its_references() {
        let root = Element::parse(
            b"<?xml version=\"1.0\"?>\n<R xmlns=\"http://x\"><A>1</A><B/><s:C xmlns:s=\"y\">&#34;a &amp;&lt;\
              <![CDATA[b>]]></s:C>\n<A> 2 </A></R>",
        )
        .unwrap();
        assert_eq!(root.name, "R");
        assert_eq!(root.number_of("A"), Some(1));
        let all: Vec<&str> = root.all("A").map(|one| one.text.trim()).collect();
        assert_eq!(all, ["1", "2"]);
        assert_eq!(root.text_of("B"), None);
        assert_eq!(root.text_of("C"), Some("\"a &<b>"));
        let order: Vec<&str> = root.children.iter().map(|one| &*one.name).collect();
        assert_eq!(order, ["A", "B", "C", "A"]);
    }

    #[test]
    fn what_is_no_document_is_refused() {
        let deep = "<a>".repeat(100_000);
        for document in [
            "",
            "text",
            "<a>",
            "<a></b>",
            "</a>",
            "<a>&x;</a>",
            "<a>&#xFFFFFFFF;</a>",
            &deep,
        ] {
            let error = Element::parse(document.as_bytes()).unwrap_err();
            assert!(error.to_string().contains("cannot be read"), "{error}");
        }
    }
}
