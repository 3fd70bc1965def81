//! An invoicing system: encrypted calls over plain HTTP/1.1, one connection each.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use leqi_gateway::leqi::{self, Payload, Sm4Key};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{SimUnit, Units, message::numbers};

/// What came back.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The decrypted `Data`.
    Data(Value),
    /// An error in the envelope: HTTP status, code, text.
    Error { status: u16, code: String, text: String },
    /// No answer: the connection broke off.
    None,
    /// No answer: there was no connection.
    Unreachable,
}

impl Answer {
    pub fn code(&self) -> &str {
        match self {
            Self::Data(data) => data["returncode"].as_str().unwrap_or(""),
            Self::Error { code, .. } => code,
            Self::None | Self::Unreachable => "",
        }
    }

    pub fn data(&self) -> &Value {
        match self {
            Self::Data(data) => data,
            other => panic!("no data but {other:?}"),
        }
    }
}

/// One invoicing system of a unit.
#[derive(Clone)]
pub struct Client {
    pub address: SocketAddr,
    pub prefix: String,
    pub access_id: String,
    pub using_id: String,
    pub key: Sm4Key,
}

impl Client {
    pub fn new(address: SocketAddr, units: &Units, unit: &SimUnit) -> Self {
        Self {
            address,
            prefix: "/access/v2/invoke/202007/".to_owned(),
            access_id: unit.access_platform_id.clone(),
            using_id: unit.platform_id.clone(),
            key: Sm4Key::from_hex(&units.key(unit)).unwrap(),
        }
    }

    /// Calls a service with this JSON.
    pub async fn call(&self, service: &str, json: &Value) -> Answer {
        let body = leqi::write_body(&self.key, json.to_string().as_bytes());
        self.call_raw(service, body, &[]).await
    }

    /// Calls a service with this body and further headers.
    pub async fn call_raw(&self, service: &str, body: Vec<u8>, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::post(format!("{}{service}", self.prefix))
            .header("host", self.address.to_string())
            .header("content-type", "application/json")
            .header("fwbm", service)
            .header("nlbm", "202007")
            .header("jrdwptbh", &self.access_id)
            .header("sydwptbh", &self.using_id)
            .header("access_signature", "");
        if !headers.iter().any(|(name, _)| *name == "clientTid") {
            request = request.header("clientTid", "T-1");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let Ok(stream) = TcpStream::connect(self.address).await else { return Answer::Unreachable };
        match send_on(stream, request.body(Full::new(Bytes::from(body))).unwrap()).await {
            Some((status, bytes)) => self.read(status, &bytes),
            None => Answer::None,
        }
    }

    /// Downloads credit of this month.
    pub async fn download(&self, tax_no: &str, yuan: &str, serial: &str) -> Answer {
        let request =
            json!({ "nsrsbh": tax_no, "ptbh": self.access_id, "sqlx": "0", "sqed": yuan, "ywlsh": serial });
        self.call("XZTHSXED", &request).await
    }

    /// Asks for a range of invoice numbers, at most 5000.
    pub async fn number_range(&self, tax_no: &str, count: usize, serial: &str) -> Vec<String> {
        let request = json!({ "nsrsbh": tax_no, "lysl": count.to_string(), "ywlsh": serial });
        let answer = self.call("QDFPPLFM", &request).await;
        numbers(answer.data()["fpqshm"].as_str().unwrap(), count)
    }

    /// The results of an upload once all its invoices are decided.
    pub async fn result(&self, acceptance_no: &str) -> Value {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let answer = self.call("CXQDFPSCJG", &json!({ "sllsh": acceptance_no })).await;
            let list = answer.data()["resultList"].clone();
            if list.as_array().unwrap().iter().all(|row| row["status"] != "01") {
                return list;
            }
            assert!(Instant::now() < deadline, "{list}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn read(&self, status: u16, bytes: &[u8]) -> Answer {
        let Ok(envelope) = leqi::read_envelope(bytes) else { return Answer::None };
        match &envelope.payload {
            Payload::Data(_) => {
                let json = envelope.open(&self.key).unwrap().unwrap();
                Answer::Data(serde_json::from_slice(&json).unwrap())
            }
            Payload::Error { code, message } => {
                Answer::Error { status, code: code.clone(), text: message.clone() }
            }
            Payload::Text(text) => Answer::Error {
                status,
                code: envelope.http_status_code.clone().unwrap_or_default(),
                text: text.clone(),
            },
            Payload::Nothing => Answer::None,
        }
    }
}

/// Sends a request on a connection of its own; `None` when it broke off.
pub async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Option<(u16, Bytes)> {
    send_on(TcpStream::connect(address).await.ok()?, request).await
}

async fn send_on(stream: TcpStream, request: Request<Full<Bytes>>) -> Option<(u16, Bytes)> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await.ok()?;
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.ok()?.to_bytes();
    driver.abort();
    Some((status, bytes))
}
