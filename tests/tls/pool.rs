//! The connections to the platform: how many, for how long, and who waits for one; and calls that take too long.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use leqi_gateway::{
    telemetry::metrics::Metrics,
    upstream::{Body, Config, Phase, SendError, TimedOut, Upstream, UpstreamMetrics},
};

use crate::{
    calls::get,
    eventually,
    platform::{ANSWER, Act, Platform},
};

const SHORT: Duration = Duration::from_millis(100);

/// An upstream in the clear, and its figures.
pub(crate) struct Watched {
    pub(crate) upstream: Arc<Upstream>,
    metrics: Metrics,
}

impl Watched {
    pub(crate) fn new(base_url: &str, set: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new("leqi".into(), base_url.parse().unwrap());
        set(&mut config);
        let metrics = Metrics::new().unwrap();
        let upstream = Upstream::new(config, &UpstreamMetrics::register(&metrics).unwrap()).unwrap();
        Self { upstream, metrics }
    }

    fn at(platform: &Platform, set: impl FnOnce(&mut Config)) -> Self {
        Self::new(&format!("http://{}", platform.address), set)
    }

    pub(crate) async fn get(&self) -> Result<String, SendError> {
        get(&self.upstream).await
    }

    /// The value of a metric with these labels beside the upstream's name.
    pub(crate) fn figure(&self, name: &str, labels: &str) -> i64 {
        let text = String::from_utf8(self.metrics.render()).unwrap();
        let comma = if labels.is_empty() { "" } else { "," };
        let (before, after) = (format!("leqi_gateway_{name}{{{labels}{comma}upstream=\"leqi\"}} "), labels);
        let other = format!("leqi_gateway_{name}{{upstream=\"leqi\"{comma}{after}}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&before).or(line.strip_prefix(&other)));
        value.map_or(0, |value| value.parse().unwrap())
    }

    fn start(&self) -> tokio::task::JoinHandle<Result<String, SendError>> {
        let upstream = Arc::clone(&self.upstream);
        tokio::spawn(async move { get(&upstream).await })
    }
}

/// Fails unless a figure is exactly this.
#[track_caller]
pub(crate) fn assert_figure(watched: &Watched, name: &str, labels: &str, expected: i64) {
    assert_eq!(watched.figure(name, labels), expected, "{name}{{{labels}}}");
}

#[tokio::test]
async fn no_more_connections_are_open_than_allowed_and_calls_take_turns() {
    let platform = Platform::friendly(None).await;
    let watched = Watched::at(&platform, |config| config.max_connections = 3);
    let calls: Vec<_> = (0..60).map(|_| watched.start()).collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), "ok");
    }
    assert_eq!(platform.requests(), 60);
    assert!(platform.connections() <= 3, "{}", platform.connections());
    assert_figure(&watched, "upstream_calls_waiting", "", 0);
    assert_figure(&watched, "upstream_connects_total", "outcome=\"ok\"", 3);
    let open = watched.figure("upstream_connections_open", "");
    assert!(open <= 3 && open >= watched.figure("upstream_connections_idle", ""), "{open}");
}

#[tokio::test]
async fn a_call_that_gets_no_connection_in_time_is_told_so_and_was_not_sent() {
    let platform = Platform::start(None, |_, _| Act::AnswerAndStall("")).await;
    let watched = Watched::at(&platform, |config| {
        (config.max_connections, config.pool_timeout) = (1, SHORT);
    });
    let first = watched.start();
    eventually("the first call has the connection", || async { platform.requests() == 1 }).await;
    let error = watched.get().await.unwrap_err();
    assert_eq!((error.phase, error.sent, error.retry_after), (Phase::Pool, false, Some(SHORT)), "{error}");
    assert_figure(&watched, "upstream_timeouts_total", "phase=\"pool\"", 1);
    // its client leaves: the connection is closed, and its place is free for the next call
    first.abort();
    let error = tokio::time::timeout(SHORT * 50, async {
        loop {
            let waiting = watched.start();
            eventually("the next call arrives or gives up", || async {
                platform.requests() == 2 || waiting.is_finished()
            })
            .await;
            if platform.requests() == 2 {
                waiting.abort();
                return;
            }
        }
    });
    error.await.unwrap();
    assert_eq!(platform.connections(), 2);
}

#[tokio::test]
async fn a_waiting_call_that_gives_up_does_not_lose_the_place_for_those_behind_it() {
    let platform = Platform::friendly(None).await;
    let watched = Watched::at(&platform, |config| config.max_connections = 1);
    // an answer that is not read yet holds the connection
    let held = watched.upstream.send(request()).await.unwrap();
    let mut waiting: Vec<_> = (0..10).map(|_| watched.start()).collect();
    eventually("all wait", || async { watched.figure("upstream_calls_waiting", "") == 10 }).await;
    for call in waiting.drain(..9) {
        call.abort();
    }
    eventually("one waits", || async { watched.figure("upstream_calls_waiting", "") == 1 }).await;
    drop(held.into_body().collect().await.unwrap());
    assert_eq!(waiting.remove(0).await.unwrap().unwrap(), "ok");
    assert_eq!((platform.connections(), platform.requests()), (1, 2));
}

fn request() -> Request<Body> {
    let body = Full::new(Bytes::from("body")).map_err(|never| match never {}).boxed_unsync();
    Request::post("/").body(body).unwrap()
}

#[tokio::test]
async fn the_newest_kept_connection_is_used_and_the_oldest_is_closed_first() {
    let platform = Platform::friendly(None).await;
    let watched = Watched::at(&platform, |config| config.max_idle = 2);
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(watched.upstream.send(request()).await.unwrap());
    }
    assert_eq!(platform.connections(), 3);
    for answer in answers {
        answer.into_body().collect().await.unwrap();
    }
    eventually("the third is closed", || async { platform.seen.lock().unwrap().closed == 1 }).await;
    assert_figure(&watched, "upstream_connections_idle", "", 2);
    watched.get().await.unwrap();
    assert_eq!(platform.connections(), 3);
}

#[tokio::test]
async fn a_connection_is_given_up_before_the_platform_ends_it() {
    for (keep_alive, connections) in
        [("", 1), ("Keep-Alive: timeout=60\r\n", 1), ("Keep-Alive: timeout=1\r\n", 3)]
    {
        let answer = format!("HTTP/1.1 200 OK\r\n{keep_alive}Content-Length: 2\r\n\r\nok");
        let platform = Platform::start(None, move |_, _| Act::Answer(answer.clone())).await;
        let watched = Watched::at(&platform, |_| {});
        for _ in 0..3 {
            watched.get().await.unwrap();
        }
        assert_eq!(platform.connections(), connections, "{keep_alive}");
    }
}

#[tokio::test]
async fn an_unused_connection_is_closed_in_time_though_nobody_calls() {
    let platform = Platform::friendly(None).await;
    let watched = Watched::at(&platform, |config| config.idle_timeout = SHORT);
    watched.get().await.unwrap();
    eventually("it is closed", || async { platform.seen.lock().unwrap().closed == 1 }).await;
    eventually("and not counted any more", || async {
        watched.figure("upstream_connections_idle", "") + watched.figure("upstream_connections_open", "") == 0
    })
    .await;
}

#[tokio::test]
async fn an_old_connection_is_replaced_though_it_is_in_use_all_the_time() {
    let platform = Platform::friendly(None).await;
    let watched = Watched::at(&platform, |config| config.max_age = SHORT);
    eventually("a second connection is opened", || async {
        watched.get().await.unwrap();
        platform.connections() == 2
    })
    .await;
    assert_figure(&watched, "upstream_retries_total", "", 0);
}

#[tokio::test]
async fn kept_connections_that_have_died_are_noticed_before_they_are_used() {
    let platform = Platform::start(None, |connection, _| {
        if connection <= 8 { Act::AnswerAndClose(ANSWER) } else { Act::Answer(ANSWER.into()) }
    })
    .await;
    let watched = Watched::at(&platform, |_| {});
    let mut answers = Vec::new();
    for _ in 0..8 {
        answers.push(watched.upstream.send(request()).await.unwrap());
    }
    for answer in answers {
        answer.into_body().collect().await.unwrap();
    }
    eventually("all are closed", || async { watched.figure("upstream_connections_open", "") == 0 }).await;
    assert_eq!(watched.get().await.unwrap(), "ok");
    assert_eq!((platform.requests(), platform.connections()), (9, 9));
    assert_figure(&watched, "upstream_retries_total", "", 0);
}

#[tokio::test]
async fn the_time_for_the_whole_call_ends_it_in_every_step() {
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
    let total = |config: &mut Config| config.total_timeout = Some(SHORT);
    // in the handshake nothing was sent
    let mute = Platform::start(None, |_, _| Act::NoHandshake).await;
    let watched = Watched::new(&format!("https://{}", mute.address), |config| {
        total(config);
        config.tls.verify = leqi_gateway::tls::Verify::Off;
    });
    let error = watched.get().await.unwrap_err();
    assert_eq!((error.phase, error.sent), (Phase::Total, false), "{error}");
    // before the head of the answer
    let silent = Platform::start(None, |_, _| Act::AnswerAndStall("")).await;
    let watched = Watched::at(&silent, total);
    let error = watched.get().await.unwrap_err();
    assert_eq!((error.phase, error.sent, silent.requests()), (Phase::Total, true, 1), "{error}");
    assert_figure(&watched, "upstream_timeouts_total", "phase=\"total\"", 1);
    // in the body, however patient the limit for standing still is
    let slow = Platform::start(None, move |_, _| Act::AnswerAndStall(half)).await;
    let watched = Watched::at(&slow, total);
    let answer = watched.upstream.send(request()).await.unwrap();
    let error = answer.into_body().collect().await.unwrap_err();
    let expected = TimedOut { phase: Phase::Total, limit: SHORT };
    assert_eq!(error.downcast_ref::<TimedOut>(), Some(&expected), "{error}");
    assert_figure(&watched, "upstream_timeouts_total", "phase=\"total\"", 1);
}

#[tokio::test]
async fn each_step_that_takes_too_long_is_counted_under_its_name() {
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
    for (phase, act) in [
        ("tls", Act::NoHandshake),
        ("response", Act::AnswerAndStall("")),
        ("idle", Act::AnswerAndStall(half)),
    ] {
        let scheme = if phase == "tls" { "https" } else { "http" };
        let platform = Platform::start(None, move |_, _| act.clone()).await;
        let watched = Watched::new(&format!("{scheme}://{}", platform.address), |config| {
            config.tls.verify = leqi_gateway::tls::Verify::Off;
            (config.tls_timeout, config.response_timeout, config.body_timeout) = (SHORT, SHORT, SHORT);
        });
        match watched.upstream.send(request()).await {
            Ok(answer) => drop(answer.into_body().collect().await.unwrap_err()),
            Err(error) => assert_eq!(error.phase.as_str(), phase),
        }
        for metric in ["upstream_timeouts_total", "upstream_failures_total"] {
            assert_figure(&watched, metric, &format!("phase=\"{phase}\""), 1);
        }
    }
}

/// Answers one request on each connection and ends it when it is told to; says when it has.
fn ends_when_told() -> (std::net::SocketAddr, std::sync::mpsc::Sender<()>, std::sync::mpsc::Receiver<()>) {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let (ended, end) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        loop {
            let (mut client, _) = socket.accept().unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\nbody") {
                let mut piece = [0; 1024];
                let read = std::io::Read::read(&mut client, &mut piece).unwrap();
                seen.extend_from_slice(&piece[..read]);
            }
            std::io::Write::write_all(&mut client, ANSWER.as_bytes()).unwrap();
            let Ok(()) = told.recv() else { return };
            drop(client);
            ended.send(()).unwrap();
        }
    });
    (address, tell, end)
}

/// In one thread, whoever looks after the kept connection gets no turn between its end and the next call.
#[tokio::test]
async fn a_call_that_a_dying_connection_gives_back_untouched_goes_out_once_more_and_is_counted() {
    let (address, tell, end) = ends_when_told();
    let watched = Watched::new(&format!("http://{address}"), |_| {});
    let mut rounds = 0;
    while watched.figure("upstream_retries_total", "") == 0 {
        rounds += 1;
        assert!(rounds < 100, "no call was given back in {rounds} rounds");
        if watched.figure("upstream_connections_idle", "") == 0 {
            assert_eq!(watched.get().await.unwrap(), "ok");
            eventually("it is kept", || async { watched.figure("upstream_connections_idle", "") == 1 }).await;
        }
        tell.send(()).unwrap();
        end.recv().unwrap();
        tokio::task::yield_now().await;
        // each connection answers one request: a second one on the same could not be answered
        match watched.get().await {
            Ok(answer) => assert_eq!(answer, "ok"),
            Err(error) => assert!(error.sent, "{error}"),
        }
        eventually("it is kept or gone", || async {
            watched.figure("upstream_connections_idle", "") == watched.figure("upstream_connections_open", "")
        })
        .await;
    }
    assert_figure(&watched, "upstream_retries_total", "", 1);
    assert_eq!(watched.figure("upstream_connects_total", "outcome=\"ok\""), rounds + 1);
}
