//! Lines of JSON: one object an event, with its own fields and those of the spans that it is in.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// Writes the time in UTC, the level, the fields and the module, in this order. Of a field that several
/// have, the event's own counts, then that of the innermost span.
pub(super) struct JsonLines;

impl<S> FormatEvent<S, JsonFields> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields(Map::new());
        for span in context.event_scope().into_iter().flatten() {
            let extensions = span.extensions();
            let formatted = extensions.get::<FormattedFields<JsonFields>>();
            let of_span = formatted.and_then(|text| serde_json::from_str(text).ok());
            for (name, value) in of_span.unwrap_or_else(Map::new) {
                fields.0.entry(name).or_insert(value);
            }
        }
        event.record(&mut fields);
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let level = event.metadata().level();
        write!(writer, "{{\"timestamp\":\"{time}\",\"level\":\"{level}\"")?;
        for (name, value) in &fields.0 {
            write!(writer, ",{}:{value}", Value::from(name.as_str()))?;
        }
        let target = Value::from(event.metadata().target());
        writeln!(writer, ",\"target\":{target}}}")
    }
}

/// Collects the fields of an event.
struct Fields(Map<String, Value>);

impl Fields {
    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::json;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::super::json;
    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_has_the_fields_of_its_spans_also_on_another_thread() {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::registry().with(vec![json(move || writer.clone())]);
        tracing::subscriber::with_default(subscriber, || {
            let dispatch = tracing::dispatcher::get_default(Clone::clone);
            let none = None::<&str>;
            let outer = tracing::error_span!(
                "run",
                job = "daily",
                database = "a\"b\n",
                attempt = 1,
                series = none
            );
            let span = outer.in_scope(|| tracing::error_span!("part", attempt = 2));
            span.in_scope(|| tracing::warn!(job = "own", seconds = 0.5, "said {}", "so"));
            std::thread::spawn(move || {
                tracing::dispatcher::with_default(&dispatch, || {
                    span.in_scope(|| tracing::info!("elsewhere"));
                });
            })
            .join()
            .unwrap();
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| {
                let mut line: Value = serde_json::from_str(line).unwrap();
                let time = line.as_object_mut().unwrap().remove("timestamp").unwrap();
                chrono::DateTime::parse_from_rfc3339(time.as_str().unwrap()).unwrap();
                line
            })
            .collect();
        let target = module_path!();
        assert_eq!(
            lines,
            [
                json!({"level": "WARN", "job": "own", "database": "a\"b\n", "attempt": 2,
                    "seconds": 0.5, "message": "said so", "target": target}),
                json!({"level": "INFO", "job": "daily", "database": "a\"b\n", "attempt": 2,
                    "message": "elsewhere", "target": target}),
            ]
        );
    }
}
