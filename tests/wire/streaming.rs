//! Bodies that are too large to be held: they flow at the pace of whoever reads them, and leave nothing behind.
//!
//! `LEQI_STREAM_MB` sets the size of each of the hundred answers; 4 MB unless it is set, the full measure is 50.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Barrier,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    common::eventually,
    peer::{Peer, Then},
    site::Site,
};

const READ: &str = "/access/v2/invoke/202007/CXNSRJBXX";
/// Answers at once.
const READERS: usize = 100;
/// What the gateway may hold at most, in kB.
const MOST_KB: u64 = 200_000;
/// What may be on its way in the buffers of four sockets and of the gateway.
const ON_THE_WAY: u64 = 24 << 20;

/// A peer whose answers have so many bytes, and how many of all of them it has written.
fn generous(size: u64) -> (Peer, Arc<AtomicU64>) {
    let written = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&written);
    let peer = Peer::start(move |stream, request| {
        if request.contains("?small") {
            return stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").map(|()| Then::Keep);
        }
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n")?;
        let piece = [b'x'; 64 * 1024];
        let mut left = size;
        while left > 0 {
            let part = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            stream.write_all(&piece[..part])?;
            left -= part as u64;
            counter.fetch_add(part as u64, Ordering::Relaxed);
        }
        Ok(Then::Keep)
    });
    (peer, written)
}

/// Asks and reads the head of the answer.
fn ask(address: SocketAddr, query: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    write!(stream, "POST /big{READ}{query} HTTP/1.1\r\nhost: gateway\r\ncontent-length: 0\r\n\r\n").unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
    stream
}

/// Reads this many bytes and throws them away.
fn swallow(stream: &mut TcpStream, size: u64) {
    let read = std::io::copy(&mut stream.take(size), &mut std::io::sink()).unwrap();
    assert_eq!(read, size);
}

/// Waits until a figure has not moved for half a second.
fn settled(what: &str, figure: &AtomicU64) -> u64 {
    let mut last = (figure.load(Ordering::Relaxed), Instant::now());
    eventually(what, || {
        let now = figure.load(Ordering::Relaxed);
        if now != last.0 {
            last = (now, Instant::now());
        }
        (last.1.elapsed() > Duration::from_millis(500)).then_some(now)
    })
}

/// The most memory that a process ever had, in kB.
fn peak(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The sum of a figure over its labels.
fn figure(site: &Site, start: &str) -> u64 {
    let metrics = site.gateway.metrics();
    let lines = metrics.lines().filter(|line| line.starts_with(start));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn a_hundred_large_answers_at_once_stay_within_200_mb() {
    let megabytes = std::env::var("LEQI_STREAM_MB").ok().map_or(4, |text| text.parse().unwrap());
    let size: u64 = megabytes << 20;
    let (peer, written) = generous(size);
    let site = Site::start_with(&[], |_| peer.upstream("big", "", ""));
    let (address, process) = (site.gateway.plain, site.gateway.process.id());
    let idle = peak(process);
    let began = Instant::now();
    let start = Arc::new(Barrier::new(READERS + 1));
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let start = Arc::clone(&start);
            std::thread::spawn(move || {
                let mut stream = ask(address, "");
                start.wait();
                swallow(&mut stream, size);
            })
        })
        .collect();
    // nobody reads yet: this is the most that the gateway takes on its own
    settled("the platform is held back", &written);
    let held = peak(process);
    start.wait();
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    let total = READERS as u64 * size;
    assert_eq!(written.load(Ordering::Relaxed), total);
    eventually("every call is in the log", || {
        (figure(&site, "leqi_gateway_request_log_records_total") >= READERS as u64).then_some(())
    });
    let most = peak(process);
    println!(
        "{READERS} answers of {megabytes} MB: {idle} kB idle, {held} kB while nobody reads, {most} kB at most, {:.1} s",
        began.elapsed().as_secs_f64()
    );
    assert!(most < MOST_KB, "{most} kB");
}

#[test]
fn a_reader_that_stops_holds_the_platform_back_and_nobody_else() {
    let size = 256 << 20;
    let (peer, written) = generous(size);
    let site = Site::start_with(&[], |_| peer.upstream("big", "", ""));
    let slow = ask(site.gateway.plain, "");
    let taken = settled("the platform is held back", &written);
    assert!(taken < ON_THE_WAY, "{taken} bytes were taken for a client that reads none");
    for _ in 0..20 {
        let began = Instant::now();
        swallow(&mut ask(site.gateway.plain, "?small"), 2);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
    assert_eq!(written.load(Ordering::Relaxed), taken);

    // the client leaves: its connection to the platform is closed, and never used again
    let connections = peer.connections();
    drop(slow);
    eventually("the platform sees the end", || (peer.ended() > 0).then_some(()));
    eventually("only kept connections are open", || {
        let open = figure(&site, "leqi_gateway_upstream_connections_open{upstream=\"big\"");
        (open == figure(&site, "leqi_gateway_upstream_connections_idle{upstream=\"big\"")).then_some(())
    });
    swallow(&mut ask(site.gateway.plain, "?small"), 2);
    assert_eq!(peer.connections(), connections, "the kept connection serves the next call");
    assert!(written.load(Ordering::Relaxed) < ON_THE_WAY);
}

#[test]
fn a_connection_whose_answer_was_not_read_to_its_end_is_never_used_again() {
    let (peer, _) = generous(64 << 20);
    let site = Site::start_with(&[], |_| peer.upstream("big", "", ""));
    for round in 1..=5 {
        let mut half = ask(site.gateway.plain, "");
        swallow(&mut half, 1 << 20);
        drop(half);
        eventually("the platform sees the end", || (peer.ended() == round).then_some(()));
        // a connection that still carried the rest would answer this with x
        let mut stream = ask(site.gateway.plain, "?small");
        let mut answer = [0; 2];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"ok");
    }
}

#[test]
fn a_request_flows_at_the_pace_of_the_platform() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let size: u64 = 128 << 20;
    // a body in chunks is not awaited by the peer, so that it can hold back
    let peer = Peer::start(move |stream, request| {
        wait.lock().unwrap().recv().unwrap();
        let mut taken = request.split_once("\r\n\r\n").map_or(0, |(_, body)| body.len()) as u64;
        let mut end = [0; 5];
        let mut piece = [0; 64 * 1024];
        while &end != b"0\r\n\r\n" {
            let read = stream.read(&mut piece)?;
            taken += read as u64;
            let last = &piece[..read];
            let kept: Vec<u8> = end.iter().chain(last).copied().collect();
            end.copy_from_slice(&kept[kept.len() - 5..]);
        }
        let text = taken.to_string();
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len())?;
        Ok(Then::Close)
    });
    let site = Site::start_with(&[], |_| peer.upstream("big", "", ""));
    let sent = Arc::new(AtomicU64::new(0));
    let (counter, address) = (Arc::clone(&sent), site.gateway.plain);
    let client = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "POST /big{READ} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n")
            .unwrap();
        let piece = [b'y'; 64 * 1024];
        for _ in 0..size / 65_536 {
            write!(stream, "10000\r\n").unwrap();
            stream.write_all(&piece).unwrap();
            stream.write_all(b"\r\n").unwrap();
            counter.fetch_add(65_536, Ordering::Relaxed);
        }
        stream.write_all(b"0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    eventually("the request is at the platform", || (!peer.requests().is_empty()).then_some(()));
    let taken = settled("the client is held back", &sent);
    assert!(taken < ON_THE_WAY, "{taken} bytes were taken for a platform that reads none");
    go.send(()).unwrap();
    let answer = client.join().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let received: u64 = answer.rsplit("\r\n").next().unwrap().parse().unwrap();
    assert!(received > size, "{received}");
}
