//! A server over plain HTTP that says byte for byte what a test wants, where the simulator is too well-behaved.

use std::{
    io::Read,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

/// What happens after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// The connection ends.
    Close,
    /// The next request on it is awaited.
    Keep,
}

/// It ends when dropped.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    stopped: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

type Script = dyn Fn(&mut TcpStream, &str) -> std::io::Result<Then> + Send + Sync;

impl Peer {
    /// `script` writes the answer to each request.
    pub(crate) fn start(
        script: impl Fn(&mut TcpStream, &str) -> std::io::Result<Then> + Send + Sync + 'static,
    ) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (requests, stopped): (Arc<Mutex<Vec<String>>>, _) =
            (Arc::default(), Arc::new(AtomicBool::new(false)));
        let script: Arc<Script> = Arc::new(script);
        let (noted, stop) = (Arc::clone(&requests), Arc::clone(&stopped));
        let accepting = std::thread::spawn(move || {
            for stream in socket.incoming().map_while(Result::ok) {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (script, requests) = (Arc::clone(&script), Arc::clone(&noted));
                std::thread::spawn(move || {
                    // the gateway may hang up at any time, which is what some tests are about
                    let _ = converse(stream, &*script, &requests);
                });
            }
        });
        Self { address, requests, stopped, accepting: Some(accepting) }
    }

    /// An upstream and a route to it: `/NAME/access/…` is `{base}/access/…` here.
    pub(crate) fn upstream(&self, name: &str, base: &str, more: &str) -> String {
        format!(
            "[[upstream]]\nname = \"{name}\"\nbase_url = \"http://{}{base}\"\n{more}\n\
             [[route]]\nprefix = \"/{name}/\"\nreplace = \"/\"\nupstream = \"{name}\"\n",
            self.address
        )
    }

    /// The heads and bodies of the requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // wakes it up
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn converse(mut stream: TcpStream, script: &Script, requests: &Mutex<Vec<String>>) -> std::io::Result<()> {
    while let Some(request) = read_request(&mut stream)? {
        requests.lock().unwrap().push(request.clone());
        if script(&mut stream, &request)? == Then::Close {
            return Ok(());
        }
    }
    Ok(())
}

/// Head and body of a request with a `Content-Length`; `None` when the connection ended before another one.
fn read_request(stream: &mut TcpStream) -> std::io::Result<Option<String>> {
    let mut bytes = Vec::new();
    let mut piece = [0; 16 * 1024];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
            if bytes.len() >= end + 4 + length {
                return Ok(Some(String::from_utf8_lossy(&bytes).into_owned()));
            }
        }
        match stream.read(&mut piece)? {
            0 => return Ok(None),
            read => bytes.extend_from_slice(&piece[..read]),
        }
    }
}
