//! `probe` against platforms that work, half work, and do not: what it says, what it tells to do, and what it sends.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot set up must fail loudly")]

mod common;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use common::process::Simulator;
use leqi_gateway::tls::Authority;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A directory with a configuration.
struct Setup {
    dir: TempDir,
}

/// What a probe said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn new(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// The outcome of every step, from the JSON.
    fn outcomes(&self) -> Vec<(String, String)> {
        let report: Value =
            serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("{}{}", self.out, self.err));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let steps = report["steps"].as_array().unwrap();
        steps.iter().map(|step| (text(&step["step"]), text(&step["outcome"]))).collect()
    }

    /// Fails unless this step failed, all before it worked, all after it were skipped, and this is said and advised.
    fn assert_fails_at(&self, failing: &str, parts: &[&str]) {
        let outcomes = self.outcomes();
        let at = outcomes.iter().position(|(step, _)| step == failing).unwrap();
        for (index, (step, outcome)) in outcomes.iter().enumerate() {
            let fits = match index.cmp(&at) {
                std::cmp::Ordering::Less => ["ok", "note"].contains(&outcome.as_str()),
                std::cmp::Ordering::Equal => outcome == "failed",
                std::cmp::Ordering::Greater => outcome == "skipped",
            };
            assert!(fits, "{step} is {outcome}: {}", self.out);
        }
        for part in parts {
            assert!(self.out.contains(part), "{part} is not in {}", self.out);
        }
        assert_eq!(self.code, Some(1), "{}", self.err);
        assert!(self.err.contains("does not work"), "{}", self.err);
    }
}

impl Setup {
    fn new(base_url: &str, more: &str) -> Self {
        let setup = Self { dir: tempfile::tempdir().unwrap() };
        let text = format!(
            "[[listen]]\naddress = \"127.0.0.1:0\"\nplaintext = true\n\n# 平台 the platform\n[[upstream]]\nname = \"leqi\"\n\
             base_url = \"{base_url}\"\nconnect_timeout = \"400ms\" # soon\ntls_timeout = \"2s\"\n{more}\n\
             # routes\n[[route]]\nprefix = \"/access/\"\nupstream = \"leqi\"\n"
        );
        fs::write(setup.file(), text).unwrap();
        setup
    }

    /// In front of the simulator, verified by its authority and this.
    fn at(simulator: &Simulator, verify: &str) -> Self {
        let ca = simulator.dir.path().join("ca.pem");
        let url = format!("https://localhost:{}", simulator.address.port());
        let address = simulator.address;
        Self::new(&url, &format!("addresses = [\"{address}\"]\nca_file = {ca:?}\n{verify}"))
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("gateway.toml")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_leqi-gateway"));
        command.args(["probe", "--config"]).arg(self.file()).args(arguments).stdin(Stdio::null());
        command
    }

    fn probe(&self, arguments: &[&str]) -> Said {
        Said::new(self.command(arguments).output().unwrap())
    }

    fn json(&self) -> Said {
        self.probe(&["--output", "json"])
    }

    /// With this typed at the question.
    fn trust(&self, typed: &str) -> Said {
        let mut command = self.command(&["--trust"]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
        Said::new(child.wait_with_output().unwrap())
    }
}

#[test]
fn a_platform_that_works_is_told_step_by_step_and_called_once_without_a_body() {
    let simulator = Simulator::start();
    let setup = Setup::at(&simulator, "verify = \"full\"");
    let said = setup.json();
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert!(said.outcomes().iter().all(|(_, outcome)| outcome == "ok"), "{}", said.out);
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(report["certificates"][0]["names"][0], "lqpt.chinatax.gov.cn");
    assert_eq!(report["ok"], true);
    let calls = simulator.calls();
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert_eq!(
        (&calls[0]["path"], &calls[0]["body_size"]),
        (&json!("/access/v2/invoke/202007/CXNSRJBXX/"), &json!(0))
    );

    let table = setup.probe(&[]);
    assert_eq!(table.code, Some(0), "{}", table.err);
    for part in ["网络连接 tcp", "正常 ok", " ms", "TLSv1.3", "sha256/", "days left 剩余", "4054"] {
        assert!(table.out.contains(part), "{part} is not in {}", table.out);
    }
    assert!(!table.out.contains("WHAT TO DO"), "{}", table.out);
}

#[test]
fn a_certificate_without_a_name_leads_to_a_pin_that_a_person_confirms() {
    let simulator = Simulator::start_with(&["--nameless"]);
    let setup = Setup::at(&simulator, "verify = \"full\"   # 校验");
    setup.json().assert_fails_at("trust", &["probe --upstream leqi --trust", "没有任何域名"]);
    assert!(simulator.calls().is_empty());

    let before = setup.text();
    for typed in ["n\n", "\n", ""] {
        let refused = setup.trust(typed);
        assert_eq!(refused.code, Some(1), "{}", refused.err);
        assert!(refused.err.contains("nothing is stored"), "{}", refused.err);
        assert_eq!(setup.text(), before);
    }

    fs::set_permissions(setup.file(), fs::Permissions::from_mode(0o640)).unwrap();
    let stored = setup.trust("y\n");
    assert_eq!(stored.code, Some(0), "{}", stored.err);
    assert!(stored.err.contains("SHA-256") && stored.err.contains("[y/N]"), "{}", stored.err);
    let after = setup.text();
    let pins = after.lines().find(|line| line.starts_with("pins = ")).unwrap();
    let expected =
        before.replace("verify = \"full\"   # 校验", &format!("verify = \"pinned\"   # 校验\n{pins}"));
    assert_eq!(after, expected);
    assert_eq!(fs::metadata(setup.file()).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read_dir(setup.dir.path()).unwrap().count(), 1, "something is left over");
    assert_eq!(setup.probe(&[]).code, Some(0));
}

#[test]
fn another_key_than_the_pinned_one_is_an_alarm_and_scripts_must_name_the_key() {
    let simulator = Simulator::start();
    let wrong = format!("sha256/{}=", "A".repeat(43));
    let setup = Setup::at(&simulator, &format!("verify = \"pinned\"\npins = [\"{wrong}\"]"));
    let said = setup.json();
    said.assert_fails_at("trust", &["somebody stands in between", &wrong]);
    let report: Value = serde_json::from_str(&said.out).unwrap();
    let right = report["certificates"][0]["pin"].as_str().unwrap().to_owned();
    assert!(said.err.contains(&right) && said.err.contains(&wrong), "{}", said.err);

    let before = setup.text();
    assert_eq!(setup.probe(&["--trust", "--yes"]).code, Some(2));
    let refused = setup.probe(&["--trust", "--yes", "--fingerprint", &wrong]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains(&right) && refused.err.contains("nothing is stored"), "{}", refused.err);
    assert_eq!(setup.text(), before);

    let mut command = setup.command(&["--trust", "--yes", "--fingerprint", &right]);
    command.env("LEQI_GATEWAY__UPSTREAM__0__VERIFY", "pinned");
    let stored = Said::new(command.output().unwrap());
    assert_eq!(stored.code, Some(0), "{}", stored.err);
    assert!(stored.err.contains("LEQI_GATEWAY__UPSTREAM__0__VERIFY overrules"), "{}", stored.err);
    assert_eq!(setup.text(), before.replace(&wrong, &right));
    assert_eq!(setup.probe(&[]).code, Some(0));
}

#[test]
fn a_machine_without_authorities_can_still_learn_a_pin() {
    let simulator = Simulator::start();
    let url = format!("https://localhost:{}", simulator.address.port());
    let setup = Setup::new(&url, "addresses = [\"ADDRESS\"]");
    fs::write(setup.file(), setup.text().replace("ADDRESS", &simulator.address.to_string())).unwrap();
    let bare = |arguments: &[&str]| {
        let mut command = setup.command(arguments);
        command.env("SSL_CERT_FILE", "/nonexistent").env("SSL_CERT_DIR", "/nonexistent");
        Said::new(command.output().unwrap())
    };
    let said = bare(&["--output", "json"]);
    said.assert_fails_at("trust", &["no certificate authority to trust was found"]);
    let report: Value = serde_json::from_str(&said.out).unwrap();
    let pin = report["certificates"][0]["pin"].as_str().unwrap();
    assert_eq!(bare(&["--trust", "--yes", "--fingerprint", pin]).code, Some(0));
    assert_eq!(bare(&[]).code, Some(0));
}

/// An address where nothing listens: it was free a moment ago.
fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn a_closed_port_and_a_firewall_are_told_apart() {
    let closed = closed_port();
    let setup =
        Setup::new("https://localhost:8443", &format!("addresses = [\"{closed}\"]\nverify = \"off\""));
    setup.json().assert_fails_at("tcp", &["connection refused", "核对 base_url 的端口"]);

    // a queue of one that is full takes no further connection, as a firewall that drops packets
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _context = runtime.enter();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let silent = socket.listen(0).unwrap();
    let address = silent.local_addr().unwrap();
    let limit = std::time::Duration::from_millis(300);
    let fill: Vec<_> = (0..8).map_while(|_| TcpStream::connect_timeout(&address, limit).ok()).collect();
    assert!(fill.len() < 8, "the queue never fills");
    let setup =
        Setup::new("https://localhost:8443", &format!("addresses = [\"{address}\"]\nverify = \"off\""));
    setup
        .json()
        .assert_fails_at("tcp", &["no answer within 400ms", "请网络管理员放通", "ask for the firewall"]);
}

#[test]
fn one_address_of_two_is_enough_and_the_other_is_named() {
    let simulator = Simulator::start();
    let setup = Setup::at(&simulator, "verify = \"full\"");
    let both = format!("addresses = [\"{}\", \"{}\"]", closed_port(), simulator.address);
    fs::write(setup.file(), setup.text().replace(&format!("addresses = [\"{}\"]", simulator.address), &both))
        .unwrap();
    let said = setup.json();
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert_eq!(said.outcomes()[1], ("tcp".to_owned(), "note".to_owned()));
    assert!(said.out.contains("connection refused"), "{}", said.out);
}

/// A proxy that takes every `CONNECT` to the simulator, and counts them.
fn proxy(simulator: &Simulator) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, platform) = (listener.local_addr().unwrap(), simulator.address);
    let connected = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connected);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let counter = Arc::clone(&counter);
            std::thread::spawn(move || tunnel(stream, platform, &counter));
        }
    });
    (address, connected)
}

fn tunnel(mut client: TcpStream, platform: SocketAddr, connected: &AtomicUsize) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"CONNECT lqpt.invalid:8443 "), "{}", String::from_utf8_lossy(&head));
    connected.fetch_add(1, Ordering::SeqCst);
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let mut server = TcpStream::connect(platform)?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || std::io::copy(&mut from, &mut to));
    std::io::copy(&mut server, &mut client).map(drop)
}

#[test]
fn every_step_goes_through_the_egress_proxy() {
    let simulator = Simulator::start_with(&["--nameless"]);
    let (address, connected) = proxy(&simulator);
    let ca = simulator.dir.path().join("ca.pem");
    let more = format!("ca_file = {ca:?}\nverify = \"chain\"\nproxy = {{ url = \"http://{address}\" }}");
    let setup = Setup::new("https://lqpt.invalid:8443", &more);
    let said = setup.json();
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert!(said.out.contains("由出口代理解析") && said.out.contains(&address.to_string()), "{}", said.out);
    // one for each of tcp, tls, trust and call
    assert_eq!((connected.load(Ordering::SeqCst), simulator.calls().len()), (4, 1));

    let away = more.replace(&address.to_string(), &closed_port().to_string());
    let setup = Setup::new("https://lqpt.invalid:8443", &away);
    setup.json().assert_fails_at("tcp", &["[[upstream]] proxy", "refused"]);
}

#[test]
fn an_unknown_name_leads_to_the_hosts_file() {
    let setup = Setup::new("https://lqpt.invalid:8443", "verify = \"off\"");
    setup.json().assert_fails_at("name", &["/etc/hosts", "lqpt.invalid"]);
    let setup = Setup::new("https://localhost:9", "verify = \"off\"");
    let said = setup.json();
    assert_eq!(said.outcomes()[0].1, "ok", "{}", said.out);
    assert!(said.out.contains("127.0.0.1:9"), "{}", said.out);
}

#[test]
fn a_port_that_speaks_no_tls_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let web = std::thread::spawn(move || {
        // one for the port, one for the handshake
        for stream in listener.incoming().take(2) {
            let mut stream = stream.unwrap();
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let setup = Setup::new(&format!("https://{address}"), "verify = \"off\"");
    setup.json().assert_fails_at("tls", &["does not speak TLS", "8443"]);
    web.join().unwrap();
}

#[test]
fn what_the_platform_answers_is_explained() {
    let simulator = Simulator::start();
    let setup = Setup::at(&simulator, "verify = \"full\"");
    for (fault, parts) in [
        (json!([{ "kind": "refuse", "code": "4067" }]), ["4067", "登记该出口地址"]),
        (json!([{ "kind": "status", "status": 403 }]), ["HTTP 403", "登记该出口地址"]),
        (json!([{ "kind": "status", "status": 503 }]), ["HTTP 503", "核对 base_url"]),
        (json!([{ "kind": "refuse", "code": "5001" }]), ["5001", "平台暂时不可用"]),
        (json!([{ "kind": "reset_after_read" }]), ["reading the answer failed", "稍后重试"]),
    ] {
        simulator.faults(&fault);
        let before = simulator.calls().len();
        setup.json().assert_fails_at("call", &parts);
        assert_eq!(simulator.calls().len(), before + 1, "{fault}");
    }
    let elsewhere = setup.text() + "[platform]\npath = \"/elsewhere/\"\n";
    fs::write(setup.file(), elsewhere).unwrap();
    setup.json().assert_fails_at("call", &["HTTP 404", "[platform] path"]);
}

/// `openssl s_server` with this certificate; ended by its id.
struct Server(Child);

impl Server {
    fn start(dir: &std::path::Path) -> (Self, SocketAddr) {
        let mut command = Command::new("openssl");
        command.args([
            "s_server",
            "-accept",
            "127.0.0.1:0",
            "-cert_chain",
            "chain.pem",
            "-cert",
            "chain.pem",
            "-key",
            "key.pem",
        ]);
        let mut child = command
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let accepting =
            lines.map_while(Result::ok).find_map(|line| line.strip_prefix("ACCEPT ").map(str::to_owned));
        (Self(child), accepting.unwrap().trim().parse().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_expired_certificate_is_named_and_can_be_pinned_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let long_ago = "2021-01-01T00:00:00Z".parse().unwrap();
    let authority = Authority::generate("old", long_ago).unwrap();
    let issued = authority.issue(&["localhost"], long_ago).unwrap();
    fs::write(dir.path().join("chain.pem"), &issued.chain_pem).unwrap();
    fs::write(dir.path().join("key.pem"), &issued.key_pem).unwrap();
    fs::write(dir.path().join("ca.pem"), authority.certificate_pem()).unwrap();
    let (_server, address) = Server::start(dir.path());
    let ca = dir.path().join("ca.pem");
    let more = format!("addresses = [\"{address}\"]\nca_file = {ca:?}\nverify = \"chain\"");
    let setup = Setup::new("https://localhost", &more);
    setup.json().assert_fails_at("trust", &["EXPIRED 已过期", "平台证书已过期", "expired"]);
}

/// A name server on loopback that gives every name the address 127.0.0.1.
fn name_server() -> SocketAddr {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut bytes = [0; 1500];
        while let Ok((_, from)) = socket.recv_from(&mut bytes) {
            // one question: its name ends with an empty label, type and class come after it (RFC 1035 §4.1.2)
            let end = 12 + bytes[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
            let is_ipv4 = bytes[end - 4..end - 2] == [0, 1];
            let mut reply = bytes[..end].to_vec();
            reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_ipv4), 0, 0, 0, 0]);
            if is_ipv4 {
                reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
            }
            socket.send_to(&reply, from).unwrap();
        }
    });
    address
}

#[test]
fn the_name_is_asked_of_the_name_servers_of_the_configuration() {
    let simulator = Simulator::start();
    let ca = simulator.dir.path().join("ca.pem");
    let url = format!("https://lqpt.chinatax.gov.cn:{}", simulator.address.port());
    let server = name_server();
    let settings = |server: SocketAddr| format!("name_servers = [\"{server}\"]\nca_file = {ca:?}");
    let said = Setup::new(&url, &settings(server)).json();
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert!(said.out.contains(&format!("(name_servers {server})")), "{}", said.out);
    // nobody else is asked when it does not answer
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let advice = format!("check the host's DNS (name_servers {address})");
    Setup::new(&url, &settings(address)).json().assert_fails_at("name", &[&advice]);
}
