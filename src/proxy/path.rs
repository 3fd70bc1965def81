//! How a path may be read by the server behind it. Gateway and platform must take a path for the same thing: one that is
//! `/access/sandbox/…` here and `/access/v2/invoke/…` there would send an invoice past the ledger.

/// Whether every server reads this path the same way: nothing is encoded, doubled, or points upwards.
pub(super) fn is_plain(path: &str) -> bool {
    let bytes = path.as_bytes();
    !bytes.iter().any(|byte| matches!(byte, b'%' | b'\\' | b';'))
        && !bytes.windows(2).any(|pair| pair == b"//" || pair == b"/.")
}

/// What servers may make of a path, by what they take for a separator, whether empty segments count, and whether
/// parameters (`;x=1`) belong to a segment. Dot segments are resolved (RFC 3986 §5.2.4) and escapes decoded, once.
pub(super) fn readings(path: &str) -> impl Iterator<Item = String> + '_ {
    const EITHER: [bool; 2] = [false, true];
    let separators = [Separators::Slash, Separators::EncodedSlash, Separators::Backslash];
    separators.into_iter().flat_map(move |separators| {
        let habits = EITHER.into_iter().flat_map(|merge| EITHER.into_iter().map(move |strip| (merge, strip)));
        habits.map(move |(merge, strip)| read(path, separators, merge, strip))
    })
}

/// What separates segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Separators {
    /// `/`.
    Slash,
    /// `%2F` too.
    EncodedSlash,
    /// `\` and `%5C` too.
    Backslash,
}

fn read(path: &str, separators: Separators, merge: bool, strip: bool) -> String {
    let mut text = path.to_owned();
    if separators >= Separators::EncodedSlash {
        text = text.replace("%2f", "/").replace("%2F", "/");
    }
    if separators >= Separators::Backslash {
        text = text.replace(['\\'], "/").replace("%5c", "/").replace("%5C", "/");
    }
    let mut kept: Vec<Vec<u8>> = Vec::new();
    let mut segments = text.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        let named = if strip { segment.split(';').next().unwrap_or_default() } else { segment };
        match decoded(named).as_slice() {
            b"" if merge && !is_last => {}
            b"." if !is_last => {}
            b"." => kept.push(Vec::new()),
            b".." => {
                kept.pop();
                if is_last {
                    kept.push(Vec::new());
                }
            }
            name => kept.push(name.to_owned()),
        }
    }
    kept.iter().map(|segment| format!("/{}", String::from_utf8_lossy(segment))).collect()
}

/// A segment with its `%XX` escapes decoded; what is no escape stays.
pub(super) fn decoded(segment: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = (first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .filter(|hex| hex.iter().all(u8::is_ascii_hexdigit))
            .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        if let Some(byte) = escaped {
            out.push(byte);
            rest = &tail[2..];
        } else {
            out.push(first);
            rest = tail;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_paths_are_plain_and_everything_else_is_looked_at() {
        for path in ["/", "/access/v2/invoke/202007/QDFPSC", "/access/v2/invoke/202007/QDFPSC/", "/a.b/c..d"]
        {
            assert!(is_plain(path), "{path}");
        }
        for path in ["/access/../x", "/a/./b", "/a//b", "/a/%2e%2e/b", "/a\\..\\b", "/a/..;/b", "/.hidden"] {
            assert!(!is_plain(path), "{path}");
        }
    }

    #[test]
    fn a_path_is_read_in_every_way_that_a_server_may_have() {
        for (path, reading) in [
            ("/access/sandbox/../v2", "/access/v2"),
            ("/access/sandbox/%2e%2E/v2", "/access/v2"),
            ("/access/sandbox/..%2fv2", "/access/v2"),
            ("/access/sandbox\\..\\v2", "/access/v2"),
            ("/access/sandbox/..;x=1/v2", "/access/v2"),
            ("/access/sandbox//../v2", "/access/v2"),
            ("/access/%73andbox/v2", "/access/sandbox/v2"),
            ("/access//sandbox/v2", "/access/sandbox/v2"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/../../a", "/a"),
        ] {
            assert!(readings(path).any(|read| read == reading), "{path} is never read as {reading}");
        }
    }
}
