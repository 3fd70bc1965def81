//! The simulator from outside: a small client of its own over TLS, one test for everything it refuses.

mod credit;
mod door;
mod months;
mod trouble;
mod uploads;

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Config, Simulator, world::Unit, world::World};
use crate::{
    clock::Clock,
    domain::{BEIJING, Money},
    leqi::{self, Sm4Key},
    tls,
};

/// A running simulator at noon of 2026-11-10 in Beijing; every company has 10,000.00 yuan a month.
pub(super) struct Platform {
    pub(super) simulator: Simulator,
    tls: Arc<rustls::ClientConfig>,
    serial: AtomicU32,
    _dir: tempfile::TempDir,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Who calls, and how the call is written.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) key: Sm4Key,
    pub(super) unit: Unit,
    pub(super) access: Unit,
    pub(super) capability: &'static str,
    pub(super) prefix: &'static str,
}

pub(super) fn beijing(text: &str) -> Timestamp {
    crate::domain::parse_beijing(text).unwrap()
}

impl Platform {
    pub(super) async fn start() -> Self {
        Self::with(|config| config).await
    }

    pub(super) async fn with(change: impl FnOnce(Config) -> Config) -> Self {
        let world = World::sample(Money::from_fen(1_000_000)).unwrap();
        let config = Config::new("127.0.0.1:0".parse().unwrap(), world);
        let clock = Clock::starting_at(beijing("2026-11-10 12:00:00"));
        let simulator = Simulator::start(change(Config { clock, ..config })).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        simulator.describe(dir.path()).unwrap();
        let verify = tls::Verify::Chain;
        let tls = Arc::new(tls::client_config(&verify, Some(&dir.path().join("ca.pem"))).unwrap());
        Self { simulator, tls, serial: AtomicU32::new(1), _dir: dir }
    }

    /// The company of this place in the sample: 0 and 1 are access units, 2 and 3 use the first, 4 and 5 the second.
    pub(super) fn caller(&self, place: usize) -> Caller {
        let unit = self.simulator.world.units[place].clone();
        let access = self.simulator.world.access_of(&unit).unwrap().clone();
        Caller {
            headers: Vec::new(),
            key: Sm4Key::from_hex(access.sm4_key.as_deref().unwrap()).unwrap(),
            unit,
            access,
            capability: "202007",
            prefix: "/access/v2/invoke/",
        }
    }

    async fn connect(&self) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
        let tcp = TcpStream::connect(self.simulator.address).await.map_err(|e| e.to_string())?;
        let name = ServerName::try_from("lqpt.chinatax.gov.cn").unwrap();
        let tls = tokio_rustls::TlsConnector::from(Arc::clone(&self.tls));
        tls.connect(name, tcp).await.map_err(|e| e.to_string())
    }

    /// Sends these bytes and reads until the other side ends.
    pub(super) async fn bytes(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    pub(super) async fn raw(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, String)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, String> {
        let stream = self.connect().await?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|e| e.to_string())?;
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", "lqpt.chinatax.gov.cn");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let response = sender.send_request(request).await.map_err(|e| format!("{e:?}"))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.into_body().collect().await.map_err(|e| format!("{e:?}"))?.to_bytes();
        Ok(Answer { status, headers, body })
    }

    /// Sends this body as a call of the service.
    pub(super) async fn send(&self, caller: &Caller, service: &str, body: Vec<u8>) -> Result<Answer, String> {
        let path = match caller.capability {
            "" => format!("{}{service}", caller.prefix),
            capability => format!("{}{capability}/{service}", caller.prefix),
        };
        let mut headers = vec![
            ("fwbm", service.to_owned()),
            ("nlbm", caller.capability.to_owned()),
            ("jrdwptbh", caller.access.platform_id.to_string()),
            ("sydwptbh", caller.unit.platform_id.to_string()),
        ];
        headers.retain(|(name, _)| !caller.headers.iter().any(|(other, _)| other == name));
        headers.extend(caller.headers.iter().cloned());
        self.raw(Method::POST, &path, &headers, body).await
    }

    /// Calls the service; gives code and `Data`, or code and text of the refusal.
    pub(super) async fn call(&self, caller: &Caller, service: &str, message: &Value) -> (String, Value) {
        let body = STANDARD.encode(leqi::encrypt(&caller.key, message.to_string().as_bytes()));
        let answer = self.send(caller, service, body.into_bytes()).await.unwrap();
        opened(&answer, &caller.key)
    }

    /// Calls a service that must succeed.
    pub(super) async fn ask(&self, caller: &Caller, service: &str, message: &Value) -> Value {
        let (code, data) = self.call(caller, service, message).await;
        assert_eq!(code, "00", "{service}: {data}");
        data
    }

    /// Calls a service that must be refused with these words.
    pub(super) async fn refused(
        &self,
        caller: &Caller,
        service: &str,
        message: &Value,
        code: &str,
        words: &str,
    ) {
        let (got, said) = self.call(caller, service, message).await;
        let said = said.as_str().map_or_else(|| said["returnmsg"].to_string(), str::to_owned);
        assert!(got == code && said.contains(words), "{service}: wanted {code} {words}, got {got} {said}");
    }

    /// A serial unlike any before.
    pub(super) fn serial(&self, caller: &Caller) -> String {
        let number = self.serial.fetch_add(1, Ordering::SeqCst);
        format!("{}{}{number:032x}", caller.unit.platform_id, caller.access.platform_id)
    }

    pub(super) async fn download(&self, caller: &Caller, yuan: &str) -> Value {
        let message = transfer(caller, "0", yuan, &self.serial(caller));
        self.ask(caller, "XZTHSXED", &message).await
    }

    /// So many numbers.
    pub(super) async fn numbers(&self, caller: &Caller, count: usize) -> Vec<String> {
        let serial = self.serial(caller);
        let message = json!({ "nsrsbh": caller.unit.tax_no, "lysl": count, "ywlsh": serial });
        let data = self.ask(caller, "QDFPPLFM", &message).await;
        let first: u128 = data["fpqshm"].as_str().unwrap().parse().unwrap();
        (0..count as u128).map(|n| format!("{:020}", first + n)).collect()
    }

    /// Uploads, lets it be decided, and gives the statuses.
    pub(super) async fn upload(&self, caller: &Caller, invoices: &Value) -> Vec<String> {
        let data = self.ask(caller, "QDFPSC", invoices).await;
        self.pass(10);
        self.statuses(caller, &data["sllsh"]).await
    }

    pub(super) async fn statuses(&self, caller: &Caller, acceptance: &Value) -> Vec<String> {
        let data = self.ask(caller, "CXQDFPSCJG", &json!({ "sllsh": acceptance })).await;
        let rows = data["resultList"].as_array().unwrap();
        rows.iter().map(|row| row["status"].as_str().unwrap().to_owned()).collect()
    }

    /// Lets seconds pass.
    pub(super) fn pass(&self, seconds: i64) {
        let now = self.simulator.clock.now();
        self.simulator.clock.set(now.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap());
    }

    pub(super) fn set_clock(&self, text: &str) {
        self.simulator.clock.set(beijing(text));
    }

    /// A blue invoice of one line, dated now.
    pub(super) fn invoice(&self, caller: &Caller, number: &str, yuan: i64) -> Value {
        let (net, tax) = (Money::from_fen(yuan * 100), Money::from_fen(yuan * 13));
        let now = BEIJING.to_datetime(self.simulator.clock.now()).strftime("%Y-%m-%d %H:%M:%S").to_string();
        json!({
            "fphm": number, "lzfpbz": "0", "fppz": "01", "ptbh": caller.access.platform_id,
            "xsfnsrsbh": caller.unit.tax_no, "gmfnsrsbh": "91350100M000100Y43", "kprq": now,
            "hjje": net, "hjse": tax, "jshj": net.saturating_add(tax),
            "fpmxList": [{ "je": net, "se": tax, "sphfwssflhbbm": "3040201010000000000" }],
        })
    }

    pub(super) async fn control(&self, method: Method, path: &str, body: &str) -> (StatusCode, Value) {
        let answer = self.raw(method, path, &[], body.to_owned()).await.unwrap();
        (answer.status, serde_json::from_slice(&answer.body).unwrap())
    }

    pub(super) async fn books(&self) -> Value {
        self.control(Method::GET, "/_sim/books", "").await.1
    }
}

pub(super) fn transfer(caller: &Caller, direction: &str, yuan: &str, serial: &str) -> Value {
    json!({
        "nsrsbh": caller.unit.tax_no, "ptbh": caller.access.platform_id, "sqlx": direction, "sqed": yuan,
        "ywlsh": serial,
    })
}

/// Code and `Data`, or code and text.
pub(super) fn opened(answer: &Answer, key: &Sm4Key) -> (String, Value) {
    let Ok(envelope) = serde_json::from_slice::<Value>(&answer.body) else {
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        return (answer.status.as_u16().to_string(), text.into());
    };
    if let Some(number) = envelope["httpStatusCode"].as_u64().filter(|number| *number != 200) {
        return (number.to_string(), envelope["body"].clone());
    }
    let body = parsed(&envelope["body"]);
    let response = parsed(&body["Response"]);
    assert_eq!(response["RequestId"].as_str().unwrap().len(), 16);
    if let Some(code) = response["Error"]["Code"].as_str() {
        return (code.to_owned(), response["Error"]["Message"].clone());
    }
    let cipher = STANDARD.decode(response["Data"].as_str().unwrap()).unwrap();
    let data: Value = serde_json::from_slice(&leqi::decrypt(key, &cipher).unwrap()).unwrap();
    (data["returncode"].as_str().unwrap().to_owned(), data)
}

/// The value, or what the JSON text in it says.
fn parsed(value: &Value) -> Value {
    value.as_str().map_or_else(|| value.clone(), |text| serde_json::from_str(text).unwrap())
}
