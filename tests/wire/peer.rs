//! A server over plain HTTP that says byte for byte what a test wants, where the simulator is too well-behaved.

use std::{
    io::Read,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
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

/// What reached a peer.
#[derive(Debug, Default)]
struct Seen {
    connections: AtomicUsize,
    ended: AtomicUsize,
    requests: Mutex<Vec<String>>,
}

/// It ends when dropped.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
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
        let (seen, stopped) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
        let script: Arc<Script> = Arc::new(script);
        let (noted, stop) = (Arc::clone(&seen), Arc::clone(&stopped));
        let accepting = std::thread::spawn(move || {
            for stream in socket.incoming().map_while(Result::ok) {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                noted.connections.fetch_add(1, Ordering::SeqCst);
                let (script, seen) = (Arc::clone(&script), Arc::clone(&noted));
                std::thread::spawn(move || {
                    // the gateway may hang up at any time, which is what some tests are about
                    let _ = converse(stream, &*script, &seen.requests);
                    seen.ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, seen, stopped, accepting: Some(accepting) }
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
        self.seen.requests.lock().unwrap().clone()
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Connections that have ended.
    pub(crate) fn ended(&self) -> usize {
        self.seen.ended.load(Ordering::SeqCst)
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
