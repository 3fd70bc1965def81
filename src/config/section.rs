//! A section of the configuration being read: each key is asked for once with what it must be, and whatever was not
//! asked for is an error when the section is dropped, so that no misspelt key goes unnoticed.

use std::{collections::BTreeMap, mem};

use super::{
    problem::{Origin, Problems},
    tree::{self, Node, Spot},
};

/// How a value is read: the value, or why it is not one.
pub(super) type Parse<T> = fn(&Spot) -> Result<T, String>;

/// One table, with the keys that were asked for so far.
pub(super) struct Section<'p> {
    path: String,
    table: BTreeMap<String, Spot>,
    origin: Origin,
    problems: &'p Problems,
    known: Vec<&'static str>,
    places: BTreeMap<&'static str, Origin>,
}

impl<'p> Section<'p> {
    /// The section of this tree.
    pub(super) fn new(path: String, spot: Spot, problems: &'p Problems) -> Self {
        let Spot { node, origin } = resolved(spot);
        let table = match node {
            Node::Table(table) => table,
            Node::Array(_)
            | Node::Text(_)
            | Node::Integer(_)
            | Node::Bool(_)
            | Node::Raw(_)
            | Node::Other(_) => {
                problems.error(&origin, &path, format!("is {}, expected a table of settings", node.kind()));
                BTreeMap::new()
            }
        };
        Self { path, table, origin, problems, known: Vec::new(), places: BTreeMap::new() }
    }

    /// The value of a key; nothing when it is missing or wrong (which is noted).
    pub(super) fn value<T>(&mut self, key: &'static str, parse: Parse<T>) -> Option<T> {
        let spot = self.take(key)?;
        let read = parse(&spot);
        self.settled(&self.key(key), &spot.origin, read)
    }

    /// The value of a key, or a default when it is missing or wrong (which is noted).
    pub(super) fn value_or<T>(&mut self, key: &'static str, default: T, parse: Parse<T>) -> T {
        self.value(key, parse).unwrap_or(default)
    }

    /// The value of a key that must be given.
    pub(super) fn required<T>(&mut self, key: &'static str, example: &str, parse: Parse<T>) -> Option<T> {
        if !self.table.contains_key(key) {
            self.known.push(key);
            let path = self.key(key);
            self.problems.error(
                &self.origin,
                &path,
                format!("is missing; write for example {key} = {example}"),
            );
            return None;
        }
        self.value(key, parse)
    }

    /// The elements of a list; `None` when the key is missing, without those that are wrong (which are noted).
    pub(super) fn list<T>(&mut self, key: &'static str, parse: Parse<T>) -> Option<Vec<T>> {
        let spots = self.elements(key)?;
        let path = self.key(key);
        let read = |(index, spot): (usize, Spot)| {
            self.settled(&format!("{path}[{index}]"), &spot.origin, parse(&spot))
        };
        Some(spots.into_iter().enumerate().filter_map(read).collect())
    }

    /// The table of this name; empty when it is missing.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'p> {
        let path = self.key(key);
        let missing = Spot { node: Node::Table(BTreeMap::new()), origin: self.origin.clone() };
        let spot = self.take(key).unwrap_or(missing);
        Section::new(path, spot, self.problems)
    }

    /// The table of this name; nothing when it is missing.
    pub(super) fn section_if_given(&mut self, key: &'static str) -> Option<Section<'p>> {
        let path = self.key(key);
        Some(Section::new(path, self.take(key)?, self.problems))
    }

    /// The tables of this name (`[[name]]`); none when it is missing.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Section<'p>> {
        let path = self.key(key);
        let spots = self.elements(key).unwrap_or_default();
        let section = |(index, spot)| Section::new(format!("{path}[{index}]"), spot, self.problems);
        spots.into_iter().enumerate().map(section).collect()
    }

    /// Notes that something is wrong with a key that was asked for, or with the section.
    pub(super) fn error(&self, key: &str, reason: impl Into<String>) {
        self.problems.error(self.place(key), &self.key(key), reason);
    }

    /// Notes a warning about a key that was asked for, or about the section.
    pub(super) fn warn(&self, key: &str, reason: impl Into<String>) {
        self.problems.warn(self.place(key), &self.key(key), reason);
    }

    /// Whether the key was written, after it was asked for.
    pub(super) fn has(&self, key: &str) -> bool {
        self.places.contains_key(key)
    }

    /// The text of a key before it is asked for, to know it even when its section is wrong elsewhere.
    pub(super) fn peek_text(&self, key: &str) -> Option<String> {
        match &self.table.get(key)?.node {
            Node::Text(text) | Node::Raw(text) => Some(text.clone()),
            Node::Table(_) | Node::Array(_) | Node::Integer(_) | Node::Bool(_) | Node::Other(_) => None,
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Spot> {
        self.known.push(key);
        let spot = self.table.remove(key)?;
        self.places.insert(key, spot.origin.clone());
        Some(spot)
    }

    fn elements(&mut self, key: &'static str) -> Option<Vec<Spot>> {
        let Spot { node, origin } = resolved(self.take(key)?);
        match node {
            Node::Array(spots) => Some(spots),
            // from the environment a list may also be written with commas
            Node::Raw(raw) => {
                let words = raw.split(',').map(str::trim).filter(|word| !word.is_empty());
                let spot = |word: &str| Spot { node: Node::Raw(word.to_owned()), origin: origin.clone() };
                Some(words.map(spot).collect())
            }
            Node::Table(_) | Node::Text(_) | Node::Integer(_) | Node::Bool(_) | Node::Other(_) => {
                let reason = format!("is {}, expected a list; write {key} = [ … ]", node.kind());
                self.problems.error(&origin, &self.key(key), reason);
                None
            }
        }
    }

    fn settled<T>(&self, path: &str, origin: &Origin, read: Result<T, String>) -> Option<T> {
        read.map_err(|reason| self.problems.error(origin, path, reason)).ok()
    }

    fn place(&self, key: &str) -> &Origin {
        self.places.get(key).unwrap_or(&self.origin)
    }

    fn key(&self, key: &str) -> String {
        match (self.path.is_empty(), key.is_empty()) {
            (true, _) => key.to_owned(),
            (false, true) => self.path.clone(),
            (false, false) => format!("{}.{key}", self.path),
        }
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        for (key, spot) in mem::take(&mut self.table) {
            let reason = match nearest(&key, &self.known) {
                Some(near) => format!("unknown key; did you mean {near}?"),
                None => format!("unknown key; known here: {}", self.known.join(", ")),
            };
            self.problems.error(&spot.origin, &self.key(&key), reason);
        }
    }
}

/// Gives a value from the environment its kind when it is written as a TOML list or table.
fn resolved(spot: Spot) -> Spot {
    match &spot.node {
        Node::Raw(raw) if raw.trim_start().starts_with(['[', '{']) => {
            tree::parse_raw(raw, &spot.origin).unwrap_or(spot)
        }
        Node::Raw(_)
        | Node::Table(_)
        | Node::Array(_)
        | Node::Text(_)
        | Node::Integer(_)
        | Node::Bool(_)
        | Node::Other(_) => spot,
    }
}

fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let distance = |candidate: &&'static str| strsim::damerau_levenshtein(key, candidate);
    let near = known.iter().copied().min_by_key(distance)?;
    (strsim::damerau_levenshtein(key, near) <= near.len().div_ceil(3)).then_some(near)
}
