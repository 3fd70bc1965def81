//! Connections on which nothing is asked for a while: the server is taken from them and comes back with the next byte.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use leqi_gateway::{
    listener::{self, Bound, Config, ListenerMetrics, Peer},
    shutdown,
    telemetry::metrics::Metrics,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

use crate::{
    listening::{Line, ask, connect, ends, tls},
    platform::read_message,
};

/// Longer than a connection without a call takes to rest.
const LONG: Duration = Duration::from_millis(350);

async fn goes_on<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, line: &Line) {
    for _ in 0..3 {
        line.let_go.notify_one();
        assert!(ask(&mut stream).await.unwrap().ends_with("ok"));
        sleep(LONG).await;
    }
    // a head in halves, the first of which wakes the connection
    line.let_go.notify_one();
    stream.write_all(b"GET / HT").await.unwrap();
    stream.flush().await.unwrap();
    sleep(LONG).await;
    stream.write_all(b"TP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(read_message(&mut stream).await.unwrap().ends_with("ok"));
    sleep(LONG).await;
    // a call that takes its time, and one that was sent behind it
    stream.write_all("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2).as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    sleep(LONG).await;
    for _ in 0..2 {
        line.let_go.notify_one();
        assert!(read_message(&mut stream).await.unwrap().ends_with("ok"));
    }
    sleep(LONG).await;
    line.drain();
    assert!(ends(&mut stream).await, "a drain ends who rests");
}

#[tokio::test]
async fn a_connection_that_rested_goes_on_where_it_was() {
    let line = Line::start(None, |config| config.drain_idle = Duration::from_millis(50)).await;
    goes_on(TcpStream::connect(line.address).await.unwrap(), &line).await;
    let dir = tempfile::tempdir().unwrap();
    let tls = tls(dir.path(), &["localhost"]);
    let line = Line::start(Some(tls), |config| config.drain_idle = Duration::from_millis(50)).await;
    goes_on(connect(line.address, dir.path(), "localhost", &[]).await.unwrap(), &line).await;
}

#[tokio::test]
async fn nobody_rests_before_the_last_byte_of_a_body_was_taken() {
    let metrics = Metrics::new().unwrap();
    let config = Config::new("127.0.0.1:0".parse().unwrap(), None);
    let bound = Bound::bind("data", config, &ListenerMetrics::register(&metrics).unwrap()).await.unwrap();
    let address = bound.local_addr();
    let (_trigger, stop) = shutdown::channel();
    // answers at once and takes the body slowly, as a platform does that refuses early
    let handler = |_: Peer, request: Request<listener::Body>| async {
        let mut body = request.into_body();
        tokio::spawn(async move {
            while let Some(Ok(_)) = body.frame().await {
                sleep(Duration::from_millis(20)).await;
            }
        });
        Response::new(Full::new(Bytes::from("ok")))
    };
    let serving = tokio::spawn(bound.serve(handler, stop));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
    assert!(read_message(&mut stream).await.unwrap().ends_with("ok"));
    for _ in 0..20 {
        stream.write_all(b"5\r\nGET /\r\n").await.unwrap();
        sleep(Duration::from_millis(40)).await;
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(read_message(&mut stream).await.unwrap().ends_with("ok"));
    serving.abort();
}
