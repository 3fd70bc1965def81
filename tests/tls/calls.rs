//! Calls that go wrong: what is told about them, and that nothing is ever sent twice.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use leqi_gateway::{
    telemetry::metrics::Metrics,
    tls::{Backend, Verify},
    upstream::{Body, BoxError, Config, Phase, SendError, Upstream, UpstreamMetrics},
};

use crate::{
    certificates::{Server, authority},
    eventually,
    platform::{ANSWER, Act, Platform},
};

const SHORT: Duration = Duration::from_millis(100);

pub(crate) fn new_upstream(base_url: &str, set: impl FnOnce(&mut Config)) -> Arc<Upstream> {
    let mut config = Config::new("leqi".into(), base_url.parse().unwrap());
    set(&mut config);
    Upstream::new(config, &UpstreamMetrics::register(&Metrics::new().unwrap()).unwrap()).unwrap()
}

/// Every library that can make handshakes in this build.
pub(crate) fn backends() -> Vec<Backend> {
    let all = [Backend::Rustls, Backend::OpenSsl(leqi_gateway::tls::OpenSslSettings::default())];
    all.into_iter().filter(Backend::is_built_in).collect()
}

/// An upstream at this platform, in the clear.
fn plain(platform: &Platform) -> Arc<Upstream> {
    new_upstream(&format!("http://{}", platform.address), |config| config.response_timeout = SHORT * 10)
}

fn impatient(platform: &Platform) -> Arc<Upstream> {
    new_upstream(&format!("http://{}", platform.address), |config| {
        (config.response_timeout, config.body_timeout) = (SHORT, SHORT);
    })
}

fn whole(text: &'static str) -> Body {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync()
}

fn post(text: &'static str) -> Request<Body> {
    Request::post("/access/v2/invoke/101/CXSXED/").body(whole(text)).unwrap()
}

async fn read(response: Response<Body>) -> Result<String, BoxError> {
    let bytes = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(bytes.to_vec()).unwrap())
}

pub(crate) async fn get(upstream: &Upstream) -> Result<String, SendError> {
    Ok(read(upstream.send(post("body")).await?).await.unwrap())
}

#[tokio::test]
async fn a_connection_whose_answer_was_read_is_used_again() {
    let platform = Platform::friendly(None).await;
    let upstream = plain(&platform);
    for _ in 0..20 {
        assert_eq!(get(&upstream).await.unwrap(), "ok");
    }
    assert_eq!((platform.connections(), platform.requests()), (1, 20));
}

#[tokio::test]
async fn an_answer_without_a_body_gives_its_connection_back_too() {
    let platform = Platform::start(None, |_, _| Act::Answer("HTTP/1.1 204 No Content\r\n\r\n".into())).await;
    let upstream = plain(&platform);
    for _ in 0..3 {
        drop(upstream.send(post("body")).await.unwrap());
    }
    assert_eq!((platform.connections(), platform.requests()), (1, 3));
}

#[tokio::test]
async fn a_connection_whose_answer_was_read_half_way_is_closed_and_not_used_again() {
    let platform = Platform::start(None, |connection, _| {
        if connection == 1 {
            Act::AnswerAndStall("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        } else {
            Act::Answer(ANSWER.into())
        }
    })
    .await;
    let upstream = plain(&platform);
    let mut response = upstream.send(post("body")).await.unwrap();
    response.body_mut().frame().await.unwrap().unwrap();
    drop(response);
    eventually("the connection is closed", || async { platform.seen.lock().unwrap().closed == 1 }).await;
    assert_eq!(get(&upstream).await.unwrap(), "ok");
    assert_eq!(platform.connections(), 2);
}

#[tokio::test]
async fn a_caller_that_leaves_closes_its_connection() {
    let platform = Platform::start(None, |_, _| Act::AnswerAndStall("")).await;
    let upstream = plain(&platform);
    let call = tokio::spawn(async move { get(&upstream).await });
    eventually("the request arrives", || async { platform.requests() == 1 }).await;
    call.abort();
    eventually("the connection is closed", || async { platform.seen.lock().unwrap().closed == 1 }).await;
}

#[tokio::test]
async fn a_kept_connection_that_the_platform_closed_is_replaced_and_nothing_is_sent_twice() {
    let platform = Platform::start(None, |_, _| Act::AnswerAndClose(ANSWER)).await;
    let upstream = plain(&platform);
    for expected in 1..=10 {
        // whether the end was noticed yet or not: one request arrives, or the caller is told that it may have
        match get(&upstream).await {
            Ok(answer) => assert_eq!(answer, "ok"),
            Err(error) => assert!(error.sent, "{error}"),
        }
        assert!(platform.requests() <= expected);
    }
}

#[tokio::test]
async fn a_connection_kept_too_long_is_not_used_again() {
    let platform = Platform::friendly(None).await;
    let upstream = new_upstream(&format!("http://{}", platform.address), |config| {
        config.idle_timeout = Duration::ZERO;
    });
    get(&upstream).await.unwrap();
    get(&upstream).await.unwrap();
    assert_eq!((platform.connections(), platform.requests()), (2, 2));
}

#[tokio::test]
async fn a_connection_closed_after_the_request_was_read_counts_as_sent_and_is_not_tried_again() {
    let platform = Platform::start(None, |_, _| Act::Close).await;
    let error = get(&plain(&platform)).await.unwrap_err();
    assert_eq!((error.phase, error.sent), (Phase::Head, true), "{error}");
    assert_eq!((platform.connections(), platform.requests()), (1, 1));
}

#[tokio::test]
async fn a_kept_connection_that_breaks_under_a_request_is_not_tried_again() {
    let platform = Platform::start(
        None,
        |_, request| {
            if request == 1 { Act::Answer(ANSWER.into()) } else { Act::Close }
        },
    )
    .await;
    let upstream = plain(&platform);
    get(&upstream).await.unwrap();
    let error = get(&upstream).await.unwrap_err();
    assert_eq!((error.phase, error.sent), (Phase::Head, true), "{error}");
    assert_eq!((platform.connections(), platform.requests()), (1, 2));
}

#[tokio::test]
async fn a_reset_before_the_request_is_told_apart_in_tls_where_the_handshake_proves_it() {
    let server = Server::named(&authority());
    let platform = Platform::start(Some(server.config()), |_, _| Act::Reset).await;
    for backend in backends() {
        let upstream = new_upstream(&format!("https://{}", platform.address), |config| {
            (config.tls.verify, config.tls.backend) = (Verify::Off, backend);
        });
        let error = get(&upstream).await.unwrap_err();
        assert_eq!((error.phase, error.sent), (Phase::Tls, false), "{error}");
    }
    assert_eq!(platform.requests(), 0);
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_named_and_nothing_was_sent() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = get(&new_upstream(&format!("http://{free}"), |_| {})).await.unwrap_err();
    assert_eq!((error.phase, error.sent), (Phase::Connect, false));
    assert!(error.to_string().contains(&free.to_string()), "{error}");
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_does_not_answer() {
    let platform = Platform::friendly(None).await;
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let upstream = new_upstream("http://platform.example", |config| {
        config.addresses = vec![free, platform.address];
    });
    assert_eq!(get(&upstream).await.unwrap(), "ok");
}

#[tokio::test]
async fn a_name_that_nobody_knows_fails_while_resolving() {
    let error = get(&new_upstream("http://platform.invalid", |_| {})).await.unwrap_err();
    assert_eq!((error.phase, error.sent), (Phase::Resolve, false), "{error}");
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_given_up() {
    let platform = Platform::start(None, |_, _| Act::NoHandshake).await;
    for backend in backends() {
        let upstream = new_upstream(&format!("https://{}", platform.address), |config| {
            (config.tls.verify, config.tls.backend) = (Verify::Off, backend);
            config.tls_timeout = SHORT;
        });
        let error = get(&upstream).await.unwrap_err();
        assert_eq!((error.phase, error.sent), (Phase::Tls, false), "{error}");
    }
}

#[tokio::test]
async fn a_platform_that_does_not_answer_is_given_up_and_the_request_counts_as_sent() {
    let platform = Platform::start(None, |_, _| Act::AnswerAndStall("")).await;
    let error = get(&impatient(&platform)).await.unwrap_err();
    assert_eq!((error.phase, error.sent), (Phase::Response, true), "{error}");
    assert_eq!((platform.connections(), platform.requests()), (1, 1));
}

#[tokio::test]
async fn an_answer_that_stands_still_ends_with_an_error() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
    let platform = Platform::start(None, move |_, _| Act::AnswerAndStall(head)).await;
    let response = impatient(&platform).send(post("body")).await.unwrap();
    let error = read(response).await.unwrap_err();
    assert!(error.to_string().contains("no progress within"), "{error}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_ends_with_an_error() {
    let platform = Platform::start(None, |_, _| {
        Act::AnswerAndClose("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    })
    .await;
    let response = plain(&platform).send(post("body")).await.unwrap();
    read(response).await.unwrap_err();
}

#[tokio::test]
async fn a_slow_upload_that_moves_is_no_platform_that_is_silent() {
    let platform = Platform::friendly(None).await;
    let pieces = futures_util::stream::unfold(0, |sent| async move {
        tokio::time::sleep(SHORT / 2).await;
        (sent < 5).then(|| (Ok::<_, BoxError>(http_body::Frame::data(Bytes::from("x"))), sent + 1))
    });
    let request = Request::post("/").header("content-length", "5");
    let request = request.body(BodyExt::boxed_unsync(StreamBody::new(Box::pin(pieces)))).unwrap();
    let response = impatient(&platform).send(request).await.unwrap();
    assert_eq!(read(response).await.unwrap(), "ok");
    assert!(platform.seen.lock().unwrap().requests[0].ends_with("\r\n\r\nxxxxx"));
}

#[tokio::test]
async fn a_client_that_breaks_off_its_upload_fails_the_call() {
    let platform = Platform::friendly(None).await;
    let pieces = futures_util::stream::iter([
        Ok(http_body::Frame::data(Bytes::from("x"))),
        Err(BoxError::from("the client left")),
    ]);
    let request = Request::post("/").header("content-length", "5");
    let request = request.body(BodyExt::boxed_unsync(StreamBody::new(pieces))).unwrap();
    let error = plain(&platform).send(request).await.unwrap_err();
    assert_eq!(error.phase, Phase::Send, "{error}");
    assert_eq!(platform.requests(), 0);
}

#[tokio::test]
async fn a_client_that_breaks_off_before_anything_was_written_leaves_nothing_sent() {
    let platform = Platform::friendly(None).await;
    let pieces = futures_util::stream::iter([Err(BoxError::from("the client left"))]);
    let request = Request::post("/").header("content-length", "5");
    let request = request.body(BodyExt::boxed_unsync(StreamBody::new(pieces))).unwrap();
    let error = plain(&platform).send(request).await.unwrap_err();
    assert_eq!((error.phase, error.sent), (Phase::Send, false), "{error}");
}
