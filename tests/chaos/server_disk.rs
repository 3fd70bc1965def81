//! PostgreSQL's disk is full: what needs the database is refused before it is sent, what was under way is kept in the
//! spool and handed over once, and it ends by itself as soon as there is room and the server runs.

use std::{os::unix::fs::PermissionsExt, path::Path};

use serde_json::{Value, json};

use crate::{
    ALONE, Scene, books,
    common::{
        client::Answer,
        eventually,
        message::{invoice, serial},
        postgres::Server,
    },
    disk::SmallDisk,
    outage::scene,
};

/// How the server's room is taken away and given back.
enum Room<'s> {
    /// The file system with all its files is filled.
    Disk(&'s SmallDisk),
    /// Where mounting is not permitted: the server refuses every row as it does then (SQLSTATE 53100).
    Said { server: &'s Server, url: String },
}

const REFUSE: &str = "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER full_disk BEFORE INSERT ON ledger_entry EXECUTE FUNCTION full_disk();
CREATE TRIGGER full_disk BEFORE INSERT ON exchange EXECUTE FUNCTION full_disk()";
const ACCEPT: &str = "DROP FUNCTION full_disk() CASCADE";

impl Room<'_> {
    fn take_away(&self) {
        match self {
            Self::Disk(disk) => disk.fill(),
            Self::Said { server, url } => drop(server.sql(url, REFUSE)),
        }
    }

    fn give_back(&self) {
        match self {
            Self::Disk(disk) => disk.make_room(),
            Self::Said { server, url } => drop(server.sql(url, ACCEPT)),
        }
    }
}

fn enter_by_everybody(directory: &Path) {
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// The value of a metric.
fn metric(scene: &Scene, name: &str) -> u64 {
    let text = scene.gateway.metrics();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("leqi_gateway_{name} ")));
    line.and_then(|value| value.parse().ok()).unwrap_or_default()
}

/// Rows of the log of a service.
fn rows(scene: &Scene, service: &str) -> Vec<Value> {
    books::all(&scene.gateway, &format!("/exchanges?service={service}"))
}

/// Everything in the spool is in the database.
fn handed_over(scene: &Scene) {
    eventually("the spool is handed over", || {
        let (kept, replayed) =
            (metric(scene, "store_spooled_total"), metric(scene, "store_spool_replayed_total"));
        (metric(scene, "store_spool_bytes") == 0 && kept > 0 && kept == replayed).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_the_server_refuses_uploads_and_loses_and_doubles_nothing() {
    let _alone = ALONE.lock().await;
    let dir = tempfile::tempdir().unwrap();
    enter_by_everybody(dir.path());
    let at = dir.path().join("postgres");
    let disk = SmallDisk::mount(&at, "160m");
    let server = Server::start_in(if disk.is_some() { &at } else { dir.path() });
    let url = server.database();
    let scene = scene(&url);
    let room = match &disk {
        Some(disk) => Room::Disk(disk),
        None => Room::Said { server: &server, url },
    };
    let (client, unit) = (&scene.client, &scene.unit);
    client.download(&unit.tax_no, "1000.00", &serial(unit, 1)).await.data();
    let mut numbers = client.number_range(&unit.tax_no, 2000, &serial(unit, 2)).await.into_iter();
    let mut upload = || json!([invoice(unit, &numbers.next().unwrap(), 10)]);

    // under way when it begins
    scene.simulator.faults(&json!([{ "kind": "delay", "service": "QDFPSC", "ms": 3000, "times": 4 }]));
    let under_way: Vec<_> = (0..4)
        .map(|_| {
            let (client, upload) = (client.clone(), upload());
            tokio::spawn(async move { client.call("QDFPSC", &upload).await })
        })
        .collect();
    tokio::task::block_in_place(|| {
        eventually("all uploads are under way", || {
            (books::received(&scene.simulator).len() == 4).then_some(())
        });
        room.take_away();
    });
    for call in under_way {
        let answer = call.await.unwrap();
        assert_eq!(answer.code(), "00", "what the platform answered is told: {answer:?}");
    }
    refused(&scene, &mut upload).await;
    // enough that the room left in the table's pages does not take them
    let asked = json!({ "nsrsbh": unit.tax_no });
    let mut reads = 0;
    while metric(&scene, "store_spooled_total") == 0 {
        let answer = client.call("CXNSRJBXX", &asked).await;
        assert_eq!(answer.code(), "00", "what only asks goes through: {answer:?}");
        reads += 1;
        assert!(reads < 2000, "nothing goes to the spool");
    }
    let (status, quota) = scene.gateway.api("GET", &format!("/quotas/{}", unit.tax_no), None);
    assert_eq!((status, quota["downloaded"].as_str()), (200, Some("1000.00")), "{quota}");

    room.give_back();
    tokio::task::block_in_place(|| handed_over(&scene));
    eventually("every read has its row", || (rows(&scene, "CXNSRJBXX").len() == reads).then_some(()));
    assert_eq!(client.call("QDFPSC", &upload()).await.code(), "00", "it recovers by itself");

    if let Room::Disk(disk) = room {
        the_server_dies_of_it(&scene, &server, disk, &mut upload).await;
    }
    for entry in books::entries(&scene.gateway, &unit.tax_no).values() {
        let sends = entry["unresolved_sends"].as_array().unwrap().iter();
        let open = sends.filter_map(|send| send["acceptance_no"].as_str());
        for acceptance in open.chain(entry["acceptance_no"].as_str()) {
            client.result(acceptance).await;
        }
    }
    books::agree(&scene);
    books::every_sent_upload_is_in_the_log(&scene, &["complete"]);
    drop(server);
}

/// Uploads are refused before they are sent, as soon as the pages that are there are full.
async fn refused(scene: &Scene, upload: &mut impl FnMut() -> Value) {
    for _ in 0..500 {
        let before = books::received(&scene.simulator).len();
        let answer = scene.client.call("QDFPSC", &upload()).await;
        if answer.code() != "00" {
            assert!(
                matches!(&answer, Answer::Error { status: 503, code, .. } if code == "GW-STORE"),
                "{answer:?}"
            );
            assert_eq!(books::received(&scene.simulator).len(), before, "it was refused, so it was not sent");
            return;
        }
    }
    panic!("a full disk took 500 uploads");
}

/// Without room for its write-ahead log the server ends. For the gateway that is an outage like any other.
async fn the_server_dies_of_it(
    scene: &Scene,
    server: &Server,
    disk: &SmallDisk,
    upload: &mut impl FnMut() -> Value,
) {
    disk.fill();
    tokio::task::block_in_place(|| {
        eventually("the log needs another file, and the server ends", || {
            let _ = server.try_sql(&server.url, "CREATE TABLE IF NOT EXISTS t (); SELECT pg_switch_wal()");
            (!server.is_running()).then_some(())
        });
    });
    refused(scene, upload).await;
    let asked = scene.client.call("CXNSRJBXX", &json!({ "nsrsbh": scene.unit.tax_no })).await;
    assert_eq!(asked.code(), "00", "{asked:?}");
    disk.make_room();
    tokio::task::block_in_place(|| {
        server.start_again();
        handed_over(scene);
    });
    assert_eq!(scene.client.call("QDFPSC", &upload()).await.code(), "00");
}
