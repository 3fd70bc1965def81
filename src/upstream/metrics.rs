//! What the pool and its calls count.

use std::{sync::Arc, time::Duration};

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::telemetry::metrics::{MetricError, Metrics};

use super::{Phase, error::Failure};

/// The phases in which a new connection can fail.
const CONNECTING: [Phase; 6] =
    [Phase::Connect, Phase::Pin, Phase::Proxy, Phase::Resolve, Phase::Send, Phase::Tls];

/// The phases that have a limit of time.
const TIMED: [Phase; 9] = [
    Phase::Connect,
    Phase::Idle,
    Phase::Pool,
    Phase::Proxy,
    Phase::Resolve,
    Phase::Response,
    Phase::Send,
    Phase::Tls,
    Phase::Total,
];

/// The counters of all upstreams; the label `upstream` is a name of the configuration.
#[derive(Clone, Debug)]
pub struct UpstreamMetrics {
    addresses: IntGaugeVec,
    breaker: IntGaugeVec,
    breaker_opened: IntCounterVec,
    connect_seconds: HistogramVec,
    connects: IntCounterVec,
    failures: IntCounterVec,
    idle: IntGaugeVec,
    open: IntGaugeVec,
    pin_mismatches: IntCounterVec,
    retries: IntCounterVec,
    stale: IntCounterVec,
    timeouts: IntCounterVec,
    unverified: IntGaugeVec,
    waiting: IntGaugeVec,
}

impl UpstreamMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// When a name is taken: a bug.
    pub fn register(metrics: &Metrics) -> Result<Self, MetricError> {
        let upstream = ["upstream"];
        let counters = |name, help| metrics.counters(name, help, &upstream);
        let gauges = |name, help| metrics.gauges(name, help, &upstream);
        Ok(Self {
            addresses: metrics.gauges(
                "upstream_addresses",
                "Addresses of the upstream by state: failing ones are tried last for a while",
                &["upstream", "state"],
            )?,
            breaker: gauges(
                "upstream_breaker_state",
                "Circuit breaker: 0 closed (calls go through), 1 half open (one call finds out), 2 open (calls are refused)",
            )?,
            breaker_opened: counters(
                "upstream_breaker_opened_total",
                "How often the circuit breaker opened",
            )?,
            connect_seconds: metrics.seconds_by(
                "upstream_connect_seconds",
                "Seconds from the wish for a new connection to its readiness: name, proxy, TCP and TLS",
                &upstream,
            )?,
            connects: metrics.counters(
                "upstream_connects_total",
                "New connections to the upstream by outcome: ok, or the step that failed",
                &["upstream", "outcome"],
            )?,
            failures: metrics.counters(
                "upstream_failures_total",
                "Calls that got no whole answer from the upstream, by the step that failed",
                &["upstream", "phase"],
            )?,
            idle: gauges(
                "upstream_connections_idle",
                "Connections to the upstream that are kept for the next call",
            )?,
            open: gauges("upstream_connections_open", "Connections to the upstream, idle or in use")?,
            pin_mismatches: counters(
                "upstream_pin_mismatches_total",
                "Handshakes in which the upstream showed another public key than any that is pinned",
            )?,
            retries: counters(
                "upstream_retries_total",
                "Calls that a kept connection gave back untouched and that went out on a new one",
            )?,
            stale: counters(
                "upstream_stale_names_total",
                "Connections to addresses that were known before, because the name servers did not answer",
            )?,
            timeouts: metrics.counters(
                "upstream_timeouts_total",
                "Calls that failed because the time for a step ran out, by step",
                &["upstream", "phase"],
            )?,
            unverified: gauges(
                "upstream_verify_off",
                "1 when the certificate of the upstream is not verified at all (verify = off)",
            )?,
            waiting: gauges(
                "upstream_calls_waiting",
                "Calls that wait for a free connection (max_connections)",
            )?,
        })
    }

    /// Lets the gauges of an upstream that is not there any more disappear; what it has counted stays. Its last calls
    /// may still be under way, they are not shown then.
    pub fn forget(&self, name: &str) {
        // an error says that it was not shown
        for gauges in [&self.breaker, &self.idle, &self.open, &self.unverified, &self.waiting] {
            let _ = gauges.remove_label_values(&[name]);
        }
        for state in ["failing", "healthy"] {
            let _ = self.addresses.remove_label_values(&[name, state]);
        }
    }

    pub(super) fn of_upstream(&self, name: &str) -> OfUpstream {
        let label = [name];
        self.unverified.with_label_values(&label).set(0);
        let by = |counters: &IntCounterVec, phases: &[Phase]| {
            let of = |phase: &Phase| (*phase, counters.with_label_values(&[name, phase.as_str()]));
            ByPhase(phases.iter().map(of).collect())
        };
        OfUpstream(Arc::new(Counters {
            name: name.to_owned(),
            breaker: self.breaker.with_label_values(&label),
            breaker_opened: self.breaker_opened.with_label_values(&label),
            connect_failures: by(&self.connects, &CONNECTING),
            connect_seconds: self.connect_seconds.with_label_values(&label),
            connected: self.connects.with_label_values(&[name, "ok"]),
            failing: self.addresses.with_label_values(&[name, "failing"]),
            failures: by(&self.failures, &Phase::ALL),
            healthy: self.addresses.with_label_values(&[name, "healthy"]),
            idle: self.idle.with_label_values(&label),
            open: self.open.with_label_values(&label),
            pin_mismatches: self.pin_mismatches.with_label_values(&label),
            retries: self.retries.with_label_values(&label),
            stale: self.stale.with_label_values(&label),
            timeouts: by(&self.timeouts, &TIMED),
            unverified: self.unverified.with_label_values(&label),
            waiting: self.waiting.with_label_values(&label),
        }))
    }
}

/// The counters of one upstream, looked up once.
#[derive(Clone, Debug)]
pub(super) struct OfUpstream(Arc<Counters>);

impl std::ops::Deref for OfUpstream {
    type Target = Counters;

    fn deref(&self) -> &Counters {
        &self.0
    }
}

#[derive(Debug)]
pub(super) struct Counters {
    name: String,
    pub(super) breaker: IntGauge,
    pub(super) breaker_opened: IntCounter,
    connect_failures: ByPhase,
    connect_seconds: Histogram,
    connected: IntCounter,
    failing: IntGauge,
    failures: ByPhase,
    healthy: IntGauge,
    pub(super) idle: IntGauge,
    open: IntGauge,
    pub(super) pin_mismatches: IntCounter,
    pub(super) retries: IntCounter,
    pub(super) stale: IntCounter,
    timeouts: ByPhase,
    unverified: IntGauge,
    pub(super) waiting: IntGauge,
}

impl Counters {
    /// The upstream's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Counts a call that failed.
    pub(super) fn failed(&self, phase: Phase, timed_out: bool) {
        self.failures.inc(phase);
        if timed_out {
            self.timeouts.inc(phase);
        }
    }

    /// Counts an attempt to open a connection and how long it took.
    pub(super) fn connected<T>(&self, outcome: &Result<T, Failure>, took: Duration) {
        match outcome {
            Ok(_) => {
                self.connected.inc();
                self.connect_seconds.observe(took.as_secs_f64());
            }
            Err(failure) => self.connect_failures.inc(failure.phase),
        }
    }

    /// Counts an open connection for as long as the guard lives.
    pub(super) fn opened(&self) -> Counted {
        Counted::new(&self.open)
    }

    /// Shows how many addresses are known and how many of them fail.
    pub(super) fn addresses(&self, known: usize, failing: usize) {
        let gauge = |count| i64::try_from(count).unwrap_or(i64::MAX);
        self.failing.set(gauge(failing));
        self.healthy.set(gauge(known.saturating_sub(failing)));
    }

    pub(super) fn unverified(&self) {
        self.unverified.set(1);
    }
}

#[derive(Debug)]
struct ByPhase(Vec<(Phase, IntCounter)>);

impl ByPhase {
    fn inc(&self, phase: Phase) {
        for (_, counter) in self.0.iter().filter(|(of, _)| *of == phase) {
            counter.inc();
        }
    }
}

/// One more in a gauge for as long as it lives.
#[derive(Debug)]
pub(super) struct Counted(IntGauge);

impl Counted {
    pub(super) fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
