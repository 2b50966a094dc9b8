//! The layers of `docs/architecture.md`, held against every path in the code: a module imports from layers
//! below its own, and sideways only what that page lists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{ItemMacro, ItemMod, ItemUse, Macro, UseTree};

/// An import from one top-level module into another, and the file that has it.
type Imports = BTreeMap<(String, String), PathBuf>;

#[test]
fn a_module_imports_from_below_and_sideways_only_what_the_page_lists() {
    let page = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let layers = layers_of(&page);
    let sideways = sideways_of(&page);
    let imports = imports_of(&root().join("src"), &layers);
    assert!(imports.len() > 50, "only {} imports", imports.len());

    let mut wrong = Vec::new();
    for ((from, to), file) in &imports {
        let is_listed = sideways.contains(&(from.clone(), to.clone()));
        if layers[to] > layers[from] || (layers[to] == layers[from] && !is_listed) {
            let (file, above, below) = (file.display(), layers[from], layers[to]);
            wrong.push(format!(
                "{file}: {from} (layer {above}) → {to} (layer {below})"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    for listed in &sideways {
        assert!(imports.contains_key(listed), "nothing imports {listed:?}");
        assert_eq!(layers[&listed.0], layers[&listed.1], "{listed:?}");
    }
}

#[test]
fn the_table_and_the_crate_have_the_same_modules_in_the_same_layers() {
    let page = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let crate_root = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let mut declared = BTreeMap::new();
    let mut layer = None;
    for line in crate_root.lines() {
        if let Some(doc) = line.strip_prefix("/// ") {
            layer = layer.or_else(|| doc.split(':').next()?.parse().ok());
        } else if let Some(name) = line.trim_start_matches("pub ").strip_prefix("mod ") {
            let layer: u32 = layer.take().unwrap_or_else(|| panic!("{line}: no layer"));
            declared.insert(name.trim_end_matches(';').to_owned(), layer);
        }
    }
    assert_eq!(layers_of(&page), declared);
}

/// What would be found in a file of this module.
fn found_in(module: &[&str], source: &str) -> Vec<String> {
    let layers = ["a", "b", "c", "d"].map(|name| (name.to_owned(), 0)).into();
    let mut found = BTreeSet::new();
    let module = module.iter().map(|&name| name.to_owned()).collect();
    Paths {
        module,
        layers: &layers,
        found: &mut found,
    }
    .visit_file(&syn::parse_file(source).unwrap());
    found.into_iter().collect()
}

#[test]
fn a_path_is_found_however_it_is_written() {
    for (source, found) in [
        ("use crate::b::X;", &["b"][..]),
        ("use crate::{b::X, c, d::{Y, Z}};", &["b", "c", "d"]),
        ("use super::X;", &["a"]),
        ("use super::super::b::X;", &["b"]),
        ("use super::super::{b, c::X};", &["b", "c"]),
        ("mod tests { use super::super::super::d; }", &["d"]),
        (
            "fn f() -> crate::b::X { super::super::c::g() }",
            &["b", "c"],
        ),
        ("fn f() { g(|_: &crate::d::X| crate::c::Y) }", &["c", "d"]),
        ("fn f() { println!(\"{}\", crate::b::X); }", &["b"]),
        ("fn f() { crate::emit!(x); crate::b::emit!(x); }", &["b"]),
        (
            "macro_rules! m { () => { $crate::b::X; crate::c::X }; }",
            &[],
        ),
        ("use std::b; use self::c::X;", &["a"]),
        ("pub(in crate::a) fn f() {}", &["a"]),
    ] {
        assert_eq!(found_in(&["a", "inner"], source), found, "{source}");
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The modules of the page's table, with their layers.
fn layers_of(page: &str) -> BTreeMap<String, u32> {
    let mut layers = BTreeMap::new();
    for line in page.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, layer, module, ..] = cells[..] else {
            continue;
        };
        let Some(path) = module.strip_prefix("`src/") else {
            continue;
        };
        if let Ok(layer) = layer.parse() {
            let name = path.trim_end_matches('`').trim_end_matches('/');
            layers.insert(name.trim_end_matches(".rs").to_owned(), layer);
        }
    }
    layers
}

/// The imports that the page's list allows between modules of one layer.
fn sideways_of(page: &str) -> BTreeSet<(String, String)> {
    let list = page.lines().filter_map(|line| line.strip_prefix("- `"));
    list.filter_map(|line| {
        let (from, rest) = line.split_once("` → `")?;
        Some((from.to_owned(), rest.split_once('`')?.0.to_owned()))
    })
    .collect()
}

fn imports_of(source: &Path, layers: &BTreeMap<String, u32>) -> Imports {
    let mut imports = Imports::new();
    let mut directories = vec![source.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let module = module_of(path.strip_prefix(source).unwrap());
                let Some(own) = module.first().cloned() else {
                    continue;
                };
                let text = fs::read_to_string(&path).unwrap();
                let parsed = syn::parse_file(&text);
                let parsed = parsed.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                let mut found = BTreeSet::new();
                Paths {
                    module,
                    layers,
                    found: &mut found,
                }
                .visit_file(&parsed);
                found.remove(&own);
                for other in found {
                    imports
                        .entry((own.clone(), other))
                        .or_insert_with(|| path.clone());
                }
            }
        }
    }
    imports
}

/// The module that a file is; none of `main.rs` and `lib.rs`.
fn module_of(path: &Path) -> Vec<String> {
    let names = path.with_extension("");
    let mut module: Vec<String> = names
        .iter()
        .map(|name| name.to_str().unwrap().to_owned())
        .collect();
    let is_named_by_its_directory = module.last().is_some_and(|name| name == "mod");
    let is_root = module.len() == 1 && (module[0] == "main" || module[0] == "lib");
    if is_named_by_its_directory || is_root {
        module.pop();
    }
    module
}

/// Collects the top-level modules that the paths in a file lead to.
struct Paths<'a> {
    /// The module that is looked at.
    module: Vec<String>,
    layers: &'a BTreeMap<String, u32>,
    found: &'a mut BTreeSet<String>,
}

impl Paths<'_> {
    /// Takes a path in: where it leads to if it begins with `crate`, `self` or `super`.
    fn take(&mut self, path: &[String]) {
        let mut at = self.module.clone();
        let mut names = path.iter();
        match names.as_slice().first().map(String::as_str) {
            Some("crate") => at.clear(),
            Some("self" | "super") => {}
            _ => return,
        }
        let top = loop {
            match names.next().map(String::as_str) {
                Some("crate" | "self") => {}
                Some("super") => drop(at.pop()),
                next => break at.first().cloned().or(next.map(str::to_owned)),
            }
        };
        // What else stands in the crate's root are macros and the runtime.
        self.found
            .extend(top.filter(|top| self.layers.contains_key(top)));
    }

    fn take_tree(&mut self, tree: &UseTree, before: &[String]) {
        let with = |name: String| [before, &[name]].concat();
        match tree {
            UseTree::Path(path) => self.take_tree(&path.tree, &with(path.ident.to_string())),
            UseTree::Name(name) => self.take(&with(name.ident.to_string())),
            UseTree::Rename(name) => self.take(&with(name.ident.to_string())),
            UseTree::Glob(_) => self.take(before),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.take_tree(tree, before);
                }
            }
        }
    }

    /// The paths in what a macro is given.
    fn take_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Ident(name) => {
                    if colons != 2 {
                        self.take(&std::mem::take(&mut path));
                    }
                    path.push(name.to_string());
                    colons = 0;
                }
                other => {
                    self.take(&std::mem::take(&mut path));
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.take_tokens(group.stream());
                    }
                }
            }
        }
        self.take(&path);
    }
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.take_tree(&item.tree, &[]);
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if item.content.is_some() {
            self.module.push(item.ident.to_string());
            visit::visit_item_mod(self, item);
            self.module.pop();
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        self.take(&names);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.visit_path(&call.path);
        self.take_tokens(call.tokens.clone());
    }

    /// Where the text of a macro is expanded nobody knows here.
    fn visit_item_macro(&mut self, item: &'ast ItemMacro) {
        if item.ident.is_none() {
            visit::visit_item_macro(self, item);
        }
    }
}
