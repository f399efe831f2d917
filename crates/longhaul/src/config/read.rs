//! Reads one table by the rules of its section, and reports everything that is wrong with it.
//!
//! A reader returns what it could read and puts the rest into `problems`; nobody stops at the first
//! problem. Types, ranges and unknown keys are settled here; what a text means is its caller's work.

use std::cell::RefCell;
use std::time::Duration;

use super::keys::{Key, Section, Shape, all_sections};
use super::problem::{Origin, Problem};
use super::tree::{Kind, Table, Value};
use super::units::{parse_duration, parse_size, show_duration, show_size};

/// Collects problems from everywhere.
pub(super) type Problems = RefCell<Vec<Problem>>;

/// One table being read.
pub(super) struct Reader<'a> {
    section: &'static Section,
    /// As errors name it: `timeouts`, `upstreams[1]`.
    path: String,
    table: Option<&'a Table>,
    problems: &'a Problems,
}

impl<'a> Reader<'a> {
    /// Reads `table`, which is `None` when the file does not have it. Reports keys that `section`
    /// does not know.
    pub(super) fn new(
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
    pub(super) fn at(&self) -> Origin {
        self.table.map_or(Origin::Nowhere, |table| table.at.clone())
    }

    /// Where a key was said, or its table.
    pub(super) fn at_key(&self, name: &str) -> Origin {
        self.value(name).map_or_else(|| self.at(), |value| value.at.clone())
    }

    /// Whether anything was said about this key.
    pub(super) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    pub(super) fn duration(&self, name: &'static str) -> Option<Duration> {
        self.duration_or_off(name).flatten()
    }

    /// `Some(None)` when it was turned off.
    #[expect(clippy::option_option, reason = "absent and turned off are different things")]
    pub(super) fn duration_or_off(&self, name: &'static str) -> Option<Option<Duration>> {
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

    pub(super) fn size(&self, name: &'static str) -> Option<usize> {
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

    pub(super) fn count(&self, name: &'static str) -> Option<u64> {
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

    pub(super) fn boolean(&self, name: &'static str) -> Option<bool> {
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
    pub(super) fn choice(&self, name: &'static str) -> Option<&'static str> {
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
    pub(super) fn parsed<T>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.value(name)?;
        let text = self.text_of(self.key(name), value)?;
        self.explain(name, value, parse(text))
    }

    /// One text or a list of them, each understood by `parse`.
    pub(super) fn parsed_list<T>(
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
    pub(super) fn list(&self, name: &'static str) -> Option<&'a [Value]> {
        let value = self.value(name)?;
        match &value.kind {
            Kind::List(values) => Some(values),
            _ => {
                self.wrong_type(self.key(name), value);
                None
            }
        }
    }

    /// A table of free keys.
    pub(super) fn table(&self, name: &'static str) -> Option<&'a Table> {
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
    pub(super) fn child(&self, name: &'static str) -> Option<Reader<'a>> {
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

    /// Reports a required key that is missing. Returns whether all are there.
    pub(super) fn require(&self) -> bool {
        let missing = self.section.keys.iter().filter(|key| key.is_required && !self.has(key.name));
        let mut is_complete = true;
        for key in missing {
            is_complete = false;
            let title = format!("{}.{} is missing", self.path, key.name);
            let remedy = format!("add `{} = {}`: {}", key.name, key.example, key.what);
            self.report(Problem::error(self.at(), title).remedy(remedy));
        }
        is_complete
    }

    /// Reports that a value is wrong: `path.name = value: problem`.
    pub(super) fn wrong(&self, name: &str, value: &Value, problem: &str, remedy: &str) {
        let shown = if name == "affinity_key" { "…".to_owned() } else { show(value) };
        let title = format!("{}.{name} = {shown} {problem}", self.path);
        self.report(Problem::error(value.at.clone(), title).label(problem).remedy(remedy));
    }

    /// Reports something about a key that is legal but dangerous.
    pub(super) fn warn(&self, name: &str, danger: &str, remedy: &str) {
        let shown = self.value(name).map_or(String::new(), |value| format!(" = {}", show(value)));
        let title = format!("{}.{name}{shown}: {danger}", self.path);
        self.report(Problem::warning(self.at_key(name), title).remedy(remedy));
    }

    /// Reports a problem of its own making.
    pub(super) fn report(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// The path of this table, as in `upstreams[1]`.
    pub(super) fn path(&self) -> &str {
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

    fn wrong_type(&self, key: &Key, value: &Value) {
        let hint = match (&key.shape, &value.kind) {
            (Shape::Duration { .. }, Kind::Integer(n)) => {
                format!("write \"{n}s\" for seconds, with quotes and unit")
            }
            (Shape::Size { .. }, Kind::Integer(n)) => {
                format!("write \"{n}B\" for bytes, with quotes and unit")
            }
            (Shape::Duration { .. }, Kind::Boolean(_)) => "write \"off\" or a duration".to_owned(),
            (_, Kind::Text(_)) => "remove the quotes if the value is right".to_owned(),
            _ => String::new(),
        };
        let problem = format!("is {}", value.kind.name());
        let expected = format!("this key takes a {}", key.shape.describe());
        let remedy = if hint.is_empty() { expected } else { format!("{hint}; {expected}") };
        self.wrong(key.name, value, &problem, &remedy);
    }

    fn out_of_range(&self, key: &Key, value: &Value, problem: &str, limit: &str) {
        self.wrong(key.name, value, problem, &self.remedy(key, limit));
    }

    /// What to do about a wrong value, with the default as the way out.
    fn remedy(&self, key: &Key, first: &str) -> String {
        let way_out = match (key.default)() {
            Some(default) => format!("remove it for the default of {default}"),
            None => format!("as in {} = {}", key.name, key.example),
        };
        let join = if first.is_empty() { "" } else { ", or " };
        format!("{first}{join}{way_out}")
    }

    fn report_unknown_keys(&self) {
        let Some(table) = self.table else { return };
        let known = || {
            let keys = self.section.keys.iter().map(|key| key.name);
            keys.chain(self.section.children.iter().map(|child| child.name))
        };
        for (name, entry) in &table.entries {
            if known().any(|known| known == name) {
                continue;
            }
            let title = format!("{}: unknown key `{}`", self.path, name.escape_debug());
            let remedy = nearest(name, known()).map_or_else(
                || elsewhere(name).unwrap_or_else(|| list_known(known())),
                |near| format!("did you mean `{near}`?"),
            );
            let problem = Problem::error(entry.key_at.clone(), title).label("not known here");
            self.report(problem.remedy(remedy));
        }
    }
}

/// The known word that was probably meant.
pub(super) fn nearest<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    known
        .map(|known| (strsim::damerau_levenshtein(word, known), known))
        .filter(|(distance, known)| *distance <= 1 + known.len().min(word.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// A value as the file would say it, short enough for one line.
pub(super) fn show(value: &Value) -> String {
    const CHARACTERS_MAX: usize = 60;
    let text = match &value.kind {
        Kind::Text(text) => format!("{text:?}"),
        Kind::Integer(number) => number.to_string(),
        Kind::Boolean(boolean) => boolean.to_string(),
        Kind::List(_) => "[…]".to_owned(),
        Kind::Table(_) => "{…}".to_owned(),
        Kind::Other(name) => (*name).to_owned(),
    };
    if text.chars().count() <= CHARACTERS_MAX {
        return text;
    }
    text.chars().take(CHARACTERS_MAX).chain("…".chars()).collect()
}

/// Where a key that is not known here would be.
pub(super) fn elsewhere(name: &str) -> Option<String> {
    let (section, _) = all_sections()
        .into_iter()
        .filter(|(_, section)| section.keys.iter().any(|key| key.name == name))
        // What holds for everything was rather meant than the exception for one route.
        .min_by_key(|(path, _)| path.contains('.'))?;
    Some(format!("`{name}` belongs under [{section}]"))
}

fn list_known<'w>(known: impl Iterator<Item = &'w str>) -> String {
    let known: Vec<&str> = known.collect();
    format!("known here: {}", known.join(", "))
}
