//! Clients that abuse what HTTP/2 and kept connections allow are cut; others go on meanwhile.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use leqi_gateway::{
    listener::{Bound, Config, ListenerMetrics},
    shutdown,
    telemetry::metrics::Metrics,
};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    eventually,
    listening::{Line, ask, connect, ends, tls},
};

fn call() -> Request<()> {
    Request::post("https://127.0.0.1/").body(()).unwrap()
}

/// An HTTP/2 client on a connection of its own, and the task that drives it until the connection ends.
async fn http2(
    line: &Line,
    dir: &std::path::Path,
) -> (h2::client::SendRequest<Bytes>, tokio::task::JoinHandle<Result<(), h2::Error>>) {
    let stream = connect(line.address, dir, "127.0.0.1", &["h2"]).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    (client, tokio::spawn(connection))
}

#[tokio::test]
async fn a_client_that_keeps_resetting_its_calls_is_cut_and_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let line = Line::start(Some(tls(dir.path(), &["127.0.0.1"])), |_| {}).await;
    let (client, driver) = http2(&line, dir.path()).await;
    let mut resets = 0;
    while !driver.is_finished() {
        // 20,000 are a flood by any measure
        assert!(resets < 20_000, "never cut");
        let Ok(mut ready) = client.clone().ready().await else { break };
        let Ok((answer, mut sending)) = ready.send_request(call(), false) else { break };
        sending.send_reset(h2::Reason::CANCEL);
        drop(answer);
        resets += 1;
        tokio::task::yield_now().await;
    }
    let _ = driver.await.unwrap();
    eventually("it is counted or told by the protocol", || async {
        line.has_metric("connections{listener=\"data\"} 0")
    })
    .await;
    assert!(resets >= 20, "a few resets are nobody's fault: {resets}");
    line.let_go.notify_one();
    let mut other = connect(line.address, dir.path(), "127.0.0.1", &[]).await.unwrap();
    assert!(ask(&mut other).await.unwrap().ends_with("ok"));
}

#[tokio::test]
async fn a_client_that_breaks_off_calls_that_are_being_handled_is_cut_in_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let line = Line::start(Some(tls(dir.path(), &["127.0.0.1"])), |_| {}).await;
    let (client, driver) = http2(&line, dir.path()).await;
    let mut broken_off = 0;
    while !driver.is_finished() && broken_off < 2000 {
        let begun = line.begun.load(Ordering::SeqCst);
        let Ok(mut ready) = client.clone().ready().await else { break };
        let Ok((answer, mut sending)) = ready.send_request(call(), false) else { break };
        // only when the handler has it, as the attack does to cause the most work
        let handled = async { line.begun.load(Ordering::SeqCst) > begun || driver.is_finished() };
        if !handled.await {
            eventually("the call is being handled", || async {
                line.begun.load(Ordering::SeqCst) > begun || driver.is_finished()
            })
            .await;
        }
        sending.send_reset(h2::Reason::CANCEL);
        drop(answer);
        broken_off += 1;
    }
    assert!((400..1000).contains(&broken_off), "{broken_off}");
    let cut = "connections_cut_total{listener=\"data\",reason=\"resets\"} 1";
    eventually("it is counted", || async { line.has_metric(cut) }).await;
}

#[tokio::test]
async fn http2_heads_are_limited_too() {
    let dir = tempfile::tempdir().unwrap();
    let line = Line::start(Some(tls(dir.path(), &["127.0.0.1"])), |config| config.max_head = 4096).await;
    let (mut client, _driver) = http2(&line, dir.path()).await;
    let request = Request::post("https://127.0.0.1/").header("x", "a".repeat(10_000)).body(()).unwrap();
    let refused = match client.send_request(request, true) {
        Ok((answer, _)) => answer.await.map(|answer| answer.status().as_u16()).unwrap_or(431),
        Err(_) => 431,
    };
    assert_eq!((refused, line.begun.load(Ordering::SeqCst)), (431, 0));
}

#[tokio::test]
async fn connections_without_a_call_are_closed_in_time_of_either_protocol() {
    let dir = tempfile::tempdir().unwrap();
    let tls = tls(dir.path(), &["127.0.0.1"]);
    let line = Line::start(Some(tls), |config| {
        config.header_timeout = Duration::from_millis(300);
        config.idle_timeout = Duration::from_millis(400);
    })
    .await;
    let mut silent = connect(line.address, dir.path(), "127.0.0.1", &[]).await.unwrap();
    assert!(ends(&mut silent).await);
    let (_kept, driver) = http2(&line, dir.path()).await;
    let _ = tokio::time::timeout(Duration::from_secs(10), driver).await.unwrap();
    let mut served = connect(line.address, dir.path(), "127.0.0.1", &[]).await.unwrap();
    line.let_go.notify_one();
    assert!(ask(&mut served).await.is_some());
    assert!(ends(&mut served).await);
    // a call that takes longer than any of these is left alone
    let mut busy = connect(line.address, dir.path(), "127.0.0.1", &[]).await.unwrap();
    let begun = line.begun.load(Ordering::SeqCst);
    let answer = tokio::spawn(async move { ask(&mut busy).await });
    line.begun(begun + 1).await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    line.let_go.notify_one();
    assert!(answer.await.unwrap().is_some_and(|answer| answer.ends_with("ok")));
    for (reason, count) in [("no_call", 2), ("idle", 1)] {
        let metric = format!("connections_cut_total{{listener=\"data\",reason=\"{reason}\"}} {count}");
        eventually(&metric, || async { line.has_metric(&metric) }).await;
    }
}

#[tokio::test]
async fn a_client_with_too_many_connections_is_closed_before_its_handshake() {
    let dir = tempfile::tempdir().unwrap();
    let tls = tls(dir.path(), &["127.0.0.1"]);
    let line = Line::start(Some(tls), |config| config.clients.connections = Some(2)).await;
    let one = connect(line.address, dir.path(), "127.0.0.1", &[]).await.unwrap();
    let _two = connect(line.address, dir.path(), "127.0.0.1", &[]).await.unwrap();
    connect(line.address, dir.path(), "127.0.0.1", &[]).await.unwrap_err();
    let refused = "connections_failed_total{listener=\"data\",reason=\"client_connections\"} 1";
    eventually("it is counted", || async { line.has_metric(refused) }).await;
    assert!(line.has_metric("connections_max{listener=\"data\"} 10000"));
    drop(one);
    eventually("a place is free", || async { line.has_metric("connections{listener=\"data\"} 1") }).await;
    connect(line.address, dir.path(), "127.0.0.1", &[]).await.unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answer_is_cut() {
    let metrics = Metrics::new().unwrap();
    let mut config = Config::new("127.0.0.1:0".parse().unwrap(), None);
    config.body_timeout = Duration::from_millis(500);
    let bound = Bound::bind("data", config, &ListenerMetrics::register(&metrics).unwrap()).await.unwrap();
    let address = bound.local_addr();
    let (_trigger, stop) = shutdown::channel();
    // more than the buffers on the way hold
    let handler = |_, _| async { Response::new(Full::new(Bytes::from(vec![b'x'; 64 << 20]))) };
    tokio::spawn(bound.serve(handler, stop));
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let cut = "connections_cut_total{listener=\"data\",reason=\"slow_reader\"} 1";
    eventually("it is cut", || async { String::from_utf8(metrics.render()).unwrap().contains(cut) }).await;
}
