//! One HTTP/1.1 connection: the sending half, and the task that drives it. Dropping it closes the socket.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName};
use hyper::{
    body::Incoming,
    client::conn::{
        TrySendError,
        http1::{self, SendRequest},
    },
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinHandle,
};

use super::{
    io::Written, metrics::Counted, request_body::RequestBody, slot::Slot, standstill::StandstillWatch,
};

type Request = http::Request<RequestBody>;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// How much earlier than the platform the gateway gives up a kept connection: a request on its way must not meet the
/// platform's end of it.
const MARGIN: Duration = Duration::from_secs(1);

/// Bytes of an answer that are read at once, and the most that its head may have. Each of many large answers that flow
/// at the pace of their readers holds so much, so hyper's 400 KiB would be too many.
const BUFFER: usize = 16 << 10;

/// A connection that is in use or kept for the next call.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<RequestBody>,
    driver: JoinHandle<()>,
    written: Written,
    /// Not kept beyond this.
    dies: Instant,
    /// How long the platform said that it keeps it.
    peer_keeps: Option<Duration>,
    watch: StandstillWatch,
}

/// What a connection holds until its socket is closed: its place in the pool and in the metric of open ones.
pub(super) type Holds = (Slot, Counted);

impl Connection {
    /// Starts HTTP on a connected stream that is used for at most `max_age`. An answer may have 100 headers, hyper's own
    /// limit; with a limit of ours hyper would allocate room for that many headers twice with every answer.
    pub(super) async fn start<S>(
        stream: S,
        written: Written,
        max_age: Duration,
        holds: Holds,
    ) -> hyper::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) = http1::Builder::new()
            .preserve_header_case(true)
            .max_buf_size(BUFFER)
            .handshake(TokioIo::new(stream))
            .await?;
        let driver = tokio::spawn(async move {
            let _holds = holds;
            // whoever sends or reads hears of the error; with nobody there it is a kept connection that ended
            let _ = connection.await;
        });
        Ok(Self {
            sender,
            driver,
            written,
            dies: Instant::now() + max_age,
            peer_keeps: None,
            watch: StandstillWatch::default(),
        })
    }

    /// Waits until the connection can take a request; false when it has ended.
    pub(super) async fn is_usable(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }

    /// Whether it can take a request right now.
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready() && !self.sender.is_closed()
    }

    /// Whether the other side or an error has ended it.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Notes for how long the platform keeps an unused connection, if it says so (`Keep-Alive: timeout=5`).
    pub(super) fn heed(&mut self, headers: &HeaderMap) {
        if let Some(value) = headers.get(KEEP_ALIVE) {
            self.peer_keeps = value.to_str().ok().and_then(keep_alive_timeout);
        }
    }

    /// Until when it may be used again if it is not used from now on.
    pub(super) fn kept_until(&self, now: Instant, idle_timeout: Duration) -> Instant {
        let keeps =
            self.peer_keeps.map_or(idle_timeout, |peer| idle_timeout.min(peer.saturating_sub(MARGIN)));
        (now + keeps).min(self.dies)
    }

    /// Its watch, to be given back with [`Self::put_watch`] when the answer is there.
    pub(super) fn take_watch(&mut self) -> StandstillWatch {
        std::mem::take(&mut self.watch)
    }

    /// Gives the watch back for the next call.
    pub(super) fn put_watch(&mut self, watch: StandstillWatch) {
        self.watch = watch;
    }

    /// Bytes that the socket has taken so far, of everything.
    pub(super) fn written(&self) -> u64 {
        self.written.bytes()
    }

    /// Sends; the error carries the request when it was never started.
    pub(super) async fn try_send(
        &mut self,
        request: Request,
    ) -> Result<http::Response<Incoming>, Box<TrySendError<Request>>> {
        self.sender.try_send_request(request).await.map_err(Box::new)
    }

    /// Ends the connection and tells how many bytes its socket had taken in all.
    pub(super) async fn end(mut self) -> u64 {
        self.driver.abort();
        // afterwards nothing is written any more; the only error is the abort itself
        let _ = (&mut self.driver).await;
        self.written.bytes()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// The seconds of `timeout=5, max=100`.
fn keep_alive_timeout(value: &str) -> Option<Duration> {
    value.split(',').find_map(|parameter| {
        let (name, seconds) = parameter.split_once('=')?;
        let seconds = seconds.trim().trim_matches('"').parse().ok();
        name.trim().eq_ignore_ascii_case("timeout").then_some(seconds)?.map(Duration::from_secs)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_of_a_keep_alive_header_is_found_in_every_form() {
        for (value, seconds) in [
            ("timeout=5, max=100", Some(5)),
            ("max=100,Timeout = \"20\"", Some(20)),
            ("timeout=0", Some(0)),
            ("max=100", None),
            ("timeout=soon", None),
            ("", None),
        ] {
            assert_eq!(keep_alive_timeout(value), seconds.map(Duration::from_secs), "{value}");
        }
    }
}
