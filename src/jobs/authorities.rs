//! When the authorities that this gateway trusts expire; listeners look at the certificates that they show by themselves.
//! Files are every gateway's own, so each looks at its own.

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

/// For whom an authority vouches; a label of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AuthorityOf {
    /// For clients (`client_ca`).
    Clients,
    /// For the platform (`ca_file`).
    Platform,
}

impl AuthorityOf {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Platform => "platform",
        }
    }
}

/// A file of authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityFile {
    /// For whom they vouch.
    pub of: AuthorityOf,
    /// Where it is.
    pub path: PathBuf,
}

/// Looks at authorities once an hour.
#[derive(Debug)]
pub struct Authorities {
    /// The files.
    pub files: Vec<AuthorityFile>,
    /// The clock.
    pub clock: Clock,
    /// Where the days are shown.
    pub metrics: Metrics,
}

impl Authorities {
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
        let mut first: BTreeMap<AuthorityOf, i64> = BTreeMap::new();
        for file in &self.files {
            match expiry(file) {
                Ok(expires) => {
                    self.tell(file, expires);
                    let of_all = first.entry(file.of).or_insert(expires);
                    *of_all = expires.min(*of_all);
                }
                Err(error) => {
                    tracing::warn!(file = %file.path.display(), error, "authorities cannot be read; what is loaded stays in use");
                }
            }
        }
        for (of, expires) in first {
            self.metrics.authorities.with_label_values(&[of.as_str()]).set(expires);
        }
    }

    fn tell(&self, file: &AuthorityFile, expires: i64) {
        let days = (expires - self.clock.now().as_second()).div_euclid(24 * 60 * 60);
        let (of, path) = (file.of.as_str(), file.path.display());
        if days < 0 {
            tracing::error!(of, file = %path, "an authority has expired: put its successor into the file");
        } else if days < SOON {
            tracing::warn!(of, file = %path, days, "an authority expires soon: put its successor into the file");
        }
    }
}

/// When the first certificate of the file expires, in seconds since 1970.
fn expiry(file: &AuthorityFile) -> Result<i64, String> {
    let chain = read_certificates(&file.path).map_err(|error| error.to_string())?;
    let ends = chain.iter().map(|der| certificate::describe(der).map(|one| one.not_after.as_second()));
    let ends = ends.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    ends.into_iter().min().ok_or_else(|| "there is no certificate in it".to_owned())
}
