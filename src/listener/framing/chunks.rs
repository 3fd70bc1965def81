//! A body in chunks (RFC 9112 §7.1), followed byte by byte.

use super::{
    HeadLimits,
    head::{header, is_lookalike},
};

/// Bytes of one chunk's extensions.
const EXTENSION_LIMIT: u16 = 256;
/// Hexadecimal digits of a chunk's size: what fits any integer of any server on the way.
const SIZE_DIGITS: u8 = 15;

/// Where a body in chunks stands.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    at: At,
    /// Bytes of the chunk that are to come.
    left: u64,
    /// The trailer line that has begun, and the bytes of all.
    trailer: Vec<u8>,
    trailers: usize,
}

#[derive(Clone, Copy, Debug, Default)]
enum At {
    /// In the size, after so many digits.
    Size(u8),
    Extension(u16),
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailer,
    #[default]
    Begin,
}

impl Chunks {
    /// Looks at bytes: how many belong to the body, and whether it ends with them.
    ///
    /// # Errors
    /// How many bytes are right, and what is wrong with the next.
    pub(super) fn look(
        &mut self,
        bytes: &[u8],
        limits: HeadLimits,
    ) -> Result<(usize, bool), (usize, &'static str)> {
        let mut at = 0;
        while at < bytes.len() {
            if let At::Data = self.at {
                let rest = bytes.len() - at;
                let taken = usize::try_from(self.left).map_or(rest, |left| left.min(rest));
                self.left -= taken as u64;
                at += taken;
                if self.left == 0 {
                    self.at = At::DataCr;
                }
                continue;
            }
            match self.step(bytes[at], limits) {
                Ok(ended) => {
                    at += 1;
                    if ended {
                        return Ok((at, true));
                    }
                }
                Err(why) => return Err((at, why)),
            }
        }
        Ok((at, false))
    }

    /// One byte outside of data; whether the body ends with it.
    fn step(&mut self, byte: u8, limits: HeadLimits) -> Result<bool, &'static str> {
        self.at = match (self.at, byte) {
            (At::Begin, _) => {
                self.left = digit(byte)?;
                At::Size(1)
            }
            (At::Size(_), b'\r') => At::SizeLf,
            (At::Size(_), b';') => At::Extension(0),
            (At::Size(SIZE_DIGITS..), _) => return Err("chunk_size"),
            (At::Size(digits), _) => {
                self.left = self.left * 16 + digit(byte)?;
                At::Size(digits + 1)
            }
            (At::Extension(_), b'\r') => At::SizeLf,
            (At::Extension(length), b'\t' | b' '..=b'~' | 0x80..) if length < EXTENSION_LIMIT => {
                At::Extension(length + 1)
            }
            (At::Extension(_), _) => return Err("chunk_extension"),
            (At::SizeLf, b'\n') if self.left == 0 => At::Trailer,
            (At::SizeLf, b'\n') => At::Data,
            (At::SizeLf, _) => return Err("chunk_extension"),
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Begin,
            (At::DataCr | At::DataLf | At::Data, _) => return Err("chunk_end"),
            (At::Trailer, _) => return self.trailer(byte, limits),
        };
        Ok(false)
    }

    fn trailer(&mut self, byte: u8, limits: HeadLimits) -> Result<bool, &'static str> {
        self.trailers += 1;
        self.trailer.push(byte);
        if self.trailers > limits.bytes {
            return Err("trailer");
        }
        if byte != b'\n' {
            return Ok(false);
        }
        let Some(line) = self.trailer.strip_suffix(b"\r\n") else { return Err("trailer") };
        if line.is_empty() {
            return Ok(true);
        }
        let (name, _) = header(line).map_err(|_| "trailer")?;
        let forbidden: [&[u8]; 3] = [b"content-length", b"transfer-encoding", b"host"];
        if forbidden.iter().any(|of| is_lookalike(name, of)) {
            return Err("trailer");
        }
        self.trailer.clear();
        Ok(false)
    }
}

fn digit(byte: u8) -> Result<u64, &'static str> {
    char::from(byte).to_digit(16).map(u64::from).ok_or("chunk_size")
}
