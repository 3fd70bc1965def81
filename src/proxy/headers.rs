//! What a proxy must change in headers, and nothing else.

use http::{HeaderMap, HeaderName, header};

/// Headers that belong to one connection (RFC 9110 §7.6.1), besides those that `Connection` names.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
];

/// The sandbox flag (protocol.md §1).
pub(super) const SANDBOX_FLAG: &str = "sxcsbz";
/// The access unit's platform id.
pub(super) const ACCESS_ID: &str = "jrdwptbh";
/// The using unit's platform id.
pub(super) const USING_ID: &str = "sydwptbh";
/// The client's own transaction id.
pub(super) const CLIENT_TID: &str = "clienttid";

/// Takes the hop-by-hop headers away; everything else stays as it came, empty values too.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    // most messages have none of them, and looking at the names costs less than looking each one up
    if !headers.keys().any(|name| HOP_BY_HOP.contains(name)) {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| !is_protected(name))
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Headers that a client cannot have removed by naming them in `Connection`: framing, and what decides at the
/// platform who is asking.
fn is_protected(name: &HeaderName) -> bool {
    name == header::CONTENT_LENGTH
        || name == header::CONTENT_TYPE
        || name == header::CONTENT_ENCODING
        || name == header::HOST
}

/// The value of a header as text, empty when it is missing or not text.
pub(super) fn text<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).map_or("", str::trim)
}

/// Headers as they are logged: names and values in order, without credentials.
pub(super) fn for_log(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| {
            let hidden =
                [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE, header::SET_COOKIE]
                    .contains(name);
            let value = if hidden {
                "(hidden)".to_owned()
            } else {
                String::from_utf8_lossy(value.as_bytes()).into_owned()
            };
            (name.as_str().to_owned(), value)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_hop_by_hop_headers_are_taken_away() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "116.116.10.1:8443"),
            ("connection", "close, X-Hop, content-length"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("access_signature", ""),
            ("clienttid", "T-1"),
            ("content-length", "3"),
        ] {
            headers.append(
                HeaderName::from_static(name.to_ascii_lowercase().leak()),
                HeaderValue::from_static(value),
            );
        }
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<_> = headers.iter().map(|(n, v)| format!("{n}={}", v.to_str().unwrap())).collect();
        left.sort();
        assert_eq!(
            left,
            ["access_signature=", "clienttid=T-1", "content-length=3", "host=116.116.10.1:8443"]
        );
    }

    #[test]
    fn credentials_are_hidden_in_the_log() {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer s3cret"));
        assert!(!format!("{:?}", for_log(&headers)).contains("s3cret"));
    }
}
