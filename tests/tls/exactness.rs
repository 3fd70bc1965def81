//! Listener and upstream together change no byte but `Host`.

use std::{sync::Arc, time::Duration};

use http_body_util::BodyExt;
use leqi_gateway::{
    listener::{Bound, Config, ListenerMetrics},
    shutdown,
    telemetry::metrics::Metrics,
    upstream::BoxError,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    calls::new_upstream,
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
    let (_trigger, stop) = shutdown::channel();
    let metrics = ListenerMetrics::register(&Metrics::new().unwrap()).unwrap();
    let mut config = Config::new("127.0.0.1:0".parse().unwrap(), None);
    config.drain_timeout = Duration::ZERO;
    let bound = Bound::bind("data", config, &metrics).await.unwrap();
    let address = bound.local_addr();
    let authority = upstream.authority().to_owned();
    let handler = move |_peer, request: http::Request<hyper::body::Incoming>| {
        let upstream = Arc::clone(&upstream);
        async move {
            let request = request.map(|body| body.map_err(BoxError::from).boxed_unsync());
            upstream.send(request).await.unwrap()
        }
    };
    let serving = tokio::spawn(bound.serve(handler, stop));
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(REQUEST.as_bytes()).await.unwrap();
    let mut answer = vec![0; ANSWER.len()];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(sorted(std::str::from_utf8(&answer).unwrap()), sorted(ANSWER));
    let expected = REQUEST.replace("10.0.0.1:8443", &authority);
    assert_eq!(sorted(&platform.seen.lock().unwrap().requests[0]), sorted(&expected));
    serving.abort();
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
