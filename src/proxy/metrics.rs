//! Figures of the data plane. Labels come from closed sets: classes, outcomes and the gateway's own codes.

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};

use crate::{
    domain::ServiceClass,
    telemetry::metrics::{MetricError, Metrics},
};

/// How a call ended, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The client or the upstream broke off.
    Aborted,
    /// The platform could not be asked, or did not answer.
    Failed,
    /// The platform's answer was passed on.
    Forwarded,
    /// The gateway refused it.
    Refused,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Aborted, Self::Failed, Self::Forwarded, Self::Refused];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Aborted => "aborted",
            Self::Failed => "failed",
            Self::Forwarded => "forwarded",
            Self::Refused => "refused",
        }
    }
}

/// The data plane's metrics.
#[derive(Debug)]
pub(super) struct ProxyMetrics {
    /// By class, then by outcome, each in the order of its `ALL`.
    requests: [[IntCounter; Outcome::ALL.len()]; ServiceClass::ALL.len()],
    refusals: IntCounterVec,
    upstream_seconds: [Histogram; ServiceClass::ALL.len()],
    gateway_seconds: Histogram,
    /// Calls being worked on.
    pub(super) in_flight: IntGauge,
    /// Calls of unknown services whose body held invoices.
    pub(super) disguised: IntCounter,
    /// Issue calls that passed without a check of the credit.
    pub(super) unchecked: IntCounter,
    /// Answers whose settlement or record could not be stored.
    pub(super) unstored: IntCounter,
}

impl ProxyMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// When one is registered already.
    pub(super) fn register(metrics: &Metrics) -> Result<Self, MetricError> {
        let requests = metrics.counters(
            "requests_total",
            "Calls of invoicing systems by class of service and outcome.",
            &["class", "outcome"],
        )?;
        let upstream_seconds = metrics.seconds_by(
            "upstream_seconds",
            "Seconds from sending a call upstream to the end of the answer, by class of service.",
            &["class"],
        )?;
        // looked up once: every call counts
        Ok(Self {
            requests: ServiceClass::ALL.map(|class| {
                Outcome::ALL
                    .map(|outcome| requests.with_label_values(&[class.as_str(), outcome.as_str()]))
            }),
            upstream_seconds: ServiceClass::ALL
                .map(|class| upstream_seconds.with_label_values(&[class.as_str()])),
            refusals: metrics.counters("refusals_total", "Calls that the gateway answered itself, by its code.", &["code"])?,
            gateway_seconds: metrics.seconds("gateway_seconds", "Seconds that the gateway itself added to a call.")?,
            in_flight: metrics.gauge("requests_in_flight", "Calls being worked on.")?,
            disguised: metrics.counter(
                "disguised_uploads_total",
                "Calls of services unknown to the catalogue whose body held invoices and that were treated as uploads.",
            )?,
            unchecked: metrics
                .counter("unchecked_uploads_total", "Uploads that passed without a check of the credit, as configured.")?,
            unstored: metrics.counter(
                "unstored_answers_total",
                "Answers of the platform whose settlement or log record could not be stored; see the process log.",
            )?,
        })
    }

    /// Counts a finished call; times in microseconds.
    pub(super) fn finished(
        &self,
        class: ServiceClass,
        outcome: Outcome,
        upstream_us: Option<u64>,
        gateway_us: u64,
    ) {
        // both enums list their variants in this order
        self.requests[class as usize][outcome as usize].inc();
        if let Some(us) = upstream_us {
            self.upstream_seconds[class as usize].observe(seconds(us));
        }
        self.gateway_seconds.observe(seconds(gateway_us));
    }

    /// Counts an answer of the gateway's own.
    pub(super) fn answered_itself(&self, code: &str) {
        self.refusals.with_label_values(&[code]).inc();
    }
}

fn seconds(us: u64) -> f64 {
    std::time::Duration::from_micros(us).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_and_outcomes_stand_at_their_places() {
        assert!(ServiceClass::ALL.iter().enumerate().all(|(at, class)| *class as usize == at));
        assert!(Outcome::ALL.iter().enumerate().all(|(at, outcome)| *outcome as usize == at));
    }
}
