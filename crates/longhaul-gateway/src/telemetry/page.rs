//! Writes metrics as scrapers read them: the text format of Prometheus, or OpenMetrics.
//!
//! Both are the same lines but for how counters are announced and how the page ends.

use std::fmt::Write;

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
    format: Format,
    text: String,
    family: Option<&'static Family>,
}

impl Page {
    pub(crate) fn new(format: Format) -> Self {
        Self { format, text: String::with_capacity(16 * 1024), family: None }
    }

    /// Announces a family.
    pub(crate) fn family(&mut self, family: &'static Family) {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let name = match self.format {
            Format::OpenMetrics => family.name.strip_suffix("_total").unwrap_or(family.name),
            Format::Prometheus => family.name,
        };
        let _ = writeln!(self.text, "# HELP {name} {}.\n# TYPE {name} {kind}", family.help);
        self.family = Some(family);
    }

    /// One series of the family announced last.
    pub(crate) fn sample(&mut self, values: &[&str], number: f64) {
        self.line("", values, None, number);
    }

    /// A family of one series.
    pub(crate) fn single(&mut self, family: &'static Family, number: f64) {
        self.family(family);
        self.sample(&[], number);
    }

    /// One series of the histogram announced last. `counts` are not yet added up.
    pub(crate) fn histogram(&mut self, values: &[&str], bounds: &[f64], counts: &[u64], sum: f64) {
        let mut total = 0;
        for (at, count) in counts.iter().enumerate() {
            total += count;
            let bound = bounds.get(at).map_or("+Inf".to_owned(), f64::to_string);
            self.line("_bucket", values, Some(&bound), total as f64);
        }
        self.line("_sum", values, None, sum);
        self.line("_count", values, None, total as f64);
    }

    /// The whole page.
    pub(crate) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    fn line(&mut self, suffix: &str, values: &[&str], bound: Option<&str>, number: f64) {
        let Some(family) = self.family else { return };
        self.text.push_str(family.name);
        self.text.push_str(suffix);
        let labels = family.labels.iter().copied().zip(values.iter().copied());
        let labels = labels.chain(bound.map(|bound| ("le", bound)));
        let mut before = '{';
        for (label, value) in labels {
            self.text.push(before);
            let _ = write!(self.text, "{label}=\"");
            self.escape(value);
            self.text.push('"');
            before = ',';
        }
        if before == ',' {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {number}");
    }

    fn escape(&mut self, value: &str) {
        for c in value.chars() {
            match c {
                '\\' => self.text.push_str("\\\\"),
                '"' => self.text.push_str("\\\""),
                '\n' => self.text.push_str("\\n"),
                c => self.text.push(c),
            }
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
