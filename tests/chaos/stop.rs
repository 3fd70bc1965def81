//! Stopping: a drain under load, and a second gateway on the same database.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    ALONE, Scene, books,
    common::{
        SimUnit,
        client::{Answer, Client},
        eventually,
        message::{invoice, serial},
    },
};

/// What one client saw until nobody listened any more.
#[derive(Default)]
struct Seen {
    answered: Vec<String>,
    /// Connected, but without an answer.
    broken: Vec<String>,
}

/// Uploads one invoice after the other.
async fn upload_until_nobody_listens(
    client: Client,
    unit: SimUnit,
    numbers: Vec<String>,
    open: Arc<AtomicUsize>,
) -> Seen {
    let mut seen = Seen::default();
    for number in numbers {
        open.fetch_add(1, Ordering::Relaxed);
        let answer = client.call("QDFPSC", &json!([invoice(&unit, &number, 100)])).await;
        open.fetch_sub(1, Ordering::Relaxed);
        match answer {
            Answer::Unreachable => return seen,
            Answer::None => seen.broken.push(number),
            Answer::Data(data) if data["returncode"] == "00" => seen.answered.push(number),
            other @ (Answer::Data(_) | Answer::Error { .. }) => panic!("{number}: {other:?}"),
        }
    }
    panic!("the load ended before the gateway did");
}

/// 50 clients, a platform that takes its time, and SIGTERM while at least so many calls are in flight.
async fn drain(delay_ms: u32, in_flight: usize) {
    let mut scene = Scene::new();
    scene.client.download(&scene.unit.tax_no, "100000.00", &serial(&scene.unit, 1)).await.data();
    let numbers = scene.client.number_range(&scene.unit.tax_no, 5000, &serial(&scene.unit, 2)).await;
    let delay = json!([{ "kind": "delay", "service": "QDFPSC", "ms": delay_ms, "times": 100_000 }]);
    scene.simulator.faults(&delay);
    let open = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = numbers
        .chunks(100)
        .map(|numbers| {
            let (client, unit) = (scene.client.clone(), scene.unit.clone());
            tokio::spawn(upload_until_nobody_listens(client, unit, numbers.to_vec(), Arc::clone(&open)))
        })
        .collect();
    eventually("calls are in flight", || {
        let under_way =
            open.load(Ordering::Relaxed) >= in_flight && books::received(&scene.simulator).len() >= 100;
        under_way.then_some(())
    });
    let stopped = Instant::now();
    assert_eq!(scene.gateway.process.terminate(), 0, "{}", scene.gateway.log());
    assert!(stopped.elapsed() < Duration::from_secs(15), "a drain waits for calls in flight, not for more");

    let mut seen = Seen::default();
    for client in clients {
        let of_client = client.await.unwrap();
        seen.answered.extend(of_client.answered);
        seen.broken.extend(of_client.broken);
    }
    // a connection that the kernel completes between the last look and the closing of the port cannot be helped
    assert!(seen.broken.len() <= 1, "connected, and left without an answer: {:?}", seen.broken);
    let known = books::invoices(&scene.simulator, &scene.unit.tax_no);
    assert_eq!(known.len(), seen.answered.len());
    assert!(seen.answered.iter().all(|number| known.contains_key(number)));
    scene.restart();
    let rows = books::uploads(&scene.gateway);
    let named = books::named(&rows);
    assert!(seen.broken.iter().all(|number| !named.contains(number)), "{:?}", seen.broken);
    assert!(seen.answered.iter().all(|number| named.contains(number)));
    books::every_sent_upload_is_in_the_log(&scene, &["complete"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_the_answers_of_all_calls_in_flight() {
    let _alone = ALONE.lock().await;
    drain(400, 40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_answers_clients_that_have_just_connected() {
    let _alone = ALONE.lock().await;
    drain(1, 1).await;
}

#[test]
fn a_second_gateway_on_the_same_database_says_so_in_one_line_and_leaves_the_first_alone() {
    let _alone = ALONE.blocking_lock();
    let scene = Scene::new();
    let out = Command::new(env!("CARGO_BIN_EXE_leqi-gateway"))
        .current_dir(scene.dir.path())
        .args(["serve", "--config", "gateway.toml"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!((out.status.code(), out.stdout.as_slice()), (Some(1), b"".as_slice()), "{said}");
    let reasons: Vec<&str> = said.lines().filter(|line| !line.starts_with('{')).collect();
    assert_eq!(reasons.len(), 1, "{said}");
    assert!(reasons[0].contains("gateway.db") && reasons[0].contains("locked by another"), "{said}");
    let (status, _) = scene.gateway.api("GET", "/status", None);
    assert_eq!(status, 200);
}
