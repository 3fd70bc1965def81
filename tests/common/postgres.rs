//! PostgreSQL for tests: a new database each, on the server that `LEQI_GATEWAY_TEST_POSTGRES` names (`scripts/test`
//! starts one for all tests), else on one that this process starts and that ends with it.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::allow_attributes,
    missing_docs,
    reason = "a helper of tests: each uses its part, and a helper that fails fails the test"
)]

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

const URL: &str = "LEQI_GATEWAY_TEST_POSTGRES";
const BIN: &str = "LEQI_GATEWAY_TEST_POSTGRES_BIN";
const DATA: &str = "LEQI_GATEWAY_TEST_POSTGRES_DATA";

/// A running server.
pub struct Server {
    /// The address of its maintenance database.
    pub url: String,
    bin: PathBuf,
    data: PathBuf,
    /// Ends the server when its standard input is closed, which also happens when this process dies.
    _holder: Option<Child>,
}

impl Server {
    /// Starts one that ends when this value is dropped.
    pub fn start() -> Self {
        Self::start_in(&std::env::temp_dir())
    }

    /// The same with all its files below this directory, which everybody may enter.
    pub fn start_in(directory: &Path) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/with-postgres");
        let tell = format!("printf '%s\\n' \"${URL}\" \"${BIN}\" \"${DATA}\"; read -r _");
        let mut holder = Command::new(script)
            .args(["sh", "-c", &tell])
            .env("TMPDIR", directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("scripts/with-postgres can be started");
        let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut line = || {
            lines.next().expect("PostgreSQL did not start; is it installed? apt-get install postgresql (scripts/test does it)")
        };
        let (url, bin, data) = (line(), line().into(), line().into());
        Self { url, bin, data, _holder: Some(holder) }
    }

    /// The server that all tests of the process share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(|| match std::env::var(URL) {
            Ok(url) => Self {
                url,
                bin: std::env::var(BIN).unwrap_or_default().into(),
                data: std::env::var(DATA).unwrap_or_default().into(),
                _holder: None,
            },
            Err(_) => Self::start(),
        })
    }

    /// Lets another process use this server as its own.
    pub fn tell(&self, command: &mut Command) {
        command.env(URL, &self.url).env(BIN, &self.bin).env(DATA, &self.data);
    }

    /// The address of a new, empty database.
    pub fn database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        self.sql(&self.url, &format!("CREATE DATABASE {name}"));
        let (server, _) = self.url.rsplit_once('/').unwrap();
        format!("{server}/{name}")
    }

    /// Carries out statements and gives what they answer, one row a line.
    pub fn sql(&self, url: &str, sql: &str) -> String {
        self.try_sql(url, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The same; what the server says where it does not.
    pub fn try_sql(&self, url: &str, sql: &str) -> Result<String, String> {
        let psql = if self.bin.as_os_str().is_empty() { "psql".into() } else { self.bin.join("psql") };
        let out = Command::new(psql)
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql])
            .output()
            .unwrap();
        let said = if out.status.success() { &out.stdout } else { &out.stderr };
        let said = String::from_utf8_lossy(said).trim().to_owned();
        if out.status.success() { Ok(said) } else { Err(said) }
    }

    /// Everything in a database, as SQL.
    pub fn dump(&self, url: &str) -> Vec<u8> {
        let out = Command::new(self.bin.join("pg_dump")).args(["--inserts", "-d", url]).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        out.stdout
    }

    /// Stops the server: `fast` breaks off what runs, `immediate` is a crash.
    pub fn stop(&self, mode: &str) {
        self.control(&["-m", mode, "-w", "stop"]);
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.pg_ctl(&["status"]).success()
    }

    /// Starts it again on the same files and port.
    pub fn start_again(&self) {
        let log = self.data.with_file_name("server.log");
        self.control(&["-l", log.to_str().unwrap(), "-w", "start"]);
    }

    fn control(&self, args: &[&str]) {
        assert!(self.pg_ctl(args).success(), "pg_ctl {args:?}");
    }

    fn pg_ctl(&self, args: &[&str]) -> ExitStatus {
        let owner = Command::new("stat").args(["-c", "%u"]).arg(&self.data).output().unwrap();
        let owner = String::from_utf8(owner.stdout).unwrap();
        let owner = owner.trim();
        let mine = Command::new("id").arg("-u").output().unwrap();
        let pg_ctl = self.bin.join("pg_ctl");
        let mut command = if String::from_utf8(mine.stdout).unwrap().trim() == owner {
            Command::new(pg_ctl)
        } else {
            let mut command = Command::new("setpriv");
            command.args([&format!("--reuid={owner}"), "--clear-groups"]).arg(pg_ctl);
            command
        };
        let directory = self.data.parent().unwrap();
        command.current_dir(directory).arg("-D").arg(&self.data).args(args);
        // whatever pg_ctl leaves behind must not keep this process's pipes open
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(holder) = &mut self._holder {
            drop(holder.stdin.take());
            let _ = holder.wait();
        }
    }
}
