//! Figures of the listeners.

use prometheus::{IntCounterVec, IntGaugeVec};
use rustls::{HandshakeKind, ProtocolVersion, ServerConnection};

use super::calls::Cut;
use crate::telemetry::metrics::{MetricError, Metrics};

/// Figures of all listeners together.
#[derive(Clone, Debug)]
pub struct ListenerMetrics {
    pub(super) connections: IntGaugeVec,
    pub(super) max: IntGaugeVec,
    pub(super) rejected: IntCounterVec,
    pub(super) refused: IntCounterVec,
    cut: IntCounterVec,
    handshakes: IntCounterVec,
}

impl ListenerMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// When one is registered already.
    pub fn register(metrics: &Metrics) -> Result<Self, MetricError> {
        Ok(Self {
            connections: metrics.gauges("connections", "Open connections of clients.", &["listener"])?,
            max: metrics.gauges(
                "connections_max",
                "Connections that the listeners of this kind take at a time; further ones wait in the kernel's queue.",
                &["listener"],
            )?,
            rejected: metrics.counters(
                "connections_failed_total",
                "Connections that ended before their first request, by reason (accept, client_alert, \
                 client_certificate, client_connections, closed, incompatible, not_tls, protocol, proxy_protocol, \
                 server_name, timeout).",
                &["listener", "reason"],
            )?,
            refused: metrics.counters(
                "requests_refused_total",
                "Requests that were refused before they were read, by reason: client_rate, client_in_flight, \
                 head_too_large, head_too_slow, or what is ambiguous in their framing.",
                &["listener", "reason"],
            )?,
            cut: metrics.counters(
                "connections_cut_total",
                "Connections that the gateway ended, by reason (idle, no_call, resets, slow_reader).",
                &["listener", "reason"],
            )?,
            handshakes: metrics.counters(
                "tls_handshakes_total",
                "TLS handshakes done, by version and whether a session was resumed.",
                &["listener", "version", "resumed"],
            )?,
        })
    }

    pub(super) fn cut(&self, listener: &str, reason: Cut) {
        self.cut.with_label_values(&[listener, reason.as_str()]).inc();
    }

    pub(super) fn handshake(&self, listener: &str, connection: &ServerConnection) {
        let version = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "1.2",
            Some(ProtocolVersion::TLSv1_3) => "1.3",
            _ => "other",
        };
        let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        let resumed = if resumed { "true" } else { "false" };
        self.handshakes.with_label_values(&[listener, version, resumed]).inc();
    }
}

/// A gauge that is one higher while this lives.
pub(super) struct Gauge(prometheus::IntGauge);

impl Gauge {
    pub(super) fn up(gauge: prometheus::IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.0.dec();
    }
}
