//! An event as one line of JSON: the time, the level, the event's own fields, and who wrote it.
//!
//! Two lines are written for each WebSocket, so they are spelled straight into the line. By way of a
//! serializer they cost as much as half a handshake: see `docs/tune/cost.md`.

use std::cell::RefCell;
use std::error::Error;
use std::fmt::{self, Debug, Display};
use std::io::Write as _;
use std::time::SystemTime;

use time::UtcDateTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::is_dangerous;
use super::lines::Lines;

thread_local! {
    /// What this thread spells its lines in.
    static LINE: RefCell<Line> = RefCell::default();
}

/// Writes lines for machines.
pub(super) struct Json(pub(super) Lines);

impl<S: Subscriber> Layer<S> for Json {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let write = |line: &mut Line| {
            line.spell(event, SystemTime::now());
            // Whom could it be told that telling fails?
            let _ = { self.0 }.write_all(line.text.as_bytes());
        };
        let is_free = |line: &RefCell<Line>| line.try_borrow_mut().map(|mut line| write(&mut line));
        // It is not where a value logs while it is shown, or a thread while it ends.
        if !LINE.try_with(is_free).is_ok_and(|written| written.is_ok()) {
            write(&mut Line::default());
        }
    }
}

/// The memory of the line before, and when it was written.
#[derive(Debug, Default)]
struct Line {
    text: String,
    /// Seconds since 1970 of `to_the_second`, which is the same for most lines.
    second: Option<u64>,
    to_the_second: String,
}

impl Line {
    fn spell(&mut self, event: &Event<'_>, now: SystemTime) {
        self.text.clear();
        self.text.push_str("{\"timestamp\":\"");
        self.stamp(now);
        self.text.push_str("\",\"level\":\"");
        self.text.push_str(event.metadata().level().as_str());
        self.text.push('"');
        let mut fields = Fields(&mut self.text);
        event.record(&mut fields);
        fields.text("target", event.metadata().target());
        self.text.push_str("}\n");
    }

    /// Writes the time as RFC 3339 has it, with microseconds.
    fn stamp(&mut self, now: SystemTime) {
        let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if self.second != Some(since_1970.as_secs()) {
            self.second = Some(since_1970.as_secs());
            self.to_the_second.clear();
            let now = i64::try_from(since_1970.as_secs()).ok();
            let now = now.and_then(|now| UtcDateTime::from_unix_timestamp(now).ok());
            let now = now.unwrap_or(UtcDateTime::UNIX_EPOCH);
            let (year, month, day) = (now.year(), u8::from(now.month()), now.day());
            let (hour, minute, second) = now.as_hms();
            put(
                &mut self.to_the_second,
                format_args!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}."),
            );
        }
        self.text.push_str(&self.to_the_second);
        put(&mut self.text, format_args!("{:06}Z", since_1970.subsec_micros()));
    }
}

/// Writes each field behind those before it.
struct Fields<'a>(&'a mut String);

impl Fields<'_> {
    /// Names are ours or a library's, and words.
    fn name(&mut self, name: &str) {
        self.0.push_str(",\"");
        self.0.push_str(name);
        self.0.push_str("\":");
    }

    /// A value that JSON spells as Rust does.
    fn bare(&mut self, name: &str, value: &str) {
        self.name(name);
        self.0.push_str(value);
    }

    fn number(&mut self, name: &str, value: impl Display) {
        self.name(name);
        put(self.0, format_args!("{value}"));
    }

    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.0.push('"');
        escape(self.0, value);
        self.0.push('"');
    }

    fn shown(&mut self, name: &str, value: fmt::Arguments<'_>) {
        self.name(name);
        self.0.push('"');
        put(&mut Escaped(self.0), value);
        self.0.push('"');
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.number(field.name(), value);
        } else {
            // JSON has no word for it.
            self.bare(field.name(), "null");
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.bare(field.name(), itoa::Buffer::new().format(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.bare(field.name(), itoa::Buffer::new().format(value));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.number(field.name(), value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.number(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.bare(field.name(), if value { "true" } else { "false" });
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.name(), value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.shown(field.name(), format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.shown(field.name(), format_args!("{value:?}"));
    }
}

/// What stands inside a JSON string (RFC 8259 §7).
struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(self.0, text);
        Ok(())
    }
}

fn escape(line: &mut String, text: &str) {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    // All of them are looked at, which is done sixteen at once.
    if text.bytes().fold(true, |is_all, byte| is_all & is_plain(byte)) {
        return line.push_str(text);
    }
    for c in text.chars() {
        match c {
            '"' | '\\' => line.extend(['\\', c]),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            // All of them fit into one unit of UTF-16.
            c if is_dangerous(c) => put(line, format_args!("\\u{:04x}", u32::from(c))),
            c => line.push(c),
        }
    }
}

/// Writes where writing never fails; what cannot be shown is left out.
fn put(line: &mut impl fmt::Write, text: fmt::Arguments<'_>) {
    let _ = line.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc::{Sender, channel};
    use std::time::Duration;

    use serde_json::{Value, json};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// Spells lines at a known time.
    struct At(Duration, Sender<String>);

    impl<S: Subscriber> Layer<S> for At {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut line = Line::default();
            line.spell(event, SystemTime::UNIX_EPOCH + self.0);
            self.1.send(line.text).expect("somebody waits for it");
        }
    }

    /// What one event becomes.
    fn line(log: impl FnOnce()) -> String {
        let (sender, lines) = channel();
        let layer = At(Duration::new(1_795_222_612, 70_428_999), sender);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        lines.recv().expect("one line is written")
    }

    #[test]
    fn a_line_has_the_time_the_level_the_fields_in_order_and_who_wrote_it() {
        let reason = "it \"ended\"";
        let line = line(|| {
            tracing::warn!(
                id = 7_u64, back = -3, is_drop = true, duration_s = 3.559, never = f64::NAN,
                huge = u128::MAX, %reason, missing = None::<&str>, "websocket {}", "closed"
            );
        });
        assert_eq!(
            line,
            "{\"timestamp\":\"2026-11-21T00:56:52.070428Z\",\"level\":\"WARN\",\
             \"message\":\"websocket closed\",\"id\":7,\"back\":-3,\"is_drop\":true,\
             \"duration_s\":3.559,\"never\":null,\
             \"huge\":340282366920938463463374607431768211455,\"reason\":\"it \\\"ended\\\"\",\
             \"target\":\"longhaul::logs::json::tests\"}\n"
        );
    }

    #[test]
    fn every_character_survives_and_none_breaks_out() {
        let every: String = (0..=0x2_ffff).filter_map(char::from_u32).collect();
        let error = io::Error::other(every.clone());
        let line = line(|| {
            tracing::info!(text = every, shown = %every, error = &error as &dyn Error, "{every}");
        });
        assert!(line.ends_with("}\n") && !line[..line.len() - 1].contains(is_dangerous));
        let read: Value = serde_json::from_str(&line).expect("JSON");
        for field in ["text", "shown", "error", "message"] {
            assert_eq!(read[field], json!(every), "{field}");
        }
    }

    #[test]
    fn the_second_is_spelled_again_when_it_is_another() {
        let mut line = Line::default();
        let mut stamp = |millis| {
            line.text.clear();
            line.stamp(SystemTime::UNIX_EPOCH + Duration::from_millis(millis));
            line.text.clone()
        };
        assert_eq!(stamp(999), "1970-01-01T00:00:00.999000Z");
        assert_eq!(stamp(1000), "1970-01-01T00:00:01.000000Z");
        assert_eq!(stamp(951_827_696_789), "2000-02-29T12:34:56.789000Z");
        assert_eq!(stamp(951_827_696_001), "2000-02-29T12:34:56.001000Z");
    }
}
