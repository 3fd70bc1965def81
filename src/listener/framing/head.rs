//! One head: request line and headers, line by line as they come.

use memchr::memchr;

use super::{super::Refusal, HeadLimits};

/// How the body behind a head is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    None,
    Length(u64),
    Chunked,
}

/// What is known of a head that may not be complete.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// Where the first line begins that was not looked at.
    line: usize,
    /// Up to where no end of that line was found.
    searched: usize,
    started: bool,
    http_1_0: bool,
    headers: usize,
    length: Option<u64>,
    chunked: bool,
    /// Where `Host`'s value stands in the head.
    host: Option<(usize, usize)>,
    /// Where the authority of a target in absolute form stands.
    authority: Option<(usize, usize)>,
}

impl Head {
    /// Looks at a head from its beginning; gives its length and how its body is framed once it is complete.
    pub(super) fn look(&mut self, head: &[u8], limits: HeadLimits) -> Result<Option<(usize, Body)>, Refusal> {
        while let Some(found) = memchr(b'\n', &head[self.searched..]) {
            let newline = self.searched + found;
            if newline >= limits.bytes {
                return Err(Refusal::HeadTooLarge);
            }
            let Some(end) = newline.checked_sub(1).filter(|end| *end >= self.line && head[*end] == b'\r')
            else {
                return Err(Refusal::Framing("bare_lf"));
            };
            let start = self.line;
            (self.line, self.searched) = (newline + 1, newline + 1);
            if end > start {
                self.take_line(head, start, end, limits)?;
            } else if self.started {
                return self.complete(head).map(|body| Some((self.line, body)));
            }
        }
        self.searched = head.len();
        if !self.started
            && let Some(first) = head.get(self.line)
            && *first != b'\r'
            && !is_token_byte(*first)
        {
            let tls = *first == 0x16;
            return Err(Refusal::Framing(if tls { "tls_on_plain" } else { "request_line" }));
        }
        if head.len() >= limits.bytes { Err(Refusal::HeadTooLarge) } else { Ok(None) }
    }

    fn take_line(
        &mut self,
        head: &[u8],
        start: usize,
        end: usize,
        limits: HeadLimits,
    ) -> Result<(), Refusal> {
        let line = &head[start..end];
        if !self.started {
            self.started = true;
            return self.take_request_line(line, start);
        }
        self.headers += 1;
        if self.headers > limits.headers {
            return Err(Refusal::HeadTooLarge);
        }
        let (name, value) = header(line).map_err(Refusal::Framing)?;
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                if self.host.is_some() {
                    return Err(Refusal::Framing("host_twice"));
                }
                let trimmed = trim(value);
                if !trimmed.iter().all(|byte| is_host_byte(*byte)) {
                    return Err(Refusal::Framing("host_value"));
                }
                let lead = value.len() - value.trim_ascii_start().len();
                let from = start + name.len() + 1 + lead;
                self.host = Some((from, from + trimmed.len()));
            }
            14 if is_lookalike(name, b"content-length") => self.take_length(name, trim(value))?,
            17 if is_lookalike(name, b"transfer-encoding") => self.take_encoding(name, trim(value))?,
            _ => {}
        }
        Ok(())
    }

    fn take_request_line(&mut self, line: &[u8], start: usize) -> Result<(), Refusal> {
        const WRONG: Refusal = Refusal::Framing("request_line");
        let mut parts = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(WRONG);
        };
        let is_method = !method.is_empty() && method.iter().all(|byte| is_token_byte(*byte));
        let is_target = !target.is_empty() && target.iter().all(|byte| *byte > b' ' && *byte != 0x7f);
        if !is_method || !is_target {
            return Err(WRONG);
        }
        self.http_1_0 = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            _ => return Err(Refusal::Framing("version")),
        };
        self.authority = authority(target).map(|(from, to)| {
            let before = start + method.len() + 1;
            (before + from, before + to)
        });
        Ok(())
    }

    fn take_length(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        if name.contains(&b'_') {
            return Err(Refusal::Framing("framing_lookalike"));
        }
        if self.length.is_some() {
            return Err(Refusal::Framing("length_twice"));
        }
        // `parse` alone would take a sign
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let length = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
        self.length = Some(length.ok_or(Refusal::Framing("length_value"))?);
        Ok(())
    }

    fn take_encoding(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        let why = if name.contains(&b'_') {
            "framing_lookalike"
        } else if self.http_1_0 {
            "encoding_in_http_1_0"
        } else if self.chunked {
            "encoding_twice"
        } else if !value.eq_ignore_ascii_case(b"chunked") {
            "encoding_value"
        } else {
            self.chunked = true;
            return Ok(());
        };
        Err(Refusal::Framing(why))
    }

    fn complete(&self, head: &[u8]) -> Result<Body, Refusal> {
        match (self.host, self.authority) {
            (None, _) if !self.http_1_0 => return Err(Refusal::Framing("host_missing")),
            (Some(host), Some(authority)) => {
                let same = without_port(&head[host.0..host.1])
                    .eq_ignore_ascii_case(without_port(&head[authority.0..authority.1]));
                if !same {
                    return Err(Refusal::Framing("host_conflict"));
                }
            }
            (None | Some(_), None | Some(_)) => {}
        }
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Refusal::Framing("length_and_encoding")),
            (true, None) => Ok(Body::Chunked),
            (false, None | Some(0)) => Ok(Body::None),
            (false, Some(length)) => Ok(Body::Length(length)),
        }
    }
}

/// Name and value of a header line.
pub(super) fn header(line: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    if line.first().is_some_and(|first| matches!(first, b' ' | b'\t')) {
        return Err("obs_fold");
    }
    let Some(colon) = memchr(b':', line) else { return Err("header_name") };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.is_empty() || !name.iter().all(|byte| is_token_byte(*byte)) {
        return Err("header_name");
    }
    if value.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f) {
        return Err("header_value");
    }
    Ok((name, value))
}

/// Whether a header decides about framing here or, with `_` for `-`, at a server that takes the two for one.
pub(super) fn is_lookalike(name: &[u8], of: &[u8]) -> bool {
    name.len() == of.len()
        && name
            .iter()
            .zip(of)
            .all(|(byte, of)| byte.eq_ignore_ascii_case(of) || (*byte == b'_' && *of == b'-'))
}

/// Where the authority stands in a target in absolute form.
fn authority(target: &[u8]) -> Option<(usize, usize)> {
    if target.first() == Some(&b'/') {
        return None;
    }
    let from = memchr::memmem::find(target, b"://")? + 3;
    let length = target[from..].iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
    Some((from, length.map_or(target.len(), |length| from + length)))
}

/// An authority without the ports that need not be said.
fn without_port(authority: &[u8]) -> &[u8] {
    let shorter = authority.strip_suffix(b":80").or_else(|| authority.strip_suffix(b":443"));
    shorter.unwrap_or(authority)
}

fn trim(value: &[u8]) -> &[u8] {
    value.trim_ascii()
}

/// `tchar` of RFC 9110 §5.6.2.
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// What hosts and ports are written with; no user, path or list.
const fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'[' | b']' | b'%')
}
