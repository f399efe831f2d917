//! What was said, and where: the file, flags and environment as one tree of values with origins.
//!
//! The tree is checked by `read`, not here. Later words win, so layers go in from weak to strong:
//! file, environment, flags.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Origin, Problem};

/// Syntax errors shown. More come of a file in another language, and say nothing new.
const SYNTAX_ERRORS_MAX: usize = 10;

/// A value and where it was said.
#[derive(Debug, Clone)]
pub(super) struct Value {
    pub(super) at: Origin,
    pub(super) kind: Kind,
}

/// What was said.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Text(String),
    /// Digits as written, without underscores, decimal.
    Integer(i128),
    Boolean(bool),
    List(Vec<Value>),
    Table(Table),
    /// TOML knows it, no key of ours takes it: floats and dates.
    Other(&'static str),
}

/// Keys with their values. `at` is its header, where a missing key is reported.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) at: Origin,
    pub(super) entries: BTreeMap<String, Entry>,
}

/// One key of a table.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key_at: Origin,
    pub(super) value: Value,
}

impl Kind {
    /// The kind of value in the words of TOML.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Boolean(_) => "a boolean",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(name) => name,
        }
    }
}

impl Table {
    /// A table that nobody wrote.
    pub(super) fn empty() -> Self {
        Self { at: Origin::Nowhere, entries: BTreeMap::new() }
    }

    /// Reads TOML. Every syntax error becomes a problem; what could be read is returned.
    pub(super) fn parse(text: &str, problems: &mut Vec<Problem>) -> Self {
        let (table, errors) = DeTable::parse_recoverable(text);
        let beyond = errors.len().saturating_sub(SYNTAX_ERRORS_MAX);
        for error in errors.into_iter().take(SYNTAX_ERRORS_MAX) {
            let at = error.span().map_or(Origin::Nowhere, Origin::File);
            problems.push(Problem::error(at, error.message().to_owned()));
        }
        if beyond > 0 {
            let title = format!("{beyond} more syntax errors; is this a TOML file?");
            problems.push(Problem::error(Origin::Nowhere, title));
        }
        let span = table.span();
        convert_table(span, table.into_inner())
    }

    /// Sets one key of one table (made when it is not there), over what was said before.
    pub(super) fn set(&mut self, section: &str, key: &str, value: Value) {
        let at = value.at.clone();
        let entry = self.entries.entry(section.to_owned()).or_insert_with(|| Entry {
            key_at: at.clone(),
            value: Value {
                at: at.clone(),
                kind: Kind::Table(Self { at: at.clone(), entries: BTreeMap::new() }),
            },
        });
        // A section that is no table is reported when it is read; a flag cannot repair it.
        if let Kind::Table(table) = &mut entry.value.kind {
            table.insert(key, value);
        }
    }

    /// Sets one key, over what was said before.
    pub(super) fn insert(&mut self, key: &str, value: Value) {
        self.entries.insert(key.to_owned(), Entry { key_at: value.at.clone(), value });
    }
}

fn convert_table(span: Range<usize>, table: DeTable<'_>) -> Table {
    let entries = table
        .into_iter()
        .map(|(key, value)| {
            let key_at = Origin::File(key.span());
            (key.into_inner().into_owned(), Entry { key_at, value: convert(value) })
        })
        .collect();
    Table { at: Origin::File(span), entries }
}

fn convert(value: Spanned<DeValue<'_>>) -> Value {
    let span = value.span();
    let kind = match value.into_inner() {
        DeValue::String(text) => Kind::Text(text.into_owned()),
        DeValue::Integer(integer) => i128::from_str_radix(integer.as_str(), integer.radix())
            .map_or(Kind::Other("an integer too large"), Kind::Integer),
        DeValue::Boolean(boolean) => Kind::Boolean(boolean),
        DeValue::Float(_) => Kind::Other("a float"),
        DeValue::Datetime(_) => Kind::Other("a date"),
        DeValue::Array(list) => Kind::List(list.into_iter().map(convert).collect()),
        DeValue::Table(table) => Kind::Table(convert_table(span.clone(), table)),
    };
    Value { at: Origin::File(span), kind }
}
