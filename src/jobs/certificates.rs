//! When certificates in files expire: of the authorities that this gateway trusts, and those that it shows to the
//! platform. Listeners look at the certificates that they show by themselves. Files are every gateway's own, so each
//! looks at its own.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use tokio::sync::watch;

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

/// What the certificates of a file are for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WatchedFor {
    /// They vouch for clients (`client_ca`).
    Clients,
    /// They vouch for the platform (`ca_file`).
    Platform,
    /// They are shown to the upstream of this name (`client_certificate`).
    Upstream(String),
}

/// A file of certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedFile {
    /// What they are for.
    pub of: WatchedFor,
    /// Where it is.
    pub path: PathBuf,
}

/// Looks at certificates once an hour, and whenever the list of files is replaced.
#[derive(Debug)]
pub struct CertificateWatch {
    /// The files.
    pub files: watch::Receiver<Vec<WatchedFile>>,
    /// The clock.
    pub clock: Clock,
    /// Where the ends are shown.
    pub metrics: Metrics,
}

impl CertificateWatch {
    /// Looks now and then again and again, until the drain is ordered.
    pub async fn watch(mut self, shutdown: Shutdown) {
        let mut may_change = true;
        loop {
            self.look();
            tokio::select! {
                () = shutdown.draining() => return,
                () = self.clock.reaches(later(self.clock.now(), EVERY)) => {}
                changed = self.files.changed(), if may_change => {
                    may_change = changed.is_ok();
                    // what is not in the list any more is not shown any more
                    self.metrics.authorities.reset();
                    self.metrics.client_certificates.reset();
                }
            }
        }
    }

    fn look(&self) {
        let files = self.files.borrow().clone();
        let mut first: BTreeMap<WatchedFor, i64> = BTreeMap::new();
        for file in &files {
            match expiry(file) {
                Ok(expires) => {
                    self.tell(file, expires);
                    let of_all = first.entry(file.of.clone()).or_insert(expires);
                    *of_all = expires.min(*of_all);
                }
                Err(error) => {
                    tracing::warn!(file = %file.path.display(), error, "certificates cannot be read; what is loaded stays in use");
                }
            }
        }
        for (of, expires) in first {
            match &of {
                WatchedFor::Clients => self.metrics.authorities.with_label_values(&["clients"]),
                WatchedFor::Platform => self.metrics.authorities.with_label_values(&["platform"]),
                WatchedFor::Upstream(name) => self.metrics.client_certificates.with_label_values(&[name]),
            }
            .set(expires);
        }
    }

    fn tell(&self, file: &WatchedFile, expires: i64) {
        let days = (expires - self.clock.now().as_second()).div_euclid(24 * 60 * 60);
        let path = file.path.display();
        let what = match &file.of {
            WatchedFor::Clients => "an authority of clients",
            WatchedFor::Platform => "an authority of the platform",
            WatchedFor::Upstream(_) => "the certificate that is shown to the platform",
        };
        if days < 0 {
            tracing::error!(file = %path, "{what} has expired: put its successor into the file");
        } else if days < SOON {
            tracing::warn!(file = %path, days, "{what} expires soon: put its successor into the file");
        }
    }
}

/// When the first certificate of the file expires, in seconds since 1970.
fn expiry(file: &WatchedFile) -> Result<i64, String> {
    let chain = read_certificates(&file.path).map_err(|error| error.to_string())?;
    let ends = chain.iter().map(|der| certificate::describe(der).map(|one| one.not_after.as_second()));
    let ends = ends.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    ends.into_iter().min().ok_or_else(|| "there is no certificate in it".to_owned())
}
