//! The one registry: every module registers its own metrics in it under the prefix `leqi_gateway_`.

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder, core::Collector,
};

/// Buckets in seconds for latencies from half a millisecond to a minute.
pub const LATENCY_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// A metric could not be registered: its name or labels are wrong or taken. A bug, found at the first start.
#[derive(Debug, thiserror::Error)]
#[error("cannot register a metric: {0}")]
pub struct MetricError(#[from] prometheus::Error);

/// Where modules register. Names are given without the prefix; the help text is what Prometheus shows.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    /// Figures of the process, whose names are the same everywhere and have no prefix.
    process: Registry,
}

impl Metrics {
    /// An empty registry.
    ///
    /// # Errors
    /// Never in practice: the prefix is a constant that prometheus accepts.
    pub fn new() -> Result<Self, MetricError> {
        let process = Registry::new();
        #[cfg(target_os = "linux")]
        process.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(Self { registry: Registry::new_custom(Some("leqi_gateway".to_owned()), None)?, process })
    }

    /// A counter.
    ///
    /// # Errors
    /// When the name is wrong or taken.
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter, MetricError> {
        self.add(IntCounter::new(name, help)?)
    }

    /// Counters told apart by labels from closed sets.
    ///
    /// # Errors
    /// When the name is wrong or taken.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, MetricError> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    /// A gauge.
    ///
    /// # Errors
    /// When the name is wrong or taken.
    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, MetricError> {
        self.add(IntGauge::new(name, help)?)
    }

    /// Gauges told apart by labels from closed sets.
    ///
    /// # Errors
    /// When the name is wrong or taken.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, MetricError> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// A histogram of seconds over [`LATENCY_BUCKETS`].
    ///
    /// # Errors
    /// When the name is wrong or taken.
    pub fn seconds(&self, name: &str, help: &str) -> Result<Histogram, MetricError> {
        self.add(Histogram::with_opts(HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS.to_vec()))?)
    }

    /// Histograms of seconds over [`LATENCY_BUCKETS`], told apart by labels from closed sets.
    ///
    /// # Errors
    /// When the name is wrong or taken.
    pub fn seconds_by(&self, name: &str, help: &str, labels: &[&str]) -> Result<HistogramVec, MetricError> {
        let opts = HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS.to_vec());
        self.add(HistogramVec::new(opts, labels)?)
    }

    /// Everything registered, in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8192);
        // writing into a Vec cannot fail, and families that cannot be encoded cannot be registered
        let mut families = self.registry.gather();
        families.extend(self.process.gather());
        if let Err(error) = TextEncoder::new().encode(&families, &mut out) {
            tracing::error!(%error, "metrics could not be encoded");
        }
        out
    }

    fn add<C: Collector + Clone + 'static>(&self, metric: C) -> Result<C, MetricError> {
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}
