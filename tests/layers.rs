//! The layers of `docs/architecture.md`, held against every path in the code: a module imports from layers
//! below its own, and sideways only what that page lists. Inside a module, its parts know each other in one
//! direction.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{ItemMacro, ItemMod, ItemUse, Macro, UseTree};

/// An import from one top-level module into another, and the file that has it.
type Imports = BTreeMap<(String, String), PathBuf>;

/// The names of a module or an item, from the root of the crate.
type Names = Vec<String>;

#[test]
fn a_module_imports_from_below_and_sideways_only_what_the_page_lists() {
    let page = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let layers = layers_of(&page);
    let sideways = sideways_of(&page);
    let imports = imports_of(&sources(), &layers);
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

#[test]
fn the_parts_of_a_module_know_each_other_in_one_direction() {
    let sources = sources();
    assert!(sources.len() > 300, "only {} files", sources.len());
    let found = circles(&sources);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_circle_is_found_also_through_a_re_export() {
    let source = |module: &str, text: &str| {
        let module: Names = module.split("::").map(str::to_owned).collect();
        let mut paths = Paths::of(module.clone());
        paths.visit_file(&syn::parse_file(text).unwrap());
        Source {
            file: PathBuf::new(),
            module,
            paths: paths.found,
            aliases: paths.aliases,
        }
    };
    let with = |second: &str| {
        circles(&[
            source("a", "mod one; mod two; pub use two::Thing as Known;"),
            source("a::one", "use super::Known; pub struct Own;"),
            source("a::two", second),
        ])
    };
    let circle = ["a: one → two → one", "a: two → one → two"];
    assert_eq!(with("use crate::a::one::Own; pub struct Thing;"), circle);
    assert_eq!(with("fn f() { super::one::g() }"), circle);
    assert!(with("pub struct Thing; mod tests { use crate::a::one::Own; }").is_empty());
}

/// What would be found in a file of this module: the top-level modules that its paths lead to.
fn found_in(module: &[&str], source: &str) -> Vec<String> {
    let mut paths = Paths::of(module.iter().map(|&name| name.to_owned()).collect());
    paths.visit_file(&syn::parse_file(source).unwrap());
    let tops: BTreeSet<String> = paths.found.iter().map(|(_, to)| to[0].clone()).collect();
    let known = ["a", "b", "c", "d"];
    tops.into_iter()
        .filter(|top| known.contains(&top.as_str()))
        .collect()
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

fn imports_of(sources: &[Source], layers: &BTreeMap<String, u32>) -> Imports {
    let mut imports = Imports::new();
    for source in sources {
        for (from, to) in &source.paths {
            let (Some(own), Some(other)) = (from.first(), to.first()) else {
                continue;
            };
            // What else stands in the crate's root are macros and the runtime.
            if own != other && layers.contains_key(other) {
                imports
                    .entry((own.clone(), other.clone()))
                    .or_insert_with(|| source.file.clone());
            }
        }
    }
    imports
}

/// A file of the code.
struct Source {
    file: PathBuf,
    module: Names,
    /// Each path, from the root of the crate, with the module that has it.
    paths: BTreeSet<(Names, Names)>,
    /// What its `use` declarations call the things that they name.
    aliases: BTreeMap<String, Names>,
}

/// All files of the code but `main.rs` and `lib.rs`.
fn sources() -> Vec<Source> {
    let root = root().join("src");
    let mut sources = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let file = entry.unwrap().path();
            if file.is_dir() {
                directories.push(file);
            } else if file.extension().is_some_and(|end| end == "rs") {
                let module = module_of(file.strip_prefix(&root).unwrap());
                if module.is_empty() {
                    continue;
                }
                let text = fs::read_to_string(&file).unwrap();
                let parsed = syn::parse_file(&text);
                let parsed = parsed.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
                let mut paths = Paths::of(module.clone());
                paths.visit_file(&parsed);
                let Paths { found, aliases, .. } = paths;
                sources.push(Source {
                    file,
                    module,
                    paths: found,
                    aliases,
                });
            }
        }
    }
    sources
}

/// Where the parts of each module know each other in a circle, tests aside. A path through a re-export
/// leads to what is re-exported.
fn circles(sources: &[Source]) -> Vec<String> {
    let mut known: BTreeMap<Names, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    let modules: BTreeMap<&Names, &Source> = sources.iter().map(|one| (&one.module, one)).collect();
    for (from, to) in sources.iter().flat_map(|source| &source.paths) {
        if from.iter().any(|name| name == "tests") {
            continue;
        }
        let to = resolved(&modules, to.clone());
        let alike = from.iter().zip(&to).take_while(|(one, other)| one == other);
        let depth = alike.count();
        let is_part =
            |names: &Names| names.len() > depth && modules.contains_key(&names[..=depth].to_vec());
        if is_part(from) && is_part(&to) {
            let parts = known.entry(from[..depth].to_vec()).or_default();
            let others = parts.entry(from[depth].clone()).or_default();
            others.insert(to[depth].clone());
        }
    }
    let mut found = Vec::new();
    for (module, parts) in &known {
        for part in parts.keys() {
            if let Some(circle) = way_back(parts, part) {
                found.push(format!("{}: {}", module.join("::"), circle.join(" → ")));
            }
        }
    }
    found
}

/// Follows re-exports to the module that has an item; a module's own path stays as it is.
fn resolved(modules: &BTreeMap<&Names, &Source>, mut path: Names) -> Names {
    'again: for _ in 0..8 {
        if modules.contains_key(&path) {
            break;
        }
        for length in (1..path.len()).rev() {
            let Some(source) = modules.get(&path[..length].to_vec()) else {
                continue;
            };
            let Some(target) = source.aliases.get(&path[length]) else {
                break;
            };
            let next = [target, &path[length + 1..]].concat();
            if next == path {
                break;
            }
            path = next;
            continue 'again;
        }
        break;
    }
    path
}

/// A way from a part over others back to it.
fn way_back(parts: &BTreeMap<String, BTreeSet<String>>, start: &str) -> Option<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut ways = vec![vec![start.to_owned()]];
    while let Some(way) = ways.pop() {
        for next in way
            .last()
            .and_then(|last| parts.get(last))
            .into_iter()
            .flatten()
        {
            let with_it = [&way[..], std::slice::from_ref(next)].concat();
            if next == start {
                return Some(with_it);
            }
            if seen.insert(next.clone()) {
                ways.push(with_it);
            }
        }
    }
    None
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

/// Collects the paths of a file that lead into the crate.
struct Paths {
    /// The module that is looked at.
    module: Names,
    found: BTreeSet<(Names, Names)>,
    aliases: BTreeMap<String, Names>,
    /// How many inline modules the look is in.
    depth: usize,
}

impl Paths {
    fn of(module: Names) -> Self {
        Self {
            module,
            found: BTreeSet::new(),
            aliases: BTreeMap::new(),
            depth: 0,
        }
    }

    /// Where a path leads to, from the root of the crate; none if it does not begin with `crate`, `self`
    /// or `super`.
    fn absolute(&self, path: &[String]) -> Option<Names> {
        let mut at = match path.first()?.as_str() {
            "crate" => Names::new(),
            "self" | "super" => self.module.clone(),
            _ => return None,
        };
        let mut names = path.iter().peekable();
        while let Some(name) =
            names.next_if(|name| matches!(name.as_str(), "crate" | "self" | "super"))
        {
            if name == "super" {
                at.pop();
            }
        }
        at.extend(names.cloned());
        if at.last().is_some_and(|last| last == "self") {
            at.pop();
        }
        (!at.is_empty()).then_some(at)
    }

    /// Takes a path in.
    fn take(&mut self, path: &[String]) {
        if let Some(to) = self.absolute(path) {
            self.found.insert((self.module.clone(), to));
        }
    }

    /// Takes a name in that a `use` declares. One without `crate`, `self` or `super` may be of a part of
    /// this module.
    fn take_use(&mut self, path: &[String], name: &str) {
        self.take(path);
        let to = self
            .absolute(path)
            .unwrap_or_else(|| [&self.module, path].concat());
        if self.depth == 0 {
            self.aliases.insert(name.to_owned(), to);
        }
    }

    fn take_tree(&mut self, tree: &UseTree, before: &[String]) {
        let with = |name: String| [before, &[name]].concat();
        match tree {
            UseTree::Path(path) => self.take_tree(&path.tree, &with(path.ident.to_string())),
            UseTree::Name(name) => {
                let path = with(name.ident.to_string());
                let own = if name.ident == "self" {
                    before.last()
                } else {
                    path.last()
                };
                let own = own.cloned().unwrap_or_default();
                self.take_use(&path, &own);
            }
            UseTree::Rename(name) => {
                self.take_use(&with(name.ident.to_string()), &name.rename.to_string());
            }
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

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.take_tree(&item.tree, &[]);
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if item.content.is_some() {
            self.module.push(item.ident.to_string());
            self.depth += 1;
            visit::visit_item_mod(self, item);
            self.depth -= 1;
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
