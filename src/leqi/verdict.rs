//! What an answer to a call that changes something proves (design.md §3: settle on evidence only).

use super::{
    CodecError, Opened, Payload, Sm4Key, catalogue,
    messages::{self, UploadAnswer},
};
use crate::domain::InvoiceNo;

/// What is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The platform took it: `returncode` is `00`.
    Accepted {
        /// `sllsh`, of uploads.
        acceptance_no: Option<String>,
        /// The decrypted `Data`.
        json: Vec<u8>,
    },
    /// Refused because these numbers are at the platform already: no refusal of them, and nothing new.
    AlreadyUploaded {
        /// The numbers that the text names; empty when it names none.
        invoice_nos: Vec<InvoiceNo>,
        /// The code that came with it.
        code: String,
        /// The platform's words.
        text: String,
    },
    /// The platform did nothing.
    Refused {
        /// `Error.Code`, `returncode`, the front door's number or the HTTP status.
        code: String,
        /// The platform's words; may be empty.
        text: String,
    },
    /// Nothing: it may have been done or not.
    Unclear {
        /// Why, in English.
        reason: &'static str,
    },
}

/// The platform is failing or still at it; what it did is not said.
const UNCLEAR_CODES: [&str; 3] = ["10", "500", "5001"];

/// Judges an answer: its HTTP status and its body, no longer compressed. Without the key nothing encrypted proves
/// anything.
#[must_use]
pub fn judge(status: u16, body: &[u8], key: Option<&Sm4Key>) -> Verdict {
    judge_opened(status, body, Opened::read(body, key))
}

/// The same for an answer that was read already; `body` are the bytes that it was read from.
#[must_use]
pub fn judge_opened(status: u16, body: &[u8], opened: Result<Opened, CodecError>) -> Verdict {
    match status {
        200..=299 => {}
        // 408: a proxy on the way gave up waiting, which says nothing about what lies behind it
        400..=407 | 409..=499 => return refused_by_status(status, body, opened),
        _ => return Verdict::Unclear { reason: "the HTTP status says neither yes nor no" },
    }
    let Ok(Opened { envelope, data }) = opened else {
        return Verdict::Unclear { reason: "the answer is not the platform's envelope" };
    };
    let number = envelope.http_status_code.as_deref().unwrap_or_default();
    match &envelope.payload {
        Payload::Data(_) => judge_data(data),
        Payload::Error { code, message } => judge_error(number, code, message),
        Payload::Nothing => judge_front_door(number, ""),
        Payload::Text(text) => judge_front_door(number, text),
    }
}

fn refused_by_status(status: u16, body: &[u8], opened: Result<Opened, CodecError>) -> Verdict {
    match opened.map(|opened| opened.envelope.payload) {
        Ok(Payload::Error { code, message }) => refusal(code, message),
        Ok(Payload::Text(text)) => refusal(status.to_string(), text),
        Ok(Payload::Data(_) | Payload::Nothing) => refusal(status.to_string(), String::new()),
        Err(_) => refusal(status.to_string(), words(body)),
    }
}

/// The beginning of a body that is words: `ResourceNotFound` of a wrong path, but not a page of HTML.
fn words(body: &[u8]) -> String {
    let text = std::str::from_utf8(body).unwrap_or_default().trim();
    if text.starts_with('<') { String::new() } else { text.chars().take(200).collect() }
}

fn judge_data(data: Result<Option<Vec<u8>>, CodecError>) -> Verdict {
    let json = match data {
        Ok(Some(json)) => json,
        Err(CodecError::KeyMissing) => {
            return Verdict::Unclear { reason: "the answer is encrypted and no key is known for it" };
        }
        Ok(None) | Err(_) => return Verdict::Unclear { reason: "the answer cannot be decrypted" },
    };
    let Ok(answer) = messages::read::<UploadAnswer>(&json) else {
        return Verdict::Unclear { reason: "the decrypted answer is not a message of the platform" };
    };
    match answer.return_code.as_str() {
        messages::Answer::SUCCESS => Verdict::Accepted { acceptance_no: answer.acceptance_no, json },
        "" => Verdict::Unclear { reason: "the decrypted answer has no returncode" },
        code if is_unclear(code) => {
            Verdict::Unclear { reason: "the platform is failing or still processing" }
        }
        _ => refusal(answer.return_code, answer.return_message),
    }
}

fn judge_error(number: &str, code: &str, message: &str) -> Verdict {
    if is_unclear(code) || is_unclear(number) {
        Verdict::Unclear { reason: "the platform is failing or still processing" }
    } else if code.is_empty() && message.is_empty() {
        Verdict::Unclear { reason: "the platform's error has neither code nor text" }
    } else {
        refusal(code.to_owned(), message.to_owned())
    }
}

/// Only numbers that are known to be refusals prove one, and those that mean what HTTP means by them.
fn judge_front_door(number: &str, text: &str) -> Verdict {
    let like_http = number.len() == 3 && number.starts_with('4') && number != "408";
    if is_unclear(number) {
        Verdict::Unclear { reason: "the platform is failing or still processing" }
    } else if catalogue::is_refusal_code(number) || like_http {
        let known = catalogue::refusal_text(number).unwrap_or_default();
        refusal(number.to_owned(), if text.is_empty() { known } else { text }.to_owned())
    } else {
        Verdict::Unclear { reason: "the answer has neither data nor a known refusal" }
    }
}

/// 10, 500 and 5001 are documented as such (refusals.csv); every other number of the form 5xx is HTTP's.
fn is_unclear(code: &str) -> bool {
    let server_error = code.len() == 3 && code.starts_with('5') && code.bytes().all(|b| b.is_ascii_digit());
    server_error || UNCLEAR_CODES.contains(&code)
}

fn refusal(code: String, text: String) -> Verdict {
    if text.contains("在数据库中已存在") {
        let invoice_nos = invoice_nos(&text);
        Verdict::AlreadyUploaded { invoice_nos, code, text }
    } else {
        Verdict::Refused { code, text }
    }
}

/// Every run of exactly 20 digits.
fn invoice_nos(text: &str) -> Vec<InvoiceNo> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|run| InvoiceNo::parse(run).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leqi::{write_data, write_error, write_front_door};
    use proptest::prelude::*;

    fn key() -> Sm4Key {
        Sm4Key::from_bytes([5; 16])
    }

    fn data(json: &str) -> Vec<u8> {
        write_data("0123456789abcdef", &key(), json.as_bytes())
    }

    #[test]
    fn returncode_00_proves_acceptance_and_any_other_a_refusal() {
        let json = r#"{"returncode":"00","returnmsg":"成功","sllsh":"abc"}"#;
        let accepted = Verdict::Accepted { acceptance_no: Some("abc".into()), json: json.into() };
        assert_eq!(judge(200, &data(json), Some(&key())), accepted);
        let refused = Verdict::Refused { code: "99".into(), text: "授信额度不足".into() };
        assert_eq!(
            judge(200, &data(r#"{"returncode":"99","returnmsg":"授信额度不足"}"#), Some(&key())),
            refused
        );
        let refused = Verdict::Refused { code: "4033".into(), text: "x".into() };
        assert_eq!(judge(200, &write_error(200, "1", "4033", "x"), None), refused);
        assert_eq!(judge(403, b"<html>", None), Verdict::Refused { code: "403".into(), text: String::new() });
        let refused = Verdict::Refused { code: "404".into(), text: "ResourceNotFound".into() };
        assert_eq!(judge(404, b"ResourceNotFound\n", None), refused);
    }

    #[test]
    fn the_front_doors_known_numbers_are_refusals_and_its_failures_are_not() {
        let refused = |code: &str, text: &str| Verdict::Refused { code: code.into(), text: text.into() };
        assert_eq!(
            judge(200, &write_front_door(4057, "报文解密失败"), None),
            refused("4057", "报文解密失败")
        );
        assert_eq!(
            judge(200, br#"{"httpStatusCode":"4057","body":null}"#, None),
            refused("4057", "报文解密失败")
        );
        assert_eq!(judge(200, br#"{"httpStatusCode":404}"#, None), refused("404", ""));
        assert!(matches!(judge(200, br#"["4057"]"#, None), Verdict::Unclear { .. }), "a list is no envelope");
        for unclear in [500, 503, 5001, 10, 200, 4999] {
            let verdict = judge(200, &write_front_door(unclear, "异常"), None);
            assert!(matches!(verdict, Verdict::Unclear { .. }), "{unclear}: {verdict:?}");
        }
    }

    #[test]
    fn whatever_cannot_be_read_to_the_end_proves_nothing() {
        let good = data(r#"{"returncode":"00"}"#);
        let cases: [(u16, Vec<u8>, Option<Sm4Key>); 12] = [
            (500, good.clone(), Some(key())),
            (302, good.clone(), Some(key())),
            (408, Vec::new(), Some(key())),
            (504, write_error(504, "1", "GW-TIMEOUT", "x"), None),
            (200, good[..good.len() / 2].to_vec(), Some(key())),
            (200, good.clone(), None),
            (200, good, Some(Sm4Key::from_bytes([6; 16]))),
            (200, data(r#"{"returnmsg":"成功"}"#), Some(key())),
            (200, data(r#"{"returncode":"10","returnmsg":"处理中"}"#), Some(key())),
            (200, data("[]"), Some(key())),
            (200, write_error(200, "1", "5001", "异常"), None),
            (200, write_error(200, "1", "", ""), None),
        ];
        for (status, body, key) in cases {
            let verdict = judge(status, &body, key.as_ref());
            let text = String::from_utf8_lossy(&body).into_owned();
            assert!(matches!(verdict, Verdict::Unclear { .. }), "{status} {text}: {verdict:?}");
        }
    }

    #[test]
    fn a_number_that_is_there_already_is_neither_refused_nor_new() {
        let text = "发票号码为[26312000000000000001,26312000000000000002]在数据库中已存在";
        for body in [
            write_error(200, "1", "99", text),
            data(&format!(r#"{{"returncode":"99","returnmsg":"{text}"}}"#)),
        ] {
            let verdict = judge(200, &body, Some(&key()));
            let Verdict::AlreadyUploaded { invoice_nos, .. } = verdict else { panic!("{verdict:?}") };
            assert_eq!(invoice_nos.len(), 2);
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_judged(status: u16, body: Vec<u8>, json in "\\PC*") {
            let _ = judge(status, &body, Some(&key()));
            let verdict = judge(200, &data(&json), Some(&key()));
            let accepted = matches!(verdict, Verdict::Accepted { .. });
            prop_assert!(!accepted || json.contains("00"));
        }
    }
}
