//! One HTTP/1.1 connection: the sending half, and the task that drives it. Dropping it closes the socket.

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

use super::{io::Written, metrics::OpenGuard, request_body::RequestBody};

type Request = http::Request<RequestBody>;

/// A connection that is in use or kept for the next call.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<RequestBody>,
    driver: JoinHandle<()>,
    written: Written,
}

impl Connection {
    /// Starts HTTP on a connected stream.
    pub(super) async fn start<S>(stream: S, written: Written, guard: OpenGuard) -> hyper::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) = http1::Builder::new()
            .preserve_header_case(true)
            .max_headers(256)
            .handshake(TokioIo::new(stream))
            .await?;
        let driver = tokio::spawn(async move {
            let _guard = guard;
            // whoever sends or reads hears of the error; with nobody there it is a kept connection that ended
            let _ = connection.await;
        });
        Ok(Self { sender, driver, written })
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
