//! 200 clients race for credit that does not suffice for all.

use std::{collections::BTreeSet, sync::Arc};

use leqi_gateway::domain::Money;
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::{
    ALONE, Scene, books,
    common::{
        client::{Answer, Client},
        message::{invoice, serial},
    },
};

/// What each client uploads, in fen, and what became of it.
async fn race(scene: &Scene, batches: &[Vec<i64>]) -> Vec<Answer> {
    let count = batches.iter().map(Vec::len).sum();
    let mut numbers =
        scene.client.number_range(&scene.unit.tax_no, count, &serial(&scene.unit, 9)).await.into_iter();
    let start = Arc::new(Barrier::new(batches.len()));
    let clients: Vec<_> = batches
        .iter()
        .map(|batch| {
            let invoices = batch.iter().map(|net| invoice(&scene.unit, &numbers.next().unwrap(), *net));
            let upload = Value::from(invoices.collect::<Vec<_>>());
            let (start, client) = (Arc::clone(&start), scene.client.clone());
            tokio::spawn(async move {
                start.wait().await;
                client.call("QDFPSC", &upload).await
            })
        })
        .collect();
    let mut answers = Vec::with_capacity(clients.len());
    for client in clients {
        answers.push(client.await.unwrap());
    }
    answers
}

async fn query_results(client: &Client, answers: &[Answer]) {
    for answer in answers.iter().filter(|answer| answer.code() == "00") {
        let results = client.result(answer.data()["sllsh"].as_str().unwrap()).await;
        assert!(results.as_array().unwrap().iter().all(|row| row["status"] == "00"), "{results}");
    }
}

/// One row of the log per call, with the decision that the client was told.
fn check_log(scene: &Scene, passed: usize, refused: usize) {
    let rows = books::uploads(&scene.gateway);
    let ids: BTreeSet<String> = rows.iter().map(|row| books::text(row, "id")).collect();
    let decided = |decision: &str| rows.iter().filter(|row| row["decision"] == decision).count();
    assert_eq!((ids.len(), decided("forwarded"), decided("refused")), (passed + refused, passed, refused));
    assert_eq!(
        books::received(&scene.simulator).len(),
        passed,
        "nothing refused was sent, nothing sent twice"
    );
    books::every_sent_upload_is_in_the_log(scene, &["complete"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_200_clients_exactly_the_120_that_the_credit_covers_pass() {
    let _alone = ALONE.lock().await;
    let scene = Scene::new();
    let credit = Money::from_fen(120 * 12_345).to_string();
    scene.client.download(&scene.unit.tax_no, &credit, &serial(&scene.unit, 1)).await.data();
    let answers = race(&scene, &vec![vec![12_345]; 200]).await;
    let passed = answers.iter().filter(|answer| answer.code() == "00").count();
    let short = answers.iter().filter(|answer| answer.code() == "GW-QUOTA-SHORT").count();
    assert_eq!((passed, short), (120, 80), "{answers:?}");
    query_results(&scene.client, &answers).await;
    books::agree(&scene);
    check_log(&scene, 120, 80);
    let (_, quota) = scene.gateway.api("GET", &format!("/quotas/{}", scene.unit.tax_no), None);
    assert_eq!((&quota["issued"], &quota["available"]), (&json!("14814.00"), &json!("0.00")), "{quota}");
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_of_different_amounts_never_oversell_a_month_that_the_gateway_sees_for_the_first_time() {
    let _alone = ALONE.lock().await;
    let mut scene = Scene::new();
    scene.client.download(&scene.unit.tax_no, "5000.01", &serial(&scene.unit, 1)).await.data();
    // a gateway without a past in front of the same platform: the 200 find no balance
    assert_eq!(scene.gateway.process.terminate(), 0);
    scene.dir = tempfile::tempdir().unwrap();
    scene.restart();
    scene.gateway.register(&scene.simulator.units);

    let batches: Vec<Vec<i64>> = (0..200_i64)
        .map(|client| (0..=client % 5).map(|line| 1 + (client * 7919 + line * 104_729) % 3_000).collect())
        .collect();
    let answers = race(&scene, &batches).await;
    let passed = answers.iter().filter(|answer| answer.code() == "00").count();
    query_results(&scene.client, &answers).await;
    books::agree(&scene);
    check_log(&scene, passed, 200 - passed);

    let (_, quota) = scene.gateway.api("GET", &format!("/quotas/{}", scene.unit.tax_no), None);
    let left = books::money(&quota, "available").fen();
    for (batch, answer) in batches.iter().zip(&answers).filter(|(_, answer)| answer.code() != "00") {
        assert_eq!(answer.code(), "GW-QUOTA-SHORT", "{answer:?}");
        assert!(batch.iter().sum::<i64>() > left, "{batch:?} was refused although {left} fen are left");
    }
}
