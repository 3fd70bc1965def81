//! The import rule of the design: imports go downward only, siblings do not know one another.
//!
//! Every path in `src` is looked at, wherever it stands: `use` trees, expressions, types, patterns, attributes and the
//! tokens of macros; `crate::…`, `leqi_gateway::…`, `$crate::…` and `super::…` that climbs out of its module.

use std::{fs, path::Path};

use syn::visit::{self, Visit};

/// The layers from the ground up. A module may use what stands in a layer below its own.
const LAYERS: [&[&str]; 8] = [
    &["clock", "domain", "shutdown", "telemetry"],
    &["leqi", "listener", "store", "tls", "upstream"],
    &["confirmation", "quota", "request_log", "unit"],
    &["api", "console", "jobs", "ops", "proxy", "simulator"],
    &["config"],
    &["app"],
    &["cli"],
    &["main"],
];

/// Who may use a sibling after all: a module path, and the sibling.
const EXCEPTIONS: [(&str, &str); 5] = [
    ("clock", "domain"),
    ("confirmation", "quota"),
    ("leqi::client", "upstream"),
    ("listener", "tls"),
    ("upstream", "tls"),
];

/// Calls that read the machine's date; only `clock` makes them.
const WALL_CLOCK: [&str; 5] =
    ["SystemTime::now", "Timestamp::now", "Zoned::now", "SystemTime::elapsed", "Utc::now"];

/// What a module uses: absolute paths of this crate, and every path as it is written.
struct Uses {
    module: Vec<String>,
    inside: Vec<Vec<String>>,
    written: Vec<Vec<String>>,
    literals: Vec<String>,
}

impl Uses {
    fn of(file: &str, source: &str) -> Result<Self, String> {
        let parsed = syn::parse_file(source).map_err(|error| format!("{file}: {error}"))?;
        let mut uses =
            Self { module: module_of(file), inside: Vec::new(), written: Vec::new(), literals: Vec::new() };
        uses.visit_file(&parsed);
        Ok(uses)
    }

    fn note(&mut self, path: Vec<String>) {
        if let Some(absolute) = absolute(&self.module, &path) {
            self.inside.push(absolute);
        }
        self.written.push(path);
    }

    fn note_tree(&mut self, prefix: &[String], tree: &syn::UseTree) {
        let with = |name: String| [prefix, &[name]].concat();
        match tree {
            syn::UseTree::Path(path) => self.note_tree(&with(path.ident.to_string()), &path.tree),
            syn::UseTree::Name(name) if name.ident == "self" => self.note(prefix.to_vec()),
            syn::UseTree::Name(name) => self.note(with(name.ident.to_string())),
            syn::UseTree::Rename(rename) if rename.ident == "self" => self.note(prefix.to_vec()),
            syn::UseTree::Rename(rename) => self.note(with(rename.ident.to_string())),
            syn::UseTree::Glob(_) => self.note(prefix.to_vec()),
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.note_tree(prefix, item)),
        }
    }

    /// Macros are not parsed; their paths are read off the tokens.
    fn note_tokens(&mut self, tokens: &str) {
        let spaced = tokens.replace("::", " :: ").replace('$', " ");
        let words = spaced
            .split(|c: char| c.is_whitespace() || "(){}[]<>,;&=!|.".contains(c))
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>();
        let mut at = 0;
        while at < words.len() {
            let mut path = vec![words[at].to_owned()];
            while words.get(at + 1) == Some(&"::") && at + 2 < words.len() {
                path.push(words[at + 2].to_owned());
                at += 2;
            }
            if path.len() > 1 {
                self.note(path);
            }
            at += 1;
        }
    }
}

impl<'ast> Visit<'ast> for Uses {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.note_tree(&[], &item.tree);
    }

    fn visit_lit_str(&mut self, literal: &'ast syn::LitStr) {
        self.literals.push(literal.value());
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        visit::visit_macro(self, call);
        let tokens = call.tokens.to_string();
        self.note_tokens(&tokens);
        self.literals.push(tokens);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.note(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    // `pub(crate)` and `pub(in …)` are no imports
    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}
}

/// `store/sqlite/mod.rs` is the module `store::sqlite`.
fn module_of(file: &str) -> Vec<String> {
    let stem = file.trim_end_matches(".rs").trim_end_matches("/mod");
    stem.split('/').map(str::to_owned).collect()
}

/// The path from the crate's root, when it names something of this crate by `crate`, the crate's name, `self` or `super`.
fn absolute(module: &[String], path: &[String]) -> Option<Vec<String>> {
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" | "leqi_gateway" => Some(rest.to_vec()),
        "self" => Some([module, rest].concat()),
        "super" => {
            let climbs = path.iter().take_while(|segment| *segment == "super").count();
            let kept = module.len().checked_sub(climbs)?;
            Some([&module[..kept], &path[climbs..]].concat())
        }
        _ => None,
    }
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Every rule over one file of `src` (`proxy/handler.rs`); one sentence for each violation.
fn violations(file: &str, source: &str) -> Vec<String> {
    let uses = match Uses::of(file, source) {
        Ok(uses) => uses,
        Err(error) => return vec![error],
    };
    let mut found = Vec::new();
    let Some(own) = layer(&uses.module[0]) else {
        return vec![format!("{file}: the module stands in no layer of tests/architecture.rs")];
    };
    for path in &uses.inside {
        found.extend(import_violation(&uses.module, own, path).map(|why| format!("{file}: {why}")));
    }
    let path_text = uses.module.join("::");
    for path in &uses.written {
        let text = path.join("::");
        if path[0] == "sqlx" && uses.module[0] != "store" {
            found.push(format!("{file}: {text}: only `store` speaks SQL"));
        }
        if WALL_CLOCK.iter().any(|call| text == *call || text.ends_with(&format!("::{call}")))
            && path_text != "clock"
        {
            found.push(format!("{file}: {text}: only `clock` reads the wall clock"));
        }
    }
    for literal in &uses.literals {
        if ["CURRENT_TIMESTAMP", "datetime('now", "strftime('%s'"].iter().any(|call| literal.contains(call)) {
            found.push(format!("{file}: {literal:?}: time is passed in, the database does not read it"));
        }
    }
    found
}

fn import_violation(module: &[String], own: usize, path: &[String]) -> Option<String> {
    let text = format!("crate::{}", path.join("::"));
    let Some(target) = path.first() else {
        return Some("the crate's root is imported whole, which hides what is used".to_owned());
    };
    let from = module.join("::");
    if from.starts_with("quota::rules") && target == "store" && path.get(1).is_none_or(|m| m != "ledger") {
        return Some(format!("{text}: the rules know the rows of store::ledger and no SQL"));
    }
    if *target == module[0] {
        return None;
    }
    let Some(other) = layer(target) else {
        return Some(format!("{text}: no module of this name stands in a layer"));
    };
    let excepted = EXCEPTIONS
        .iter()
        .any(|(who, whom)| whom == target && (from == *who || from.starts_with(&format!("{who}::"))));
    if other < own || excepted {
        return None;
    }
    let how = if other == own { "sideways" } else { "upward" };
    Some(format!("{text}: `{from}` imports {how}"))
}

#[test]
fn imports_go_downward_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = 0;
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(&root).sort_by_file_name() {
        let entry = entry.unwrap();
        let name = entry.path().strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
        if name.ends_with(".rs") && name != "lib.rs" {
            files += 1;
            found.extend(violations(&name, &fs::read_to_string(entry.path()).unwrap()));
        }
    }
    assert!(files > 20, "only {files} files were found under {}", root.display());
    assert!(found.is_empty(), "{} violations:\n{}", found.len(), found.join("\n"));
}

#[test]
fn migrations_do_not_read_the_databases_clock() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    for entry in walkdir::WalkDir::new(&root).into_iter().filter_map(Result::ok) {
        if entry.path().extension().is_some_and(|end| end == "sql") {
            let text = fs::read_to_string(entry.path()).unwrap().to_uppercase();
            let reads =
                ["CURRENT_TIMESTAMP", "DATETIME('NOW", "NOW()"].iter().any(|call| text.contains(call));
            assert!(!reads, "{}: time is passed in", entry.path().display());
        }
    }
}

#[test]
fn every_kind_of_violation_is_found() {
    for (file, source, expected) in [
        ("quota/mod.rs", "use crate::proxy::Thing;", "upward"),
        ("quota/mod.rs", "use crate::{domain::Money, api::{self, x}};", "upward"),
        ("quota/mod.rs", "use crate::unit::Registry as R;", "sideways"),
        ("quota/deep/file.rs", "fn f() { crate::app::run(); }", "upward"),
        ("quota/deep/file.rs", "struct S { field: Vec<leqi_gateway::config::Config> }", "upward"),
        ("quota/deep/file.rs", "use super::super::super::proxy::handler;", "upward"),
        ("quota/deep.rs", "mod tests { fn f(_: super::super::super::unit::U) {} }", "sideways"),
        ("quota/mod.rs", "fn f() { println!(\"{}\", crate::ops::X); }", "upward"),
        ("quota/mod.rs", "macro_rules! m { () => { $crate::cli::X } }", "upward"),
        ("quota/mod.rs", "use super::*;", "imported whole"),
        ("quota/mod.rs", "use crate as root;", "imported whole"),
        ("quota/mod.rs", "use crate::helpers::X;", "no module of this name"),
        ("quota/rules.rs", "use crate::store::sqlite::Writer;", "no SQL"),
        ("quota/mod.rs", "async fn f() { sqlx::query(\"select 1\"); }", "only `store` speaks SQL"),
        ("quota/mod.rs", "fn f() { std::time::SystemTime::now(); }", "wall clock"),
        ("quota/mod.rs", "fn f() { vec![jiff::Timestamp::now()]; }", "wall clock"),
        ("store/mod.rs", "const Q: &str = \"select datetime('now')\";", "time is passed in"),
        ("leqi/body.rs", "use crate::upstream::Upstream;", "sideways"),
        ("domain/mod.rs", "use crate::clock::Clock;", "sideways"),
        ("helpers/mod.rs", "fn f() {}", "stands in no layer"),
    ] {
        let found = violations(file, source);
        assert!(found.iter().any(|why| why.contains(expected)), "{file}: {source}\nfound: {found:?}");
    }
}

#[test]
fn what_the_design_allows_is_no_violation() {
    for (file, source) in [
        ("main.rs", "fn main() { leqi_gateway::cli::run(); }"),
        ("leqi/client.rs", "use crate::upstream::Upstream;"),
        ("leqi/client/call.rs", "use super::super::envelope::X; use crate::upstream::Upstream;"),
        ("upstream/mod.rs", "use crate::{domain::Money, tls::Verify};"),
        ("confirmation/mod.rs", "pub(crate) fn f(_: crate::quota::Ledger) { self::g(); }"),
        ("quota/rules.rs", "use crate::store::ledger::Entry;"),
        ("store/sqlite/mod.rs", "fn f() { sqlx::query!(\"select 1\"); super::ledger::g(); }"),
        ("clock.rs", "fn f() { jiff::Timestamp::now(); }"),
        ("config/mod.rs", "use crate::{proxy, simulator::X, ops};"),
    ] {
        assert_eq!(violations(file, source), Vec::<String>::new(), "{file}: {source}");
    }
}
