//! Keys of `[app]` (the program the gateway is the parent of) and `[log]`.

use super::{Flag, Key, Section, Shape};
use super::{duration, number, seconds, text};
use crate::logs::LogSettings;
use crate::parent::AppSettings;

pub(super) static APP: Section = Section {
    name: "app",
    is_list: false,
    what: "The program that the gateway starts and serves as the upstream `app`.",
    keys: &[
        Key {
            name: "command",
            shape: Shape::Texts("program and its arguments; {port} is the port to listen on"),
            example: "[\"chainlit\", \"run\", \"app.py\", \"--port\", \"{port}\", \"--headless\"]",
            what: "Program to start, like CMD in `longhaul run -- CMD`; PORT is in its environment too",
            danger: "no shell reads it: use [\"sh\", \"-c\", \"…\"] for one; a program that goes to the \
                     background counts as dead",
            ..Key::NEW
        },
        Key {
            name: "ready",
            shape: Shape::Choice(&["http", "tcp"]),
            default: || text(AppSettings::default().ready.name()),
            what: "When it counts as started: http waits for an answer of any status, tcp for the port",
            danger: "tcp lets requests through to servers that bind before they can answer",
            ..Key::NEW
        },
        Key {
            name: "ready_path",
            shape: Shape::Text("path"),
            default: || text(AppSettings::default().ready_path),
            what: "What http asks for",
            ..Key::NEW
        },
        Key {
            name: "start_deadline",
            shape: seconds(1, 3_600),
            default: || duration(AppSettings::default().start_deadline),
            what: "From its start to its first answer; then it is ended and started again",
            danger: "shorter than it takes to load models: it never comes up",
            flag: Some(Flag::new(
                "--app-start-deadline",
                "LONGHAUL_APP_START_DEADLINE",
                "DURATION",
            )),
            ..Key::NEW
        },
        Key {
            name: "stop_grace",
            shape: seconds(0, 3_600),
            default: || duration(AppSettings::default().stop_grace),
            what: "From the signal that ends it to the one that kills it",
            cost: "adds to timeouts.drain at the end",
            danger: "drain and this together longer than the platform waits: it is killed with us",
            flag: Some(Flag::new("--app-stop-grace", "LONGHAUL_APP_STOP_GRACE", "DURATION")),
            ..Key::NEW
        },
        Key {
            name: "quick_deaths_max",
            shape: Shape::Count { min: 1, max: 1_000_000 },
            default: || number(AppSettings::default().quick_deaths_max),
            what: "Deaths in a row, each within a minute of the start, after which the gateway gives up \
                   and ends with the program's exit code",
            danger: "a high number hides from the platform that the program cannot start",
            flag: Some(Flag::new(
                "--app-quick-deaths-max",
                "LONGHAUL_APP_QUICK_DEATHS_MAX",
                "COUNT",
            )),
            ..Key::NEW
        },
    ],
    children: &[],
};

pub(super) static LOG: Section = Section {
    name: "log",
    is_list: false,
    what: "What is written to standard error.",
    keys: &[
        Key {
            name: "format",
            shape: Shape::Choice(&["auto", "human", "json"]),
            default: || text(LogSettings::default().format.name()),
            what: "human for eyes, json for collectors; auto is human on a terminal and json elsewhere",
            flag: Some(Flag::new("--log-format", "LONGHAUL_LOG_FORMAT", "FORMAT")),
            ..Key::NEW
        },
        Key {
            name: "level",
            shape: Shape::Text(
                "error, warn, info, debug, trace or off, also by target as in \"info,longhaul_gateway=debug\"",
            ),
            default: || text(LogSettings::default().level),
            what: "How much is written",
            cost: "debug writes a line for each request",
            danger: "error hides the lines that say why a WebSocket ended",
            flag: Some(Flag::new("--log-level", "LONGHAUL_LOG", "LEVEL")),
            ..Key::NEW
        },
    ],
    children: &[],
};
