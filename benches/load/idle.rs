//! Connections that are opened and then stand still, to see what each costs the proxy.

use std::{
    io::Read,
    net::{IpAddr, Ipv4Addr},
};

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::connect::{Target, TargetArgs};

/// Connections from one address of the machine; more would run out of its ports.
const PER_SOURCE: u32 = 5000;
/// Handshakes at a time.
const AT_ONCE: usize = 32;

/// Connections that stand still
///
/// Prints `open NUMBER` once all are open, and keeps them until standard input ends.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: TargetArgs,
    /// How many
    #[arg(long, default_value_t = 10_000, value_name = "NUMBER")]
    connections: u32,
    /// File with a request that each of them makes first, head and body as they go over the wire
    #[arg(long, value_name = "FILE")]
    request: Option<std::path::PathBuf>,
}

/// Opens them and waits.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let target = Target::new(&args.target, false)?;
    let request = args.request.as_ref().map(std::fs::read).transpose().context("cannot read the request")?;
    let request = request.map(bytes::Bytes::from);
    let mut open = Vec::with_capacity(args.connections as usize);
    let mut opening = tokio::task::JoinSet::new();
    let mut next = 0;
    while next < args.connections || !opening.is_empty() {
        while next < args.connections && opening.len() < AT_ONCE {
            // 127.0.0.0/8 is all of this machine
            let host = u8::try_from(1 + next / PER_SOURCE).context("too many connections")?;
            let (target, request) = (target.clone(), request.clone());
            opening.spawn(
                async move { one(&target, IpAddr::V4(Ipv4Addr::new(127, 0, 1, host)), request).await },
            );
            next += 1;
        }
        if let Some(opened) = opening.join_next().await {
            open.push(opened??);
        }
    }
    println!("open {}", open.len());
    let wait = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    wait.await??;
    Ok(())
}

async fn one(
    target: &Target,
    source: IpAddr,
    request: Option<bytes::Bytes>,
) -> anyhow::Result<tokio_rustls::client::TlsStream<tokio::net::TcpStream>> {
    let mut stream = target.dial(Some(source)).await.context("cannot connect")?;
    if let Some(request) = request {
        stream.write_all(&request).await?;
        let mut answer = vec![0; 16 << 10];
        let mut got = 0;
        // the answers of the benchmark have a length and end with a brace
        while got == 0 || answer.get(got - 1) != Some(&b'}') {
            let part = answer.get_mut(got..).unwrap_or_default();
            let more = stream.read(part).await?;
            ensure!(more > 0, "the connection was closed before its answer had come");
            got += more;
        }
        ensure!(answer.starts_with(b"HTTP/1.1 200"), "an answer that is not 200");
    }
    Ok(stream)
}
