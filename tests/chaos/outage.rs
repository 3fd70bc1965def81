//! The database is away while calls are under way: what was answered is told and kept, nothing new that uses credit is
//! sent, what only asks goes through, and afterwards log and books are as if nothing had been.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    ALONE, Scene, books,
    common::{
        client::{Answer, Client},
        eventually,
        message::{invoice, serial},
        postgres::Server,
        process::{Gateway, Simulator, binary, gateway_config},
    },
};

/// A gateway on this database.
pub(crate) fn scene(url: &str) -> Scene {
    let simulator = Simulator::start();
    let dir = tempfile::tempdir().unwrap();
    let config = gateway_config(&simulator).replace("sqlite://data/gateway.db", url);
    let gateway = Gateway::start_as(binary(), dir.path(), &config);
    gateway.register(&simulator.units);
    let unit = simulator.units.using().clone();
    let client = Client::new(gateway.plain, &simulator.units, &unit);
    Scene { simulator, gateway, unit, client, dir }
}

/// The log's rows of a service.
fn rows(scene: &Scene, service: &str) -> Vec<Value> {
    books::all(&scene.gateway, &format!("/exchanges?service={service}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_come_while_the_database_is_away_are_told_and_kept() {
    let _alone = ALONE.lock().await;
    let server = Server::start();
    let scene = scene(&server.database());
    let tax_no = scene.unit.tax_no.clone();
    assert_eq!(scene.client.download(&tax_no, "1000.00", &serial(&scene.unit, 1)).await.code(), "00");
    let numbers = scene.client.number_range(&tax_no, 20, &serial(&scene.unit, 2)).await;
    scene.simulator.faults(&json!([{ "kind": "delay", "service": "QDFPSC", "ms": 3000, "times": 8 }]));
    let uploads: Vec<_> = numbers[..8]
        .iter()
        .map(|number| {
            let (client, upload) = (scene.client.clone(), json!([invoice(&scene.unit, number, 1000)]));
            tokio::spawn(async move { client.call("QDFPSC", &upload).await })
        })
        .collect();
    tokio::task::block_in_place(|| {
        eventually("all uploads are under way", || {
            (books::received(&scene.simulator).len() == 8).then_some(())
        });
        server.stop("immediate");
    });
    for upload in uploads {
        let answer = upload.await.unwrap();
        assert_eq!(answer.code(), "00", "what the platform answered is told: {answer:?}");
    }

    let refused = scene.client.call("QDFPSC", &json!([invoice(&scene.unit, &numbers[10], 1000)])).await;
    assert!(
        matches!(&refused, Answer::Error { status: 503, code, .. } if code == "GW-STORE"),
        "nothing that uses credit is sent: {refused:?}"
    );
    let began = Instant::now();
    let asked = scene.client.call("CXNSRJBXX", &json!({ "nsrsbh": tax_no })).await;
    assert_eq!(asked.code(), "00", "what only asks goes through: {asked:?}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(books::received(&scene.simulator).len(), 8);

    tokio::task::block_in_place(|| {
        server.start_again();
        eventually("the spool is handed over", || {
            let metrics = scene.gateway.metrics();
            let all = metrics.contains("store_spool_bytes 0") && metrics.contains("store_spooled_total 1");
            let none = !metrics.contains("store_spool_replayed_total 0");
            (all && none).then_some(())
        });
    });
    let rows_of_uploads = rows(&scene, "QDFPSC");
    assert_eq!(rows_of_uploads.len(), 9, "every upload has one row, the refused one too");
    let kept =
        rows_of_uploads.iter().filter(|row| row["note"].as_str().is_some_and(|note| note.contains("away")));
    assert_eq!(kept.count(), 9, "{rows_of_uploads:?}");
    assert!(rows(&scene, "CXNSRJBXX")[0]["note"].as_str().is_some_and(|note| note.contains("away")));
    for row in &rows_of_uploads {
        let expected = if row["decision"] == "forwarded" { "200" } else { "503" };
        assert_eq!(
            (row["state"].as_str(), row["status"].to_string().as_str()),
            (Some("complete"), expected),
            "{row}"
        );
    }

    let entries = books::entries(&scene.gateway, &tax_no);
    assert_eq!(entries.len(), 8);
    for entry in entries.values() {
        let acceptance = entry["acceptance_no"].as_str().expect("the acceptance was kept");
        scene.client.result(acceptance).await;
    }
    books::agree(&scene);
    books::every_sent_upload_is_in_the_log(&scene, &["complete"]);
}
