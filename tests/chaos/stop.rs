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
        client::{Answer, Client},
        eventually,
        message::{invoice, serial},
    },
};

/// Uploads one invoice after the other until a call gets no answer; gives the numbers that were answered with
/// success, and the one that got no answer.
async fn upload_until_the_end(
    client: Client,
    unit: crate::common::SimUnit,
    numbers: Vec<String>,
    open: Arc<AtomicUsize>,
) -> (Vec<String>, Option<String>) {
    let mut answered = Vec::new();
    for number in numbers {
        open.fetch_add(1, Ordering::Relaxed);
        let answer = client.call("QDFPSC", &json!([invoice(&unit, &number, 100)])).await;
        open.fetch_sub(1, Ordering::Relaxed);
        match answer {
            Answer::None => return (answered, Some(number)),
            Answer::Data(data) if data["returncode"] == "00" => answered.push(number),
            other @ (Answer::Data(_) | Answer::Error { .. }) => panic!("{number}: {other:?}"),
        }
    }
    panic!("the load ended before the gateway did");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_under_load_finishes_every_call_that_was_taken() {
    let _alone = ALONE.lock().await;
    let mut scene = Scene::new();
    scene.client.download(&scene.unit.tax_no, "100000.00", &serial(&scene.unit, 1)).await.data();
    let numbers = scene.client.number_range(&scene.unit.tax_no, 5000, &serial(&scene.unit, 2)).await;
    scene.simulator.faults(&json!([{ "kind": "delay", "service": "QDFPSC", "ms": 400, "times": 100_000 }]));
    let open = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = numbers
        .chunks(100)
        .map(|numbers| {
            let (client, unit) = (scene.client.clone(), scene.unit.clone());
            tokio::spawn(upload_until_the_end(client, unit, numbers.to_vec(), Arc::clone(&open)))
        })
        .collect();
    eventually("calls are in flight", || {
        let under_way = open.load(Ordering::Relaxed) >= 40 && books::received(&scene.simulator).len() >= 100;
        under_way.then_some(())
    });
    let stopped = Instant::now();
    assert_eq!(scene.gateway.process.terminate(), 0, "{}", scene.gateway.log());
    assert!(stopped.elapsed() < Duration::from_secs(15), "a drain waits for calls in flight, not for more");

    let (mut answered, mut unanswered) = (Vec::new(), Vec::new());
    for client in clients {
        let (ours, last) = client.await.unwrap();
        answered.extend(ours);
        unanswered.extend(last);
    }
    // whoever got no answer was never taken: neither platform nor log knows the invoice
    let known = books::invoices(&scene.simulator, &scene.unit.tax_no);
    assert_eq!(known.len(), answered.len());
    assert!(answered.iter().all(|number| known.contains_key(number)));
    scene.restart();
    let rows = books::uploads(&scene.gateway);
    let named = books::named(&rows);
    assert!(unanswered.iter().all(|number| !named.contains(number)), "{unanswered:?}");
    assert!(answered.iter().all(|number| named.contains(number)));
    books::every_sent_upload_is_in_the_log(&scene, &["complete"]);
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
