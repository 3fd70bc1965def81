//! The gateway is killed at random points under load and started again, ten times, while its clients go on trying.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, Hasher, RandomState},
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use leqi_gateway::domain::Money;
use serde_json::{Value, json};

use crate::{
    ALONE, Scene, books,
    common::{
        client::{Answer, Client},
        message::{invoice, serial},
    },
};

const CLIENTS: usize = 24;
const KILLS: u32 = 10;
/// How long a client goes on trying to get one answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// SplitMix64: small, and the same numbers for the same seed.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// From `CHAOS_SEED`, or a new one; said on standard error so that a run can be had again.
    pub(crate) fn seeded() -> Self {
        let given = std::env::var("CHAOS_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| {
            // every one of these hashes with keys of its own
            RandomState::new().build_hasher().finish()
        });
        eprintln!("CHAOS_SEED={seed}");
        Self(seed)
    }

    /// One that goes on differently.
    pub(crate) fn split(&mut self) -> Self {
        Self(self.below(u64::MAX))
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// What all clients share.
struct Load {
    client: Client,
    address: Mutex<SocketAddr>,
    /// Uploads that nobody works on; one that was refused for lack of credit comes back.
    waiting: Mutex<VecDeque<Value>>,
    /// Acceptance serials that a client was told.
    accepted: Mutex<Vec<String>>,
    refused: AtomicBool,
    stop: AtomicBool,
}

impl Load {
    /// Calls until there is an answer of the platform or a refusal; the same call each time.
    async fn call(&self, service: &str, json: &Value) -> Answer {
        let began = Instant::now();
        loop {
            let mut client = self.client.clone();
            client.address = *self.address.lock().unwrap();
            let answer = client.call(service, json).await;
            let failed =
                matches!(&answer, Answer::None | Answer::Unreachable | Answer::Error { status: 500.., .. });
            if !failed {
                return answer;
            }
            assert!(began.elapsed() < PATIENCE, "no answer: {answer:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// An invoicing system: uploads, and asks for results in between.
    async fn work(self: Arc<Self>) {
        while !self.stop.load(Ordering::Relaxed) {
            let upload = self.waiting.lock().unwrap().pop_front().expect("enough to upload");
            match self.call("QDFPSC", &upload).await {
                Answer::Data(data) if data["returncode"] == "00" => {
                    let mine = data["sllsh"].as_str().unwrap().to_owned();
                    let earlier = {
                        let mut accepted = self.accepted.lock().unwrap();
                        accepted.push(mine);
                        accepted[accepted.len() / 2].clone()
                    };
                    self.call("CXQDFPSCJG", &json!({ "sllsh": earlier })).await.data();
                }
                Answer::Error { code, .. } if code == "GW-QUOTA-SHORT" => {
                    self.refused.store(true, Ordering::Relaxed);
                    self.waiting.lock().unwrap().push_back(upload);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                // the answer was lost before, and the platform has it
                Answer::Error { text, .. } if text.contains("已存在") => {}
                other @ (Answer::Data(_) | Answer::Error { .. } | Answer::None | Answer::Unreachable) => {
                    panic!("{upload}: {other:?}")
                }
            }
        }
    }

    async fn download(&self, scene: &Scene, round: u32, yuan: &str) {
        let request = json!({ "nsrsbh": scene.unit.tax_no, "ptbh": self.client.access_id, "sqlx": "0",
                              "sqed": yuan, "ywlsh": serial(&scene.unit, 100 + round) });
        assert_eq!(self.call("XZTHSXED", &request).await.code(), "00");
    }
}

/// Batches of one to three invoices of different amounts.
async fn load(scene: &Scene, random: &mut Random) -> Arc<Load> {
    let mut waiting = VecDeque::new();
    for range in 0..2 {
        let serial = serial(&scene.unit, 2 + range);
        let mut numbers =
            scene.client.number_range(&scene.unit.tax_no, 5000, &serial).await.into_iter().peekable();
        while numbers.peek().is_some() {
            let size = 1 + usize::try_from(random.below(3)).unwrap();
            let batch = numbers.by_ref().take(size).collect::<Vec<_>>().into_iter().map(|number| {
                invoice(&scene.unit, &number, 1 + i64::try_from(random.below(20_000)).unwrap())
            });
            waiting.push_back(Value::from(batch.collect::<Vec<_>>()));
        }
    }
    Arc::new(Load {
        client: scene.client.clone(),
        address: Mutex::new(scene.gateway.plain),
        waiting: Mutex::new(waiting),
        accepted: Mutex::default(),
        refused: AtomicBool::new(false),
        stop: AtomicBool::new(false),
    })
}

/// What the platform knew when the gateway was killed is held or booked, and in the log.
fn nothing_sent_is_lost(scene: &Scene) {
    let sent = books::invoices(&scene.simulator, &scene.unit.tax_no);
    let entries = books::entries(&scene.gateway, &scene.unit.tax_no);
    let rows = books::uploads(&scene.gateway);
    let logged =
        books::named(rows.iter().filter(|row| row["state"] == "complete" || row["state"] == "interrupted"));
    for number in sent.keys() {
        let state = entries.get(number).map(|entry| books::text(entry, "state"));
        assert!(matches!(state.as_deref(), Some("reserved" | "issued")), "{number}: {state:?}");
        assert!(logged.contains(number), "{number} has no row");
    }
    if let Some(number) = sent.keys().last() {
        let (_, found) = scene.gateway.api("GET", &format!("/exchanges?invoice_no={number}"), None);
        assert!(!found["items"].as_array().unwrap().is_empty(), "{number} is not found by its number");
    }
}

/// A download whose answer was lost, with a balance seen before the repeated answer, may be in that balance or not: the
/// ledger then counts less, which is safe, says that its figures are stale, and the next balance settles it.
async fn ask_for_a_stale_balance(scene: &Scene) {
    let tax_no = &scene.unit.tax_no;
    let quota = || scene.gateway.api("GET", &format!("/quotas/{tax_no}"), None).1;
    let before = quota();
    if before["stale"] != true {
        return;
    }
    let balance = scene.client.call("CXSXED", &json!({ "nsrsbh": tax_no })).await;
    let at_platform: Money = balance.data()["yxzed"].as_str().unwrap().parse().unwrap();
    assert!(
        books::money(&before, "downloaded") <= at_platform,
        "never more than there is: {before} {balance:?}"
    );
    assert_eq!(quota()["stale"], false);
}

/// Asks for the result of every acceptance that a client or the ledger knows.
async fn query_everything(scene: &Scene, load: &Load) {
    let mut serials = std::mem::take(&mut *load.accepted.lock().unwrap());
    for entry in books::entries(&scene.gateway, &scene.unit.tax_no).values() {
        serials.extend(entry["acceptance_no"].as_str().map(str::to_owned));
        let sends = entry["unresolved_sends"].as_array().unwrap().iter();
        serials.extend(sends.filter_map(|send| send["acceptance_no"].as_str()).map(str::to_owned));
    }
    serials.sort();
    serials.dedup();
    let mut left = serials.into_iter();
    loop {
        let some: Vec<_> = left.by_ref().take(16).collect();
        if some.is_empty() {
            break;
        }
        let asked = some.iter().map(|serial| scene.client.result(serial));
        futures_util::future::join_all(asked).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_kills_under_load_lose_nothing_that_was_sent_and_sell_nothing_twice() {
    let _alone = ALONE.lock().await;
    let began = Instant::now();
    let mut random = Random::seeded();
    let mut scene = Scene::new();
    let load = load(&scene, &mut random).await;
    load.download(&scene, 0, "10000.00").await;
    scene.simulator.faults(&json!([{ "kind": "delay", "service": "QDFPSC", "ms": 25, "times": 1_000_000 }]));
    let clients: Vec<_> = (0..CLIENTS).map(|_| tokio::spawn(Arc::clone(&load).work())).collect();
    for round in 1..=KILLS {
        // credit arrives in the middle of it, and its answer may be lost; every third time it is soon used up
        let yuan = if round % 3 == 0 { "1000.00" } else { "20000.00" };
        tokio::time::sleep(Duration::from_millis(random.below(200))).await;
        let mut point = pin!(tokio::time::sleep(Duration::from_millis(random.below(500))));
        let downloaded = tokio::select! {
            () = load.download(&scene, round, yuan) => true,
            () = point.as_mut() => false,
        };
        if downloaded {
            point.await;
        }
        scene.gateway.process.kill();
        scene.restart();
        *load.address.lock().unwrap() = scene.gateway.plain;
        nothing_sent_is_lost(&scene);
        if !downloaded {
            load.download(&scene, round, yuan).await;
        }
    }
    load.stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    query_everything(&scene, &load).await;
    ask_for_a_stale_balance(&scene).await;

    nothing_sent_is_lost(&scene);
    books::agree(&scene);
    books::every_sent_upload_is_in_the_log(&scene, &["complete", "interrupted"]);
    let received = books::received(&scene.simulator);
    let short =
        received.iter().filter(|call| call["message"].as_str().is_some_and(|m| m.contains("额度"))).count();
    assert_eq!(short, 0, "the platform never had to refuse for lack of credit");
    let interrupted =
        books::uploads(&scene.gateway).iter().filter(|row| row["state"] == "interrupted").count();
    assert!(load.refused.load(Ordering::Relaxed) && interrupted > 0, "the kills struck nothing");
    eprintln!(
        "{} uploads sent, {interrupted} interrupted, {} invoices issued, in {:?}",
        received.len(),
        books::invoices(&scene.simulator, &scene.unit.tax_no).len(),
        began.elapsed()
    );
}
