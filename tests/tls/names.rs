//! From the platform's name to its addresses: a name server that does as told, a hosts file, addresses that come and go.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use hickory_resolver::proto::{
    op::{Message, ResponseCode},
    rr::{RData, Record, RecordType},
};
use leqi_gateway::upstream::{Config, Names, Phase};
use tokio::{
    net::{TcpListener, UdpSocket},
    task::JoinHandle,
};

use crate::{
    eventually,
    platform::{ANSWER, Act, Platform},
    pool::{Watched, assert_figure},
};

/// What the name server says of every name.
#[derive(Clone, Debug)]
enum Says {
    /// These addresses, to be believed for so many seconds.
    Addresses(Vec<IpAddr>, u32),
    /// There is no such name.
    NoSuchName,
    /// It is in trouble itself.
    Trouble,
    /// Nothing at all.
    Nothing,
}

/// A name server on loopback; it ends when dropped.
struct NameServer {
    address: SocketAddr,
    says: Arc<Mutex<Says>>,
    asked: Arc<Mutex<BTreeMap<RecordType, usize>>>,
    task: JoinHandle<()>,
}

impl NameServer {
    async fn start(says: Says) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let says = Arc::new(Mutex::new(says));
        let asked = Arc::new(Mutex::new(BTreeMap::new()));
        let (words, count) = (Arc::clone(&says), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            let mut bytes = [0; 1500];
            loop {
                let (length, from) = socket.recv_from(&mut bytes).await.unwrap();
                let request = Message::from_vec(&bytes[..length]).unwrap();
                *count.lock().unwrap().entry(request.queries[0].query_type()).or_default() += 1;
                let words = words.lock().unwrap().clone();
                if let Some(reply) = reply(&request, &words) {
                    socket.send_to(&reply.to_vec().unwrap(), from).await.unwrap();
                }
            }
        });
        Self { address, says, asked, task }
    }

    fn says(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }

    /// How often it was asked for IPv4 addresses.
    fn asked(&self) -> usize {
        self.asked.lock().unwrap().get(&RecordType::A).copied().unwrap_or(0)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn reply(request: &Message, says: &Says) -> Option<Message> {
    let query = request.queries[0].clone();
    let mut reply = Message::response(request.metadata.id, request.metadata.op_code);
    reply.add_query(query.clone());
    match says {
        Says::Nothing => return None,
        Says::NoSuchName => reply.metadata.response_code = ResponseCode::NXDomain,
        Says::Trouble => reply.metadata.response_code = ResponseCode::ServFail,
        Says::Addresses(addresses, ttl) => {
            let data = addresses.iter().map(|address| RData::from(*address));
            for data in data.filter(|data| data.record_type() == query.query_type()) {
                reply.add_answer(Record::from_rdata(query.name().clone(), *ttl, data));
            }
        }
    }
    Some(reply)
}

/// The same port on this and the next address of loopback, so that a name can move.
async fn two_platforms() -> (Platform, Platform) {
    let answer = |body: &'static str| {
        move |_, _| Act::Answer(format!("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{body}"))
    };
    loop {
        let first = Platform::start(None, answer("one")).await;
        let second = SocketAddr::new(ip("127.0.0.2"), first.address.port());
        if let Ok(socket) = TcpListener::bind(second).await {
            return (first, Platform::start_on(socket, None, answer("two")));
        }
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn named(port: u16, server: &NameServer, set: impl FnOnce(&mut Config)) -> Watched {
    Watched::new(&format!("http://lqpt.platform.example:{port}"), |config| {
        config.names = Names {
            servers: vec![server.address],
            hosts_file: "/nonexistent".into(),
            failure: Duration::from_millis(50),
            ..Names::default()
        };
        // each call on a connection of its own
        config.idle_timeout = Duration::ZERO;
        config.connect_timeout = Duration::from_millis(500);
        config.breaker_failures = 0;
        set(config);
    })
}

#[tokio::test]
async fn a_name_is_asked_for_again_when_its_time_is_over_and_not_before() {
    let (one, _two) = two_platforms().await;
    let server = NameServer::start(Says::Addresses(vec![ip("127.0.0.1")], 2)).await;
    let watched = named(one.address.port(), &server, |_| {});
    for _ in 0..20 {
        assert_eq!(watched.get().await.unwrap(), "one");
    }
    assert_eq!(server.asked(), 1);
    server.says(Says::Addresses(vec![ip("127.0.0.2")], 2));
    eventually("calls go to the new address", || async { watched.get().await.unwrap() == "two" }).await;
    assert_eq!(server.asked(), 2);
}

#[tokio::test]
async fn many_calls_at_once_make_one_look_up() {
    let (one, _two) = two_platforms().await;
    let server = NameServer::start(Says::Addresses(vec![ip("127.0.0.1")], 60)).await;
    let watched = named(one.address.port(), &server, |_| {});
    let calls = (0..50).map(|_| watched.get());
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(answer.unwrap(), "one");
    }
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn that_a_name_does_not_exist_is_believed_for_a_short_time_only() {
    let (one, _two) = two_platforms().await;
    let server = NameServer::start(Says::NoSuchName).await;
    let watched = named(one.address.port(), &server, |_| {});
    let error = watched.get().await.unwrap_err();
    assert_eq!((error.phase, error.sent), (Phase::Resolve, false), "{error}");
    assert!(error.to_string().contains("lqpt.platform.example"), "{error}");
    watched.get().await.unwrap_err();
    assert_eq!(server.asked(), 1, "the second call asked again");
    server.says(Says::Addresses(vec![ip("127.0.0.1")], 60));
    eventually("the name is found", || async { watched.get().await.is_ok() }).await;
}

#[tokio::test]
async fn when_no_name_server_answers_known_addresses_are_used_for_a_while_and_then_no_more() {
    let (one, _two) = two_platforms().await;
    let server = NameServer::start(Says::Addresses(vec![ip("127.0.0.1")], 1)).await;
    for trouble in [Says::Nothing, Says::Trouble] {
        server.says(Says::Addresses(vec![ip("127.0.0.1")], 1));
        let watched =
            named(one.address.port(), &server, |config| config.names.stale = Duration::from_secs(2));
        assert_eq!(watched.get().await.unwrap(), "one");
        server.says(trouble.clone());
        eventually("its time is over", || async {
            assert_eq!(watched.get().await.unwrap(), "one", "{trouble:?}");
            watched.figure("upstream_stale_names_total", "") > 0
        })
        .await;
        eventually("the addresses are too old", || async { watched.get().await.is_err() }).await;
        assert_eq!(watched.get().await.unwrap_err().phase, Phase::Resolve);
        // a name that is taken away is not used on
        server.says(Says::Addresses(vec![ip("127.0.0.1")], 1));
        eventually("the name is back", || async { watched.get().await.is_ok() }).await;
        server.says(Says::NoSuchName);
        eventually("the name is gone", || async { watched.get().await.is_err() }).await;
    }
}

#[tokio::test]
async fn the_hosts_file_comes_first_and_is_read_again_when_it_changes() {
    let (one, _two) = two_platforms().await;
    let server = NameServer::start(Says::Nothing).await;
    let dir = tempfile::tempdir().unwrap();
    let hosts = dir.path().join("hosts");
    write(&hosts, "127.0.0.1 other lqpt.platform.example # the platform\n");
    let watched = named(one.address.port(), &server, |config| config.names.hosts_file.clone_from(&hosts));
    assert_eq!(watched.get().await.unwrap(), "one");
    write(&hosts, "# moved\n127.0.0.2 LQPT.platform.example\n");
    assert_eq!(watched.get().await.unwrap(), "two");
    assert_eq!(server.asked(), 0);
}

#[tokio::test]
async fn name_servers_are_read_from_resolv_conf_and_its_absence_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let resolv_conf = dir.path().join("resolv.conf");
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let server = NameServer::start(Says::Nothing).await;
    let watched = named(free.port(), &server, |config| {
        config.names.servers.clear();
        config.names.resolv_conf.clone_from(&resolv_conf);
    });
    let error = watched.get().await.unwrap_err();
    assert_eq!(error.phase, Phase::Resolve);
    assert!(error.to_string().contains(resolv_conf.to_str().unwrap()), "{error}");
    // nobody answers at this address of loopback: the new file is what is asked now
    write(&resolv_conf, "nameserver 127.83.83.83\noptions timeout:1 attempts:1\n");
    eventually("the name server of the new file is asked", || async {
        let error = watched.get().await.unwrap_err();
        assert_eq!(error.phase, Phase::Resolve);
        !error.to_string().contains("no name servers")
    })
    .await;
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

#[tokio::test]
async fn an_address_that_does_not_answer_is_overtaken_by_the_next_and_then_tried_last() {
    let (one, two) = two_platforms().await;
    // takes connections into its queue until that is full, then answers nobody
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&"127.0.0.3:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    full.listen(0).unwrap();
    let silent = full.local_addr().unwrap().as_socket().unwrap();
    let mut queue = Vec::new();
    while let Ok(socket) = std::net::TcpStream::connect_timeout(&silent, Duration::from_millis(100)) {
        queue.push(socket);
    }
    let watched = Watched::new("http://platform.example", |config| {
        config.addresses = vec![silent, two.address, one.address];
        config.idle_timeout = Duration::ZERO;
        config.connect_timeout = Duration::from_secs(2);
        config.address_pause = Duration::from_secs(60);
    });
    let start = std::time::Instant::now();
    assert_eq!(watched.get().await.unwrap(), "two");
    assert!(start.elapsed() < Duration::from_secs(1), "it waited for the first: {:?}", start.elapsed());
    drop(queue);
}

#[tokio::test]
async fn an_address_that_refuses_is_tried_last_until_its_pause_is_over() {
    let (one, two) = two_platforms().await;
    let free = TcpListener::bind("127.0.0.3:0").await.unwrap().local_addr().unwrap();
    let watched = Watched::new("http://platform.example", |config| {
        config.addresses = vec![free, one.address];
        config.idle_timeout = Duration::ZERO;
        config.address_pause = Duration::from_millis(300);
    });
    assert_eq!(watched.get().await.unwrap(), "one");
    assert_figure(&watched, "upstream_addresses", "state=\"failing\"", 1);
    assert_figure(&watched, "upstream_addresses", "state=\"healthy\"", 1);
    // the first address works now: after its pause it is first again, as the administrator wanted
    let back = TcpListener::bind(free).await.unwrap();
    let back = Platform::start_on(back, None, |_, _| Act::Answer(ANSWER.into()));
    assert_eq!(watched.get().await.unwrap(), "one");
    eventually("the first address is used again", || async { watched.get().await.unwrap() == "ok" }).await;
    assert_figure(&watched, "upstream_addresses", "state=\"failing\"", 0);
    assert!(back.requests() > 0);
    drop(two);
}

#[tokio::test]
async fn an_address_that_breaks_off_in_the_handshake_is_passed_over() {
    let authority = crate::certificates::authority();
    let server = crate::certificates::Server::named(&authority);
    let good = Platform::friendly(Some(server.config())).await;
    let bad = Platform::start(None, |_, _| Act::Reset).await;
    let mute = Platform::start(None, |_, _| Act::NoHandshake).await;
    let watched = Watched::new("https://platform.example", |config| {
        config.addresses = vec![bad.address, mute.address, good.address];
        config.tls.verify = leqi_gateway::tls::Verify::Off;
        config.tls_timeout = Duration::from_millis(100);
    });
    assert_eq!(watched.get().await.unwrap(), "ok");
    assert_figure(&watched, "upstream_addresses", "state=\"failing\"", 2);
    assert_eq!((bad.requests(), mute.requests(), good.requests()), (0, 0, 1));
}

#[tokio::test]
async fn the_active_check_finds_out_which_addresses_work_without_any_call() {
    let (one, two) = two_platforms().await;
    let free = TcpListener::bind("127.0.0.3:0").await.unwrap().local_addr().unwrap();
    let watched = Watched::new("http://platform.example", |config| {
        config.addresses = vec![free, one.address, two.address];
        config.health_interval = Some(Duration::from_millis(20));
        config.address_pause = Duration::from_secs(60);
    });
    eventually("both kinds are found", || async {
        let of = |state| watched.figure("upstream_addresses", state);
        (of("state=\"failing\""), of("state=\"healthy\"")) == (1, 2) && two.connections() > 1
    })
    .await;
    assert_eq!((one.requests(), two.requests()), (0, 0));
    // an address that is back is used at once, long before its pause is over
    let back =
        Platform::start_on(TcpListener::bind(free).await.unwrap(), None, |_, _| Act::Answer(ANSWER.into()));
    eventually("the address is back", || async {
        watched.figure("upstream_addresses", "state=\"failing\"") == 0
    })
    .await;
    assert_eq!(watched.get().await.unwrap(), "ok");
    assert_eq!(back.requests(), 1);
}
