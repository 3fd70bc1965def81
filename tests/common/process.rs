//! The simulator and the gateway as processes of the real binary.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{SimUnit, Units};

/// The program, with nothing of this process's environment but PATH.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leqi-gateway"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
    command
}

/// A process that is killed when the test ends.
pub struct Running {
    child: Child,
}

impl Running {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Starts it and gives the first line of standard output that starts with `ready`.
    fn start(mut command: Command, log: &Path) -> (Self, String) {
        let log_file = std::fs::File::options().create(true).append(true).open(log).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log_file).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.by_ref().map_while(Result::ok).find(|line| line.starts_with("ready"));
        let Some(ready) = ready else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("it did not get ready: {}", std::fs::read_to_string(log).unwrap_or_default());
        };
        // whatever else it prints must not fill the pipe
        std::thread::spawn(move || lines.for_each(drop));
        (Self { child }, ready)
    }

    /// SIGKILL, as a power failure or the kernel's memory guard would do it.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, then the exit code.
    pub fn terminate(&mut self) -> i32 {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The platform.
pub struct Simulator {
    pub process: Running,
    pub address: SocketAddr,
    pub dir: TempDir,
    pub units: Units,
}

impl Simulator {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    pub fn start_with(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = binary();
        command.args(["simulate", "--listen", "127.0.0.1:0", "--dir"]).arg(dir.path()).args(args);
        let (process, ready) = Running::start(command, &dir.path().join("simulator.log"));
        let address = ready.split_whitespace().nth(1).unwrap().parse().unwrap();
        let units = Units::read(dir.path());
        Self { process, address, dir, units }
    }

    fn control(&self, args: &[&str], path: &str) -> Value {
        let port = self.address.port();
        let out = Command::new("curl")
            .args(["-sS", "--fail-with-body", "--max-time", "20", "--cacert"])
            .arg(self.dir.path().join("ca.pem"))
            .args(["--resolve", &format!("lqpt.chinatax.gov.cn:{port}:127.0.0.1")])
            .args(args)
            .arg(format!("https://lqpt.chinatax.gov.cn:{port}{path}"))
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{path}: {}{}",
            String::from_utf8_lossy(&out.stderr),
            String::from_utf8_lossy(&out.stdout)
        );
        serde_json::from_slice(&out.stdout).unwrap_or(Value::Null)
    }

    /// Everything it knows.
    pub fn books(&self) -> Value {
        self.control(&[], "/_sim/books")
    }

    /// Everything it knows but the calls that it received.
    pub fn books_without_calls(&self) -> Value {
        self.control(&[], "/_sim/books?calls=false")
    }

    /// Scripts faults.
    pub fn faults(&self, faults: &Value) {
        self.control(&["--json", &faults.to_string()], "/_sim/faults");
    }

    /// Sets or advances its clock.
    pub fn clock(&self, clock: &Value) {
        self.control(&["--json", &clock.to_string()], "/_sim/clock");
    }

    /// Every call it received.
    pub fn calls(&self) -> Vec<Value> {
        self.books()["calls"].as_array().cloned().unwrap_or_default()
    }
}

/// The gateway over a directory that outlives it.
pub struct Gateway {
    pub process: Running,
    pub data: SocketAddr,
    pub plain: SocketAddr,
    /// All data listeners, in the order of the configuration: TLS, plain, then what a test added.
    pub listeners: Vec<SocketAddr>,
    pub admin: SocketAddr,
    pub ops: SocketAddr,
    pub dir: PathBuf,
    pub token: String,
}

impl Gateway {
    /// A gateway in front of the simulator with one TLS and one plain listener; its files are made in `dir`.
    pub fn start(dir: &Path, simulator: &Simulator) -> Self {
        Self::start_with(dir, simulator, "")
    }

    /// The same, with more lines at the end of its configuration.
    pub fn start_with(dir: &Path, simulator: &Simulator, more: &str) -> Self {
        Self::start_by(binary(), dir, simulator, more)
    }

    /// The same, where a file that reaches `RLIMIT_FSIZE` fails to grow instead of ending the process.
    pub fn start_with_failing_limits(dir: &Path, simulator: &Simulator) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#, env!("CARGO_BIN_EXE_leqi-gateway")]);
        Self::start_by(shell, dir, simulator, "")
    }

    fn start_by(command: Command, dir: &Path, simulator: &Simulator, more: &str) -> Self {
        Self::start_as(command, dir, &(gateway_config(simulator) + more))
    }

    /// A gateway that this command becomes, with this configuration: TLS and plain listener first.
    pub fn start_as(mut command: Command, dir: &Path, config: &str) -> Self {
        if !dir.join("certs/server.pem").exists() {
            let out = binary()
                .current_dir(dir)
                .args(["certs", "init", "--dir", "certs", "--ip", "127.0.0.1", "--name", "localhost"])
                .output()
                .unwrap();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        }
        std::fs::write(dir.join("gateway.toml"), config).unwrap();
        let token = Self::token(dir);
        command.current_dir(dir).args(["serve", "--config", "gateway.toml"]);
        let (process, ready) = Running::start(command, &dir.join("gateway.log"));
        let address = |name: &str| -> Vec<SocketAddr> {
            let found =
                ready.split_whitespace().filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            found.map(|url| url.rsplit('/').next().unwrap().parse().unwrap()).collect()
        };
        let data = address("data");
        Self {
            process,
            data: data[0],
            plain: data[1],
            listeners: data,
            admin: address("admin")[0],
            ops: address("ops")[0],
            dir: dir.to_owned(),
            token,
        }
    }

    /// One of several gateways on a database: with a directory of its own below `base` and the secrets of the first.
    pub fn start_member(base: &Path, number: usize, simulator: &Simulator, url: &str, more: &str) -> Self {
        let dir = base.join(number.to_string());
        let first = base.join("0");
        if !dir.exists() {
            std::fs::create_dir_all(dir.join("certs")).unwrap();
            if number > 0 {
                for entry in std::fs::read_dir(first.join("certs")).unwrap() {
                    let file = entry.unwrap();
                    std::fs::copy(file.path(), dir.join("certs").join(file.file_name())).unwrap();
                }
                std::fs::copy(first.join("token"), dir.join("token")).unwrap();
            }
        }
        let config = gateway_config(simulator).replace("sqlite://data/gateway.db", url) + more;
        Self::start_as(binary(), &dir, &config)
    }

    fn token(dir: &Path) -> String {
        let kept = dir.join("token");
        if let Ok(token) = std::fs::read_to_string(&kept) {
            return token;
        }
        let out = binary()
            .current_dir(dir)
            .args(["token", "create", "--config", "gateway.toml", "--role", "admin", "--name", "tests"])
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let token = String::from_utf8(out.stdout).unwrap().trim().to_owned();
        std::fs::write(kept, &token).unwrap();
        token
    }

    /// A call of the management API: status and JSON.
    pub fn api(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let (status, bytes) = self.api_bytes(method, path, body);
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// A call of the management API: status and body.
    pub fn api_bytes(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Vec<u8>) {
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "30", "-X", method, "-w", "%{stderr}%{http_code}"]);
        command.args(["-H", &format!("Authorization: Bearer {}", self.token)]);
        if let Some(body) = body {
            command.args(["-H", "content-type: application/json", "--data-binary", &body.to_string()]);
        }
        let out = command.arg(format!("http://{}/api/v1{path}", self.admin)).output().unwrap();
        let status = String::from_utf8_lossy(&out.stderr).trim().parse();
        (status.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&out.stderr))), out.stdout)
    }

    /// Registers all units of the simulator, access units first.
    pub fn register(&self, units: &Units) {
        let access = units.0.iter().filter(|unit| unit.role == "access");
        let using = units.0.iter().filter(|unit| unit.role == "using");
        for unit in access.chain(using) {
            let (status, answer) = self.api("POST", "/units", Some(&unit_json(units, unit)));
            assert_eq!(status, 201, "{answer}");
        }
    }

    /// The figures as Prometheus reads them.
    pub fn metrics(&self) -> String {
        let out =
            Command::new("curl").args(["-sS", &format!("http://{}/metrics", self.ops)]).output().unwrap();
        String::from_utf8(out.stdout).unwrap()
    }

    /// What the process logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("gateway.log")).unwrap_or_default()
    }
}

/// A unit as `POST /api/v1/units` takes it.
pub fn unit_json(units: &Units, unit: &SimUnit) -> Value {
    let mut json = json!({
        "tax_no": unit.tax_no, "name": unit.name, "role": unit.role,
        "platform_id": unit.platform_id, "province_code": unit.province_code,
    });
    if unit.role == "access" {
        json["sm4_key"] = json!(unit.sm4_key);
        if unit.sandbox_sm4_key.is_some() {
            json["sandbox_sm4_key"] = json!(unit.sandbox_sm4_key);
        }
    } else {
        let access =
            units.0.iter().find(|u| u.role == "access" && u.platform_id == unit.access_platform_id).unwrap();
        json["access_unit"] = json!(access.tax_no);
    }
    json
}

/// A configuration in front of the simulator, with one TLS and one plain listener on free ports.
pub fn gateway_config(simulator: &Simulator) -> String {
    let address = simulator.address;
    let ca = simulator.dir.path().join("ca.pem");
    format!(
        r#"
[[listen]]
address = "127.0.0.1:0"
certificates = [{{ chain = "certs/server.pem", key = "certs/server.key" }}]
[[listen]]
address = "127.0.0.1:0"
plaintext = true
[admin]
address = "127.0.0.1:0"
[ops]
address = "127.0.0.1:0"
[[upstream]]
name = "leqi"
base_url = "https://lqpt.chinatax.gov.cn:{port}"
verify = "full"
ca_file = "{ca}"
addresses = ["{address}"]
[[route]]
prefix = "/access/"
upstream = "leqi"
[[route]]
prefix = "/access/sandbox/"
upstream = "leqi"
environment = "sandbox"
[[route]]
prefix = "/access/newsandbox/"
upstream = "leqi"
environment = "sandbox"
[[route]]
prefix = "/access/sandbox_kzfw/"
upstream = "leqi"
environment = "sandbox"
[[route]]
prefix = "/leqi-api/"
replace = "/"
upstream = "leqi"
[store]
url = "sqlite://data/gateway.db"
[secrets]
master_key_file = "certs/master.key"
"#,
        port = address.port(),
        ca = ca.display(),
    )
}
