//! A gateway in front of one server, over several upstreams that differ in their settings.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    thread::JoinHandle,
};

use tempfile::TempDir;

use crate::{
    common::process::{Gateway, binary},
    server::Server,
    tools::{Curl, Got},
};

/// What the server answers, down to odd bytes.
pub(crate) const ANSWER: &[u8] = b"{\"body\": \"\xe4\xb8\xad \r\n \x01\xff\", \"x\":1 }";

/// The same with its head. The connection ends, for a server that has one at a time.
pub(crate) const ANSWER_OF_SERVER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Length: 29\r\nConnection: close\r\n\r\n{\"body\": \"\xe4\xb8\xad \r\n \x01\xff\", \"x\":1 }";

const PATH: &str = "access/v2/invoke/202007/CXNSRJBXX";

/// Gateway and calls.
pub(crate) struct Site {
    pub(crate) gateway: Gateway,
    calls: AtomicU32,
    _dir: TempDir,
}

impl Site {
    /// With an upstream and a route `/NAME/` for each of these.
    pub(crate) fn start(server: &Server, upstreams: &[(&str, &str)]) -> Self {
        let address = server.address;
        let mut config = "[[listen]]\naddress = \"127.0.0.1:0\"\n\
             certificates = [{ chain = \"certs/server.pem\", key = \"certs/server.key\" }]\n\
             [[listen]]\naddress = \"127.0.0.1:0\"\nplaintext = true\n\
             [admin]\naddress = \"127.0.0.1:0\"\n[ops]\naddress = \"127.0.0.1:0\"\n"
            .to_owned();
        for (name, settings) in upstreams {
            config += &format!(
                "[[upstream]]\nname = \"{name}\"\nbase_url = \"https://platform.example:{}\"\n\
                 addresses = [\"{address}\"]\n{settings}\n\
                 [[route]]\nprefix = \"/{name}/\"\nreplace = \"/\"\nupstream = \"{name}\"\n",
                address.port()
            );
        }
        let dir = tempfile::tempdir().unwrap();
        let gateway = Gateway::start_as(binary(), dir.path(), &config);
        Self { gateway, calls: AtomicU32::new(0), _dir: dir }
    }

    /// The body of the latest call; each has its own.
    pub(crate) fn body(&self) -> String {
        format!("{{ \"nsrsbh\":  \"{}\" }}", self.calls.load(Ordering::Relaxed))
    }

    fn curl(&self, name: &str) -> Curl {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let url = format!("http://{}/{name}/{PATH}", self.gateway.plain);
        let curl = Curl::post(&url, self.body().into_bytes());
        curl.header("Content-Type", "application/json").header("fwbm", "CXNSRJBXX").header("nlbm", "202007")
    }

    /// A call that the gateway answers.
    pub(crate) fn call(&self, name: &str) -> Got {
        self.curl(name).send()
    }

    pub(crate) fn call_in_the_background(&self, name: &str) -> JoinHandle<Got> {
        let curl = self.curl(name);
        std::thread::spawn(move || curl.send())
    }

    /// A call that the server answers: what came back, and what had arrived there.
    pub(crate) fn answered(&self, name: &str, server: &Server) -> (Got, String) {
        let call = self.call_in_the_background(name);
        let arrived = server.arrived(&self.body());
        server.write(ANSWER_OF_SERVER);
        (call.join().unwrap(), arrived)
    }

    /// A GET.
    pub(crate) fn get(&self, name: &str) -> Got {
        let url = format!("http://{}/{name}/", self.gateway.plain);
        Curl::post(&url, Vec::new()).args(["-X", "GET"]).send()
    }
}
