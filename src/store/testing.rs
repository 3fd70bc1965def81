//! Databases for tests of what lies above: SQLite files, or databases on PostgreSQL when
//! `LEQI_GATEWAY_TEST_ENGINE` is `postgres`, so that the same tests hold for both engines.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::Command,
    sync::{LazyLock, Mutex},
};

use self::postgres::Server;
use super::Config;

#[path = "../../tests/common/postgres.rs"]
pub(crate) mod postgres;

const ENGINE: &str = "LEQI_GATEWAY_TEST_ENGINE";

/// The tests of everything that keeps something in the store; those of pure rules need no second engine.
const CONTRACT: [&str; 11] = [
    "api::",
    "confirmation::",
    "jobs::tests",
    "quota::tests",
    "request_log::",
    "store::sql::",
    "unit::",
    "--skip",
    "quota::tests::history",
    "--skip",
    "quota::tests::model",
];

/// The database that stands for this path; the same one whenever the path is the same.
pub(crate) fn config(path: &Path) -> Config {
    static DATABASES: LazyLock<Mutex<HashMap<PathBuf, String>>> = LazyLock::new(Mutex::default);
    let url = if std::env::var(ENGINE).is_ok_and(|engine| engine == "postgres") {
        let mut databases = DATABASES.lock().unwrap();
        databases.entry(path.to_owned()).or_insert_with(|| Server::shared().database()).clone()
    } else {
        format!("sqlite://{}", path.display())
    };
    Config { url, ..Config::default() }
}

/// Everything that is in the database, bytes in hex on PostgreSQL.
pub(crate) fn contents(path: &Path) -> Vec<u8> {
    let config = config(path);
    match config.url.strip_prefix("sqlite://") {
        Some(file) => std::fs::read(file).unwrap(),
        None => Server::shared().dump(&config.url),
    }
}

#[test]
fn all_that_is_kept_is_kept_on_postgresql_as_well() {
    if std::env::var(ENGINE).is_ok() {
        return;
    }
    let server = Server::shared();
    let mut command = Command::new(std::env::current_exe().unwrap());
    server.tell(&mut command);
    let out = command.args(CONTRACT).args(["--test-threads", "8"]).env(ENGINE, "postgres").output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "on PostgreSQL:\n{text}{}", String::from_utf8_lossy(&out.stderr));
    let passed: u32 = text
        .split_once("test result: ok. ")
        .and_then(|(_, rest)| rest.split_once(" passed")?.0.parse().ok())
        .expect("the number of tests that passed");
    assert!(passed > 60, "only {passed} tests ran on PostgreSQL");
}
