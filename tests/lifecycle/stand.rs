//! A simulator, a gateway on sockets that outlive it, and the files that a person would change.

use std::{
    net::{SocketAddr, TcpListener},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use leqi_gateway::tls::Authority;
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{
    SimUnit, eventually,
    process::{Gateway, Simulator, gateway_config},
};

/// The sockets of a gateway, kept open by the test as systemd would.
pub(crate) struct Sockets {
    open: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
}

/// Where the handed-over descriptors begin; beyond what the test itself has open.
const FIRST: usize = 200;

impl Sockets {
    pub(crate) fn open() -> Self {
        let open: Vec<_> = (0..4).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses = open.iter().map(|socket| socket.local_addr().unwrap()).collect();
        Self { open, addresses }
    }

    /// Those of the data plane only; the gateway opens the others itself.
    pub(crate) fn of_data() -> Self {
        let mut all = Self::open();
        all.open.truncate(2);
        all
    }

    /// A shell that hands the sockets over and becomes the gateway.
    pub(crate) fn command(&self) -> Command {
        let mut script = String::new();
        for (index, socket) in self.open.iter().enumerate() {
            socket2::SockRef::from(socket).set_cloexec(false).unwrap();
            script += &format!("exec {}<&{}; ", FIRST + index, socket.as_raw_fd());
        }
        for socket in &self.open {
            script += &format!("exec {}<&-; ", socket.as_raw_fd());
        }
        script += r#"exec "$0" "$@""#;
        let mut command = Command::new("bash");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_leqi-gateway")]);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("LISTEN_FDS", self.open.len().to_string());
        command.env("LISTEN_FDS_FIRST_FD", FIRST.to_string());
        command.env("LISTEN_FDNAMES", ["data", "plain", "admin", "ops"][..self.open.len()].join(":"));
        command
    }
}

/// Everything that runs.
pub(crate) struct Stand {
    pub(crate) simulator: Simulator,
    pub(crate) gateway: Gateway,
    pub(crate) sockets: Sockets,
    pub(crate) authority: Authority,
    pub(crate) unit: SimUnit,
    config: String,
    dir: TempDir,
}

impl Stand {
    /// A gateway on handed-over sockets with all units registered; `more` stands at the end of its configuration.
    pub(crate) fn start(more: &str) -> Self {
        Self::start_on("sqlite://data/gateway.db", more)
    }

    /// The same on this database.
    pub(crate) fn start_on(url: &str, more: &str) -> Self {
        Self::start_over(Sockets::open(), url, more)
    }

    /// The same over these sockets.
    pub(crate) fn start_over(sockets: Sockets, url: &str, more: &str) -> Self {
        let simulator = Simulator::start();
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::generate("lifecycle tests", now()).unwrap();
        std::fs::create_dir_all(dir.path().join("certs")).unwrap();
        std::fs::write(dir.path().join("certs/ca.pem"), authority.certificate_pem()).unwrap();
        renew(&authority, dir.path());
        let mut config = gateway_config(&simulator).replace("sqlite://data/gateway.db", url);
        for address in &sockets.addresses {
            config = config.replacen("127.0.0.1:0", &address.to_string(), 1);
        }
        config += more;
        let gateway = Gateway::start_as(sockets.command(), dir.path(), &config);
        gateway.register(&simulator.units);
        let unit = simulator.units.using().clone();
        Self { simulator, gateway, sockets, authority, unit, config, dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.path().join("certs/ca.pem")
    }

    /// The configuration as it was at the start.
    pub(crate) fn config(&self) -> &str {
        &self.config
    }

    /// Writes the configuration file, whole or not at all.
    pub(crate) fn configure(&self, text: &str) {
        std::fs::write(self.path().join("gateway.toml.new"), text).unwrap();
        std::fs::rename(self.path().join("gateway.toml.new"), self.path().join("gateway.toml")).unwrap();
    }

    /// Puts a new certificate in place; gives it in DER.
    pub(crate) fn renew_certificate(&self) -> Vec<u8> {
        renew(&self.authority, self.path())
    }

    /// `POST /reload`: status and answer.
    pub(crate) fn reload(&self) -> (u16, Value) {
        self.gateway.api("POST", "/reload", None)
    }

    /// SIGHUP to the gateway.
    pub(crate) fn hang_up(&self) {
        let id = self.gateway.process.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
    }

    /// The value of a metric that has no other labels than those given, as its line begins.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let metrics = self.gateway.metrics();
        metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.trim().parse().ok())
    }

    /// A new process takes over while the old one drains; both work on the same sockets. Gives how long the sockets were
    /// nobody's.
    pub(crate) fn hand_over(&mut self) -> Duration {
        let waiting = "waiting for it to end";
        let before = self.gateway.log().matches(waiting).count();
        let (command, path, config) = (self.sockets.command(), self.path().to_owned(), self.current());
        let next = std::thread::spawn(move || Gateway::start_as(command, &path, &config));
        eventually("the new process waits", || {
            (self.gateway.log().matches(waiting).count() > before).then_some(())
        });
        let began = std::time::Instant::now();
        assert_eq!(self.gateway.process.terminate(), 0, "{}", self.gateway.log());
        self.gateway = next.join().unwrap();
        began.elapsed()
    }

    /// A new process serves beside the old one, on the same sockets.
    pub(crate) fn overlap(&self) -> Gateway {
        Gateway::start_as(self.sockets.command(), self.path(), &self.current())
    }

    /// A new process serves beside the old one, which ends then; gives how long that took.
    pub(crate) fn replace(&mut self) -> Duration {
        let next = self.overlap();
        let began = std::time::Instant::now();
        assert_eq!(self.gateway.process.terminate(), 0, "{}", self.gateway.log());
        self.gateway = next;
        began.elapsed()
    }

    /// The old process ends before the new one is started, as `systemctl restart` does it.
    pub(crate) fn restart(&mut self) -> Duration {
        let began = std::time::Instant::now();
        assert_eq!(self.gateway.process.terminate(), 0, "{}", self.gateway.log());
        self.gateway = Gateway::start_as(self.sockets.command(), self.path(), &self.current());
        began.elapsed()
    }

    fn current(&self) -> String {
        std::fs::read_to_string(self.path().join("gateway.toml")).unwrap()
    }
}

impl Drop for Stand {
    /// What the gateway said last, when the test fails.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.gateway.log();
            let lines: Vec<&str> = log.lines().collect();
            lines.iter().skip(lines.len().saturating_sub(40)).for_each(|line| eprintln!("{line}"));
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests play the person who makes certificates, with a clock of their own"
)]
pub(crate) fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

fn renew(authority: &Authority, dir: &Path) -> Vec<u8> {
    let issued = authority.issue(&["localhost", "127.0.0.1"], now()).unwrap();
    std::fs::write(dir.join("certs/server.pem"), &issued.chain_pem).unwrap();
    std::fs::write(dir.join("certs/server.key"), &issued.key_pem).unwrap();
    let chain = leqi_gateway::tls::client::read_certificates(&dir.join("certs/server.pem")).unwrap();
    chain[0].to_vec()
}
