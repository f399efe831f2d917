//! What a reader says about what is wrong: the value, the place, and the way out.

use super::Reader;
use crate::config::SECRETS;
use crate::config::keys::{Key, Shape, all_sections};
use crate::config::problem::Problem;
use crate::config::tree::{Kind, Value};

impl Reader<'_> {
    /// Reports the required keys that are missing.
    pub(in crate::config) fn require(&self) {
        let missing = self.section.keys.iter().filter(|key| key.is_required && !self.has(key.name));
        for key in missing {
            let title = format!("{}.{} is missing", self.path, key.name);
            let remedy = format!("add `{} = {}`: {}", key.name, key.example, key.what);
            self.report(Problem::error(self.at(), title).remedy(remedy));
        }
    }

    /// Reports that a value is wrong: `path.name = value: problem`.
    pub(in crate::config) fn wrong(&self, name: &str, value: &Value, problem: &str, remedy: &str) {
        self.report(self.problem(name, value, problem).remedy(remedy));
    }

    fn problem(&self, name: &str, value: &Value, problem: &str) -> Problem {
        let title = format!("{}.{name} = {} {problem}", self.path, show_unless_secret(name, value));
        Problem::error(value.at.clone(), title).label(problem)
    }

    /// Reports something about a key that is legal but dangerous.
    pub(in crate::config) fn warn(&self, name: &str, danger: &str, remedy: &str) {
        let shown = self.value(name).map(|value| format!(" = {}", show_unless_secret(name, value)));
        let shown = shown.unwrap_or_default();
        let title = format!("{}.{name}{shown}: {danger}", self.path);
        self.report(Problem::warning(self.at_key(name), title).remedy(remedy));
    }

    pub(super) fn wrong_type(&self, key: &Key, value: &Value) {
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

    pub(super) fn out_of_range(&self, key: &Key, value: &Value, problem: &str, limit: &str) {
        let problem = self.problem(key.name, value, problem).remedy(self.remedy(key, limit));
        // Why there is a limit is what makes people accept it.
        let why = if key.danger == Key::NEW.danger { "" } else { key.danger };
        self.report(problem.note(why));
    }

    /// What to do about a wrong value, with the default as the way out.
    pub(super) fn remedy(&self, key: &Key, first: &str) -> String {
        let way_out = match (key.default)() {
            Some(default) => format!("remove it for the default of {default}"),
            None => format!("as in {} = {}", key.name, key.example),
        };
        let join = if first.is_empty() { "" } else { ", or " };
        format!("{first}{join}{way_out}")
    }

    pub(super) fn report_unknown_keys(&self) {
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
pub(in crate::config) fn nearest<'w>(
    word: &str,
    known: impl Iterator<Item = &'w str>,
) -> Option<&'w str> {
    known
        .map(|known| (strsim::damerau_levenshtein(word, known), known))
        .filter(|(distance, known)| *distance <= 1 + known.len().min(word.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

fn show_unless_secret(name: &str, value: &Value) -> String {
    if SECRETS.contains(&name) { "…".to_owned() } else { show(value) }
}

/// A value as the file would say it, short enough for one line.
pub(in crate::config) fn show(value: &Value) -> String {
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
pub(in crate::config) fn elsewhere(name: &str) -> Option<String> {
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
