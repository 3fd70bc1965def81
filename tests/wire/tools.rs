//! `curl`, `openssl`, `sha256sum` and `gzip` as functions.

use std::{
    ffi::{OsStr, OsString},
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
    time::Duration,
};

/// Name and value of a header.
pub(crate) type Header = (String, String);

/// Runs a program with this input; fails with what it complained about.
pub(crate) fn run<S: AsRef<OsStr>>(
    program: &str,
    args: impl IntoIterator<Item = S>,
    input: &[u8],
) -> Vec<u8> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // a thread, since both pipes may fill
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let out = child.wait_with_output().unwrap();
    let written = writer.join().unwrap();
    assert!(out.status.success(), "{program}: {}", String::from_utf8_lossy(&out.stderr));
    written.unwrap();
    out.stdout
}

/// `base64( SM4-ECB-PKCS7( plain ) )` in one line.
pub(crate) fn encrypt(key: &str, plain: &str) -> Vec<u8> {
    run("openssl", ["enc", "-sm4-ecb", "-K", key, "-base64", "-A"], plain.as_bytes())
}

/// The same in lines of 64 characters.
pub(crate) fn encrypt_in_lines(key: &str, plain: &str) -> Vec<u8> {
    run("openssl", ["enc", "-sm4-ecb", "-K", key, "-base64"], plain.as_bytes())
}

/// The JSON behind `Data`.
pub(crate) fn decrypt(key: &str, data: &str) -> serde_json::Value {
    let plain = run("openssl", ["enc", "-d", "-sm4-ecb", "-K", key, "-base64", "-A"], data.as_bytes());
    serde_json::from_slice(&plain).unwrap()
}

/// SHA-256 in hex of every file, in this order.
pub(crate) fn sha256_of_files(files: &[std::path::PathBuf]) -> Vec<String> {
    let lines = String::from_utf8(run("sha256sum", files, b"")).unwrap();
    lines.lines().map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

/// SHA-256 in hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let line = String::from_utf8(run("sha256sum", [] as [&str; 0], bytes)).unwrap();
    line.split_whitespace().next().unwrap().to_owned()
}

/// What `gzip` makes of packed bytes.
pub(crate) fn gunzip(packed: &[u8]) -> Vec<u8> {
    run("gzip", ["-dc"], packed)
}

/// One request of `curl`.
pub(crate) struct Curl {
    args: Vec<OsString>,
    body: Vec<u8>,
}

impl Curl {
    /// A POST of this body, with no headers but those that are added, `Host` and the length of the body.
    pub(crate) fn post(url: &str, body: Vec<u8>) -> Self {
        let fixed =
            ["-sS", "-v", "--max-time", "60", "-H", "Accept:", "-H", "User-Agent:", "-H", "Content-Type:"];
        let mut args: Vec<OsString> = fixed.iter().map(OsString::from).collect();
        args.extend(["-X", "POST", "--data-binary", "@-", url].map(OsString::from));
        Self { args, body }
    }

    /// Further arguments.
    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// A header as it is written; an empty value is sent as one.
    pub(crate) fn header(self, name: &str, value: &str) -> Self {
        // curl's way to ask for a header without a value
        let line = if value.is_empty() { format!("{name};") } else { format!("{name}: {value}") };
        self.args(["-H", &line])
    }

    /// Sends it. The answer must be one, whatever its status.
    pub(crate) fn send(&self) -> Got {
        let got = self.try_send();
        assert_eq!(got.exit, 0, "{}", got.said);
        got
    }

    /// Sends it; the transfer may fail.
    pub(crate) fn try_send(&self) -> Got {
        let mut command = Command::new("curl");
        command.args(&self.args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("curl: {error}"));
        let mut stdin = child.stdin.take().unwrap();
        let body = self.body.clone();
        // curl reads all of its input before it sends anything
        let writer = std::thread::spawn(move || stdin.write_all(&body));
        let out = child.wait_with_output().unwrap();
        drop(writer.join());
        Got::new(
            out.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&out.stderr).into_owned(),
            out.stdout,
        )
    }
}

/// Sends these bytes on a connection of their own and reads until it ends.
pub(crate) fn raw(address: SocketAddr, bytes: &str) -> Got {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(bytes.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(answer.len());
    let head: String =
        String::from_utf8_lossy(&answer[..end]).lines().map(|line| format!("< {line}\n")).collect();
    Got::new(0, head, answer.get(end + 4..).unwrap_or_default().to_vec())
}

/// What `curl` sent and got, by its own account.
#[derive(Debug)]
pub(crate) struct Got {
    /// curl's exit code.
    pub(crate) exit: i32,
    /// The status line of the answer; empty when there was none.
    pub(crate) status_line: String,
    /// The request's headers as sent.
    pub(crate) sent: Vec<Header>,
    /// The answer's headers as received.
    pub(crate) headers: Vec<Header>,
    /// The answer's body as received.
    pub(crate) body: Vec<u8>,
    /// All that curl said.
    pub(crate) said: String,
}

impl Got {
    fn new(exit: i32, said: String, body: Vec<u8>) -> Self {
        let (_, sent) = last_head(&said, "> ");
        let (status_line, headers) = last_head(&said, "< ");
        Self { exit, status_line, sent, headers, body, said }
    }

    /// The HTTP status.
    pub(crate) fn status(&self) -> u16 {
        self.status_line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// The envelope: `httpStatusCode` as text, and `Response`.
    pub(crate) fn envelope(&self) -> (String, serde_json::Value) {
        let text = || String::from_utf8_lossy(&self.body).into_owned();
        let outer: serde_json::Value =
            serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", text()));
        let body = outer["body"].as_str().unwrap_or_else(|| panic!("{}", text()));
        let inner: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{}", text()));
        let code = &outer["httpStatusCode"];
        (code.as_str().map_or_else(|| code.to_string(), str::to_owned), inner["Response"].clone())
    }

    /// `Data` in clear.
    pub(crate) fn data(&self, key: &str) -> serde_json::Value {
        let (_, response) = self.envelope();
        decrypt(key, response["Data"].as_str().unwrap_or_else(|| panic!("{response}")))
    }

    /// Status, `httpStatusCode` and `Error.Code`, then the sentence.
    pub(crate) fn error(&self) -> ((u16, String, String), String) {
        let (code, response) = self.envelope();
        let text =
            |name: &str| response["Error"][name].as_str().unwrap_or_else(|| panic!("{response}")).to_owned();
        ((self.status(), code, text("Code")), text("Message"))
    }
}

/// The first line and the headers of the last head that curl shows with this mark (an interim answer comes before).
fn last_head(said: &str, mark: &str) -> (String, Vec<Header>) {
    let mut first = String::new();
    let mut headers = Vec::new();
    for line in said.lines().filter_map(|line| line.strip_prefix(mark)) {
        let line = line.trim_end_matches('\r');
        if line.starts_with("HTTP/") || line.ends_with("HTTP/1.1") || line.ends_with("HTTP/2") {
            line.clone_into(&mut first);
            headers.clear();
        } else if let Some((name, value)) = line.split_once(':') {
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }
    (first, headers)
}
