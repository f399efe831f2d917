//! What is different between two configurations, key by key, and when each difference takes effect.
//!
//! Compared is what was said, by files, flags and environment together; what nobody said is the
//! default in both. Start at [`Said::of`].

use std::collections::BTreeMap;
use std::fmt;

use super::effect::{self, Effect};
use super::in_force::SECRETS;
use super::keys::all_sections;
use super::tree::{Kind, Table, Value};

/// Everything that was said, one entry for each key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Said(BTreeMap<String, Word>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Word {
    value: String,
    is_secret: bool,
    effect: Effect,
}

/// One key that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    path: String,
    before: Option<String>,
    after: Option<String>,
    pub(crate) effect: Effect,
}

impl Said {
    pub(super) fn of(root: &Table) -> Self {
        let mut said = Self::default();
        for (name, entry) in &root.entries {
            match &entry.value.kind {
                Kind::Table(table) => said.add(name.clone(), name, table),
                Kind::List(tables) => {
                    for (place, value) in tables.iter().enumerate() {
                        if let Kind::Table(table) = &value.kind {
                            said.add(format!("{name}.{}", label(table, place)), name, table);
                        }
                    }
                }
                _ => {}
            }
        }
        said
    }

    /// What is different in `after`, in the order of the paths.
    pub(crate) fn changes(&self, after: &Self) -> Vec<Change> {
        let mut paths: Vec<&String> = self.0.keys().chain(after.0.keys()).collect();
        paths.sort();
        paths.dedup();
        let change = |path: &String| {
            let (old, new) = (self.0.get(path), after.0.get(path));
            let effect = new.or(old)?.effect;
            let is_same = old.map(|word| &word.value) == new.map(|word| &word.value);
            (!is_same).then(|| Change {
                path: path.clone(),
                before: old.map(Word::shown),
                after: new.map(Word::shown),
                effect,
            })
        };
        paths.into_iter().filter_map(change).collect()
    }

    /// What is in effect once `after` was reloaded: that, but for what waits for a restart.
    pub(crate) fn reloaded_by(&self, after: &Self) -> Self {
        let waits = |(_, word): &(&String, &Word)| word.effect == Effect::Restart;
        let kept = self.0.iter().filter(waits);
        let taken = after.0.iter().filter(|entry| !waits(entry));
        Self(kept.chain(taken).map(|(path, word)| (path.clone(), word.clone())).collect())
    }

    fn add(&mut self, path: String, section: &str, table: &Table) {
        for (key, entry) in &table.entries {
            let path = format!("{path}.{key}");
            let child = format!("{section}.{key}");
            match &entry.value.kind {
                Kind::Table(table) if all_sections().iter().any(|(name, _)| *name == child) => {
                    self.add(path, &child, table);
                }
                _ => {
                    let word = Word {
                        value: show(&entry.value),
                        is_secret: SECRETS.contains(&key.as_str()),
                        effect: effect::of(section, key),
                    };
                    self.0.insert(path, word);
                }
            }
        }
    }
}

impl Word {
    fn shown(&self) -> String {
        if self.is_secret { "(secret)".to_owned() } else { self.value.clone() }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, before, after, .. } = self;
        match (before, after) {
            (Some(before), Some(after)) => write!(f, "{path}: {before} -> {after}"),
            (None, Some(after)) => write!(f, "{path}: now {after}"),
            (Some(before), None) => write!(f, "{path}: no longer {before}"),
            (None, None) => f.write_str(path),
        }
    }
}

/// A name that stays when tables before it come and go, where there is one.
fn label(table: &Table, place: usize) -> String {
    let text = |key: &str| match &table.entries.get(key)?.value.kind {
        Kind::Text(text) => Some(text.clone()),
        _ => None,
    };
    text("name").or_else(|| text("certificate")).unwrap_or_else(|| (place + 1).to_string())
}

/// As the file would say it.
fn show(value: &Value) -> String {
    match &value.kind {
        Kind::Text(text) => format!("{text:?}"),
        Kind::Integer(number) => number.to_string(),
        Kind::Boolean(boolean) => boolean.to_string(),
        Kind::List(values) => {
            let values: Vec<String> = values.iter().map(show).collect();
            format!("[{}]", values.join(", "))
        }
        Kind::Table(table) => {
            let entry = |(key, entry): (&String, &super::tree::Entry)| {
                format!("{key} = {}", show(&entry.value))
            };
            let entries: Vec<String> = table.entries.iter().map(entry).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Kind::Other(name) => (*name).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Said {
        Said::of(&Table::parse(text, &mut Vec::new()))
    }

    #[track_caller]
    fn check(before: &str, after: &str, expected: &[(&str, Effect)]) {
        let changes = said(before).changes(&said(after));
        let shown: Vec<(String, Effect)> =
            changes.iter().map(|change| (change.to_string(), change.effect)).collect();
        let expected: Vec<(String, Effect)> =
            expected.iter().map(|(text, effect)| ((*text).to_owned(), *effect)).collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn the_same_said_in_another_order_is_no_difference() {
        check(
            "[websocket]\nping = \"20s\"\nidle = \"1m\"",
            "[websocket]\nidle='1m'\nping='20s'",
            &[],
        );
    }

    #[test]
    fn a_difference_names_its_key_and_when_it_holds() {
        check(
            "[server]\nworkers = 2\n[websocket]\nping = \"20s\"",
            "[server]\nworkers = 4\n[timeouts]\ndrain = \"5s\"",
            &[
                ("server.workers: 2 -> 4", Effect::Restart),
                ("timeouts.drain: now \"5s\"", Effect::AtOnce),
                ("websocket.ping: no longer \"20s\"", Effect::NewWork),
            ],
        );
    }

    #[test]
    fn tables_that_repeat_are_known_by_their_names() {
        let chat = "[[upstreams]]\nname = \"chat\"\nreplicas = [\"10.0.0.1:1\"]\n";
        let files = "[[upstreams]]\nname = \"files\"\nprobe = { kind = \"tcp\" }\n";
        let more = "[[upstreams]]\nname = \"chat\"\nreplicas = [\"10.0.0.1:1\", \"10.0.0.2:1\"]\n";
        check(
            &format!("{chat}{files}"),
            &format!("{files}{more}"),
            &[(
                "upstreams.chat.replicas: [\"10.0.0.1:1\"] -> [\"10.0.0.1:1\", \"10.0.0.2:1\"]",
                Effect::AtOnce,
            )],
        );
        check(
            files,
            "",
            &[
                ("upstreams.files.name: no longer \"files\"", Effect::NewWork),
                ("upstreams.files.probe.kind: no longer \"tcp\"", Effect::AtOnce),
            ],
        );
    }

    #[test]
    fn what_waits_for_a_restart_is_a_difference_until_then_and_nothing_else_is() {
        let before = said("[server]\nworkers = 2\n[websocket]\nping = \"20s\"");
        let after = said("[server]\nworkers = 4\n[timeouts]\ndrain = \"5s\"");
        let waiting = before.reloaded_by(&after).changes(&after);
        let shown: Vec<String> = waiting.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["server.workers: 2 -> 4"]);
        assert_eq!(before.reloaded_by(&before), before);
    }

    #[test]
    fn a_secret_is_known_to_have_changed_and_not_shown() {
        check(
            "[server]\naffinity_key = \"11\"",
            "[server]\naffinity_key = \"22\"",
            &[("server.affinity_key: (secret) -> (secret)", Effect::Restart)],
        );
    }
}
