//! Counters and histograms of one family each, by the values of its labels.
//!
//! Touched when a connection or a request begins or ends, never per message: what relays count is in
//! `tally`.

use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use fnv::{FnvHashMap, FnvHasher};

use super::families::{Family, Kind};
use super::page::Page;

/// Series that one family may have. All labels come from closed sets, so only a configuration with
/// thousands of routes gets near; what is beyond is not counted.
const SERIES_MAX: usize = 20_000;

/// The series of one family.
#[derive(Debug)]
pub(crate) struct Series<T> {
    family: &'static Family,
    /// By the hash of the label values, so that finding one allocates nothing.
    cells: RwLock<FnvHashMap<u64, Cell<T>>>,
}

#[derive(Debug)]
struct Cell<T> {
    values: Box<[Box<str>]>,
    number: Arc<T>,
}

/// Counts by label values.
pub(crate) type Counters = Series<AtomicU64>;
/// Durations by label values.
pub(crate) type Histograms = Series<Histogram>;

impl<T: New> Series<T> {
    pub(crate) fn new(family: &'static Family) -> Self {
        Self { family, cells: RwLock::default() }
    }

    /// The series with these label values, if there is still room for it.
    pub(crate) fn with(&self, values: &[&str]) -> Option<Arc<T>> {
        debug_assert_eq!(values.len(), self.family.labels.len(), "{}", self.family.name);
        let mut hasher = FnvHasher::default();
        values.hash(&mut hasher);
        let hash = hasher.finish();
        let cells = self.cells.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = cells.get(&hash) {
            return Some(cell.number.clone());
        }
        drop(cells);
        let mut cells = self.cells.write().unwrap_or_else(PoisonError::into_inner);
        if cells.len() >= SERIES_MAX {
            return None;
        }
        let cell = cells.entry(hash).or_insert_with(|| Cell {
            values: values.iter().map(|&value| value.into()).collect(),
            number: Arc::new(T::new(self.family)),
        });
        Some(cell.number.clone())
    }

    /// Writes every series, in the order of their label values.
    pub(crate) fn write(&self, page: &mut Page) {
        let cells = self.cells.read().unwrap_or_else(PoisonError::into_inner);
        let mut cells: Vec<(&[Box<str>], &Arc<T>)> =
            cells.values().map(|cell| (&*cell.values, &cell.number)).collect();
        cells.sort_unstable_by_key(|(values, _)| *values);
        page.family(self.family);
        for (values, number) in cells {
            let values: Vec<&str> = values.iter().map(|value| &**value).collect();
            number.write(page, &values);
        }
    }
}

impl Counters {
    /// All series together.
    pub(crate) fn sum(&self) -> u64 {
        let cells = self.cells.read().unwrap_or_else(PoisonError::into_inner);
        cells.values().map(|cell| cell.number.load(Ordering::Relaxed)).sum()
    }

    /// Those with this value of the label at this place.
    pub(crate) fn sum_where(&self, label: usize, value: &str) -> u64 {
        let cells = self.cells.read().unwrap_or_else(PoisonError::into_inner);
        let counted = cells.values().filter(|cell| &*cell.values[label] == value);
        counted.map(|cell| cell.number.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn count(&self, values: &[&str]) {
        self.add(values, 1);
    }

    pub(crate) fn add(&self, values: &[&str], number: u64) {
        if let Some(counter) = self.with(values) {
            counter.fetch_add(number, Ordering::Relaxed);
        }
    }
}

impl Histograms {
    /// All series together: how many fell under each bound, and beyond the last.
    pub(crate) fn merged(&self) -> Vec<u64> {
        let Kind::Histogram(bounds) = self.family.kind else { return Vec::new() };
        let mut counts = vec![0; bounds.len() + 1];
        let cells = self.cells.read().unwrap_or_else(PoisonError::into_inner);
        for cell in cells.values() {
            for (sum, count) in counts.iter_mut().zip(&cell.number.counts) {
                *sum += count.load(Ordering::Relaxed);
            }
        }
        counts
    }

    pub(crate) fn observe(&self, values: &[&str], duration: Duration) {
        if let Some(histogram) = self.with(values) {
            histogram.observe(duration);
        }
    }
}

/// What a series holds.
pub(crate) trait New {
    fn new(family: &'static Family) -> Self;
    fn write(&self, page: &mut Page, values: &[&str]);
}

impl New for AtomicU64 {
    fn new(_: &'static Family) -> Self {
        Self::new(0)
    }

    fn write(&self, page: &mut Page, values: &[&str]) {
        page.sample(values, self.load(Ordering::Relaxed) as f64);
    }
}

/// How many durations fell under each bound.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static [f64],
    /// One for each bound, and one for what is beyond all.
    counts: Box<[AtomicU64]>,
    sum_us: AtomicU64,
}

impl Histogram {
    pub(crate) fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let at = self.bounds.partition_point(|&bound| bound < seconds);
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }
}

impl New for Histogram {
    fn new(family: &'static Family) -> Self {
        let Kind::Histogram(bounds) = family.kind else {
            unreachable!("{} is declared as a histogram", family.name)
        };
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum_us: AtomicU64::new(0) }
    }

    fn write(&self, page: &mut Page, values: &[&str]) {
        let counts: Vec<u64> =
            self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let sum_s = self.sum_us.load(Ordering::Relaxed) as f64 / 1e6;
        page.histogram(values, self.bounds, &counts, sum_s);
    }
}

#[cfg(test)]
mod tests {
    use super::super::families::{UPGRADE_SECONDS, UPGRADES};
    use super::super::page::Format;
    use super::*;

    fn page_of<T: New>(series: &Series<T>) -> String {
        let mut page = Page::new(Format::Prometheus);
        series.write(&mut page);
        page.finish()
    }

    #[test]
    fn the_same_label_values_are_the_same_series() {
        let upgrades = Counters::new(&UPGRADES);
        for _ in 0..3 {
            upgrades.count(&["chat", "accepted", ""]);
        }
        upgrades.count(&["chat", "refused", "no_route"]);
        let page = page_of(&upgrades);
        let accepted = "longhaul_upgrades_total{route=\"chat\",outcome=\"accepted\",reason=\"\"} 3";
        assert!(page.contains(accepted), "{page}");
        assert_eq!(page.lines().count(), 4);
    }

    #[test]
    fn buckets_hold_everything_up_to_their_bound() {
        let seconds = Histograms::new(&UPGRADE_SECONDS);
        for ms in [1, 2, 90_000] {
            seconds.observe(&["chat"], Duration::from_millis(ms));
        }
        let page = page_of(&seconds);
        for line in [
            "_bucket{route=\"chat\",le=\"0.001\"} 1",
            "_bucket{route=\"chat\",le=\"0.0025\"} 2",
            "_bucket{route=\"chat\",le=\"60\"} 2",
            "_bucket{route=\"chat\",le=\"+Inf\"} 3",
            "_sum{route=\"chat\"} 90.003",
            "_count{route=\"chat\"} 3",
        ] {
            assert!(page.contains(line), "no {line} in\n{page}");
        }
    }
}
