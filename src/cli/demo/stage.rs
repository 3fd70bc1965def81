//! What the demonstration needs to run on: the simulated platform, the gateway in front of it, and its units.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use jiff::Timestamp;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::{
    app::{Addresses, App, Parts, Surroundings},
    cli::{api_client::ApiClient, http::Http},
    clock::Clock,
    config::Source,
    domain::{Money, Period},
    shutdown::{self, Trigger},
    simulator::{
        self, Simulator,
        world::{Unit, World},
    },
    tls::Authority,
    unit::token::TokenRole,
};

/// The credit of every company per month, in fen.
const CREDIT: Money = Money::from_fen(100_000_000);

/// A folder that goes when this does.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // what cannot be removed is left to the machine's own cleaning of temporary files
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Everything that runs.
pub(super) struct Stage {
    pub(super) simulator: Simulator,
    pub(super) world: Arc<World>,
    pub(super) addresses: Addresses,
    pub(super) parts: Parts,
    pub(super) api: ApiClient,
    pub(super) gateway: Http,
    pub(super) token: String,
    pub(super) clock: Clock,
    pub(super) month: Period,
    stop: Trigger,
    serving: JoinHandle<()>,
    folder: Folder,
}

impl Stage {
    /// Starts both on free ports (or the data plane and the API where told) on a new database. Their clock shows
    /// the 28th of last month, so that the month can end during the demonstration.
    pub(super) async fn set(data: SocketAddr, admin: SocketAddr) -> anyhow::Result<Self> {
        let machine = Clock::system();
        let month = machine.period().previous();
        let clock = Clock::starting_at(beijing(month, 28, 10)?);
        let folder = folder(machine.now())?;
        let world = World::sample(CREDIT).context("the sample companies are wrong")?;
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = simulator::Config { clock: clock.clone(), ..simulator::Config::new(listen, world) };
        let simulator = Simulator::start(config).await?;
        simulator.describe(&folder.0.join("platform"))?;
        certificate(&folder.0, machine.now())?;

        let file = folder.0.join("gateway.toml");
        let text = configuration(&folder.0, simulator.address, data, admin);
        std::fs::write(&file, &text)?;
        let source = Source::new(&file, []);
        let loaded = source.load()?;
        let around = Surroundings { source: Some(source), ..Surroundings::default() };
        let app = Box::pin(App::start(loaded, clock.clone(), around)).await?;
        let (addresses, parts) = (app.addresses().clone(), app.parts());
        let (stop, shutdown) = shutdown::channel();
        let serving = tokio::spawn(async move {
            app.run(shutdown).await;
        });

        let token = parts.tokens.create("demo", TokenRole::Admin, "demo").await?;
        let api = ApiClient::new(Http::plain(addresses.admin.0), &token);
        let (data, _) = *addresses.data.first().context("the gateway has no data plane")?;
        let gateway = Http::verified(data, &folder.0.join("ca.pem"))?;
        let world = Arc::clone(&simulator.world);
        let stage = Self {
            simulator,
            world,
            addresses,
            parts,
            api,
            gateway,
            token,
            clock,
            month,
            stop,
            serving,
            folder,
        };
        stage.register().await?;
        Ok(stage)
    }

    /// The three companies of the story: an access unit and its using units.
    pub(super) fn companies(&self) -> Vec<&Unit> {
        let access = self.world.access_units().next();
        let using = access.into_iter().flat_map(|unit| self.world.using_units(unit));
        access.into_iter().chain(using).collect()
    }

    /// Where files are, for the running demonstration.
    pub(super) fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// Sets the clock of platform and gateway.
    pub(super) fn set_clock(&self, month: Period, day: i8, hour: i8) -> anyhow::Result<()> {
        self.clock.set(beijing(month, day, hour)?);
        Ok(())
    }

    /// Lets so much time pass for platform and gateway.
    pub(super) fn pass(&self, seconds: i64) {
        let later = self.clock.now().checked_add(jiff::SignedDuration::from_secs(seconds));
        self.clock.set(later.unwrap_or(Timestamp::MAX));
    }

    /// Drains the gateway, then ends the platform.
    pub(super) async fn strike(self) -> anyhow::Result<()> {
        self.stop.escalate();
        self.serving.await.context("the gateway ended badly")?;
        self.simulator.stop().await;
        Ok(())
    }

    /// Registers the companies as a person would: through the management API, the access unit first.
    async fn register(&self) -> anyhow::Result<()> {
        let access = self.world.access_units().next().map(|unit| unit.tax_no.clone());
        for unit in self.companies() {
            let mut body = json!({
                "tax_no": unit.tax_no,
                "name": unit.name,
                "role": unit.role,
                "platform_id": unit.platform_id,
                "province_code": unit.province_code,
            });
            match &unit.sm4_key {
                Some(key) => body["sm4_key"] = key.as_str().into(),
                None => body["access_unit"] = json!(access),
            }
            self.api.post_once("/units", &format!("unit-{}", unit.tax_no), &body).await?;
        }
        Ok(())
    }
}

/// That hour of that day in Beijing.
fn beijing(month: Period, day: i8, hour: i8) -> anyhow::Result<Timestamp> {
    let first = month.first_day();
    let civil = jiff::civil::date(first.year(), first.month(), day).at(hour, 0, 0, 0);
    Ok(crate::domain::BEIJING.to_timestamp(civil)?)
}

fn folder(now: Timestamp) -> anyhow::Result<Folder> {
    let name = format!("leqi-gateway-demo-{}-{}", std::process::id(), now.as_microsecond());
    let path = std::env::temp_dir().join(name);
    // not create_dir_all: a folder that is there already is somebody else's
    std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(Folder(path))
}

/// The gateway's own certificate, as `certs init` makes it.
fn certificate(folder: &Path, now: Timestamp) -> anyhow::Result<()> {
    let authority = Authority::generate("leqi-gateway demo CA", now)?;
    let issued = authority.issue(&["localhost", "127.0.0.1"], now)?;
    std::fs::write(folder.join("ca.pem"), authority.certificate_pem())?;
    std::fs::write(folder.join("server.pem"), issued.chain_pem)?;
    std::fs::write(folder.join("server.key"), issued.key_pem)?;
    Ok(())
}

/// A configuration as a company would write it; only `addresses` stands in for DNS.
fn configuration(folder: &Path, platform: SocketAddr, data: SocketAddr, admin: SocketAddr) -> String {
    let file = |name: &str| serde_json::Value::from(folder.join(name).display().to_string());
    let (chain, key, ca, master) =
        (file("server.pem"), file("server.key"), file("platform/ca.pem"), file("master.key"));
    let store = serde_json::Value::from(format!("sqlite://{}", folder.join("gateway.db").display()));
    format!(
        r#"[[listen]]
address = "{data}"
certificates = [{{ chain = {chain}, key = {key} }}]

[admin]
address = "{admin}"

[ops]
address = "127.0.0.1:0"

[[upstream]]
name = "leqi"
base_url = "https://lqpt.chinatax.gov.cn:8443"
verify = "full"
ca_file = {ca}
addresses = ["{platform}"]

[[route]]
prefix = "/access/"
upstream = "leqi"

[store]
url = {store}

[secrets]
master_key_file = {master}

# the story moves the clock over a month's end and does everything itself, one thing after the other
[jobs]
enabled = false
"#
    )
}
