//! The configuration as a tree of values that know where they were written: the file, with the environment laid over.

use std::collections::BTreeMap;

use toml_edit::{Document, Item, Table, TableLike, Value};

use super::problem::{Origin, Problems};

/// What every overriding variable begins with; sections and keys follow, separated by two underscores.
pub const ENV_PREFIX: &str = "LEQI_GATEWAY__";

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub(super) node: Node,
    pub(super) origin: Origin,
}

/// The kinds of values that a configuration may hold.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Table(BTreeMap<String, Spot>),
    Array(Vec<Spot>),
    Text(String),
    Integer(i64),
    Bool(bool),
    /// From the environment: which kind it is, whoever reads it decides.
    Raw(String),
    /// A kind that no setting has, by its name.
    Other(&'static str),
}

impl Node {
    /// The kind in words, for messages.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Table(_) => "a table",
            Self::Array(_) => "a list",
            Self::Text(_) | Self::Raw(_) => "a text",
            Self::Integer(_) => "a number",
            Self::Bool(_) => "true or false",
            Self::Other(kind) => kind,
        }
    }
}

/// Parses the text of a file; a syntax error is noted.
pub(super) fn parse(text: &str, problems: &Problems) -> Option<Spot> {
    match Document::parse(text) {
        Ok(document) => {
            let root = table(document.as_table(), text);
            Some(Spot { node: Node::Table(root), origin: Origin::Line(1) })
        }
        Err(error) => {
            let line = error.span().map_or(1, |span| line_at(text, span.start));
            let reason = error.message().replace('\n', ", ");
            problems.error(&Origin::Line(line), "", format!("is not TOML: {reason}"));
            None
        }
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

fn table(table: &dyn TableLike, text: &str) -> BTreeMap<String, Spot> {
    let entry = |(key, item): (&str, &Item)| {
        let span = table.key(key).and_then(toml_edit::Key::span).or_else(|| item.span());
        let origin = Origin::Line(span.map_or(1, |span| line_at(text, span.start)));
        (key.to_owned(), spot(item, origin, text))
    };
    table.iter().map(entry).collect()
}

fn spot(item: &Item, origin: Origin, text: &str) -> Spot {
    let node = match item {
        Item::None => Node::Other("nothing"),
        Item::Value(inner) => return value(inner, origin, text),
        Item::Table(inner) => Node::Table(table(inner, text)),
        Item::ArrayOfTables(tables) => {
            let element = |inner: &Table| {
                let line = inner.span().map_or(origin.clone(), |at| Origin::Line(line_at(text, at.start)));
                Spot { node: Node::Table(table(inner, text)), origin: line }
            };
            Node::Array(tables.iter().map(element).collect())
        }
    };
    Spot { node, origin }
}

fn value(value: &Value, origin: Origin, text: &str) -> Spot {
    let node = match value {
        Value::String(inner) => Node::Text(inner.value().clone()),
        Value::Integer(inner) => Node::Integer(*inner.value()),
        Value::Float(_) => Node::Other("a number with a fraction"),
        Value::Boolean(inner) => Node::Bool(*inner.value()),
        Value::Datetime(_) => Node::Other("a date"),
        Value::InlineTable(inner) => Node::Table(table(inner, text)),
        Value::Array(inner) => {
            let element = |element: &Value| {
                let line = element.span().map_or(origin.clone(), |at| Origin::Line(line_at(text, at.start)));
                self::value(element, line, text)
            };
            Node::Array(inner.iter().map(element).collect())
        }
    };
    Spot { node, origin }
}

/// Reads a raw text from the environment as a TOML value.
pub(super) fn parse_raw(raw: &str, origin: &Origin) -> Option<Spot> {
    let parsed: Value = raw.trim().parse().ok()?;
    // lines within a variable mean nothing: everything in it has the variable as its origin
    let mut spot = value(&parsed, origin.clone(), raw);
    relabel(&mut spot, origin);
    Some(spot)
}

fn relabel(spot: &mut Spot, origin: &Origin) {
    spot.origin = origin.clone();
    match &mut spot.node {
        Node::Array(items) => items.iter_mut().for_each(|item| relabel(item, origin)),
        Node::Table(table) => table.values_mut().for_each(|item| relabel(item, origin)),
        Node::Text(_) | Node::Integer(_) | Node::Bool(_) | Node::Raw(_) | Node::Other(_) => {}
    }
}

/// Lays the variables that begin with [`ENV_PREFIX`] over the tree, in the order of their names.
pub(super) fn overlay(root: &mut Spot, environment: &[(String, String)], problems: &Problems) {
    let mut variables: Vec<_> = environment.iter().filter(|(name, _)| name.starts_with(ENV_PREFIX)).collect();
    variables.sort();
    for (name, raw) in variables {
        let origin = Origin::Environment(name.clone());
        let path = name[ENV_PREFIX.len()..].to_lowercase();
        let segments: Vec<&str> = path.split("__").collect();
        if let Err(reason) = set(root, &segments, raw, &origin) {
            problems.error(&origin, "", reason);
        }
    }
}

/// Sets the value at the path, making tables and list elements that are missing on the way.
fn set(at: &mut Spot, path: &[&str], raw: &str, origin: &Origin) -> Result<(), String> {
    let Some((segment, rest)) = path.split_first() else {
        *at = Spot { node: Node::Raw(raw.to_owned()), origin: origin.clone() };
        return Ok(());
    };
    if segment.is_empty() {
        return Err(format!("is no setting; write {ENV_PREFIX}SECTION__KEY"));
    }
    let new = || {
        let is_list = rest.first().is_some_and(|next| next.parse::<usize>().is_ok());
        let node = if is_list { Node::Array(Vec::new()) } else { Node::Table(BTreeMap::new()) };
        Spot { node, origin: origin.clone() }
    };
    match &mut at.node {
        Node::Table(table) => set(table.entry((*segment).to_owned()).or_insert_with(new), rest, raw, origin),
        Node::Array(items) => {
            let index: usize =
                segment.parse().map_err(|_| format!("{segment} is no index into a list; count from 0"))?;
            if index > items.len() {
                return Err(format!(
                    "the list has {} elements; the next new one is {}",
                    items.len(),
                    items.len()
                ));
            }
            if index == items.len() {
                items.push(new());
            }
            set(&mut items[index], rest, raw, origin)
        }
        node @ (Node::Text(_) | Node::Integer(_) | Node::Bool(_) | Node::Raw(_) | Node::Other(_)) => {
            Err(format!("there is {} where {segment} should go", node.kind()))
        }
    }
}
