//! A client of the management API for the commands: where it is, with which token, and what its errors say.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use http::Method;
use serde_json::Value;
use url::Url;

use super::{
    ConfigFile,
    http::{Answer, Http},
};

/// The variable that holds the token where no file does.
const TOKEN: &str = "LEQI_GATEWAY_TOKEN";

/// The options of every command that asks a running gateway.
#[derive(Debug, clap::Args)]
pub(super) struct ApiArgs {
    /// The management API, such as http://127.0.0.1:9080; by default where the configuration has it
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
    /// The file with the bearer token; without it LEQI_GATEWAY_TOKEN is looked at
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The authority of the management API's certificate, instead of the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigFile,
}

/// The management API of a running gateway.
pub(super) struct ApiClient {
    http: Http,
    authorization: String,
}

impl ApiArgs {
    /// The client that these options describe.
    ///
    /// # Errors
    /// When there is no token, or nothing tells where the gateway is.
    pub(super) fn client(&self) -> anyhow::Result<ApiClient> {
        let url = match &self.url {
            Some(url) => url.clone(),
            None => self.configured()?,
        };
        let token = self.token()?;
        Ok(ApiClient::new(Http::of(&url, self.ca_file.as_deref())?, &token))
    }

    fn configured(&self) -> anyhow::Result<Url> {
        let admin = self.config.load().context("say where the gateway is with --url")?.config.admin;
        let mut address = admin.address;
        if address.port() == 0 {
            bail!("[admin] address has port 0, so the gateway chose one; give it with --url");
        }
        if address.ip().is_unspecified() {
            address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        let scheme = if admin.tls.is_some() { "https" } else { "http" };
        Ok(Url::parse(&format!("{scheme}://{address}"))?)
    }

    fn token(&self) -> anyhow::Result<String> {
        let token = match &self.token_file {
            Some(file) => read(file)?,
            None => std::env::var(TOKEN).with_context(|| {
                format!(
                    "no token: give --token-file FILE or set {TOKEN} (leqi-gateway token create makes one)"
                )
            })?,
        };
        let token = token.trim();
        if token.is_empty() {
            bail!("the token is empty; leqi-gateway token create makes one");
        }
        Ok(token.to_owned())
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("token file {} cannot be read", file.display()))
}

impl ApiClient {
    /// The API behind this connection, with this token.
    pub(super) fn new(http: Http, token: &str) -> Self {
        Self { http, authorization: format!("Bearer {token}") }
    }

    /// Reads a resource.
    ///
    /// # Errors
    /// What the gateway says against it, one line for each reason.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, &[], Vec::new()).await
    }

    /// Acts without a body.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(super) async fn post(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::POST, path, &[], Vec::new()).await
    }

    /// Acts once for each key.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(super) async fn post_once(&self, path: &str, key: &str, body: &Value) -> anyhow::Result<Value> {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        self.call(Method::POST, path, &headers, body.to_string().into_bytes()).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> anyhow::Result<Value> {
        let mut all = vec![("authorization", self.authorization.as_str())];
        all.extend(headers);
        let answer = self.http.send(method, &format!("/api/v1{path}"), &all, body).await?;
        if answer.status.is_success() {
            return serde_json::from_slice(&answer.body)
                .with_context(|| format!("{path}: the answer is no JSON; is this the management API?"));
        }
        bail!(problem(path, &answer))
    }
}

/// An answer that is an error: what the problem says, then its reasons, each in a line.
fn problem(path: &str, answer: &Answer) -> String {
    let problem: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let Some(detail) = problem["detail"].as_str() else {
        return format!("{path}: HTTP {} and no explanation; is this the management API?", answer.status);
    };
    let title = problem["title"].as_str().unwrap_or(path);
    let reasons = problem["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let lines = [format!("{title}: {detail}")].into_iter().chain(reasons.map(str::to_owned));
    lines.collect::<Vec<_>>().join("\n")
}
