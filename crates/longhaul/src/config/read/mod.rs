//! Reads one table by the rules of its section, and reports everything that is wrong with it.
//!
//! A reader returns what it could read and puts the rest into `problems`; nobody stops at the first
//! problem. Types, ranges and unknown keys are settled here; what a text means is its caller's work.

mod complain;

use std::cell::RefCell;
use std::time::Duration;

pub(in crate::config) use complain::{elsewhere, nearest};

use super::keys::{Key, Section, Shape};
use super::problem::{Origin, Problem};
use super::tree::{Kind, Table, Value};
use super::units::{parse_duration, parse_size, show_duration, show_size};

/// Collects problems from everywhere.
pub(in crate::config) type Problems = RefCell<Vec<Problem>>;

/// One table being read.
pub(in crate::config) struct Reader<'a> {
    section: &'static Section,
    /// As errors name it: `timeouts`, `upstreams[1]`.
    path: String,
    table: Option<&'a Table>,
    problems: &'a Problems,
}

impl<'a> Reader<'a> {
    /// Reads `table`, which is `None` when the file does not have it. Reports keys that `section`
    /// does not know.
    pub(in crate::config) fn new(
        section: &'static Section,
        path: impl Into<String>,
        table: Option<&'a Table>,
        problems: &'a Problems,
    ) -> Self {
        let reader = Self { section, path: path.into(), table, problems };
        reader.report_unknown_keys();
        reader
    }

    /// Where the table is.
    pub(in crate::config) fn at(&self) -> Origin {
        self.table.map_or(Origin::Nowhere, |table| table.at.clone())
    }

    /// Where a key was said, or its table.
    pub(in crate::config) fn at_key(&self, name: &str) -> Origin {
        self.value(name).map_or_else(|| self.at(), |value| value.at.clone())
    }

    /// Whether anything was said about this key.
    pub(in crate::config) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    pub(in crate::config) fn duration(&self, name: &'static str) -> Option<Duration> {
        self.duration_or_off(name).flatten()
    }

    /// `Some(None)` when it was turned off.
    #[expect(clippy::option_option, reason = "absent and turned off are different things")]
    pub(in crate::config) fn duration_or_off(
        &self,
        name: &'static str,
    ) -> Option<Option<Duration>> {
        let key = self.key(name);
        let Shape::Duration { min, max, or_off } = key.shape else {
            unreachable!("{name} is declared as a duration")
        };
        let value = self.value(name)?;
        let text = self.text_of(key, value)?;
        if or_off && text == "off" {
            return Some(None);
        }
        match parse_duration(text) {
            Ok(duration) if duration < min => {
                let least = show_duration(min);
                let off = if or_off { ", \"off\"" } else { "" };
                self.out_of_range(key, value, "is too short", &format!("use {least} or more{off}"));
                None
            }
            Ok(duration) if duration > max => {
                let most = show_duration(max);
                let off = if or_off { ", \"off\"" } else { "" };
                self.out_of_range(key, value, "is too long", &format!("use {most} or less{off}"));
                None
            }
            Ok(duration) => Some(Some(duration)),
            Err(problem) => self.explain(name, value, Err(problem)),
        }
    }

    pub(in crate::config) fn size(&self, name: &'static str) -> Option<usize> {
        let key = self.key(name);
        let Shape::Size { min, max } = key.shape else {
            unreachable!("{name} is declared as a size")
        };
        let value = self.value(name)?;
        match parse_size(self.text_of(key, value)?) {
            Ok(size) if size < min => {
                self.out_of_range(
                    key,
                    value,
                    "is too small",
                    &format!("use {} or more", show_size(min)),
                );
                None
            }
            Ok(size) if size > max => {
                self.out_of_range(
                    key,
                    value,
                    "is too large",
                    &format!("use {} or less", show_size(max)),
                );
                None
            }
            Ok(size) => Some(size),
            Err(problem) => self.explain(name, value, Err(problem)),
        }
    }

    pub(in crate::config) fn count(&self, name: &'static str) -> Option<u64> {
        let key = self.key(name);
        let Shape::Count { min, max } = key.shape else {
            unreachable!("{name} is declared as a count")
        };
        let value = self.value(name)?;
        let number = match &value.kind {
            Kind::Integer(number) => Some(*number),
            // Flags and variables have no types; a file does.
            Kind::Text(text) if !matches!(value.at, Origin::File(_)) => text.parse().ok(),
            _ => None,
        };
        let Some(number) = number else {
            self.wrong_type(key, value);
            return None;
        };
        if number < i128::from(min) {
            self.out_of_range(key, value, "is too small", &format!("use {min} or more"));
        } else if number > i128::from(max) {
            self.out_of_range(key, value, "is too large", &format!("use {max} or less"));
        }
        u64::try_from(number).ok().filter(|number| (min..=max).contains(number))
    }

    pub(in crate::config) fn boolean(&self, name: &'static str) -> Option<bool> {
        let value = self.value(name)?;
        match value.kind {
            Kind::Boolean(boolean) => Some(boolean),
            _ => {
                self.wrong_type(self.key(name), value);
                None
            }
        }
    }

    /// One of the words of a [`Shape::Choice`].
    pub(in crate::config) fn choice(&self, name: &'static str) -> Option<&'static str> {
        let key = self.key(name);
        let Shape::Choice(words) = key.shape else {
            unreachable!("{name} is declared as a choice")
        };
        let value = self.value(name)?;
        let text = self.text_of(key, value)?;
        let word = words.iter().find(|word| **word == text).copied();
        if word.is_none() {
            let near = nearest(text, words.iter().copied())
                .map_or(String::new(), |near| format!("did you mean \"{near}\"? "));
            let remedy = format!("{near}it is {}", key.shape.describe());
            self.wrong(name, value, "is not known", &remedy);
        }
        word
    }

    /// A text that `parse` understands or explains what is wrong with, as in "has no port".
    pub(in crate::config) fn parsed<T>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.value(name)?;
        let text = self.text_of(self.key(name), value)?;
        self.explain(name, value, parse(text))
    }

    /// One text or a list of them, each understood by `parse`.
    pub(in crate::config) fn parsed_list<T>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<(T, Origin)>> {
        let value = self.value(name)?;
        let values = match &value.kind {
            Kind::List(values) => values.as_slice(),
            _ => std::slice::from_ref(value),
        };
        let read = |value: &Value| {
            let text = self.text_of(self.key(name), value)?;
            Some((self.explain(name, value, parse(text))?, value.at.clone()))
        };
        Some(values.iter().filter_map(read).collect())
    }

    /// The elements of a list of any shape.
    pub(in crate::config) fn list(&self, name: &'static str) -> Option<&'a [Value]> {
        let value = self.value(name)?;
        match &value.kind {
            Kind::List(values) => Some(values),
            _ => {
                self.wrong_type(self.key(name), value);
                None
            }
        }
    }

    /// The elements of a list, or the one that stands for a list of its own.
    pub(in crate::config) fn list_or_one(&self, name: &'static str) -> Option<&'a [Value]> {
        let value = self.value(name)?;
        Some(match &value.kind {
            Kind::List(values) => values,
            _ => std::slice::from_ref(value),
        })
    }

    /// A table of free keys.
    pub(in crate::config) fn table(&self, name: &'static str) -> Option<&'a Table> {
        let value = self.value(name)?;
        match &value.kind {
            Kind::Table(table) => Some(table),
            _ => {
                self.wrong_type(self.key(name), value);
                None
            }
        }
    }

    /// A table inside this one.
    pub(in crate::config) fn child(&self, name: &'static str) -> Option<Reader<'a>> {
        let section = *self
            .section
            .children
            .iter()
            .find(|child| child.name == name)
            .expect("readers ask for children that their section declares");
        let path = format!("{}.{name}", self.path);
        match &self.value(name)?.kind {
            Kind::Table(table) => Some(Reader::new(section, path, Some(table), self.problems)),
            other => {
                let at = self.at_key(name);
                let title = format!("{path}: expected a table, found {}", other.name());
                self.report(Problem::error(at, title).remedy(format!("write [{path}]")));
                None
            }
        }
    }

    /// Reports a problem of its own making.
    pub(in crate::config) fn report(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// The path of this table, as in `upstreams[1]`.
    pub(in crate::config) fn path(&self) -> &str {
        &self.path
    }

    fn value(&self, name: &str) -> Option<&'a Value> {
        self.table?.entries.get(name).map(|entry| &entry.value)
    }

    fn key(&self, name: &str) -> &'static Key {
        self.section
            .keys
            .iter()
            .find(|key| key.name == name)
            .expect("readers ask for keys that their section declares")
    }

    fn text_of<'v>(&self, key: &Key, value: &'v Value) -> Option<&'v str> {
        match &value.kind {
            Kind::Text(text) => Some(text),
            _ => {
                self.wrong_type(key, value);
                None
            }
        }
    }

    fn explain<T>(&self, name: &str, value: &Value, result: Result<T, String>) -> Option<T> {
        result
            .map_err(|problem| {
                let (problem, remedy) = match problem.split_once("; ") {
                    Some((problem, remedy)) => (problem, remedy.to_owned()),
                    None => (problem.as_str(), self.remedy(self.key(name), "")),
                };
                self.wrong(name, value, problem, &remedy);
            })
            .ok()
    }
}
