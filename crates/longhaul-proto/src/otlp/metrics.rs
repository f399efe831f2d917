//! Metrics: the message `ExportMetricsServiceRequest`.
//!
//! Start at [`request`].

use super::wire::{fixed, message, number, packed, text};
use super::{Resource, Value, attributes, envelope};

/// One metric with all its series.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// As everywhere else.
    pub name: &'static str,
    /// What it tells.
    pub help: &'static str,
    /// Its numbers.
    pub points: Points,
}

/// Numbers of one kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Points {
    /// Go up and down.
    Gauge(Vec<Point<f64>>),
    /// Only grow.
    Counter(Vec<Point<f64>>),
    /// Observations, counted up to bounds.
    Histogram(Vec<Point<Observed>>),
}

/// One series at this moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Point<T> {
    /// What tells it from the others.
    pub labels: Vec<(&'static str, Value)>,
    /// What it is.
    pub value: T,
}

/// What a histogram knows.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// Up to which value each count goes.
    pub bounds: Vec<f64>,
    /// Observations between two bounds; one more than there are bounds.
    pub counts: Vec<u64>,
    /// All observations added up.
    pub sum: f64,
}

/// From when to when numbers were counted, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// When all was zero.
    pub began_ns: u64,
    /// When they were read.
    pub at_ns: u64,
}

/// Numbers count from the start of the process, not from the last time they were told.
const CUMULATIVE: u64 = 2;

/// Spells metrics of one program.
pub fn request(
    resource: Resource<'_>,
    version: &str,
    counted: Span,
    metrics: &[Metric],
) -> Vec<u8> {
    envelope(resource, version, |out| {
        for one in metrics {
            out.extend(message(2, |out| metric(out, one, counted)));
        }
    })
}

fn metric(out: &mut Vec<u8>, metric: &Metric, counted: Span) {
    text(out, 1, metric.name);
    text(out, 2, metric.help);
    match &metric.points {
        Points::Gauge(points) => out.extend(message(5, |out| numbers(out, points, counted))),
        Points::Counter(points) => out.extend(message(7, |out| {
            numbers(out, points, counted);
            number(out, 2, CUMULATIVE);
            // It never falls.
            number(out, 3, 1);
        })),
        Points::Histogram(points) => out.extend(message(9, |out| {
            for point in points {
                out.extend(message(1, |out| observed(out, point, counted)));
            }
            number(out, 2, CUMULATIVE);
        })),
    }
}

fn numbers(out: &mut Vec<u8>, points: &[Point<f64>], counted: Span) {
    for point in points {
        out.extend(message(1, |out| {
            fixed(out, 2, counted.began_ns);
            fixed(out, 3, counted.at_ns);
            fixed(out, 4, point.value.to_bits());
            attributes(out, 7, &point.labels);
        }));
    }
}

fn observed(out: &mut Vec<u8>, point: &Point<Observed>, counted: Span) {
    let Observed { bounds, counts, sum } = &point.value;
    fixed(out, 2, counted.began_ns);
    fixed(out, 3, counted.at_ns);
    let count = counts.iter().sum();
    if count > 0 {
        fixed(out, 4, count);
    }
    fixed(out, 5, sum.to_bits());
    packed(out, 6, counts.iter().copied());
    packed(out, 7, bounds.iter().map(|bound| bound.to_bits()));
    attributes(out, 9, &point.labels);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A collector made of the official library reads all of it in a story.
    #[test]
    fn a_counter_is_spelled_byte_for_byte() {
        let labels = vec![("r", "x".into())];
        let points = Points::Counter(vec![Point { labels, value: 1.0 }]);
        let metric = Metric { name: "n", help: "h", points };
        let spelled = request(&[], "1", Span { began_ns: 5, at_ns: 6 }, &[metric]);
        let expected = [
            &b"\x0a\x48\x0a\0\x12\x44\x0a\x0d\x0a\x08longhaul\x12\x011"[..],
            b"\x12\x33\x0a\x01n\x12\x01h\x3a\x2b",
            b"\x0a\x25\x11\x05\0\0\0\0\0\0\0\x19\x06\0\0\0\0\0\0\0",
            b"\x21\0\0\0\0\0\0\xf0\x3f",
            b"\x3a\x08\x0a\x01r\x12\x03\x0a\x01x",
            b"\x10\x02\x18\x01",
        ];
        assert_eq!(spelled, expected.concat());
    }
}
