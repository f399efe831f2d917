//! Log lines to standard error: for eyes on a terminal, JSON for everything else.
//!
//! What strangers send ends up in values, so every control character is escaped: nobody can forge
//! a line or move a terminal's cursor. Secrets are the callers' duty: they never hand one over.

mod json;
mod lines;

use std::io::IsTerminal;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// What is written, and how.
#[derive(Debug, Clone)]
pub(crate) struct LogSettings {
    pub(crate) format: LogFormat,
    /// A level, or levels by target: `info,longhaul_gateway=debug`.
    pub(crate) level: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: LogFormat::Auto, level: "info".to_owned() }
    }
}

/// For whom lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// Human on a terminal, JSON elsewhere.
    Auto,
    Human,
    Json,
}

impl LogFormat {
    /// Its word in the file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Human => "human",
            Self::Json => "json",
        }
    }
}

/// Whether `text` is a level, or a list of `target=level`.
pub(crate) fn level_is_known(text: &str) -> bool {
    let is_known = |part: &str| {
        let level = part.split_once('=').map_or(part, |(_, level)| level);
        // `LevelFilter` takes nothing for everything.
        !level.is_empty() && level.parse::<LevelFilter>().is_ok() && part.parse::<Targets>().is_ok()
    };
    text.split(',').all(is_known)
}

/// What is logged. The HTTP/2 library warns of what strangers send, as often as they send it: it is
/// kept to errors unless it is named.
fn targets(level: &str) -> Targets {
    let targets: Targets = level.parse().unwrap_or_default();
    if level.split(',').any(|part| part.starts_with("h2=")) {
        return targets;
    }
    let default = targets.default_level().unwrap_or(LevelFilter::OFF);
    targets.with_target("h2", default.min(LevelFilter::ERROR))
}

/// What is logged now, and how to change it.
static LEVEL: OnceLock<Level> = OnceLock::new();

struct Level {
    said: Mutex<String>,
    set: Box<dyn Fn(Targets) -> Result<(), reload::Error> + Send + Sync>,
}

/// What is logged now.
pub(crate) fn level() -> String {
    let said = LEVEL.get().map(|level| level.said.lock().unwrap_or_else(PoisonError::into_inner));
    said.map_or_else(String::new, |said| said.clone())
}

/// Changes what is logged. Ask [`level_is_known`] before.
///
/// # Errors
/// In words, when nothing is logged at all.
pub(crate) fn set_level(text: &str) -> Result<(), String> {
    let Some(level) = LEVEL.get() else { return Err("logging has not been started".to_owned()) };
    let mut said = level.said.lock().unwrap_or_else(PoisonError::into_inner);
    (level.set)(targets(text)).map_err(|error| error.to_string())?;
    *said = text.to_owned();
    tracing::warn!(level = text, "what is logged was changed");
    Ok(())
}

/// Starts logging, panics included. Called once.
pub(crate) fn start(settings: &LogSettings) {
    let lines = lines::start();
    let targets = targets(&settings.level);
    let is_terminal = std::io::stderr().is_terminal();
    let is_human = match settings.format {
        LogFormat::Auto => is_terminal,
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let (targets, handle) = reload::Layer::new(targets);
    let set = Box::new(move |targets| handle.reload(targets));
    let _ = LEVEL.set(Level { said: Mutex::new(settings.level.clone()), set });
    let registry = tracing_subscriber::registry().with(targets);
    if is_human {
        let colour =
            is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let fields = format::debug_fn(|writer, field, value| {
            let value = escape_control(&format!("{value:?}"));
            match field.name() {
                "message" => write!(writer, "{value}"),
                name => write!(writer, "{name}={value}"),
            }
        });
        let lines = tracing_subscriber::fmt::layer().with_writer(move || lines);
        let lines = lines.with_ansi(colour).with_target(false).fmt_fields(fields.delimited(" "));
        registry.with(lines).init();
    } else {
        registry.with(json::Json(lines)).init();
    }
    std::panic::set_hook(Box::new(log_panic));
}

/// Waits until what was logged is written, for a second at most.
pub(crate) fn flush() {
    lines::flush();
}

fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let payload = panic.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    tracing::error!(thread = thread.name(), location, "panicked: {message}");
    // The process may end of it.
    lines::flush();
}

/// Escapes what could break out of a line: control characters, line separators and the marks that
/// reorder text.
pub(crate) fn escape_control(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if is_dangerous(c) => escaped.extend(c.escape_default()),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Whether a character could break out of a line, or turn what is read there around.
fn is_dangerous(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_of_http2_is_kept_quiet_unless_it_is_named() {
        use tracing::Level;
        assert!(!targets("info").would_enable("h2::proto", &Level::WARN));
        assert!(targets("info").would_enable("longhaul_gateway", &Level::INFO));
        assert!(targets("info,h2=debug").would_enable("h2::proto", &Level::DEBUG));
        assert!(!targets("off").would_enable("h2", &Level::ERROR));
    }

    #[test]
    fn nothing_breaks_out_of_its_line() {
        assert_eq!(
            escape_control("a\nb\x1b[2Jc\u{85}\u{202e}d"),
            "a\\nb\\u{1b}[2Jc\\u{85}\\u{202e}d"
        );
        assert_eq!(escape_control("grüße 👋"), "grüße 👋");
    }

    #[test]
    fn levels_are_words_or_targets_with_words() {
        for text in ["info", "off", "warn,longhaul_gateway=debug"] {
            assert!(level_is_known(text), "{text}");
        }
        for text in ["loud", "", "longhaul_gateway", "info,", "x=loud"] {
            assert!(!level_is_known(text), "{text}");
        }
    }
}
