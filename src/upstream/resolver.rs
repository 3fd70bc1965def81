//! From a name to its addresses: the hosts file first, then DNS, asked again when the time to live is over.
//!
//! - The hosts file counts alone where it knows the name, and no name server is asked: many hosts in a DMZ have none.
//! - `/etc/hosts` and `/etc/resolv.conf` are read again when they have changed.
//! - That a name does not exist is believed for a few seconds only: whoever mends it does not want to wait.
//! - When no name server answers, the addresses known before go on being used for a bounded time.

use std::{
    fs::Metadata,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use hickory_resolver::{
    Hosts, TokioResolver,
    config::{
        ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
    },
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::Query,
        rr::{Name, RecordType},
    },
    system_conf::parse_resolv_conf,
};
use tokio::{sync::Mutex, time::timeout};

use super::{Phase, error::Failure, metrics::OfUpstream};

/// The least time that an answer is believed; some name servers say 0.
const LEAST: Duration = Duration::from_secs(1);

/// Whom to ask for addresses, and how long to believe what was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Looked at first; normally `/etc/hosts`.
    pub hosts_file: PathBuf,
    /// Names the name servers; normally `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
    /// Name servers to ask instead of those in `resolv_conf`, if there are any.
    pub servers: Vec<SocketAddr>,
    /// How long known addresses are used beyond their time to live when no name server answers.
    pub stale: Duration,
    /// How long a failure, or that a name does not exist, is believed.
    pub failure: Duration,
}

impl Default for Names {
    /// As the machine is set up.
    fn default() -> Self {
        Self {
            hosts_file: "/etc/hosts".into(),
            resolv_conf: "/etc/resolv.conf".into(),
            servers: Vec::new(),
            stale: Duration::from_secs(3600),
            failure: Duration::from_secs(5),
        }
    }
}

/// The addresses of one name.
#[derive(Debug)]
pub(super) struct Resolver {
    name: String,
    port: u16,
    names: Names,
    /// How long one look-up may take.
    patience: Duration,
    /// Locked during a look-up, so that many calls make one.
    state: Mutex<State>,
    metrics: OfUpstream,
}

#[derive(Default)]
struct State {
    hosts: Option<(Stamp, Hosts)>,
    dns: Option<(Stamp, TokioResolver)>,
    known: Option<Known>,
    failed: Option<Failed>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("known", &self.known).finish_non_exhaustive()
    }
}

/// What DNS said last.
#[derive(Debug)]
struct Known {
    addresses: Vec<IpAddr>,
    until: Instant,
}

/// Why the last look-up failed, and how long that is believed.
#[derive(Clone, Debug)]
struct Failed {
    reason: String,
    timed_out: bool,
    until: Instant,
}

/// Tells one version of a file from another; a file that is not there has one too.
type Stamp = Option<(SystemTime, u64)>;

impl Resolver {
    pub(super) fn new(name: &str, port: u16, names: Names, patience: Duration, metrics: OfUpstream) -> Self {
        Self { name: name.to_owned(), port, names, patience, state: Mutex::default(), metrics }
    }

    /// The addresses, in the order in which they were given.
    pub(super) async fn addresses(&self) -> Result<Vec<SocketAddr>, Failure> {
        let mut state = self.state.lock().await;
        let listed = self.listed(&mut state).await;
        if !listed.is_empty() {
            return Ok(self.with_port(&listed));
        }
        let now = Instant::now();
        if let Some(known) = state.known.as_ref().filter(|known| now < known.until) {
            return Ok(self.with_port(&known.addresses));
        }
        let failed = match state.failed.as_ref().filter(|failed| now < failed.until) {
            Some(failed) => failed.clone(),
            None => match self.ask(&mut state).await {
                Ok(known) => {
                    let addresses = self.with_port(&known.addresses);
                    (state.known, state.failed) = (Some(known), None);
                    return Ok(addresses);
                }
                Err(failed) => state.failed.insert(failed).clone(),
            },
        };
        self.stale(&state, failed)
    }

    /// What the hosts file says.
    async fn listed(&self, state: &mut State) -> Vec<IpAddr> {
        let path = &self.names.hosts_file;
        let stamp = stamp(path).await;
        if state.hosts.as_ref().is_none_or(|(known, _)| *known != stamp) {
            let text = tokio::fs::read(path).await.unwrap_or_default();
            let mut hosts = Hosts::default();
            if let Err(error) = hosts.read_hosts_conf(&*text) {
                tracing::warn!(%error, path = %path.display(), "the hosts file cannot be read");
            }
            state.hosts = Some((stamp, hosts));
        }
        let Ok(name) = Name::from_ascii(&self.name) else { return Vec::new() };
        let found = |kind| {
            let hosts = state.hosts.as_ref().map(|(_, hosts)| hosts)?;
            hosts.lookup_static_host(&Query::query(name.clone(), kind))
        };
        let lookups = [RecordType::A, RecordType::AAAA].into_iter().filter_map(found);
        lookups
            .flat_map(|lookup| {
                lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>()
            })
            .collect()
    }

    async fn ask(&self, state: &mut State) -> Result<Known, Failed> {
        let failed = |reason: String, timed_out| Failed {
            reason,
            timed_out,
            until: Instant::now() + self.names.failure,
        };
        let dns = self.name_servers(state).await.map_err(|reason| failed(reason, false))?;
        // a name with a dot is whole; others are looked for in the search domains too
        let whole = if self.name.contains('.') {
            format!("{}.", self.name.trim_end_matches('.'))
        } else {
            self.name.clone()
        };
        let patience = self.patience;
        match timeout(patience, dns.lookup_ip(whole)).await {
            Ok(Ok(lookup)) => {
                let until = lookup.valid_until().max(Instant::now() + LEAST);
                Ok(Known { addresses: lookup.iter().collect(), until })
            }
            Ok(Err(error)) => {
                if error.is_no_records_found() {
                    // the name servers have spoken: what they said before counts no more
                    state.known = None;
                }
                let timed_out = matches!(error, NetError::Timeout);
                Err(failed(format!("{}: {error}", self.name), timed_out))
            }
            Err(_) => {
                Err(failed(format!("{}: no name server answered within {patience:?}", self.name), true))
            }
        }
    }

    /// The client of the name servers, made anew when the file that names them has changed.
    async fn name_servers(&self, state: &mut State) -> Result<TokioResolver, String> {
        let fixed = !self.names.servers.is_empty();
        let path = &self.names.resolv_conf;
        let stamp = if fixed { None } else { stamp(path).await };
        if let Some((_, dns)) = state.dns.as_ref().filter(|(known, _)| *known == stamp) {
            return Ok(dns.clone());
        }
        let (config, options) = if fixed {
            let servers = self.names.servers.iter().map(name_server).collect();
            (ResolverConfig::from_name_servers(servers), ResolverOpts::default())
        } else {
            let cannot = |error: &dyn std::fmt::Display| {
                format!("no name servers for {}: {}: {error}", self.name, path.display())
            };
            let text = tokio::fs::read(path).await.map_err(|error| cannot(&error))?;
            parse_resolv_conf(text).map_err(|error| cannot(&error))?
        };
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = self.tuned(options);
        let dns = builder.build().map_err(|error| format!("{}: {error}", self.name))?;
        state.dns = Some((stamp, dns.clone()));
        Ok(dns)
    }

    fn tuned(&self, mut options: ResolverOpts) -> ResolverOpts {
        // what is believed, and for how long, is decided here
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        // a server that is away must leave time to ask the next
        options.timeout = options.timeout.min(self.patience / 3);
        options
    }

    /// What was known before, if it is not too old; otherwise the failure.
    fn stale(&self, state: &State, failed: Failed) -> Result<Vec<SocketAddr>, Failure> {
        let usable = |known: &&Known| known.until.elapsed() < self.names.stale;
        if let Some(known) = state.known.as_ref().filter(usable) {
            self.metrics.stale.inc();
            tracing::warn!(
                upstream = self.metrics.name(),
                reason = failed.reason,
                expired = ?known.until.elapsed(),
                "the name servers do not answer; the addresses known before are used on"
            );
            return Ok(self.with_port(&known.addresses));
        }
        Err(Failure { timed_out: failed.timed_out, ..Failure::before(Phase::Resolve, failed.reason) })
    }

    fn with_port(&self, addresses: &[IpAddr]) -> Vec<SocketAddr> {
        addresses.iter().map(|address| SocketAddr::new(*address, self.port)).collect()
    }
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

async fn stamp(path: &Path) -> Stamp {
    let metadata: Metadata = tokio::fs::metadata(path).await.ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
