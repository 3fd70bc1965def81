//! A full disk: what needs the database is refused before it is sent, the rest goes on, and it ends by itself.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::json;

use crate::{
    ALONE, Scene, books,
    common::{
        client::{Answer, Client},
        eventually,
        message::{invoice, serial},
        process::{Gateway, Simulator},
    },
};

/// Longer than what was committed takes to be carried over from the write-ahead log.
const CARRIED_OVER: Duration = Duration::from_millis(500);

/// A small file system of its own at a directory; gone when this is dropped.
pub(crate) struct SmallDisk(pub(crate) PathBuf);

impl SmallDisk {
    /// `None` where mounting is not permitted.
    pub(crate) fn mount(at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let options = format!("size={size}");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).output().ok()?;
        mounted.status.success().then(|| Self(at.to_owned()))
    }

    pub(crate) fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).unwrap();
        for size in [65_536, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    pub(crate) fn make_room(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// How the room for the database is taken away and given back.
enum Room {
    /// A real file system that is filled.
    Disk(SmallDisk),
    /// Where mounting is not permitted: nothing is written beyond the first page of any file (`RLIMIT_FSIZE`).
    Limit { process: u32 },
}

impl Room {
    fn take_away(&self) {
        match self {
            Self::Disk(disk) => disk.fill(),
            Self::Limit { process } => limit(*process, "4096:unlimited"),
        }
    }

    fn give_back(&self) {
        match self {
            Self::Disk(disk) => disk.make_room(),
            Self::Limit { process } => limit(*process, "unlimited:unlimited"),
        }
    }
}

fn limit(process: u32, bytes: &str) {
    let out = Command::new("prlimit")
        .args(["--pid", &process.to_string(), &format!("--fsize={bytes}")])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

fn scene(mounted: bool) -> (Scene, Room) {
    let simulator = Simulator::start();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let disk = if mounted { SmallDisk::mount(&data, "16m") } else { None };
    let gateway = match disk {
        Some(_) => Gateway::start(dir.path(), &simulator),
        None => Gateway::start_with_failing_limits(dir.path(), &simulator),
    };
    gateway.register(&simulator.units);
    let unit = simulator.units.using().clone();
    let client = Client::new(gateway.plain, &simulator.units, &unit);
    let process = gateway.process.id();
    let room = disk.map_or(Room::Limit { process }, Room::Disk);
    (Scene { simulator, gateway, unit, client, dir }, room)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_uploads_before_they_are_sent_and_lets_reads_pass() {
    let _alone = ALONE.lock().await;
    let (scene, room) = scene(true);
    without_room(&scene, &room).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_may_not_grow_is_treated_like_a_full_disk() {
    let _alone = ALONE.lock().await;
    let (scene, room) = scene(false);
    without_room(&scene, &room).await;
}

async fn without_room(scene: &Scene, room: &Room) {
    let (client, unit) = (&scene.client, &scene.unit);
    client.download(&unit.tax_no, "1000.00", &serial(unit, 1)).await.data();
    let mut numbers = client.number_range(&unit.tax_no, 1000, &serial(unit, 2)).await.into_iter();
    let before = client.call("QDFPSC", &json!([invoice(unit, &numbers.next().unwrap(), 100)])).await;
    assert_eq!(before.code(), "00", "{before:?}");

    room.take_away();
    let mut passed = Vec::new();
    let (number, refused) = loop {
        let number = numbers.next().unwrap();
        let upload = async || client.call("QDFPSC", &json!([invoice(unit, &number, 100)])).await;
        let answer = upload().await;
        if answer.code() == "00" {
            passed.push(number);
            continue;
        }
        // once it is carried over, the log begins anew in the room that it has, until the database has to grow as well
        tokio::time::sleep(CARRIED_OVER).await;
        let again = upload().await;
        if again.code() == "00" {
            passed.push(number);
            continue;
        }
        assert_eq!(again.code(), "GW-STORE", "{again:?}");
        break (number, answer);
    };
    assert!(matches!(&refused, Answer::Error { status: 503, code, .. } if code == "GW-STORE"), "{refused:?}");
    let known = books::invoices(&scene.simulator, &unit.tax_no);
    assert!(!known.contains_key(&number), "it was refused, so it was not sent");
    assert_eq!(books::received(&scene.simulator).len(), 1 + passed.len());

    let asked = client.call("CXSXED", &json!({ "nsrsbh": unit.tax_no })).await;
    assert_eq!(asked.code(), "00", "what only asks goes through: {asked:?}");
    let (status, quota) = scene.gateway.api("GET", &format!("/quotas/{}", unit.tax_no), None);
    assert_eq!((status, quota["downloaded"].as_str()), (200, Some("1000.00")), "{quota}");
    assert!(scene.gateway.metrics().contains("leqi_gateway_"));

    room.give_back();
    let sent = client.call("QDFPSC", &json!([invoice(unit, &number, 100)])).await;
    assert_eq!(sent.code(), "00", "it recovers by itself: {sent:?}");
    eventually("the read that passed meanwhile is in the log", || {
        let rows = books::all(&scene.gateway, "/exchanges?service=CXSXED");
        rows.iter().any(|row| row["state"] == "complete").then_some(())
    });
    for row in books::uploads(&scene.gateway).iter().filter(|row| row["return_code"] == "00") {
        client.result(row["acceptance_no"].as_str().unwrap()).await;
    }
    books::agree(scene);
}
