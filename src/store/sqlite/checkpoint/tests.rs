//! The write-ahead log: what is carried over, and when the log begins anew.

use std::{
    cell::Cell,
    path::Path,
    time::{Duration, Instant},
};

use sqlx::{
    Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};

use super::{LONG, Rest};
use crate::store::sqlite::tests::open;

const PAGE: u64 = 4096;

/// How often the log has begun anew: bytes 12 to 15 of its header
/// (<https://www.sqlite.org/fileformat2.html#the_write_ahead_log>).
fn times_anew(database: &Path) -> u32 {
    let log = std::fs::File::open(log_of(database)).unwrap();
    let mut header = [0; 16];
    std::io::Read::read_exact(&mut &log, &mut header).unwrap();
    u32::from_be_bytes(header[12..].try_into().unwrap())
}

fn log_of(database: &Path) -> std::path::PathBuf {
    database.with_extension("db-wal")
}

/// A connection to the file that carries nothing over unless it is told to.
async fn connect(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .pragma("wal_autocheckpoint", "0");
    SqliteConnection::connect_with(&options).await.unwrap()
}

async fn execute(sql: &'static str, connection: &mut SqliteConnection) {
    sqlx::query(sql).execute(connection).await.unwrap();
}

#[tokio::test]
async fn what_is_committed_is_carried_over_into_the_file_without_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gateway.db");
    let database = open(&path).await.unwrap();
    let fill = "CREATE TABLE filler (body BLOB); INSERT INTO filler SELECT randomblob(1000000) FROM json_each('[1,2,3,4]')";
    database
        .writer
        .write(move |c| Box::pin(async move { Ok(sqlx::raw_sql(fill).execute(c).await.map(drop)?) }))
        .await
        .unwrap();
    let size = || std::fs::metadata(&path).unwrap().len();
    let deadline = Instant::now() + Duration::from_secs(20);
    while size() < 4_000_000 {
        assert!(Instant::now() < deadline, "only {} bytes were carried over", size());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn the_writer_carries_over_the_rest_when_asked_and_the_log_begins_anew_once_nobody_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gateway.db");
    let mut writer = connect(&path).await;
    execute("CREATE TABLE number (n INTEGER)", &mut writer).await;
    let rest = Rest::default();
    let insert = "INSERT INTO number VALUES (1)";
    let begun = times_anew(&path);

    rest.carry_over(&mut writer).await;
    execute(insert, &mut writer).await;
    assert_eq!(times_anew(&path), begun, "nobody had asked");

    rest.clone().ask();
    rest.carry_over(&mut writer).await;
    execute(insert, &mut writer).await;
    assert_eq!(times_anew(&path), begun + 1);

    rest.carry_over(&mut writer).await;
    execute(insert, &mut writer).await;
    assert_eq!(times_anew(&path), begun + 1, "one wish is one attempt");

    let mut reader = connect(&path).await;
    let mut reading = reader.begin().await.unwrap();
    execute("SELECT count(*) FROM number", &mut reading).await;
    rest.ask();
    rest.carry_over(&mut writer).await;
    execute(insert, &mut writer).await;
    assert_eq!(times_anew(&path), begun + 1, "somebody still reads what is in it");
    let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM number").fetch_one(&mut *reading).await.unwrap();
    assert_eq!(seen, 3, "a reader sees what was there when it began");
    reading.rollback().await.unwrap();

    rest.ask();
    rest.carry_over(&mut writer).await;
    execute(insert, &mut writer).await;
    assert_eq!(times_anew(&path), begun + 2);
}

#[tokio::test]
async fn a_log_begins_anew_under_a_writer_that_never_rests() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gateway.db");
    let database = open(&path).await.unwrap();
    let fill = |sql: &'static str| {
        database
            .writer
            .write(move |c| Box::pin(async move { Ok(sqlx::raw_sql(sql).execute(c).await.map(drop)?) }))
    };
    fill("CREATE TABLE filler (body BLOB)").await.unwrap();
    let begun = times_anew(&path);
    // the file is cut when it begins anew
    let longest = Cell::new(0);
    let busy = async || {
        while times_anew(&path) == begun {
            longest.set(longest.get().max(std::fs::metadata(log_of(&path)).unwrap().len() / PAGE));
            fill("INSERT INTO filler SELECT randomblob(60000)").await.unwrap();
        }
    };
    // so that one waits while another is written
    tokio::join!(busy(), busy(), busy());
    let pages = longest.get();
    let last_resort: u64 = super::WRITERS_OWN.parse().unwrap();
    assert!(pages < last_resort, "the log had {pages} pages before it began anew, and should from {LONG} on");
}
