//! The check that every JSON text from outside passes before anything is built from it.

use serde::de::IgnoredAny;

use super::CodecError;

/// The deepest nesting that is accepted; the platform's own messages have about six levels.
pub const MAX_DEPTH: usize = 64;

/// Checks that the bytes are one JSON text in UTF-8, nested no deeper than [`MAX_DEPTH`], without building anything.
///
/// # Errors
/// What it is instead.
pub fn check(bytes: &[u8]) -> Result<&str, CodecError> {
    let text = std::str::from_utf8(bytes)?;
    check_depth(bytes)?;
    // skips values in a loop, without recursion and without allocating per value
    serde_json::from_str::<IgnoredAny>(text)?;
    Ok(text)
}

/// Counts brackets outside of strings in one pass.
fn check_depth(bytes: &[u8]) -> Result<(), CodecError> {
    let mut depth = 0_usize;
    let mut rest = bytes.iter();
    while let Some(&byte) = rest.next() {
        match byte {
            b'"' => {
                // to the end of the string, over escaped characters
                while let Some(&inside) = rest.next() {
                    match inside {
                        b'"' => break,
                        b'\\' => {
                            rest.next();
                        }
                        _ => {}
                    }
                }
            }
            b'[' | b'{' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(CodecError::TooDeep(MAX_DEPTH));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_is_bounded_and_brackets_in_strings_do_not_count() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(check(nested(64).as_bytes()).is_ok());
        assert!(matches!(check(nested(65).as_bytes()), Err(CodecError::TooDeep(64))));
        assert!(matches!(check("[".repeat(5_000_000).as_bytes()), Err(CodecError::TooDeep(64))));
        let text = format!(r#"{{"a":"{}\"[","b":1}}"#, "[{".repeat(100));
        assert!(check(text.as_bytes()).is_ok());
    }

    #[test]
    fn what_is_not_json_in_utf8_is_refused() {
        for bad in ["", "{", "{\"a\":}", "[1,]", "\"abc", "{} {}", "\\"] {
            assert!(matches!(check(bad.as_bytes()), Err(CodecError::Json(_))), "{bad}");
        }
        assert!(matches!(check(b"\"\xff\""), Err(CodecError::Utf8(_))));
    }
}
