//! Log lines as JSON, one object a line.
//!
//! Lines are made as text, `what happened: key=value key="some words"`, for grep;
//! here the same words become fields, so that there is one vocabulary
//! (docs/logging.md) and no second place that says what may be told. Holds
//! always: a line is one object on one line, whatever is in it.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::registry::LookupSpan;

/// The format.
#[derive(Debug, Clone, Copy)]
pub(super) struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut line = Line::default();
        line.put("time", time);
        let level = event.metadata().level().as_str().to_ascii_lowercase();
        line.put("level", level);
        event.record(&mut line);
        writeln!(writer, "{}", Value::Object(line.0))
    }
}

/// The object that a line becomes.
#[derive(Default)]
struct Line(Map<String, Value>);

impl Line {
    /// A key that comes again (`to`, with full addresses) becomes a list.
    fn put(&mut self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        match self.0.get_mut(key) {
            None => drop(self.0.insert(key.to_owned(), value)),
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }

    /// Splits a line into what happened and its words.
    fn put_text(&mut self, text: &str) {
        let mut rest = text;
        let mut event = Vec::new();
        while let Some((word, behind)) = next_word(rest) {
            rest = behind;
            match pair(word) {
                Some((key, value)) => self.put(key, value),
                None => event.push(word),
            }
        }
        if !event.is_empty() {
            let event = event.join(" ");
            self.put("message", event.trim_end_matches(':'));
        }
    }
}

/// The first word of a line, and what is behind it; quotes hold words together:
/// those of a value, in which nothing is escaped, and those of a local part (RFC
/// 5321 section 4.1.2), in which `\\"` does not end it.
fn next_word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    if text.is_empty() {
        return None;
    }
    let (mut quoted, mut of_address, mut last) = (false, false, ' ');
    let end = text.find(|c: char| {
        let escaped = quoted && of_address && last == '\\';
        if c == '"' && !escaped {
            quoted = !quoted;
            of_address = last != '=';
        }
        // The second of two backslashes escapes nothing.
        last = if escaped { ' ' } else { c };
        c.is_whitespace() && !quoted
    });
    Some(text.split_at(end.unwrap_or(text.len())))
}

/// `key=value`, without the value's quotes.
fn pair(word: &str) -> Option<(&str, &str)> {
    let (key, value) = word.split_once('=')?;
    let is_key = key.starts_with(|c: char| c.is_ascii_lowercase())
        && key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let unquoted = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
    // `id=…: what happened`, but an IPv6 address may end in two.
    let plain = value.strip_suffix(':').filter(|v| !v.ends_with(':'));
    is_key.then_some((key, unquoted.or(plain).unwrap_or(value)))
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "message" => self.put_text(&text),
            // What the `log` crate's bridge adds of its own.
            name if name.starts_with("log.") => {}
            name => self.put(name, text),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.put_text(value),
            name => self.put(name, value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Value {
        let mut line = Line::default();
        line.put_text(text);
        Value::Object(line.0)
    }

    #[test]
    fn words_become_fields() {
        assert_eq!(
            of(r#"id=1 tls=a:b status=delivered reply="250 2.0.0 a=b c" to=<x@a> to=<y@a>"#),
            serde_json::json!({"id": "1", "tls": "a:b", "status": "delivered",
                "reply": "250 2.0.0 a=b c", "to": ["<x@a>", "<y@a>"]})
        );
        assert_eq!(
            of(r#"auth failed: client=192.0.2.1 reason="wrong password""#),
            serde_json::json!({"message": "auth failed", "client": "192.0.2.1",
                "reason": "wrong password"})
        );
        assert_eq!(
            of(r#"to=<"a\" status=delivered\\"@x> reply="550 \" status=bounced"#),
            serde_json::json!({"to": r#"<"a\" status=delivered\\"@x>"#,
                "reply": "550 \\", "status": "bounced"})
        );
        assert_eq!(
            of("id=1: left alone for client=2001:db8::"),
            serde_json::json!({"message": "left alone for", "id": "1", "client": "2001:db8::"})
        );
        assert_eq!(of("stopped"), serde_json::json!({"message": "stopped"}));
        assert_eq!(
            of("a 2=3 \"odd"),
            serde_json::json!({"message": "a 2=3 \"odd"})
        );
    }
}
