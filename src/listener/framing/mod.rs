//! Strict framing of HTTP/1 requests (RFC 9112 §§2–7), checked before the server sees a byte of a head.
//!
//! Whoever stands between a client and the platform must not read a request differently from anybody else on the way:
//! a second request hidden in the first would pass unseen by credit and log. hyper is lenient in places (bare LF,
//! `Content-Length` beside `Transfer-Encoding`, repeated equal lengths), so what is ambiguous is refused here.
//! Bodies are only counted, and costs are a search for line ends in the head.

mod chunks;
mod head;

use chunks::Chunks;
use head::{Body, Head};

use super::Refusal;

/// How much of a head is taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadLimits {
    /// Bytes of the request line and all headers.
    pub(super) bytes: usize,
    /// Number of headers.
    pub(super) headers: usize,
}

/// Follows the requests of one connection byte by byte.
#[derive(Debug)]
pub(super) struct Framing {
    state: State,
    heads: u64,
    limits: HeadLimits,
}

#[derive(Debug)]
enum State {
    /// At or inside a head, as far as it was looked at.
    Head(Head),
    /// Inside a body of which so many bytes are to come.
    Length(u64),
    Chunks(Chunks),
}

/// What may go on to the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Passed {
    /// So many bytes from the beginning; the rest belongs to a head that is not complete.
    pub(super) bytes: usize,
    /// What is wrong behind them.
    pub(super) wrong: Option<Wrong>,
}

/// Where a request went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// In its body: the head was passed on.
    Body(&'static str),
    /// In its head, of which nothing was passed on.
    Head(Refusal),
}

impl Framing {
    pub(super) fn new(limits: HeadLimits) -> Self {
        Self { state: State::Head(Head::default()), heads: 0, limits }
    }

    /// How many heads were passed on.
    pub(super) const fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether what comes next is a head, as far as it was looked at.
    pub(super) const fn is_between(&self) -> bool {
        matches!(self.state, State::Head(_))
    }

    /// Whether the whole of so many bytes belongs to a body.
    pub(super) fn skips(&mut self, bytes: usize) -> bool {
        let State::Length(left) = &mut self.state else { return false };
        if bytes as u64 >= *left {
            return false;
        }
        *left -= bytes as u64;
        true
    }

    /// Looks at bytes. Those of a head that is not complete must be given again, with more behind them.
    pub(super) fn look(&mut self, bytes: &[u8]) -> Passed {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match &mut self.state {
                State::Head(head) => match head.look(rest, self.limits) {
                    Ok(None) => return Passed { bytes: at, wrong: None },
                    Ok(Some((length, body))) => {
                        self.heads += 1;
                        at += length;
                        self.state = match body {
                            Body::None => State::Head(Head::default()),
                            Body::Length(length) => State::Length(length),
                            Body::Chunked => State::Chunks(Chunks::default()),
                        };
                    }
                    Err(refusal) => return Passed { bytes: at, wrong: Some(Wrong::Head(refusal)) },
                },
                State::Length(left) => {
                    let taken = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                    *left -= taken as u64;
                    at += taken;
                    if *left == 0 {
                        self.state = State::Head(Head::default());
                    }
                }
                State::Chunks(chunks) => match chunks.look(rest, self.limits) {
                    Ok((taken, ended)) => {
                        at += taken;
                        if ended {
                            self.state = State::Head(Head::default());
                        }
                    }
                    Err((taken, why)) => {
                        return Passed { bytes: at + taken, wrong: Some(Wrong::Body(why)) };
                    }
                },
            }
        }
        Passed { bytes: at, wrong: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes: 400, headers: 6 };

    /// Everything at once, then byte by byte: what is wrong, and how many heads passed.
    fn looked(request: &str) -> (Option<Wrong>, u64) {
        let mut whole = Framing::new(LIMITS);
        let wrong = whole.look(request.as_bytes()).wrong;
        let mut slow = Framing::new(LIMITS);
        let (mut held, mut slowly) = (Vec::new(), None);
        for byte in request.bytes() {
            held.push(byte);
            let passed = slow.look(&held);
            held.drain(..passed.bytes);
            slowly = passed.wrong;
            if slowly.is_some() {
                break;
            }
        }
        assert_eq!((wrong, whole.heads), (slowly, slow.heads), "{request:?}");
        (wrong, whole.heads)
    }

    #[test]
    fn requests_that_follow_one_another_pass() {
        let get = "GET /a?b=%20 HTTP/1.1\r\nHost: h:8443\r\nEmpty:\r\nMany: a, b;c=\"d\"\t\u{e9}\r\n\r\n";
        let post = "POST / HTTP/1.1\r\nhost: [::1]:8443\r\ncontent-LENGTH:  3 \r\n\r\nabc";
        let chunked = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n\
                       3\r\nabc\r\nA;name=\"x\"\r\n0123456789\r\n000\r\nTrailer: x\r\n\r\n";
        let old = "POST / HTTP/1.0\r\nContent-Length: 0\r\n\r\n";
        let proxied = "GET http://H:80/x HTTP/1.1\r\nHost: h\r\n\r\n";
        let all = [get, post, chunked, "\r\n", chunked, old, proxied, get].concat();
        assert_eq!(looked(&all), (None, 7));
        assert_eq!(looked(&all[..all.len() - 1]), (None, 6));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for (head, why) in [
            ("GET / HTTP/1.1\nHost: h\n\n", "bare_lf"),
            ("GET / HTTP/1.1\r\nHost: h\n\r\n", "bare_lf"),
            ("\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "bare_lf"),
            ("GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n", "obs_fold"),
            ("GET / HTTP/1.1\r\n Host: h\r\n\r\n", "obs_fold"),
            ("GET / HTTP/1.1\r\nHost : h\r\n\r\n", "header_name"),
            ("GET / HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n", "header_name"),
            ("GET / HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n", "header_name"),
            ("GET / HTTP/1.1\r\nHost: h\r\nA: x\u{0}y\r\n\r\n", "header_value"),
            ("GET / HTTP/1.1\r\nHost: h\r\nA: x\ry\r\n\r\n", "header_value"),
            ("GET / HTTP/1.1\r\n\r\n", "host_missing"),
            ("GET / HTTP/1.1\r\nHost: h\r\nhost: h\r\n\r\n", "host_twice"),
            ("GET / HTTP/1.1\r\nHost: h/x\r\n\r\n", "host_value"),
            ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "host_value"),
            ("GET http://evil/ HTTP/1.1\r\nHost: h\r\n\r\n", "host_conflict"),
            ("GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n", "host_conflict"),
            ("GET  / HTTP/1.1\r\nHost: h\r\n\r\n", "request_line"),
            ("GET / HTTP/1.1 \r\nHost: h\r\n\r\n", "request_line"),
            ("GET /\tx HTTP/1.1\r\nHost: h\r\n\r\n", "request_line"),
            ("GET /\r\nHost: h\r\n\r\n", "request_line"),
            ("G{T / HTTP/1.1\r\nHost: h\r\n\r\n", "request_line"),
            ("GET / HTTP/2.0\r\nHost: h\r\n\r\n", "version"),
            ("GET / http/1.1\r\nHost: h\r\n\r\n", "version"),
            ("\u{16}\u{3}\u{1}", "tls_on_plain"),
            ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", "length_twice"),
            ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\n\r\n", "length_value"),
            ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\n", "length_value"),
            ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x3\r\n\r\n", "length_value"),
            ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n", "length_value"),
            ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n", "length_value"),
            (
                "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
                "length_and_encoding",
            ),
            ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "encoding_value"),
            ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n", "encoding_value"),
            ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n", "encoding_value"),
            ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \"chunked\"\r\n\r\n", "encoding_value"),
            (
                "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                "encoding_twice",
            ),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "encoding_in_http_1_0"),
            ("POST / HTTP/1.1\r\nHost: h\r\nTransfer_Encoding: chunked\r\n\r\n", "framing_lookalike"),
            ("POST / HTTP/1.1\r\nHost: h\r\nContent_Length: 3\r\n\r\n", "framing_lookalike"),
        ] {
            assert_eq!(looked(head), (Some(Wrong::Head(Refusal::Framing(why))), 0), "{head:?}");
        }
    }

    #[test]
    fn chunks_that_others_may_read_differently_end_the_body() {
        for (chunks, why) in [
            ("x\r\n", "chunk_size"),
            ("\r\n", "chunk_size"),
            ("-1\r\n", "chunk_size"),
            ("0x3\r\nabc\r\n0\r\n\r\n", "chunk_size"),
            ("3 \r\nabc\r\n", "chunk_size"),
            ("3\nabc\r\n", "chunk_size"),
            ("fffffffffffffffff\r\n", "chunk_size"),
            ("3;a\nb\r\nabc\r\n", "chunk_extension"),
            ("3;a\rb\r\nabc\r\n", "chunk_extension"),
            ("3;\u{0}\r\nabc\r\n", "chunk_extension"),
            ("3\r\nabcd\r\n", "chunk_end"),
            ("3\r\nabc\n0\r\n\r\n", "chunk_end"),
            ("0\r\nContent-Length: 3\r\n\r\n", "trailer"),
            ("0\r\nTransfer-Encoding: chunked\r\n\r\n", "trailer"),
            ("0\r\nbad trailer\r\n\r\n", "trailer"),
            ("0\r\nA: b\nC: d\r\n\r\n", "trailer"),
            ("0\r\n\n", "trailer"),
        ] {
            let request = format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
            assert_eq!(looked(&request), (Some(Wrong::Body(why)), 1), "{chunks:?}");
        }
        let extension = "x".repeat(300);
        let request =
            format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;{extension}\r\n");
        assert_eq!(looked(&request), (Some(Wrong::Body("chunk_extension")), 1));
    }

    #[test]
    fn heads_beyond_the_limits_are_refused() {
        let long = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(400));
        assert_eq!(looked(&long), (Some(Wrong::Head(Refusal::HeadTooLarge)), 0));
        let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "a: b\r\n".repeat(6));
        assert_eq!(looked(&many), (Some(Wrong::Head(Refusal::HeadTooLarge)), 0));
        let just = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "a: b\r\n".repeat(5));
        assert_eq!(looked(&just), (None, 1));
    }
}
