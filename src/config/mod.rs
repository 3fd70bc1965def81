//! The configuration: a TOML file with the environment laid over it, turned into every module's validated `Config`.
//!
//! Reading collects: a person sees every error of the file at once, each with line, key, reason and what to do.
//! Unknown keys are errors. Nothing below `app` reads this module; the modules get their own `Config`.
//!
//! A setting is overridden by `LEQI_GATEWAY__SECTION__KEY`; elements of lists are named by their index:
//! `LEQI_GATEWAY__UPSTREAM__0__BASE_URL`.

mod changes;
mod jobs;
mod kinds;
mod listen;
mod problem;
mod section;
mod settings;
mod source;
#[cfg(test)]
mod tests;
mod tree;
mod trust;
mod upstream;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use aws_lc_rs::digest::{Context, SHA256};
use ipnet::IpNet;

use self::{problem::Problems, section::Section};
pub use self::{
    problem::{Errors, Origin, Problem},
    source::Source,
    tree::ENV_PREFIX,
};
pub use crate::proxy::{LogScope, SandboxFlag, Unregistered};
use crate::{
    domain::{CapabilityCode, Environment},
    listener, quota, store,
    telemetry::logging::Format,
};

/// Everything that the gateway is told, valid as a whole.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[[listen]]`: the data plane; at least one.
    pub listen: Vec<Listen>,
    /// `[admin]`: the management API.
    pub admin: listener::Config,
    /// `[ops]`: metrics and health.
    pub ops: listener::Config,
    /// `[[upstream]]`: at least one, with distinct names.
    pub upstreams: Vec<crate::upstream::Config>,
    /// `[[route]]`: at least one, with distinct prefixes.
    pub routes: Vec<Route>,
    /// `[store]`: the database.
    pub store: store::Config,
    /// `[secrets]`.
    pub secrets: Secrets,
    /// `[quota]`: the ledger.
    pub quota: quota::Config,
    /// `[quota] unregistered`: issue calls of units that are not registered.
    pub unregistered: Unregistered,
    /// `[limits]`: how much of a body is held in memory.
    pub limits: Limits,
    /// `[jobs]`: what is done regularly.
    pub jobs: crate::jobs::Config,
    /// `[request_log]`.
    pub request_log: RequestLog,
    /// `[log]`: the process's own log.
    pub log: Log,
    /// `[platform]`: the gateway's own calls.
    pub platform: Platform,
    /// `[runtime] workers`: threads that serve calls; as many as the machine has cores when `None`.
    pub workers: Option<usize>,
    /// `[reload]`: what is looked at while the gateway runs.
    pub reload: Reload,
}

/// One listener of the data plane.
#[derive(Clone, Debug, PartialEq)]
pub struct Listen {
    /// Address, TLS and limits.
    pub listener: listener::Config,
    /// Clients from these networks are served.
    pub allow: Vec<IpNet>,
}

/// One `[[route]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Paths that start with this take the route; the longest prefix wins.
    pub prefix: String,
    /// What the prefix is replaced by; as it came when `None`.
    pub replace: Option<String>,
    /// The name of the upstream where the calls go.
    pub upstream: String,
    /// Which of the platform's worlds that is.
    pub environment: Environment,
    /// What is done with a sandbox flag (`sxcsbz`) on a production route.
    pub sandbox_flag: SandboxFlag,
}

/// `[secrets]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secrets {
    /// The file of the key that seals the SM4 keys; made at the first start when it does not exist.
    pub master_key_file: PathBuf,
}

/// `[limits]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request that the gateway must read whole before it is sent; a larger one is refused.
    pub request_body: usize,
    /// Bytes of an answer that the gateway reads whole before it passes it on; a larger one flows through unread.
    pub answer_body: usize,
}

/// `[request_log]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLog {
    /// Bytes of each body that are kept.
    pub body_limit: usize,
    /// Bytes of records that may wait to be written.
    pub queue: usize,
    /// Which calls are recorded.
    pub record: LogScope,
    /// How long exchanges are kept.
    pub retention: Duration,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// JSON for machines, text for people.
    pub format: Format,
    /// What is logged, such as `info` or `leqi_gateway=debug`.
    pub filter: String,
}

/// `[platform]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// The name of the upstream that takes the gateway's own calls.
    pub upstream: String,
    /// The path before capability and service, with a `/` at its end.
    pub path: String,
    /// The capability under which they are made.
    pub capability: CapabilityCode,
}

/// `[reload]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reload {
    /// How often certificate files are looked at.
    pub watch_certificates: Duration,
    /// How long a gateway that was handed open sockets waits for the one before to let go of the database.
    pub hand_over: Duration,
}

/// A valid configuration, and what should be known about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What works but is not safe, one line each.
    pub warnings: Vec<String>,
    /// SHA-256 in hex of the file and of the variables that are laid over it.
    pub sha256: String,
}

impl Config {
    /// Reads the file and lays the variables of `environment` that begin with [`ENV_PREFIX`] over it.
    ///
    /// Files that are named in it (certificates, authorities) are read too; relative paths start at the working
    /// directory.
    ///
    /// # Errors
    /// Every error at once, in the order of the file.
    pub fn load(
        file: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Loaded, Errors> {
        let text = std::fs::read_to_string(file).map_err(|error| unreadable(file, &error))?;
        Self::parse(file, &text, environment)
    }

    /// The same for the text of a file.
    ///
    /// # Errors
    /// Every error at once, in the order of the file.
    pub fn parse(
        file: &Path,
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Loaded, Errors> {
        let problems = Problems::default();
        let environment: Vec<_> = environment.into_iter().collect();
        let parsed = tree::parse(text, &problems).and_then(|mut root| {
            tree::overlay(&mut root, &environment, &problems);
            settings::read(Section::new(String::new(), root, &problems))
        });
        let (errors, warnings) = problems.into_sorted();
        match parsed {
            Some(config) if errors.is_empty() => {
                let warnings = warnings.iter().map(|warning| warning.describe(file)).collect();
                Ok(Loaded { config, warnings, sha256: sha256(text, &environment) })
            }
            Some(_) | None => Err(Errors { file: file.to_owned(), problems: errors }),
        }
    }
}

/// Tells configurations apart in metrics without showing them.
fn sha256(text: &str, environment: &[(String, String)]) -> String {
    let mut laid_over: Vec<_> = environment.iter().filter(|(name, _)| name.starts_with(ENV_PREFIX)).collect();
    laid_over.sort();
    let mut digest = Context::new(&SHA256);
    digest.update(text.as_bytes());
    for (name, value) in laid_over {
        digest.update(format!("\0{name}={value}").as_bytes());
    }
    digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unreadable(file: &Path, error: &std::io::Error) -> Errors {
    let reason = if error.kind() == std::io::ErrorKind::NotFound {
        "the configuration file does not exist; give its path with --config, config/gateway.toml is an example"
            .to_owned()
    } else {
        format!("the configuration file cannot be read ({error}); check its owner and mode")
    };
    let problem = Problem { origin: Origin::Line(1), key: String::new(), reason };
    Errors { file: file.to_owned(), problems: vec![problem] }
}
