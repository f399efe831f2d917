//! Every key of the configuration, said once: shape, default, cost and danger.
//!
//! The reader takes names and ranges from here, the command line its flags, the JSON schema and the
//! reference page everything. Defaults are asked of the gateway's own types, never repeated.
//!
//! Start at [`SECTIONS`].

mod admission;
mod app;
mod durable;
mod listeners;
mod metrics;
mod process;
mod routes;
mod store;
mod tls;
mod tokens;
mod traces;
mod upstreams;
mod websocket;

use std::time::Duration;

use super::units::{show_duration, show_size};

/// All sections, in the order in which the reference shows them.
pub(super) static SECTIONS: [&Section; 22] = [
    &process::SERVER,
    &listeners::LISTENERS,
    &tls::CERTIFICATES,
    &tls::TLS,
    &upstreams::UPSTREAMS,
    &routes::ROUTES,
    &routes::TCP,
    &admission::ADMISSION,
    &admission::CORS,
    &tokens::JWT,
    &tokens::AUTH_SERVICES,
    &tokens::TICKETS,
    &store::STORE,
    &websocket::WEBSOCKET,
    &durable::DURABLE,
    &process::TIMEOUTS,
    &process::LIMITS,
    &process::HEALTH,
    &traces::TRACES,
    &metrics::METRICS,
    &app::APP,
    &app::LOG,
];

/// One table of the file.
#[derive(Debug)]
pub(super) struct Section {
    /// Its name in the file, as in `timeouts`.
    pub(super) name: &'static str,
    /// Whether it repeats, as in `[[upstreams]]`.
    pub(super) is_list: bool,
    /// What it is for.
    pub(super) what: &'static str,
    pub(super) keys: &'static [Key],
    /// Tables inside it.
    pub(super) children: &'static [&'static Section],
}

/// One key of a section.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    /// The default as the file would say it; `None` when there is none.
    pub(super) default: fn() -> Option<String>,
    /// A value to show where there is no default, as the file would say it.
    pub(super) example: &'static str,
    pub(super) is_required: bool,
    /// What it does.
    pub(super) what: &'static str,
    /// What a larger or smaller value costs.
    pub(super) cost: &'static str,
    /// What goes wrong at the extremes.
    pub(super) danger: &'static str,
    /// How the command line and the environment say it.
    pub(super) flag: Option<Flag>,
}

/// A key on the command line and in the environment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag {
    /// With its dashes, as in `--ping`.
    pub(crate) long: &'static str,
    /// As in `LONGHAUL_PING`.
    pub(crate) env: &'static str,
    /// The name of its value in the help.
    pub(crate) value: &'static str,
    /// Whether it may be given more than once, or as a list with commas.
    pub(crate) is_repeated: bool,
    /// Whether only the environment may say it: arguments are visible to every user of a machine.
    pub(crate) is_env_only: bool,
}

impl Flag {
    pub(super) const fn new(long: &'static str, env: &'static str, value: &'static str) -> Self {
        Self { long, env, value, is_repeated: false, is_env_only: false }
    }

    pub(super) const fn repeated(self) -> Self {
        Self { is_repeated: true, ..self }
    }

    pub(super) const fn env_only(self) -> Self {
        Self { is_env_only: true, ..self }
    }
}

/// What a value looks like.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// `"25s"`; where `or_off`, also `"off"`.
    Duration { min: Duration, max: Duration, or_off: bool },
    /// `"64KiB"`.
    Size { min: usize, max: usize },
    /// A whole number.
    Count { min: u64, max: u64 },
    /// `true` or `false`.
    Boolean,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Text that its own reader understands; in words what it looks like.
    Text(&'static str),
    /// One text or a list of them.
    Texts(&'static str),
    /// Replicas: texts or tables with `address` and `weight`.
    Replicas,
    /// Header fields with the value they must have.
    Headers,
}

impl Key {
    /// What most keys have in common.
    pub(super) const NEW: Self = Self {
        name: "",
        shape: Shape::Boolean,
        default: || None,
        example: "",
        is_required: false,
        what: "",
        cost: "nothing",
        danger: "none",
        flag: None,
    };

    /// The default, or the example, as the file would say it.
    pub(super) fn shown(&self) -> String {
        (self.default)().unwrap_or_else(|| self.example.to_owned())
    }
}

impl Shape {
    /// Unit and form in words, for the reference and for errors.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Duration { min, max, or_off } => {
                let off = if *or_off { ", or \"off\"" } else { "" };
                format!("duration, {} to {}{off}", show_duration(*min), show_duration(*max))
            }
            Self::Size { min, max } => {
                format!("size, {} to {}", show_size(*min), show_size(*max))
            }
            Self::Count { min, max } => format!("whole number, {min} to {max}"),
            Self::Boolean => "`true` or `false`".to_owned(),
            Self::Choice(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
                format!("one of {}", words.join(", "))
            }
            Self::Text(what) => format!("string: {what}"),
            Self::Texts(what) => format!("string or list of strings: {what}"),
            Self::Replicas => "list of \"HOST:PORT\" or { address, weight }".to_owned(),
            Self::Headers => "table of header names and values".to_owned(),
        }
    }
}

/// Every section and child section with its full name, parents first.
pub(super) fn all_sections() -> Vec<(String, &'static Section)> {
    let mut all = Vec::new();
    for section in SECTIONS {
        all.push((section.name.to_owned(), section));
        for child in section.children {
            all.push((format!("{}.{}", section.name, child.name), *child));
        }
    }
    all
}

/// Every key that the command line or the environment may say, with the name of its section.
pub(crate) fn flags() -> Vec<(&'static str, &'static str, Flag, String)> {
    let mut all = Vec::new();
    for section in SECTIONS {
        for key in section.keys {
            if let Some(flag) = key.flag {
                let help = match (key.default)().filter(|default| default != "[]") {
                    Some(default) => {
                        format!("{} [default: {}]", key.what, default.trim_matches('"'))
                    }
                    None => key.what.to_owned(),
                };
                all.push((section.name, key.name, flag, help));
            }
        }
    }
    all
}

/// Of a service that is asked over HTTP.
const CA: Key = Key {
    name: "ca",
    shape: Shape::Text("path of a PEM file"),
    example: "\"internal-ca.pem\"",
    what: "Authorities that its certificate must come from; by default those of the system",
    ..Key::NEW
};

const fn seconds(from: u64, to: u64) -> Shape {
    Shape::Duration { min: Duration::from_secs(from), max: Duration::from_secs(to), or_off: false }
}

const fn milliseconds(from: u64, to: u64) -> Shape {
    Shape::Duration {
        min: Duration::from_millis(from),
        max: Duration::from_millis(to),
        or_off: false,
    }
}

const fn seconds_or_off(from: u64, to: u64) -> Shape {
    Shape::Duration { min: Duration::from_secs(from), max: Duration::from_secs(to), or_off: true }
}

const HOUR_S: u64 = 3_600;
const DAY_S: u64 = 24 * HOUR_S;

fn duration(value: Duration) -> Option<String> {
    Some(format!("\"{}\"", show_duration(value)))
}

fn duration_or_off(value: Option<Duration>) -> Option<String> {
    Some(value.map_or("\"off\"".to_owned(), |value| format!("\"{}\"", show_duration(value))))
}

fn size(value: usize) -> Option<String> {
    Some(format!("\"{}\"", show_size(value)))
}

fn number(value: impl std::fmt::Display) -> Option<String> {
    Some(value.to_string())
}

fn text(value: impl std::fmt::Display) -> Option<String> {
    Some(format!("{:?}", value.to_string()))
}
