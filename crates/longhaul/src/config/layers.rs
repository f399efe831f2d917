//! Puts flags and environment over what the file says, in the same tree and with their names.

use super::problem::{Origin, Problem};
use super::tree::{Entry, Kind, Table, Value};
use super::{Sources, parse};

/// One key, said by a flag or a variable.
#[derive(Debug, Clone)]
pub(crate) struct Override {
    pub(crate) section: &'static str,
    pub(crate) key: &'static str,
    pub(crate) source: Source,
    /// What was said; more than one for lists.
    pub(crate) values: Vec<String>,
    pub(crate) is_list: bool,
}

/// Who said it, with the name that the user knows.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source {
    Flag(&'static str),
    Env(&'static str),
}

impl From<Source> for Origin {
    fn from(source: Source) -> Self {
        match source {
            Source::Flag(name) => Self::Flag(name),
            Source::Env(name) => Self::Env(name),
        }
    }
}

/// Applies all layers over the file.
pub(super) fn apply(root: &mut Table, sources: &Sources, problems: &mut Vec<Problem>) {
    if !sources.command.is_empty() {
        let at = Origin::Flag("-- CMD");
        let value = list(&sources.command, &at);
        root.set("app", "command", value);
    }
    let has_app = has(root, "app", "command");
    for said in &sources.overrides {
        let at = Origin::from(said.source);
        let value = if said.is_list {
            list(&said.values, &at)
        } else {
            let text = said.values.last().cloned().unwrap_or_default();
            Value { at, kind: Kind::Text(text) }
        };
        match said.section {
            "upstreams" => set_on_only_upstream(root, said.key, value, has_app, problems),
            "certificates" => {
                if let Some(table) = only_table(root, said.section, said.key, &value.at, problems) {
                    table.insert(said.key, value);
                }
            }
            section => root.set(section, said.key, value),
        }
    }
    if let Some(port) = &sources.port
        && !has(root, "server", "listen")
        && !root.entries.contains_key("listeners")
    {
        listen_on_port(root, port, problems);
    }
}

/// `PORT` says on which port a platform expects the container to listen, on every interface.
fn listen_on_port(root: &mut Table, port: &str, problems: &mut Vec<Problem>) {
    let at = Origin::Env("PORT");
    match port.parse::<u16>() {
        Ok(port) if port > 0 => {
            let kind = Kind::Text(format!("0.0.0.0:{port}"));
            root.set("server", "listen", Value { at, kind });
        }
        _ => {
            let title = format!("{port:?} is not a port");
            let remedy = "set it to 1 to 65535, unset it, or say where to listen with --listen";
            problems.push(Problem::error(at, title).remedy(remedy));
        }
    }
}

/// Flags speak of one upstream: the only one of the file, or one that they make.
fn set_on_only_upstream(
    root: &mut Table,
    key: &str,
    value: Value,
    has_app: bool,
    problems: &mut Vec<Problem>,
) {
    let at = value.at.clone();
    let Some(table) = only_table(root, "upstreams", key, &at, problems) else { return };
    if table.entries.is_empty() {
        let name = if has_app && key != "replicas" { parse::APP } else { "default" };
        table.insert("name", Value { at, kind: Kind::Text(name.to_owned()) });
    }
    if key == "replicas" {
        table.entries.remove("srv");
    }
    table.insert(key, value);
}

/// The only table of a section that repeats, made where there is none. `None`: there are several,
/// which is reported, or something else, which is reported when it is read.
fn only_table<'t>(
    root: &'t mut Table,
    section: &str,
    key: &str,
    at: &Origin,
    problems: &mut Vec<Problem>,
) -> Option<&'t mut Table> {
    let entry = root.entries.entry(section.to_owned()).or_insert_with(|| Entry {
        key_at: at.clone(),
        value: Value { at: at.clone(), kind: Kind::List(Vec::new()) },
    });
    let Kind::List(tables) = &mut entry.value.kind else { return None };
    if tables.is_empty() {
        let table = Table { at: at.clone(), ..Table::empty() };
        tables.push(Value { at: at.clone(), kind: Kind::Table(table) });
    }
    match tables.as_mut_slice() {
        [Value { kind: Kind::Table(table), .. }] => Some(table),
        [_] => None,
        many => {
            let title = format!("the file has {} {section}; which one is meant?", many.len());
            let remedy = format!("remove it, and set `{key}` in the file");
            problems.push(Problem::error(at.clone(), title).remedy(remedy));
            None
        }
    }
}

fn list(values: &[String], at: &Origin) -> Value {
    let one = |text: &String| Value { at: at.clone(), kind: Kind::Text(text.clone()) };
    Value { at: at.clone(), kind: Kind::List(values.iter().map(one).collect()) }
}

fn has(root: &Table, section: &str, key: &str) -> bool {
    match root.entries.get(section).map(|entry| &entry.value.kind) {
        Some(Kind::Table(table)) => table.entries.contains_key(key),
        _ => false,
    }
}
