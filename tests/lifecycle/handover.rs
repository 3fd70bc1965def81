//! One process hands over to the next, and nobody notices.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    ALONE,
    common::{
        client::{Answer, Client},
        eventually,
        postgres::Server,
    },
    load::Load,
    stand::{Sockets, Stand},
    times,
};

#[tokio::test(flavor = "multi_thread")]
async fn processes_hand_over_under_load_and_no_call_fails() {
    let _alone = ALONE.lock().await;
    under_load(Stand::start(""), Stand::hand_over).await;
}

/// There the new process need not wait: both work on the database for a while.
#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql_they_do_so_without_anybody_waiting() {
    let _alone = ALONE.lock().await;
    under_load(Stand::start_on(&Server::shared().database(), ""), Stand::replace).await;
}

async fn under_load(mut stand: Stand, overlapping: impl Fn(&mut Stand) -> Duration) {
    let load = Load::start(&stand).await;
    let (times, began) = (times("LIFECYCLE_HANDOVERS", 4), Instant::now());
    let mut longest = Duration::ZERO;
    for n in 0..times {
        let calls = load.calls();
        eventually("the load goes on", || (load.calls() >= calls + 20).then_some(()));
        let took =
            tokio::task::block_in_place(
                || if n % 2 == 0 { overlapping(&mut stand) } else { stand.restart() },
            );
        longest = longest.max(took);
    }
    let calls = load.calls();
    eventually("the load goes on", || (load.calls() >= calls + 20).then_some(()));
    let outcome = load.stop().await;
    eprintln!(
        "{times} hand-overs in {:.1?}: {} calls, {} failed, {} connections, {:?}; longest hand-over {longest:.1?}, slowest call {:.1?}",
        began.elapsed(),
        outcome.answered.len(),
        outcome.failed.len(),
        outcome.connections,
        outcome.by_kind,
        outcome.slowest,
    );
    outcome.assert_every_call_counts_once(&stand);
}

#[test]
fn ports_that_were_not_handed_over_are_taken_as_soon_as_the_process_before_lets_go_of_them() {
    let mut stand = Stand::start_over(Sockets::of_data(), &Server::shared().database(), "");
    let before = stand.gateway.process.id();
    stand.hand_over();
    assert_ne!(stand.gateway.process.id(), before);
    assert_eq!(stand.gateway.api("GET", "/status", None).0, 200);
}

/// What the old process could not hand over when it ended is in the spool, and so is what the new one answers meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_while_postgresql_is_away_loses_nothing_and_repeats_nothing() {
    let _alone = ALONE.lock().await;
    let server = Server::start();
    let mut stand = Stand::start_on(&server.database(), "");
    let client = Client::new(stand.gateway.plain, &stand.simulator.units, &stand.unit);
    let next = tokio::task::block_in_place(|| {
        let next = stand.overlap();
        server.stop("immediate");
        next
    });
    let asked = json!({ "nsrsbh": stand.unit.tax_no });
    let mut calls = 0;
    let mut ask = async || {
        let tid = format!("spooled-{calls:03}");
        let body = leqi_gateway::leqi::write_body(&client.key, asked.to_string().as_bytes());
        let answer = client.call_raw("CXNSRJBXX", body, &[("clientTid", &tid)]).await;
        assert!(matches!(answer, Answer::Data(_)), "{tid}: {answer:?}");
        calls += 1;
        calls
    };
    let spool = stand.path().join("data/spool");
    while !(keeps_something(&spool) && keeps_something(&spool.join("beside-0"))) {
        assert!(ask().await < 500, "both processes take calls from the sockets and keep them");
    }
    let ended = tokio::task::block_in_place(|| stand.gateway.process.terminate());
    assert_eq!(ended, 0, "{}", stand.gateway.log());
    stand.gateway = next;
    let mut asked = 0;
    for _ in 0..10 {
        asked = ask().await;
    }
    let tids = tokio::task::block_in_place(|| {
        server.start_again();
        eventually("the spool is handed over", || {
            let left = stand.metric("leqi_gateway_store_spool_bytes");
            let replayed = stand.metric("leqi_gateway_store_spool_replayed_total");
            (left == Some(0.0) && replayed >= Some(asked as f64)).then_some(())
        });
        crate::load::logged(&stand)
    });
    let mut tids: Vec<String> = tids.into_iter().filter(|tid| tid.starts_with("spooled-")).collect();
    tids.sort_unstable();
    assert_eq!(tids, (0..asked).map(|n| format!("spooled-{n:03}")).collect::<Vec<_>>());
    assert!(stand.gateway.log().contains("its spool is taken over"), "{}", stand.gateway.log());
}

fn keeps_something(directory: &Path) -> bool {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    entries.flatten().any(|entry| entry.path().extension().is_some_and(|end| end == "spool"))
}
