//! Four gateways on one PostgreSQL, 64 clients, credit for so many invoices and half as many again asked for; gateways
//! are killed and started again at random, and the database is stopped twice. `CLUSTER_INVOICES` sets for how many
//! invoices there is credit (400, or 10000 for the whole show).

use std::{
    collections::VecDeque,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use leqi_gateway::domain::Money;
use serde_json::Value;

use crate::{
    ALONE, Scene, books,
    common::{
        client::{Answer, Client},
        eventually,
        message::{invoice, serial},
        postgres::Server,
        process::{Gateway, Simulator},
    },
    kill::Random,
};

const GATEWAYS: usize = 4;
const CLIENTS: usize = 64;
/// What each invoice uses, in fen.
const NET: i64 = 1000;
/// How long a client goes on trying to get one answer.
const PATIENCE: Duration = Duration::from_secs(120);

/// What all clients share.
struct Load {
    client: Client,
    addresses: Vec<Mutex<SocketAddr>>,
    waiting: Mutex<VecDeque<Vec<Value>>>,
    refused: Mutex<Vec<Value>>,
    accepted: Mutex<Vec<String>>,
    /// Uploads that were answered for good.
    answered: AtomicUsize,
    /// Uploads that clients sent, with retries and duplicates.
    sent: AtomicUsize,
}

impl Load {
    /// One client: takes uploads until there are none, each with retries at whatever gateway, some of them twice.
    async fn work(self: Arc<Self>, mut random: Random) {
        loop {
            let Some(upload) = self.waiting.lock().unwrap().pop_front() else { return };
            if random.below(8) == 0 {
                // an impatient client, which sends the same once more elsewhere
                let mut other = random.split();
                tokio::join!(self.upload(&upload, &mut random), self.upload(&upload, &mut other));
            } else {
                self.upload(&upload, &mut random).await;
            }
            self.answered.fetch_add(upload.len(), Ordering::Relaxed);
        }
    }

    /// Sends an upload until there is an answer of the platform or a refusal.
    async fn upload(&self, upload: &[Value], random: &mut Random) {
        let json = Value::from(upload.to_vec());
        match self.call("QDFPSC", &json, random).await {
            Answer::Data(data) if data["returncode"] == "00" => {
                self.accepted.lock().unwrap().push(data["sllsh"].as_str().unwrap().to_owned());
            }
            Answer::Error { code, .. } if code == "GW-QUOTA-SHORT" => {
                self.refused.lock().unwrap().extend_from_slice(upload);
            }
            // an answer was lost before, and the platform has it
            Answer::Data(data) if data["returnmsg"].as_str().is_some_and(|text| text.contains("已存在")) =>
                {}
            Answer::Error { text, .. } if text.contains("已存在") => {}
            other @ (Answer::Data(_) | Answer::Error { .. } | Answer::None | Answer::Unreachable) => {
                panic!("{other:?}")
            }
        }
    }

    async fn call(&self, service: &str, json: &Value, random: &mut Random) -> Answer {
        let began = Instant::now();
        loop {
            let gateway = usize::try_from(random.below(GATEWAYS as u64)).unwrap();
            let mut client = self.client.clone();
            client.address = *self.addresses[gateway].lock().unwrap();
            self.sent.fetch_add(1, Ordering::Relaxed);
            let answer = client.call(service, json).await;
            let failed =
                matches!(&answer, Answer::None | Answer::Unreachable | Answer::Error { status: 500.., .. });
            if !failed {
                return answer;
            }
            assert!(began.elapsed() < PATIENCE, "no answer: {answer:?}");
            tokio::time::sleep(Duration::from_millis(20 + random.below(80))).await;
        }
    }
}

/// Kills gateways and stops the database until all uploads are answered.
fn havoc(
    scene: &Havoc<'_>,
    gateways: &mut [Gateway],
    load: &Load,
    done: &AtomicBool,
    random: &mut Random,
) -> (u32, u32) {
    let (mut kills, mut stops) = (0, 0);
    while !done.load(Ordering::Relaxed) || stops < 2 {
        std::thread::sleep(Duration::from_millis(200 + random.below(800)));
        let answered = load.answered.load(Ordering::Relaxed);
        if stops < 2 && answered >= scene.asked * (stops as usize + 1) / 3 {
            scene.server.stop(if stops == 0 { "immediate" } else { "fast" });
            std::thread::sleep(Duration::from_millis(500 + random.below(1500)));
            scene.server.start_again();
            stops += 1;
            continue;
        }
        let number = usize::try_from(random.below(GATEWAYS as u64)).unwrap();
        gateways[number].process.kill();
        gateways[number] = Gateway::start_member(scene.base, number, scene.simulator, scene.url, "");
        *load.addresses[number].lock().unwrap() = gateways[number].plain;
        kills += 1;
    }
    (kills, stops)
}

struct Havoc<'s> {
    server: &'s Server,
    simulator: &'s Simulator,
    base: &'s Path,
    url: &'s str,
    asked: usize,
}

/// Batches of one to five invoices of the same amount.
async fn uploads(
    client: &Client,
    simulator: &Simulator,
    asked: usize,
    random: &mut Random,
) -> VecDeque<Vec<Value>> {
    let unit = simulator.units.using();
    let mut numbers = Vec::new();
    for range in 0_u32.. {
        let left = asked - numbers.len();
        if left == 0 {
            break;
        }
        numbers.extend(client.number_range(&unit.tax_no, left.min(5000), &serial(unit, 1000 + range)).await);
    }
    let mut numbers = numbers.into_iter().peekable();
    let mut uploads = VecDeque::new();
    while numbers.peek().is_some() {
        let size = 1 + usize::try_from(random.below(5)).unwrap();
        uploads.push_back(numbers.by_ref().take(size).map(|number| invoice(unit, &number, NET)).collect());
    }
    uploads
}

/// Whatever was refused while credit was held elsewhere is asked for again, one by one, as real clients do, until there
/// is no more.
async fn ask_again(load: &Load, random: &mut Random) {
    let refused = std::mem::take(&mut *load.refused.lock().unwrap());
    let mut in_a_row = 0;
    for invoice in refused {
        let before = load.refused.lock().unwrap().len();
        load.upload(&[invoice], random).await;
        in_a_row = if load.refused.lock().unwrap().len() > before { in_a_row + 1 } else { 0 };
        if in_a_row == 20 {
            return;
        }
    }
}

/// Results of everything that a client or the ledger knows of.
async fn query_everything(scene: &Scene, load: &Load) {
    let mut serials = std::mem::take(&mut *load.accepted.lock().unwrap());
    for entry in books::entries(&scene.gateway, &scene.unit.tax_no).values() {
        serials.extend(entry["acceptance_no"].as_str().map(str::to_owned));
        let sends = entry["unresolved_sends"].as_array().unwrap().iter();
        serials.extend(sends.filter_map(|send| send["acceptance_no"].as_str()).map(str::to_owned));
    }
    serials.sort();
    serials.dedup();
    for some in serials.chunks(16) {
        futures_util::future::join_all(some.iter().map(|serial| scene.client.result(serial))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn four_gateways_on_one_database_sell_exactly_what_there_is_whatever_is_killed() {
    let _alone = ALONE.lock().await;
    let began = Instant::now();
    let affordable: usize =
        std::env::var("CLUSTER_INVOICES").ok().and_then(|count| count.parse().ok()).unwrap_or(400);
    let asked = affordable * 3 / 2;
    let mut random = Random::seeded();
    let server = Server::start();
    let url = server.database();
    let simulator = Simulator::start();
    let base = tempfile::tempdir().unwrap();
    let start = |number| Gateway::start_member(base.path(), number, &simulator, &url, "");
    let mut gateways = vec![start(0)];
    gateways[0].register(&simulator.units);
    gateways.extend((1..GATEWAYS).map(start));
    let unit = simulator.units.using().clone();
    let client = Client::new(gateways[0].plain, &simulator.units, &unit);
    let credit = Money::from_fen(NET * i64::try_from(affordable).unwrap());
    assert_eq!(client.download(&unit.tax_no, &credit.to_string(), &serial(&unit, 1)).await.code(), "00");
    let waiting = uploads(&client, &simulator, asked, &mut random).await;

    let load = Arc::new(Load {
        addresses: gateways.iter().map(|gateway| Mutex::new(gateway.plain)).collect(),
        client: client.clone(),
        waiting: Mutex::new(waiting),
        refused: Mutex::default(),
        accepted: Mutex::default(),
        answered: AtomicUsize::new(0),
        sent: AtomicUsize::new(0),
    });
    let clients: Vec<_> =
        (0..CLIENTS).map(|_| tokio::spawn(Arc::clone(&load).work(random.split()))).collect();
    let done = Arc::new(AtomicBool::new(false));
    let watching = tokio::spawn({
        let done = Arc::clone(&done);
        async move {
            for client in clients {
                client.await.unwrap();
            }
            done.store(true, Ordering::Relaxed);
        }
    });
    let (kills, stops) = tokio::task::block_in_place(|| {
        let scene = Havoc { server: &server, simulator: &simulator, base: base.path(), url: &url, asked };
        havoc(&scene, &mut gateways, &load, &done, &mut random)
    });
    watching.await.unwrap();
    let loaded = began.elapsed();
    ask_again(&load, &mut random).await;

    tokio::task::block_in_place(|| {
        eventually("the spools are handed over", || {
            gateways.iter().all(|g| g.metrics().contains("leqi_gateway_store_spool_bytes 0")).then_some(())
        });
    });
    let gateway = gateways.swap_remove(0);
    let mut client = client;
    client.address = gateway.plain;
    let scene = Scene { simulator, gateway, unit, client, dir: base };
    query_everything(&scene, &load).await;

    tokio::task::block_in_place(|| {
        eventually("the calls of gateways that were killed are marked", || {
            books::all(&scene.gateway, "/exchanges?state=sending").is_empty().then_some(())
        });
    });
    books::agree(&scene);
    books::every_sent_upload_is_in_the_log(&scene, &["complete", "interrupted"]);
    let issued = books::invoices(&scene.simulator, &scene.unit.tax_no)
        .values()
        .filter(|invoice| invoice["state"] == "issued")
        .count();
    assert_eq!(issued, affordable, "exactly what there was credit for");
    let received = books::received(&scene.simulator);
    assert!(received.len() <= load.sent.load(Ordering::Relaxed), "no gateway sent anything twice");
    eprintln!(
        "{asked} invoices asked for, {issued} issued; {} calls of clients, {} uploads at the platform, {kills} kills, \
         {stops} stops of the database, {loaded:?} of load",
        load.sent.load(Ordering::Relaxed),
        received.len(),
    );
}
