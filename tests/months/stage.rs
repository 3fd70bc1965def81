//! The simulated platform and the gateway on one clock.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use jiff::Timestamp;
use leqi_gateway::{
    app::{Addresses, App, Ended, Parts, Surroundings},
    clock::Clock,
    config::Config,
    domain::{Money, parse_beijing},
    leqi::Sm4Key,
    shutdown::{self, Trigger},
    simulator::{self, Simulator, world::World},
    unit::{NewRole, NewUnit, QuotaMode, token::TokenRole},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::common::client::send;

/// The credit of every company per month.
pub(crate) const CREDIT: Money = Money::from_fen(100_000_000);

/// Everything that runs.
pub(crate) struct Stage {
    pub(crate) clock: Clock,
    pub(crate) simulator: Simulator,
    gateway: Option<Gateway>,
    dir: TempDir,
    /// Lines of `[jobs]`.
    jobs: &'static str,
    /// Where the gateway keeps its books.
    store: String,
}

struct Gateway {
    addresses: Addresses,
    parts: Parts,
    token: String,
    stop: Trigger,
    serving: JoinHandle<Ended>,
}

impl Stage {
    /// A platform and a gateway at this time (Beijing) with all companies registered.
    pub(crate) async fn at(now: &str) -> Self {
        Self::with(now, "").await
    }

    /// The same with these lines in `[jobs]`.
    pub(crate) async fn with(now: &str, jobs: &'static str) -> Self {
        Self::on(now, jobs, None).await
    }

    /// The same on this database.
    pub(crate) async fn on(now: &str, jobs: &'static str, store: Option<String>) -> Self {
        let clock = Clock::starting_at(beijing(now));
        let world = World::sample(CREDIT).unwrap();
        let config = simulator::Config {
            clock: clock.clone(),
            ..simulator::Config::new("127.0.0.1:0".parse().unwrap(), world)
        };
        let simulator = Simulator::start(config).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        simulator.describe(&dir.path().join("platform")).unwrap();
        let store = store.unwrap_or_else(|| format!("sqlite://{}", dir.path().join("gateway.db").display()));
        let mut stage = Self { clock, simulator, gateway: None, dir, jobs, store };
        stage.start().await;
        stage.register().await;
        stage
    }

    /// Starts the gateway on its old database.
    pub(crate) async fn start(&mut self) {
        let file = self.dir.path().join("gateway.toml");
        let text = configuration(self.dir.path(), &self.simulator, &self.store) + self.jobs;
        let loaded = Config::parse(&file, &text, []).unwrap();
        let around = Surroundings::default();
        let app = Box::pin(App::start(loaded, self.clock.clone(), around)).await.unwrap();
        let (addresses, parts) = (app.addresses().clone(), app.parts());
        let name = format!("months-{}", self.clock.now().as_microsecond());
        let token = parts.tokens.create(&name, TokenRole::Admin, "test").await.unwrap();
        let (stop, shutdown) = shutdown::channel();
        let serving = tokio::spawn(async move { Box::pin(app.run(shutdown)).await });
        self.gateway = Some(Gateway { addresses, parts, token, stop, serving });
    }

    /// Stops the gateway.
    pub(crate) async fn stop(&mut self) {
        let gateway = self.gateway.take().unwrap();
        gateway.stop.escalate();
        gateway.serving.await.unwrap();
    }

    pub(crate) fn data(&self) -> std::net::SocketAddr {
        self.gateway.as_ref().unwrap().addresses.data[0].0
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.gateway.as_ref().unwrap().parts
    }

    async fn register(&self) {
        let units = &self.simulator.world.units;
        for unit in
            units.iter().filter(|u| u.sm4_key.is_some()).chain(units.iter().filter(|u| u.sm4_key.is_none()))
        {
            let access = units.iter().find(|one| one.platform_id == unit.access_platform_id).unwrap();
            let role = match &unit.sm4_key {
                Some(key) => NewRole::Access { key: Some(Sm4Key::from_hex(key).unwrap()), sandbox_key: None },
                None => NewRole::Using { access_unit: access.tax_no.clone() },
            };
            let new = NewUnit {
                tax_no: unit.tax_no.clone(),
                name: unit.name.clone(),
                platform_id: unit.platform_id.clone(),
                province: unit.province_code.clone(),
                quota_mode: QuotaMode::Enforce,
                role,
            };
            self.parts().registry.create(new, "test").await.unwrap();
        }
    }

    /// A call of the management API that must succeed.
    pub(crate) async fn api(&self, method: &str, path: &str) -> Value {
        let gateway = self.gateway.as_ref().unwrap();
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("host", gateway.addresses.admin.0.to_string())
            .header("authorization", format!("Bearer {}", gateway.token));
        let (status, body) =
            send(gateway.addresses.admin.0, request.body(Full::new(Bytes::new())).unwrap()).await.unwrap();
        let text = String::from_utf8_lossy(&body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {text}");
        serde_json::from_slice(&body).unwrap()
    }

    /// Moves the clock to this time and waits until the jobs that are due have run.
    pub(crate) async fn pass_to(&self, time: &str) {
        self.clock.set(beijing(time));
        self.settled().await;
    }

    /// Waits until no job is due and none runs.
    pub(crate) async fn settled(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let jobs = self.api("GET", "/jobs").await;
            let now = self.clock.now();
            let due = |job: &Value| {
                let next = job["next_run_at"].as_str().map(|at| at.parse::<Timestamp>().unwrap());
                next.is_some_and(|at| at <= now) || !job["running"].is_null() || !job["requested"].is_null()
            };
            let busy: Vec<_> = jobs["items"].as_array().unwrap().iter().filter(|job| due(job)).collect();
            if busy.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "at {now}: {busy:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The last run of a job.
    pub(crate) async fn last(&self, job: &str) -> Value {
        self.api("GET", &format!("/jobs/{job}")).await["last"].clone()
    }
}

pub(crate) fn beijing(text: &str) -> Timestamp {
    parse_beijing(text).unwrap()
}

/// As a company would write it; only `addresses` stands in for DNS, and nothing comes late.
fn configuration(dir: &Path, simulator: &Simulator, store: &str) -> String {
    let file = |name: &str| dir.join(name).display().to_string();
    format!(
        r#"
[[listen]]
address = "127.0.0.1:0"
plaintext = true
[admin]
address = "127.0.0.1:0"
[ops]
address = "127.0.0.1:0"
[[upstream]]
name = "leqi"
base_url = "https://lqpt.chinatax.gov.cn:8443"
ca_file = "{ca}"
addresses = ["{platform}"]
[[route]]
prefix = "/access/"
upstream = "leqi"
[store]
url = "{store}"
spool = "{spool}"
[secrets]
master_key_file = "{master}"
[jobs]
jitter = "1ms"
"#,
        ca = file("platform/ca.pem"),
        platform = simulator.address,
        spool = file("spool"),
        master = file("master.key"),
    )
}
