//! What must hold when everything happens at once, the process dies, is stopped, or the disk is full: the real
//! binary, the simulated platform, many clients, and books that agree to the fen.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed, and a random run says its seed"
)]

#[path = "../common/mod.rs"]
mod common;

mod books;
mod cluster;
mod disk;
mod kill;
mod outage;
mod race;
mod server_disk;
mod stop;

use common::{
    SimUnit,
    client::Client,
    process::{Gateway, Simulator},
};
use tokio::sync::Mutex;

/// Each of these tests loads the machine by itself, so one runs at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A gateway in front of a simulator with all units registered, and one unit with its client.
struct Scene {
    simulator: Simulator,
    gateway: Gateway,
    unit: SimUnit,
    client: Client,
    dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let simulator = Simulator::start();
        let dir = tempfile::tempdir().unwrap();
        let gateway = Gateway::start(dir.path(), &simulator);
        gateway.register(&simulator.units);
        let unit = simulator.units.using().clone();
        let client = Client::new(gateway.plain, &simulator.units, &unit);
        Self { simulator, gateway, unit, client, dir }
    }

    /// Starts the gateway again on the same directory.
    fn restart(&mut self) {
        self.gateway = Gateway::start(self.dir.path(), &self.simulator);
        self.client.address = self.gateway.plain;
    }
}

impl Drop for Scene {
    /// What gateway and platform said last, when the test fails.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let platform = std::fs::read_to_string(self.simulator.dir.path().join("simulator.log"));
        for log in [self.gateway.log(), platform.unwrap_or_default()] {
            let lines: Vec<&str> = log.lines().filter(|line| !line.contains(r#""level":"INFO""#)).collect();
            lines.iter().skip(lines.len().saturating_sub(40)).for_each(|line| eprintln!("{line}"));
        }
    }
}
