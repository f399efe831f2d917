//! Reads `[app]` and `[log]`.

use super::Sections;
use super::process::to_usize;
use crate::config::forms;
use crate::config::problem::Problem;
use crate::logs::{LogFormat, LogSettings, level_is_known};
use crate::parent::{AppSettings, Ready};

/// The program to start; `None` when there is none.
pub(super) fn app(sections: &Sections<'_>) -> Option<AppSettings> {
    let reader = sections.one("app");
    let default = AppSettings::default();
    let command: Vec<String> = reader
        .parsed_list("command", |text| match text {
            text if text.contains('\0') => Err("has a zero byte; remove it".to_owned()),
            text => Ok(text.to_owned()),
        })
        .unwrap_or_default()
        .into_iter()
        .map(|(argument, _)| argument)
        .collect();
    let settings = AppSettings {
        ready: match reader.choice("ready") {
            Some("tcp") => Ready::Tcp,
            Some(_) => Ready::Http,
            None => default.ready,
        },
        ready_path: reader.parsed("ready_path", forms::path).unwrap_or(default.ready_path),
        start_deadline: reader.duration("start_deadline").unwrap_or(default.start_deadline),
        stop_grace: reader.duration("stop_grace").unwrap_or(default.stop_grace),
        quick_deaths_max: reader
            .count("quick_deaths_max")
            .map_or(default.quick_deaths_max, to_usize),
        command,
    };
    if let [only] = settings.command.as_slice()
        && only.contains(' ')
        && !only.starts_with(['/', '.'])
    {
        let title = format!("app.command = {only:?} is one text, and no shell takes it apart");
        let problem = Problem::error(reader.at_key("command"), title);
        reader.report(problem.remedy("write a list, as in [\"chainlit\", \"run\", \"app.py\"]"));
    }
    if settings.command.first().is_some_and(|program| program.is_empty())
        || (reader.has("command") && settings.command.is_empty())
    {
        let problem = Problem::error(reader.at_key("command"), "app.command names no program");
        reader.report(problem.remedy("name the program first, as in [\"chainlit\", \"run\", …]"));
    }
    (!settings.command.is_empty()).then_some(settings)
}

pub(super) fn log(sections: &Sections<'_>) -> LogSettings {
    let reader = sections.one("log");
    let default = LogSettings::default();
    let level = reader.parsed("level", |text| match level_is_known(text) {
        true => Ok(text.to_owned()),
        false => Err("is not a level; use error, warn, info, debug, trace or off".to_owned()),
    });
    LogSettings {
        format: match reader.choice("format") {
            Some("human") => LogFormat::Human,
            Some("json") => LogFormat::Json,
            _ => LogFormat::Auto,
        },
        level: level.unwrap_or(default.level),
    }
}
