//! Figures for the operator's dashboard, and the page they are written on.
//!
//! Each room keeps its own counters and histograms and writes them on a [`Page`]
//! when asked, in the Prometheus text format; there is no registry and nothing
//! global. Holds always: a label's value is part of the program (`&'static str`),
//! so that no address, domain or remote text can become one and the number of
//! series is bounded by the source; counting never waits for a reader longer than
//! it takes to copy the figures.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The values of a series' labels.
type Labels<const N: usize> = [&'static str; N];

/// What only grows, by the values of `N` labels.
#[derive(Debug)]
pub struct Counter<const N: usize>(Mutex<BTreeMap<Labels<N>, u64>>);

impl<const N: usize> Default for Counter<N> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<const N: usize> Counter<N> {
    /// With these series at nought, so that they are there before anything has
    /// happened: what appears with its first event has no rate.
    #[must_use]
    pub fn with(series: impl IntoIterator<Item = Labels<N>>) -> Self {
        let series = series.into_iter().map(|labels| (labels, 0));
        Self(Mutex::new(series.collect()))
    }

    /// Counts one.
    pub fn count(&self, labels: Labels<N>) {
        self.add(labels, 1);
    }

    /// Counts many.
    pub fn add(&self, labels: Labels<N>, by: u64) {
        let mut series = self.lock();
        let value = series.entry(labels).or_default();
        *value = value.saturating_add(by);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Labels<N>, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often a value was how large.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    seen: Mutex<Seen>,
}

#[derive(Debug, Clone)]
struct Seen {
    /// One for each bound, and one for what lies above the last.
    buckets: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// With buckets up to and including each of these bounds, in rising order.
    #[must_use]
    pub fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            seen: Mutex::new(Seen {
                buckets: vec![0; bounds.len() + 1],
                sum: 0.0,
            }),
        }
    }

    /// Notes a value.
    pub fn observe(&self, value: f64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = seen.buckets.get_mut(place) {
            *bucket += 1;
        }
        seen.sum += value;
    }

    /// Notes a span, in seconds.
    pub fn observe_span(&self, span: Duration) {
        self.observe(span.as_secs_f64());
    }
}

/// The page that Prometheus reads (text format, version 0.0.4).
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// Its media type.
    pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

    /// Writes a counter; its name ends in `_total`.
    pub fn counter<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; N],
        counter: &Counter<N>,
    ) {
        self.head(name, help, "counter");
        let series = counter.lock().clone();
        for (values, count) in series {
            self.sample(name, &Pairs(&labels, &values), count);
        }
    }

    /// Writes what goes up and down, with a label or two.
    pub fn gauges<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; N],
        values: impl IntoIterator<Item = (Labels<N>, f64)>,
    ) {
        self.head(name, help, "gauge");
        for (label_values, value) in values {
            self.sample(name, &Pairs(&labels, &label_values), value);
        }
    }

    /// Writes a value that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.gauges(name, help, [], [([], value)]);
    }

    /// Writes a histogram.
    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, help, "histogram");
        let seen = {
            let seen = histogram.seen.lock();
            seen.unwrap_or_else(PoisonError::into_inner).clone()
        };
        let mut count = 0;
        let bounds = histogram.bounds.iter().map(ToString::to_string);
        for (bound, bucket) in bounds.chain(["+Inf".to_owned()]).zip(&seen.buckets) {
            count += bucket;
            // Writing to a String can't fail, here and below.
            let _ = writeln!(self.0, "{name}_bucket{{le=\"{bound}\"}} {count}");
        }
        let _ = writeln!(self.0, "{name}_sum {}\n{name}_count {count}", seen.sum);
    }

    /// The text.
    #[must_use]
    pub fn into_text(self) -> String {
        self.0
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample<const N: usize>(
        &mut self,
        name: &str,
        labels: &Pairs<'_, N>,
        value: impl fmt::Display,
    ) {
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

/// `{name="value",…}`; nothing without labels. Values are words of the program,
/// none of which needs an escape.
struct Pairs<'a, const N: usize>(&'a [&'a str; N], &'a Labels<N>);

impl<const N: usize> fmt::Display for Pairs<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (name, value)) in self.0.iter().zip(self.1).enumerate() {
            let open = if place == 0 { '{' } else { ',' };
            write!(f, "{open}{name}=\"{value}\"")?;
        }
        if N > 0 { f.write_str("}") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_prometheus_words() {
        let mut page = Page::default();
        let taken = Counter::with([["relay", "4xx"]]);
        taken.add(["submission", "5xx"], 2);
        page.counter("a_total", "What came.", ["listener", "class"], &taken);
        page.gauge("b_seconds", "How long.", 1.5);
        let spans = Histogram::new(&[0.1, 1.0]);
        for value in [0.05, 0.1, 0.5, 7.0] {
            spans.observe(value);
        }
        page.histogram("c_seconds", "How quick.", &spans);
        assert_eq!(
            page.into_text(),
            "# HELP a_total What came.\n# TYPE a_total counter\n\
             a_total{listener=\"relay\",class=\"4xx\"} 0\n\
             a_total{listener=\"submission\",class=\"5xx\"} 2\n\
             # HELP b_seconds How long.\n# TYPE b_seconds gauge\nb_seconds 1.5\n\
             # HELP c_seconds How quick.\n# TYPE c_seconds histogram\n\
             c_seconds_bucket{le=\"0.1\"} 2\nc_seconds_bucket{le=\"1\"} 3\n\
             c_seconds_bucket{le=\"+Inf\"} 4\nc_seconds_sum 7.65\nc_seconds_count 4\n"
        );
    }
}
