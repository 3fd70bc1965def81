//! Certificates while the gateway runs: files that changed are taken over without dropping a connection, and whoever
//! operates the gateway hears in time that one is about to expire.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use prometheus::{IntCounterVec, IntGaugeVec};
use tokio::time::sleep;

use super::reload::Reloader;
use crate::{
    listener::{self, Settings},
    telemetry::metrics::{MetricError, Metrics},
    tls::{ServerTls, TlsError},
};

/// How close the end of a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Remaining {
    Enough,
    Month,
    Week,
    Day,
    None,
}

impl Remaining {
    fn of(left: SignedDuration) -> Self {
        match left.as_hours() {
            _ if !left.is_positive() => Self::None,
            ..24 => Self::Day,
            24..168 => Self::Week,
            168..720 => Self::Month,
            _ => Self::Enough,
        }
    }
}

/// What was said already, so that it is said once.
#[derive(Default)]
struct Said {
    unusable: HashMap<SocketAddr, String>,
    expiring: HashMap<(SocketAddr, usize), (Timestamp, Remaining)>,
}

impl Reloader {
    /// Looks at the files again and again, as often as the configuration says.
    pub(super) async fn watch_certificates(self: Arc<Self>) {
        let mut said = Said::default();
        loop {
            let every = self.look_at_certificates(&mut said).await;
            sleep(every).await;
        }
    }

    async fn look_at_certificates(&self, said: &mut Said) -> Duration {
        let mut in_force = self.in_force.lock().await;
        let config = &mut in_force.config;
        let data = self.plane.gates.iter().map(|gate| &gate.settings);
        let data = data.zip(config.listen.iter_mut().map(|listen| &mut listen.listener));
        let all = data.chain([(&self.plane.admin, &mut config.admin)]);
        for (settings, listener) in all {
            self.renew(settings, listener, said).await;
            if let Some(tls) = &listener.tls {
                self.tell_expiry(settings.address(), tls, said);
            } else {
                self.forget(settings.address(), 0, said);
            }
        }
        config.reload.watch_certificates
    }

    /// Takes over what a listener's files hold now, if that can be used.
    async fn renew(&self, settings: &Settings, listener: &mut listener::Config, said: &mut Said) {
        let Some(before) = listener.tls.clone() else { return };
        let address = settings.address();
        match read_again(before).await {
            Ok(None) => {
                said.unusable.remove(&address);
            }
            Ok(Some(renewed)) => {
                said.unusable.remove(&address);
                let not_after: Vec<_> = renewed.not_after().iter().map(ToString::to_string).collect();
                listener.tls = Some(renewed);
                settings.replace(listener.clone());
                self.certificates.renewals.with_label_values(&["taken"]).inc();
                tracing::info!(listener = %address, ?not_after, "changed certificate files are taken over");
            }
            Err(error) => {
                let error = error.to_string();
                if said.unusable.get(&address) != Some(&error) {
                    self.certificates.renewals.with_label_values(&["unusable"]).inc();
                    tracing::warn!(listener = %address, error, "changed certificate files cannot be used; the old certificates stay");
                    said.unusable.insert(address, error);
                }
            }
        }
    }

    /// What a listener does not have any more is not shown any more.
    fn forget(&self, address: SocketAddr, kept: usize, said: &mut Said) {
        said.expiring.retain(|(of, index), _| {
            let stays = *of != address || *index < kept;
            if !stays {
                // an error would say that it is gone already
                let _ = self.certificates.not_after.remove_label_values(&[of.to_string(), index.to_string()]);
            }
            stays
        });
    }

    fn tell_expiry(&self, address: SocketAddr, tls: &ServerTls, said: &mut Said) {
        self.forget(address, tls.not_after().len(), said);
        let now = self.clock.now();
        for (index, not_after) in tls.not_after().iter().enumerate() {
            let labels = [address.to_string(), index.to_string()];
            self.certificates.not_after.with_label_values(&labels).set(not_after.as_second());
            let remaining = Remaining::of(not_after.duration_since(now));
            let before = said.expiring.insert((address, index), (*not_after, remaining));
            let known =
                before.filter(|(of, _)| of == not_after).map_or(Remaining::Enough, |(_, known)| known);
            if remaining > known {
                let days = not_after.duration_since(now).as_hours() / 24;
                tracing::warn!(listener = %address, index, %not_after, days, "a certificate expires soon or has expired; put a new one in its place, it is taken over by itself");
            }
        }
    }
}

async fn read_again(before: Arc<ServerTls>) -> Result<Option<Arc<ServerTls>>, TlsError> {
    let unchanged = Ok(None);
    // files may lie on a slow disk
    tokio::task::spawn_blocking(move || before.renewed()).await.unwrap_or(unchanged)
}

/// Figures of certificates.
pub(super) struct CertificateMetrics {
    not_after: IntGaugeVec,
    renewals: IntCounterVec,
}

impl CertificateMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// When one is registered already.
    pub(super) fn register(metrics: &Metrics) -> Result<Self, MetricError> {
        let own = Self {
            not_after: metrics.gauges(
                "certificate_not_after_timestamp_seconds",
                "Until when a listener's certificate is valid, in seconds since 1970: the earliest end in its chain. `index` is its place in the configuration.",
                &["listener", "index"],
            )?,
            renewals: metrics.counters(
                "certificate_renewals_total",
                "Changed certificate files by what became of them (taken, unusable).",
                &["result"],
            )?,
        };
        for result in ["taken", "unusable"] {
            own.renewals.with_label_values(&[result]);
        }
        Ok(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_a_month_a_week_and_a_day_before_the_end() {
        let of = |hours| Remaining::of(SignedDuration::from_hours(hours));
        assert_eq!(
            [of(24 * 30), of(24 * 30 - 1), of(24 * 7)],
            [Remaining::Enough, Remaining::Month, Remaining::Month]
        );
        assert_eq!([of(24 * 7 - 1), of(24), of(23)], [Remaining::Week, Remaining::Week, Remaining::Day]);
        assert_eq!([of(0), of(-5)], [Remaining::None; 2]);
    }
}
