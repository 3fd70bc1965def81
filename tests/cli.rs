//! What the command line says when something is wrong: one line per error, with what to do, and an exit code.
//! Everything here runs the real binary.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up must fail loudly")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;

/// A working directory with a configuration that can be used.
struct Setup {
    dir: TempDir,
}

const CONFIG: &str = r#"
[[listen]]
address = "127.0.0.1:0"
certificates = [{ chain = "certs/server.pem", key = "certs/server.key" }]

[admin]
address = "127.0.0.1:0"

[ops]
address = "127.0.0.1:0"

[[upstream]]
name = "leqi"
base_url = "https://127.0.0.1:9"
verify = "full"
ca_file = "certs/ca.pem"

[[route]]
prefix = "/access/"
upstream = "leqi"
"#;

impl Setup {
    fn new() -> Self {
        let setup = Self { dir: tempfile::tempdir().unwrap() };
        setup.configure(CONFIG);
        setup.succeed(&["certs", "init", "--ip", "127.0.0.1"]);
        setup
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn configure(&self, text: &str) {
        fs::create_dir_all(self.path().join("config")).unwrap();
        fs::write(self.path().join("config/gateway.toml"), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_leqi-gateway"));
        command.args(arguments).current_dir(self.path()).env_remove("RUST_LOG").stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Standard output of a command that must succeed.
    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Standard error of a command that must fail with exit code 1 and print nothing else.
    fn fail(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        said
    }

    fn serve(&self) -> Gateway {
        Gateway::start(self.command(&["serve"]))
    }
}

/// A gateway that serves; killed when the test ends.
struct Gateway {
    child: Child,
    ready: String,
}

impl Gateway {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        assert!(ready.starts_with("ready "), "the gateway said {ready:?}");
        Self { child, ready }
    }

    fn address(&self, plane: &str) -> String {
        let found = self.ready.split_whitespace().find_map(|word| word.strip_prefix(&format!("{plane}=")));
        found.unwrap().split_once("://").unwrap().1.to_owned()
    }

    fn http(&self, plane: &str, head: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.address(plane)).unwrap();
        let length = body.len();
        write!(
            stream,
            "{head}\r\nhost: gateway\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// SIGTERM, then its exit code.
    fn terminate(mut self) -> Option<i32> {
        let killed = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(killed.success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn one_line(said: &str) -> &str {
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("leqi-gateway: "), "{said}");
    said
}

#[test]
fn check_accepts_a_good_file_and_says_what_it_holds() {
    let said = Setup::new().succeed(&["check"]);
    assert!(
        said.starts_with("config/gateway.toml is valid: 1 listener(s), 1 upstream(s), 1 route(s)"),
        "{said}"
    );
}

#[test]
fn check_lists_every_error_at_once() {
    let setup = Setup::new();
    setup.configure(
        &CONFIG
            .replace("prefix", "prefxi")
            .replace("ca.pem", "nowhere.pem")
            .replace("address = \"127.0.0.1:0\"\n\n[ops]", "address = \"0.0.0.0:9080\"\n\n[ops]"),
    );
    let said = setup.fail(&["check"]);
    for expected in [
        "config/gateway.toml:7: admin.address: 0.0.0.0:9080 is not loopback",
        "config/gateway.toml:16: upstream[0].ca_file: file certs/nowhere.pem does not exist",
        "config/gateway.toml:18: route[0].prefix: is missing",
        "config/gateway.toml:19: route[0].prefxi: unknown key; did you mean prefix?",
    ] {
        assert!(said.contains(expected), "{expected}\nnot in\n{said}");
    }
    assert_eq!(said.lines().count(), 4, "{said}");
}

#[test]
fn an_unknown_key_stops_serve_and_is_named() {
    let setup = Setup::new();
    setup.configure(&format!("{CONFIG}\n[store]\nurll = \"sqlite://data/gateway.db\"\n"));
    let said = setup.fail(&["serve"]);
    assert!(one_line(&said).contains("store.urll: unknown key; did you mean url?"), "{said}");
}

#[test]
fn a_missing_certificate_stops_serve_and_says_how_to_make_one() {
    let setup = Setup::new();
    fs::remove_file(setup.path().join("certs/server.pem")).unwrap();
    let said = setup.fail(&["serve"]);
    assert!(one_line(&said).contains("file certs/server.pem does not exist"), "{said}");
    assert!(said.contains("leqi-gateway certs init"), "{said}");
}

#[test]
fn a_key_of_another_certificate_is_named() {
    let setup = Setup::new();
    let other = Setup::new();
    fs::copy(other.path().join("certs/server.key"), setup.path().join("certs/server.key")).unwrap();
    let said = setup.fail(&["check"]);
    assert!(one_line(&said).contains("does not belong to the first certificate"), "{said}");
}

#[test]
fn a_missing_configuration_says_where_to_give_one() {
    let setup = Setup::new();
    let said = setup.fail(&["serve", "--config", "nowhere.toml"]);
    assert!(one_line(&said).contains("give its path with --config"), "{said}");
}

#[test]
fn a_port_in_use_stops_serve_before_the_database_is_touched() {
    let setup = Setup::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = setup.command(&["serve"]).env("LEQI_GATEWAY__ADMIN__ADDRESS", &address).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        one_line(&said).contains(&format!("{address} is in use by another process; stop it or")),
        "{said}"
    );
    assert!(!setup.path().join("data/gateway.db").exists());
}

#[test]
fn a_corrupt_database_is_named_and_left_alone() {
    let setup = Setup::new();
    let file = setup.path().join("data/gateway.db");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let garbage = b"this is no database, but somebody's letter ".repeat(200);
    fs::write(&file, &garbage).unwrap();
    for command in ["serve", "migrate"] {
        let said = setup.fail(&[command]);
        assert!(one_line(&said).contains("is damaged or is not a SQLite database"), "{said}");
        assert!(said.contains("restore the latest backup"), "{said}");
    }
    assert_eq!(fs::read(&file).unwrap(), garbage);
}

#[tokio::test]
async fn migrate_names_what_it_has_carried_out() {
    let setup = Setup::new();
    let first = setup.succeed(&["migrate"]);
    let lines: Vec<&str> = first.lines().collect();
    assert_eq!(lines[..2], ["0001 ledger", "0002 units"], "{first}");
    assert!(lines.last().unwrap().ends_with("gateway.db: created with all tables"), "{first}");

    // a database of the version before the last migration
    let url = format!("sqlite://{}", setup.path().join("data/gateway.db").display());
    let mut database = SqliteConnection::connect(&url).await.unwrap();
    let older = "DROP TABLE unit_version; DELETE FROM _sqlx_migrations WHERE version = 30";
    sqlx::raw_sql(older).execute(&mut database).await.unwrap();
    database.close().await.unwrap();
    let second = setup.succeed(&["migrate"]);
    let lines: Vec<&str> = second.lines().collect();
    assert_eq!((lines.len(), lines[0]), (2, "0030 unit version"), "{second}");
    assert!(lines[1].ends_with("gateway.db: its tables are up to date"), "{second}");
    assert_eq!(setup.succeed(&["migrate"]).lines().count(), 1);
}

#[test]
fn token_create_prints_the_token_alone_and_revoke_ends_it() {
    let setup = Setup::new();
    let token = setup.succeed(&["token", "create", "--role", "admin", "--name", "setup"]);
    assert_eq!(token.split_whitespace().count(), 1, "{token:?}");
    let gateway = setup.serve();
    let ask = |token: &str| {
        let head = format!("GET /api/v1/units HTTP/1.1\r\nauthorization: Bearer {}", token.trim());
        gateway.http("admin", &head, "")
    };
    assert!(ask(&token).starts_with("HTTP/1.1 200 "), "{}", ask(&token));
    assert!(ask("wrong").starts_with("HTTP/1.1 401 "));

    let listed = setup.succeed(&["token", "list", "--output", "json"]);
    assert!(listed.contains("\"setup\"") && !listed.contains(token.trim()), "{listed}");
    let again = setup.fail(&["token", "create", "--role", "viewer", "--name", "setup"]);
    assert!(one_line(&again).contains("choose another name"), "{again}");
    setup.succeed(&["token", "revoke", "--name", "setup"]);
    assert!(ask(&token).starts_with("HTTP/1.1 401 "));
}

#[test]
fn a_key_of_wrong_length_is_refused_with_its_rule() {
    let setup = Setup::new();
    let token = setup.succeed(&["token", "create", "--role", "admin", "--name", "setup"]);
    let gateway = setup.serve();
    let head = format!(
        "POST /api/v1/units HTTP/1.1\r\ncontent-type: application/json\r\nauthorization: Bearer {}",
        token.trim()
    );
    let unit = r#"{"tax_no":"91330100MA27XXXX0F","name":"X","role":"access","platform_id":"0123456789abcdef0123",
        "province_code":"13300000000","sm4_key":"00112233445566"}"#;
    let answer = gateway.http("admin", &head, unit);
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert!(answer.contains("sm4_key") && answer.contains("32"), "{answer}");
    assert!(!answer.contains("00112233445566"), "{answer}");
}

#[test]
fn serve_is_ready_tells_its_metrics_and_ends_with_zero_on_sigterm() {
    let setup = Setup::new();
    let gateway = setup.serve();
    assert!(gateway.http("ops", "GET /healthz HTTP/1.1", "").starts_with("HTTP/1.1 200 "));
    assert!(gateway.http("ops", "GET /readyz HTTP/1.1", "").starts_with("HTTP/1.1 200 "));
    let metrics = gateway.http("ops", "GET /metrics HTTP/1.1", "");
    assert!(metrics.contains("leqi_gateway_build_info{commit=\"unknown\",version=\""), "{metrics}");
    assert_eq!(gateway.terminate(), Some(0));
}

#[test]
fn wrong_usage_exits_with_two_and_every_command_has_an_example() {
    let setup = Setup::new();
    assert_eq!(setup.run(&["serv"]).status.code(), Some(2));
    assert_eq!(setup.run(&["token", "create", "--role", "king", "--name", "x"]).status.code(), Some(2));
    for command in [
        &["serve"][..],
        &["check"],
        &["migrate"],
        &["token", "create"],
        &["token", "list"],
        &["certs", "init"],
    ] {
        let help = setup.succeed(&[command, &["--help"]].concat());
        assert!(help.contains("Example"), "{command:?} has no example:\n{help}");
    }
}
