//! An open socket: accepting until the drain, then taking leave of it.

use std::{io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};
use tokio_util::task::TaskTracker;

use super::{
    Body, Config, Inherited, ListenError, ListenerMetrics, Peer, Settings, line::Line, quiet::Quiet,
};
use crate::shutdown::Shutdown;

/// Connections that the kernel keeps while nobody accepts, for example while one gateway hands over to the next; the
/// kernel's own limit (`net.core.somaxconn`) is usually the same.
pub(super) const BACKLOG: u32 = 4096;

/// An open listener that does not accept yet.
#[derive(Debug)]
pub struct Bound {
    socket: TcpListener,
    address: SocketAddr,
    settings: Settings,
    metrics: ListenerMetrics,
    name: &'static str,
    /// Somebody else keeps the socket open too.
    inherited: bool,
}

impl Bound {
    /// Opens the socket. `name` is the label in metrics (`data`, `admin`, `ops`).
    ///
    /// # Errors
    /// Why it cannot be opened, and what to do.
    pub async fn bind(
        name: &'static str,
        config: Config,
        metrics: &ListenerMetrics,
    ) -> Result<Self, ListenError> {
        let wrong = |source| ListenError::of(config.address, source);
        let socket = open(config.address).map_err(wrong)?;
        Self::over(name, socket, false, config, metrics)
    }

    /// Takes the socket for the address that was handed over, or opens one.
    ///
    /// # Errors
    /// Why neither can be done, and what to do.
    pub async fn take_or_bind(
        name: &'static str,
        config: Config,
        metrics: &ListenerMetrics,
        inherited: &mut Inherited,
    ) -> Result<Self, ListenError> {
        let wrong = |source| ListenError::of(config.address, source);
        match inherited.take(config.address) {
            Some(socket) => {
                let socket = TcpListener::from_std(socket).map_err(wrong)?;
                Self::over(name, socket, true, config, metrics)
            }
            None => Self::bind(name, config, metrics).await,
        }
    }

    fn over(
        name: &'static str,
        socket: TcpListener,
        inherited: bool,
        config: Config,
        metrics: &ListenerMetrics,
    ) -> Result<Self, ListenError> {
        let address = socket.local_addr().map_err(|source| ListenError::of(config.address, source))?;
        Ok(Self {
            socket,
            address,
            settings: Settings::new(address, config, metrics.max.with_label_values(&[name])),
            metrics: metrics.clone(),
            name,
            inherited,
        })
    }

    /// The address that it really listens on.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What new connections get, to be replaced while it serves.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.settings.clone()
    }

    /// Accepts and serves until the drain is ordered, then finishes what is in flight, for at most the drain timeout
    /// or until the end is forced.
    pub async fn serve<H, F, B>(self, handler: H, shutdown: Shutdown)
    where
        H: Fn(Peer, Request<Body>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let room = Arc::clone(self.settings.room());
        let tasks = TaskTracker::new();
        let (name, metrics) = (self.name, self.metrics);
        let line = Arc::new(Line {
            handler,
            shutdown: shutdown.clone(),
            address: self.address,
            clients: Arc::clone(self.settings.clients()),
            metrics,
            name,
            quiet: Quiet::default(),
        });
        loop {
            let accepted = tokio::select! {
                () = shutdown.draining() => break,
                accepted = accept(&self.socket, &room, &line.quiet) => accepted,
            };
            match accepted {
                Ok(accepted) => {
                    tasks.spawn(Arc::clone(&line).connection(accepted, self.settings.terms()));
                }
                Err(error) => line.accept_failed(&error).await,
            }
        }
        // who waits in the queue of a shared socket is served by the next process
        let last = if self.inherited { Ok(Vec::new()) } else { close(self.socket, &room) };
        match last {
            Ok(last) => {
                for accepted in last {
                    tasks.spawn(Arc::clone(&line).connection(accepted, self.settings.terms()));
                }
            }
            Err(error) => {
                tracing::warn!(%error, listener = %self.address, "connections that waited to be accepted are dropped");
            }
        }
        tasks.close();
        let deadline = sleep(self.settings.config().drain_timeout);
        tokio::select! {
            () = tasks.wait() => {}
            () = deadline => tracing::warn!(listener = %self.address, left = tasks.len(), "the drain's time is over; open connections are dropped"),
            () = shutdown.forced() => {}
        }
    }
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // a gateway that is started again must not wait for old connections to be forgotten
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A connection with its place among all that the listener may have.
pub(super) type Accepted = (TcpStream, SocketAddr, OwnedSemaphorePermit);

/// Closes the socket, but takes whoever waits in the kernel's queue before: they are connected for all they know, and
/// would be reset.
fn close(socket: TcpListener, room: &Arc<Semaphore>) -> io::Result<Vec<Accepted>> {
    let socket = socket.into_std()?;
    let mut last = Vec::new();
    while let Ok(permit) = Arc::clone(room).try_acquire_owned()
        && let Ok((stream, address)) = socket.accept()
    {
        stream.set_nonblocking(true)?;
        last.push((TcpStream::from_std(stream)?, address, permit));
    }
    Ok(last)
}

async fn accept(socket: &TcpListener, room: &Arc<Semaphore>, quiet: &Quiet) -> io::Result<Accepted> {
    let permit = match Arc::clone(room).try_acquire_owned() {
        Ok(permit) => permit,
        Err(_) => {
            quiet.warn(|suppressed| {
                tracing::warn!(
                    suppressed,
                    "the limit of connections is reached, new ones wait (max_connections)"
                );
            });
            Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?
        }
    };
    let (stream, address) = socket.accept().await?;
    Ok((stream, address, permit))
}
