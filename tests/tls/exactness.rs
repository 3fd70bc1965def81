//! Listener and upstream together change no byte but `Host`.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use leqi_gateway::{
    listener::{Bound, Config, ListenerMetrics},
    shutdown::{self, Trigger},
    telemetry::metrics::Metrics,
    upstream::{BoxError, Upstream},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    calls::new_upstream,
    listening::{connect, tls},
    platform::{Act, Platform},
};

const REQUEST: &str = "POST /access/v2/invoke/101/CXSXED/?a=%7e&b=+&&c HTTP/1.1\r\n\
    clientTid: 42\r\naccess_signature: \r\nHost: 10.0.0.1:8443\r\nJRDWPTBH: 0123456789abcdef0123\r\n\
    X-Twice: 1\r\nx-twice: 2\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\na=/+";
const ANSWER: &str = "HTTP/1.1 200 Fine\r\nServer: nginx\r\nX-Empty: \r\nset_cookie: a\r\nContent-LENGTH: 7\r\n\
    Vary: a\r\nvary: b\r\n\r\n{\"a\":1}";

#[tokio::test]
async fn names_values_order_of_repeated_headers_path_query_and_body_arrive_as_they_were_sent() {
    let platform = Platform::start(None, |_, _| Act::Answer(ANSWER.into())).await;
    let upstream = new_upstream(&format!("http://{}", platform.address), |_| {});
    let authority = upstream.authority().to_owned();
    let relay = Relay::start(upstream, None).await;
    let mut client = TcpStream::connect(relay.address).await.unwrap();
    client.write_all(REQUEST.as_bytes()).await.unwrap();
    let mut answer = vec![0; ANSWER.len()];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(sorted(std::str::from_utf8(&answer).unwrap()), sorted(ANSWER));
    let expected = REQUEST.replace("10.0.0.1:8443", &authority);
    assert_eq!(sorted(&platform.seen.lock().unwrap().requests[0]), sorted(&expected));
}

#[tokio::test]
async fn a_body_of_unknown_length_over_http_2_arrives_whole() {
    let dir = tempfile::tempdir().unwrap();
    let platform = Platform::friendly(None).await;
    let upstream = new_upstream(&format!("http://{}", platform.address), |_| {});
    let relay = Relay::start(upstream, Some(tls(dir.path(), &["127.0.0.1"]))).await;
    let stream = connect(relay.address, dir.path(), "127.0.0.1", &["h2"]).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let pieces = ["first,", "second"].map(|piece| Ok::<_, BoxError>(Frame::data(Bytes::from(piece))));
    let body = StreamBody::new(futures_util::stream::iter(pieces));
    let uri = format!("https://{}/access/?x=1", relay.address);
    let request = http::Request::post(uri).header("access_signature", "").body(body).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "ok");
    let request = platform.seen.lock().unwrap().requests[0].clone();
    assert!(request.starts_with("POST /access/?x=1 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("access_signature:"), "{request}");
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    let data: String = body.split("\r\n").skip(1).step_by(2).collect();
    assert_eq!(data, "first,second");
}

/// A listener that hands everything to an upstream.
struct Relay {
    address: SocketAddr,
    _trigger: Trigger,
}

impl Relay {
    async fn start(upstream: Arc<Upstream>, tls: Option<Arc<leqi_gateway::tls::ServerTls>>) -> Self {
        let (trigger, stop) = shutdown::channel();
        let metrics = ListenerMetrics::register(&Metrics::new().unwrap()).unwrap();
        let config = Config::new("127.0.0.1:0".parse().unwrap(), tls);
        let bound = Bound::bind("data", config, &metrics).await.unwrap();
        let address = bound.local_addr();
        let handler = move |_peer, request: http::Request<leqi_gateway::listener::Body>| {
            let upstream = Arc::clone(&upstream);
            async move {
                let mut request = request.map(|body| body.map_err(BoxError::from).boxed_unsync());
                *request.uri_mut() = request.uri().path_and_query().cloned().unwrap().into();
                upstream.send(request).await.unwrap()
            }
        };
        tokio::spawn(bound.serve(handler, stop));
        Self { address, _trigger: trigger }
    }
}

/// Start line, headers and body, the headers sorted: HTTP gives the order of different headers no meaning, and a map
/// does not keep it. The order of a repeated header has a meaning; its lines keep their order by the sort being stable
/// on the lower-case name. A space behind the colon is no part of an empty value (RFC 9110 §5.5).
fn sorted(message: &str) -> (String, Vec<String>, String) {
    let (head, body) = message.split_once("\r\n\r\n").unwrap();
    let (start, headers) = head.split_once("\r\n").unwrap();
    let mut headers: Vec<_> = headers.split("\r\n").map(|line| line.trim_end().to_owned()).collect();
    headers.sort_by_key(|line| line.split(':').next().unwrap().to_ascii_lowercase());
    (start.to_owned(), headers, body.to_owned())
}
