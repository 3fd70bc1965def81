//! A faithful 乐企 for development: the real platform cannot be reached from a developer's machine, so this one must be
//! as strict and as strange (protocol.md). Used by `simulate`, `demo`, tests and benchmarks.
//!
//! | file | what |
//! |---|---|
//! | [`world`] | the companies, their ids, keys and grants |
//! | [`books`] | credit, numbers, invoices, confirmations: one consistent set, advanced by the clock |
//! | `front_door` | what every call must satisfy before a service sees it |
//! | `services` | the services, one file per group |
//! | [`refusal`] | what it says when it refuses |
//! | [`faults`] | scripted failures (`POST /_sim/faults`) |
//! | `control` | the paths under `/_sim/` |
//! | `server` | TLS, HTTP, and how answers are written |
//!
//! Its readers of messages are its own (`wire`), so that a mistake of the gateway's readers is not repeated here.
//! `docs/simulator.md` tells how to use it.

mod body;
pub mod books;
mod control;
mod envelope;
pub mod faults;
mod front_door;
pub mod refusal;
mod server;
mod services;
mod sniffer;
mod wire;
pub mod world;

use std::{net::SocketAddr, path::Path, sync::Arc};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{net::TcpListener, task::JoinHandle};

pub use self::envelope::Form;
use self::{
    books::{Rules, SharedBooks},
    faults::Faults,
    world::World,
};
use crate::{
    clock::Clock,
    shutdown::{self, Trigger},
    tls::{self, Authority, TlsError},
};

/// The name of the real platform, which the certificate carries unless it is to have no name.
pub const PLATFORM_NAME: &str = "lqpt.chinatax.gov.cn";

/// What a simulator is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The companies.
    pub world: World,
    /// What the platform's rules leave to settings.
    pub rules: Rules,
    /// Whether its certificate has no usable name, as the platform's may have none (protocol.md §2).
    pub nameless: bool,
    /// Its clock, which `/_sim/clock` moves.
    pub clock: Clock,
    /// How many calls it remembers; older ones are forgotten first.
    pub kept_calls: usize,
}

impl Config {
    /// A simulator of this world at this address.
    #[must_use]
    pub fn new(listen: SocketAddr, world: World) -> Self {
        let (rules, clock) = (Rules::default(), Clock::system());
        Self { listen, world, rules, nameless: false, clock, kept_calls: 100_000 }
    }
}

/// The simulator could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; stop the process that uses it or choose another address")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Its certificate could not be made.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A file could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What every connection shares.
#[derive(Debug)]
struct Shared {
    world: Arc<World>,
    books: SharedBooks,
    faults: Faults,
    clock: Clock,
}

/// A simulator that serves until it is stopped or dropped.
#[derive(Debug)]
pub struct Simulator {
    /// Where it listens.
    pub address: SocketAddr,
    /// The authority that signed its certificate, in PEM form.
    pub ca_pem: String,
    /// The companies.
    pub world: Arc<World>,
    /// What it knows.
    pub books: SharedBooks,
    /// Its scripted failures.
    pub faults: Faults,
    /// Its clock.
    pub clock: Clock,
    stop: Trigger,
    task: JoinHandle<()>,
}

impl Simulator {
    /// Opens the port, makes a certificate and serves.
    ///
    /// # Errors
    /// When the port cannot be opened or the certificate not made.
    pub async fn start(config: Config) -> Result<Self, SimulatorError> {
        let wrong = |source| SimulatorError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(wrong)?;
        let address = listener.local_addr().map_err(wrong)?;
        let (ca_pem, tls) = certificate(config.nameless)?;
        let world = Arc::new(config.world);
        let books = SharedBooks::new(&world, config.rules, config.kept_calls, config.clock.clone());
        let faults = Faults::default();
        let shared = Arc::new(Shared {
            world: Arc::clone(&world),
            books: books.clone(),
            faults: faults.clone(),
            clock: config.clock.clone(),
        });
        let (stop, stopped) = shutdown::channel();
        let task = tokio::spawn(server::serve(listener, tls, shared, stopped));
        Ok(Self { address, ca_pem, world, books, faults, clock: config.clock, stop, task })
    }

    /// Writes `ca.pem` and `units.json` (design.md §1) into the directory, which is made if need be.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn describe(&self, dir: &Path) -> Result<(), SimulatorError> {
        let write = |name: &str, text: &str| {
            let path = dir.join(name);
            std::fs::write(&path, text).map_err(|source| SimulatorError::Write { path, source })
        };
        std::fs::create_dir_all(dir)
            .map_err(|source| SimulatorError::Write { path: dir.to_owned(), source })?;
        write("ca.pem", &self.ca_pem)?;
        let units = serde_json::to_string_pretty(&*self.world).unwrap_or_default();
        write("units.json", &(units + "\n"))
    }

    /// Ends it: open connections are dropped.
    pub async fn stop(self) {
        self.stop.force();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the simulator ended badly");
        }
    }
}

/// A new authority's certificate, and the TLS side of a server that it signed.
fn certificate(nameless: bool) -> Result<(String, Arc<rustls::ServerConfig>), SimulatorError> {
    // certificates are checked against the machine's clock, not the simulated one
    let now = Clock::system().now();
    let authority = Authority::generate("leqi simulator", now)?;
    let issued = if nameless {
        authority.issue_without_names(PLATFORM_NAME, now)?
    } else {
        authority.issue(&[PLATFORM_NAME, "localhost", "127.0.0.1", "::1"], now)?
    };
    let damaged = |error: rustls::pki_types::pem::Error| TlsError::Certificate(error.to_string());
    let chain = CertificateDer::pem_slice_iter(issued.chain_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(damaged)?;
    let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).map_err(damaged)?;
    let rejected = |source| TlsError::Rejected { context: "the simulator's certificate".to_owned(), source };
    let config = rustls::ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(rejected)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(rejected)?;
    Ok((authority.certificate_pem().to_owned(), Arc::new(config)))
}

#[cfg(test)]
mod tests;

/// Bytes in lower-case hex.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // writing to a String cannot fail
        let _ = write!(text, "{byte:02x}");
        text
    })
}
