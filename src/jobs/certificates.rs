//! When the authorities of this gateway expire. Files are every gateway's own, so each looks at its own.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use super::{Metrics, schedule::later};
use crate::{
    clock::Clock,
    shutdown::Shutdown,
    tls::{certificate, client::read_certificates},
};

/// How often the files are read.
const EVERY: Duration = Duration::from_secs(60 * 60);
/// Days left from which on it is said.
const SOON: i64 = 30;

/// Whom an authority vouches for; a label of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CertificateUse {
    /// For clients.
    ClientCa,
    /// For the platform.
    UpstreamCa,
}

impl CertificateUse {
    const fn as_str(self) -> &'static str {
        match self {
            Self::ClientCa => "client_ca",
            Self::UpstreamCa => "upstream_ca",
        }
    }
}

/// A file of certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFile {
    /// What it is for.
    pub used: CertificateUse,
    /// Where it is.
    pub path: PathBuf,
}

/// Looks at certificates once an hour.
#[derive(Debug)]
pub struct Certificates {
    /// The files.
    pub files: Vec<CertificateFile>,
    /// The clock.
    pub clock: Clock,
    /// Where the days are shown.
    pub metrics: Metrics,
}

impl Certificates {
    /// Looks now and then again and again, until the drain is ordered.
    pub async fn watch(self, shutdown: Shutdown) {
        loop {
            self.look();
            tokio::select! {
                () = shutdown.draining() => return,
                () = self.clock.reaches(later(self.clock.now(), EVERY)) => {}
            }
        }
    }

    fn look(&self) {
        let mut first: BTreeMap<CertificateUse, i64> = BTreeMap::new();
        for file in &self.files {
            match expiry(file) {
                Ok(expires) => {
                    self.tell(file, expires);
                    let of_use = first.entry(file.used).or_insert(expires);
                    *of_use = expires.min(*of_use);
                }
                Err(error) => {
                    tracing::warn!(file = %file.path.display(), error, "a certificate cannot be read; what is loaded stays in use");
                }
            }
        }
        for (used, expires) in first {
            self.metrics.certificates.with_label_values(&[used.as_str()]).set(expires);
        }
    }

    fn tell(&self, file: &CertificateFile, expires: i64) {
        let days = (expires - self.clock.now().as_second()).div_euclid(24 * 60 * 60);
        let (used, path) = (file.used.as_str(), file.path.display());
        if days < 0 {
            tracing::error!(used, file = %path, "a certificate has expired: renew it");
        } else if days < SOON {
            tracing::warn!(used, file = %path, days, "a certificate expires soon: renew it");
        }
    }
}

/// When the first certificate of the file expires, in seconds since 1970.
fn expiry(file: &CertificateFile) -> Result<i64, String> {
    let chain = read_certificates(&file.path).map_err(|error| error.to_string())?;
    let ends = chain.iter().map(|der| certificate::describe(der).map(|one| one.not_after.as_second()));
    let ends = ends.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    ends.into_iter().min().ok_or_else(|| "there is no certificate in it".to_owned())
}
