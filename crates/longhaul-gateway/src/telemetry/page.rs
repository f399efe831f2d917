//! Writes metrics as scrapers read them: the text format of Prometheus, or OpenMetrics.
//!
//! Both are the same lines but for how counters are announced and how the page ends. Collectors get
//! the same families and samples, spelled elsewhere.

use std::fmt::Write;

use longhaul_proto::otlp::Value;
use longhaul_proto::otlp::metrics::{Metric, Observed, Point, Points};

use super::families::{Family, Kind};

/// Which text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Version 0.0.4 of Prometheus' own.
    Prometheus,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The `Content-Type` of a page.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A page being written. Each family is announced once, and its samples follow.
#[derive(Debug)]
pub(crate) struct Page {
    out: Out,
    family: Option<&'static Family>,
}

/// What becomes of what is written.
#[derive(Debug)]
enum Out {
    Text {
        format: Format,
        text: String,
    },
    /// For a collector, which has its own spelling.
    Points(Vec<Metric>),
}

impl Page {
    pub(crate) fn new(format: Format) -> Self {
        let text = String::with_capacity(16 * 1024);
        Self { out: Out::Text { format, text }, family: None }
    }

    /// The same families and samples, as numbers.
    pub(crate) fn of_points() -> Self {
        Self { out: Out::Points(Vec::new()), family: None }
    }

    /// Announces a family.
    pub(crate) fn family(&mut self, family: &'static Family) {
        self.family = Some(family);
        match &mut self.out {
            Out::Text { format, text } => announce(text, *format, family),
            Out::Points(metrics) => {
                let points = match family.kind {
                    Kind::Counter => Points::Counter(Vec::new()),
                    Kind::Gauge => Points::Gauge(Vec::new()),
                    Kind::Histogram(_) => Points::Histogram(Vec::new()),
                };
                metrics.push(Metric { name: family.name, help: family.help, points });
            }
        }
    }

    /// One series of the family announced last.
    pub(crate) fn sample(&mut self, values: &[&str], number: f64) {
        let Some(family) = self.family else { return };
        match &mut self.out {
            Out::Text { text, .. } => line(text, family, "", values, None, number),
            Out::Points(metrics) => {
                let point = Point { labels: labels(family, values), value: number };
                match metrics.last_mut().map(|metric| &mut metric.points) {
                    Some(Points::Counter(points) | Points::Gauge(points)) => points.push(point),
                    Some(Points::Histogram(_)) | None => {}
                }
            }
        }
    }

    /// A family of one series.
    pub(crate) fn single(&mut self, family: &'static Family, number: f64) {
        self.family(family);
        self.sample(&[], number);
    }

    /// One series of the histogram announced last. `counts` are not yet added up.
    pub(crate) fn histogram(&mut self, values: &[&str], bounds: &[f64], counts: &[u64], sum: f64) {
        let Some(family) = self.family else { return };
        match &mut self.out {
            Out::Text { text, .. } => {
                let mut total = 0;
                for (at, count) in counts.iter().enumerate() {
                    total += count;
                    let bound = bounds.get(at).map_or("+Inf".to_owned(), f64::to_string);
                    line(text, family, "_bucket", values, Some(&bound), total as f64);
                }
                line(text, family, "_sum", values, None, sum);
                line(text, family, "_count", values, None, total as f64);
            }
            Out::Points(metrics) => {
                let value = Observed { bounds: bounds.to_vec(), counts: counts.to_vec(), sum };
                let point = Point { labels: labels(family, values), value };
                if let Some(Points::Histogram(points)) =
                    metrics.last_mut().map(|metric| &mut metric.points)
                {
                    points.push(point);
                }
            }
        }
    }

    /// The whole page; empty where it was numbers.
    pub(crate) fn finish(self) -> String {
        match self.out {
            Out::Text { format: Format::OpenMetrics, text } => text + "# EOF\n",
            Out::Text { format: Format::Prometheus, text } => text,
            Out::Points(_) => String::new(),
        }
    }

    /// All numbers; none where it was text.
    pub(crate) fn finish_points(self) -> Vec<Metric> {
        match self.out {
            Out::Points(mut metrics) => {
                metrics.retain(|metric| has_any(&metric.points));
                metrics
            }
            Out::Text { .. } => Vec::new(),
        }
    }
}

fn has_any(points: &Points) -> bool {
    match points {
        Points::Counter(points) | Points::Gauge(points) => !points.is_empty(),
        Points::Histogram(points) => !points.is_empty(),
    }
}

fn announce(text: &mut String, format: Format, family: &Family) {
    let kind = match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram(_) => "histogram",
    };
    let name = match format {
        Format::OpenMetrics => family.name.strip_suffix("_total").unwrap_or(family.name),
        Format::Prometheus => family.name,
    };
    let _ = writeln!(text, "# HELP {name} {}.\n# TYPE {name} {kind}", family.help);
}

fn labels(family: &Family, values: &[&str]) -> Vec<(&'static str, Value)> {
    let labels = family.labels.iter().copied().zip(values.iter().copied());
    labels.map(|(label, value)| (label, value.to_owned().into())).collect()
}

fn line(
    text: &mut String,
    family: &Family,
    suffix: &str,
    values: &[&str],
    bound: Option<&str>,
    number: f64,
) {
    text.push_str(family.name);
    text.push_str(suffix);
    let labels = family.labels.iter().copied().zip(values.iter().copied());
    let labels = labels.chain(bound.map(|bound| ("le", bound)));
    let mut before = '{';
    for (label, value) in labels {
        text.push(before);
        let _ = write!(text, "{label}=\"");
        escape(text, value);
        text.push('"');
        before = ',';
    }
    if before == ',' {
        text.push('}');
    }
    let _ = writeln!(text, " {number}");
}

fn escape(text: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::families::{READY, REFUSALS};
    use super::*;

    fn page(format: Format) -> String {
        let mut page = Page::new(format);
        page.single(&READY, 1.0);
        page.family(&REFUSALS);
        page.sample(&["a \"quoted\"\\\nname"], 2.0);
        page.finish()
    }

    #[test]
    fn counters_are_announced_with_their_suffix_to_prometheus_and_without_in_openmetrics() {
        let prometheus = page(Format::Prometheus);
        assert!(prometheus.contains("# TYPE longhaul_refusals_total counter\n"), "{prometheus}");
        assert!(!prometheus.contains("# EOF"));
        let openmetrics = page(Format::OpenMetrics);
        assert!(openmetrics.contains("# TYPE longhaul_refusals counter\n"), "{openmetrics}");
        assert!(openmetrics.ends_with("# EOF\n"));
        for page in [prometheus, openmetrics] {
            let escaped = "longhaul_refusals_total{cause=\"a \\\"quoted\\\"\\\\\\nname\"} 2\n";
            assert!(page.contains(escaped), "{page}");
            assert!(page.contains("longhaul_ready 1\n"), "{page}");
        }
    }
}
