//! What wire tests share: the simulator and the gateway as real processes, and small clients for both planes.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::allow_attributes,
    reason = "helpers of tests: each file uses its part, and a helper that fails fails the test"
)]

pub mod client;
pub mod message;
pub mod postgres;
pub mod process;

use std::{
    path::Path,
    time::{Duration, Instant},
};

/// Waits until the condition gives a value; fails with the sentence after the deadline.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "gave up waiting: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A unit as the simulator describes it in `units.json`.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct SimUnit {
    pub tax_no: String,
    pub name: String,
    pub role: String,
    pub platform_id: String,
    pub access_platform_id: String,
    pub province_code: String,
    pub sm4_key: Option<String>,
    pub sandbox_sm4_key: Option<String>,
}

/// The units of a simulator.
#[derive(Clone, Debug)]
pub struct Units(pub Vec<SimUnit>);

impl Units {
    pub fn read(dir: &Path) -> Self {
        let text = std::fs::read_to_string(dir.join("units.json")).unwrap();
        Self(serde_json::from_str(&text).unwrap())
    }

    /// The first access unit.
    pub fn access(&self) -> &SimUnit {
        self.0.iter().find(|unit| unit.role == "access").unwrap()
    }

    /// The first using unit of the first access unit.
    pub fn using(&self) -> &SimUnit {
        let access = &self.access().platform_id;
        self.0.iter().find(|unit| unit.role == "using" && unit.access_platform_id == *access).unwrap()
    }

    /// The key of the access unit that a unit calls through.
    pub fn key(&self, unit: &SimUnit) -> String {
        let access = self.0.iter().find(|u| u.role == "access" && u.platform_id == unit.access_platform_id);
        access.and_then(|u| u.sm4_key.clone()).unwrap()
    }
}
