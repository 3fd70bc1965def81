//! Servers of other makers, and certificates with RSA keys for them.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use leqi_gateway::tls::{Pin, fingerprint};
use rcgen::{CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_RSA_SHA256};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use tempfile::TempDir;

use crate::{common::eventually, tools::run};

static AUTHORITIES: AtomicU32 = AtomicU32::new(0);

/// `server.pem` with `server.key`, and the `ca.pem` that it comes from.
pub(crate) struct Certificate {
    pub(crate) dir: TempDir,
    pub(crate) pin: String,
}

impl Certificate {
    /// For `platform.example`.
    pub(crate) fn named() -> Self {
        Self::issued(&["platform.example".to_owned()])
    }

    /// Without any name that a client could check.
    pub(crate) fn nameless() -> Self {
        Self::issued(&[])
    }

    fn issued(names: &[String]) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        // of different names, so that a stranger's is not mistaken for one that is known by its name
        let number = AUTHORITIES.fetch_add(1, Ordering::Relaxed);
        params.distinguished_name.push(DnType::CommonName, format!("Test CA {number}"));
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, "platform.example");
        let own = params.signed_by(&key, &issuer).unwrap().pem();
        Self::of(&own, &key.serialize_pem(), &ca)
    }

    /// With 1024 bits.
    pub(crate) fn weak() -> Self {
        let key = run("openssl", ["genrsa", "1024"], b"");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key.pem");
        std::fs::write(&file, &key).unwrap();
        let args = ["req", "-x509", "-days", "3", "-subj", "/CN=weak", "-key", file.to_str().unwrap()];
        let own = String::from_utf8(run("openssl", args, b"")).unwrap();
        Self::of(&own, std::str::from_utf8(&key).unwrap(), &own)
    }

    fn of(own: &str, key: &str, ca: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("server.pem", own), ("server.key", key), ("ca.pem", ca)] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let pin: Pin = fingerprint(&CertificateDer::from_pem_slice(own.as_bytes()).unwrap()).unwrap();
        Self { dir, pin: pin.to_string() }
    }

    /// The setting with which the gateway shows it.
    pub(crate) fn as_client(&self) -> String {
        let [chain, key] = ["server.pem", "server.key"].map(|name| self.dir.path().join(name));
        format!("client_certificate = {{ chain = {chain:?}, key = {key:?} }}")
    }

    /// The setting that trusts its authority.
    pub(crate) fn ca_file(&self) -> String {
        format!("ca_file = {:?}", self.dir.path().join("ca.pem"))
    }
}

/// A server that is ended when dropped.
pub(crate) struct Server {
    child: Child,
    stdin: Mutex<ChildStdin>,
    said: Arc<Mutex<Vec<u8>>>,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// `openssl s_server`: it says what it decrypts, and encrypts what is written to it.
    pub(crate) fn start(certificate: &Certificate, args: &[&str]) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_server", "-accept", "127.0.0.1:0"]).args(args);
        for (option, file) in [("-cert", "server.pem"), ("-key", "server.key")] {
            command.arg(option).arg(certificate.dir.path().join(file));
        }
        Self::run(command, |said| said.lines().find_map(|line| line.strip_prefix("ACCEPT "))?.parse().ok())
    }

    /// `gnutls-serv`, which answers a GET with a page about the session.
    pub(crate) fn gnutls(certificate: &Certificate, priority: &str) -> Self {
        // it cannot choose a port itself: this one was free a moment ago
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new("gnutls-serv");
        command.args(["--http", "--priority", priority, "--port", &free.port().to_string()]);
        for (option, file) in [("--x509certfile", "server.pem"), ("--x509keyfile", "server.key")] {
            command.arg(option).arg(certificate.dir.path().join(file));
        }
        Self::run(command, |_| std::net::TcpStream::connect(free).is_ok().then_some(free))
    }

    fn run(mut command: Command, address: impl Fn(&str) -> Option<SocketAddr>) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let said = Arc::new(Mutex::new(Vec::new()));
        let pipes: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for mut pipe in pipes {
            let said = Arc::clone(&said);
            std::thread::spawn(move || {
                let mut piece = [0; 4096];
                while let Ok(read @ 1..) = pipe.read(&mut piece) {
                    said.lock().unwrap().extend_from_slice(&piece[..read]);
                }
            });
        }
        let stdin = Mutex::new(child.stdin.take().unwrap());
        let text = || String::from_utf8_lossy(&said.lock().unwrap()).into_owned();
        let address = eventually("the server listens", || address(&text()));
        Self { child, stdin, said, address }
    }

    /// All that it has said.
    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned()
    }

    /// How often it has said this.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.said().matches(text).count()
    }

    /// How many requests it has decrypted.
    pub(crate) fn requests(&self) -> usize {
        self.count(" HTTP/1.1\r\n")
    }

    /// Waits until it has said this so often.
    pub(crate) fn wait_for(&self, text: &str, times: usize) {
        eventually(&format!("{text:?} for the {times}. time"), || (self.count(text) >= times).then_some(()));
    }

    /// Waits for a request that ends with this body, and gives it.
    pub(crate) fn arrived(&self, body: &str) -> String {
        eventually("the request arrives", || {
            let said = self.said();
            let request = &said[said.rfind("POST /")?..];
            let end = request.find(body)? + body.len();
            Some(request[..end].to_owned())
        })
    }

    /// What it is to send, or a command at the beginning of a line.
    pub(crate) fn write(&self, bytes: &[u8]) {
        let mut stdin = self.stdin.lock().unwrap();
        stdin.write_all(bytes).unwrap();
        stdin.flush().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
