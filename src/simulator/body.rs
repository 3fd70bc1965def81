//! Bodies of answers: whole, compressed, in pieces, broken off.

use std::{convert::Infallible, io::Write, time::Duration};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures_util::stream;
use http::{HeaderMap, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use tokio::time::sleep;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer.
pub(super) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Answers from this size on are compressed when the client takes gzip.
const GZIP_FROM: usize = 8 << 10;

/// Large answers are compressed for those who take it (protocol.md §2).
pub(super) fn compressed(body: Vec<u8>, headers: &HeaderMap) -> (Bytes, bool) {
    let accepts = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    if body.len() < GZIP_FROM || !accepts.is_some_and(|value| value.contains("gzip")) {
        return (body.into(), false);
    }
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    match gzip.write_all(&body).and_then(|()| gzip.finish()) {
        Ok(packed) => (packed.into(), true),
        Err(_) => (body.into(), false),
    }
}

pub(super) fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// The pieces with a pause before each, and at the end a failure if the body is to break off.
pub(super) fn pieces(pieces: Vec<Bytes>, broken: bool, pause: Duration) -> Body {
    let ends = broken.then(|| Err(BoxError::from("the answer breaks off, as scripted")));
    let all = pieces.into_iter().map(|piece| Ok(Frame::data(piece))).chain(ends);
    let paced = stream::unfold(all, move |mut all| async move {
        let next = all.next()?;
        sleep(pause).await;
        Some((next, all))
    });
    StreamBody::new(paced).boxed_unsync()
}
