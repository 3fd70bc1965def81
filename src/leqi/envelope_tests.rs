use std::io::Write;

use proptest::prelude::*;

use super::*;
use crate::leqi::vectors;

fn key() -> Sm4Key {
    Sm4Key::from_hex("0123456789abcdeffedcba9876543210").unwrap()
}

#[test]
fn the_envelopes_of_the_vectors_are_all_read() {
    let vectors = vectors::load();
    let envelopes = vectors["envelopes"].as_array().unwrap();
    assert_eq!(envelopes.len(), 5);
    for vector in envelopes {
        let name = &vector["name"];
        let envelope = read_envelope(vector["bytes"].as_str().unwrap().as_bytes()).unwrap();
        if let Some(id) = vector["request_id"].as_str() {
            assert_eq!(envelope.request_id.as_deref(), Some(id), "{name}");
        }
        if let Some(plain) = vector["data_plaintext"].as_str() {
            assert_eq!(envelope.open(&key()).unwrap().as_deref(), Some(plain.as_bytes()), "{name}");
        }
        if let Some(error) = vector.get("error") {
            let code = error["code"].as_str().unwrap().to_owned();
            let message = error["message"].as_str().unwrap().to_owned();
            assert_eq!(envelope.payload, Payload::Error { code, message }, "{name}");
            assert_eq!(envelope.open(&key()).unwrap(), None);
        }
        if let Some(code) = vector.get("http_status_code") {
            assert_eq!(envelope.http_status_code, Some(code.to_string()), "{name}");
            assert_eq!(envelope.payload, Payload::Text("报文解密失败".into()), "{name}");
        }
    }
}

#[test]
fn success_and_error_are_written_as_the_vectors_have_them() {
    let vectors = vectors::load();
    let success = &vectors["envelopes"][0];
    let written =
        write_data("e0c4ae4cfb5ccb11", &key(), success["data_plaintext"].as_str().unwrap().as_bytes());
    assert_eq!(String::from_utf8(written).unwrap(), success["bytes"].as_str().unwrap());
    let written = write_error(200, "e0c4ae4cfb5ccb11", "4033", "使用单位未授权此能力");
    assert_eq!(String::from_utf8(written).unwrap(), vectors["envelopes"][3]["bytes"].as_str().unwrap());
    let written = write_front_door(4057, "报文解密失败");
    assert_eq!(String::from_utf8(written).unwrap(), vectors["envelopes"][4]["bytes"].as_str().unwrap());
}

#[test]
fn the_shapes_that_the_front_door_may_have_are_read() {
    let error = Payload::Error { code: "4067".into(), message: "地址".into() };
    for (bytes, status, payload) in [
        (r#"{"httpStatusCode":"4067"}"#, "4067", Payload::Nothing),
        (r#"{"httpStatusCode":4067,"body":null}"#, "4067", Payload::Nothing),
        (r#"{"httpStatusCode":4067,"body":""}"#, "4067", Payload::Nothing),
        (
            r#"{"httpStatusCode":4067,"body":{"msg":"地址"}}"#,
            "4067",
            Payload::Text(r#"{"msg":"地址"}"#.into()),
        ),
        (r#"{"httpStatusCode":4067,"body":"{oops"}"#, "4067", Payload::Text("{oops".into())),
        (
            r#"{"httpStatusCode":200,"body":{"Response":{"Error":{"Code":4067,"Message":"地址"}}}}"#,
            "200",
            error.clone(),
        ),
        (
            r#"{"httpStatusCode":200,"Response":{"Error":{"Code":"4067","Message":"地址"}}}"#,
            "200",
            error.clone(),
        ),
        (r#"{"httpStatusCode":200,"body":{"Error":{"Code":"4067","Message":"地址"}}}"#, "200", error),
        (
            r#"{"httpStatusCode":200,"body":{"Response":{"RequestId":"1","Data":"AA","Error":null}}}"#,
            "200",
            Payload::Data("AA".into()),
        ),
        (
            r#"{"httpStatusCode":200,"body":{"Response":{"RequestId":"1","Data":null}}}"#,
            "200",
            Payload::Nothing,
        ),
    ] {
        let envelope = read_envelope(bytes.as_bytes()).unwrap();
        assert_eq!(envelope.http_status_code.as_deref(), Some(status), "{bytes}");
        assert_eq!(envelope.payload, payload, "{bytes}");
    }
}

#[test]
fn what_is_no_envelope_is_an_error() {
    for bytes in ["", "<html>403 Forbidden</html>", "[]", "{}", "null", r#"{"status":"ok"}"#, "{\"body\":"] {
        assert!(read_envelope(bytes.as_bytes()).is_err(), "{bytes}");
    }
    let deep = format!("{{\"body\":{}", "[".repeat(100_000));
    assert!(matches!(read_envelope(deep.as_bytes()), Err(CodecError::TooDeep(_))));
    let envelope = read_envelope(br#"{"httpStatusCode":200,"body":{"Response":{"Data":"%%%%"}}}"#).unwrap();
    assert!(matches!(envelope.open(&key()), Err(CodecError::Base64(_))));
}

#[test]
fn nothing_that_the_gateway_writes_holds_a_unicode_escape() {
    let written =
        String::from_utf8(write_error(502, "a\u{1}", "GW-\u{7}", "第一行\u{0}\n第二行\u{9f}")).unwrap();
    assert!(!written.contains("\\u"), "{written}");
    let envelope = read_envelope(written.as_bytes()).unwrap();
    assert_eq!(envelope.http_status_code.as_deref(), Some("502"));
}

#[test]
fn gzip_is_unpacked_up_to_the_limit() {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&vec![b' '; 1_000_000]).unwrap();
    let packed = packed.finish().unwrap();
    assert_eq!(gunzip(&packed, 1_000_000).unwrap().len(), 1_000_000);
    assert!(matches!(gunzip(&packed, 999_999), Err(CodecError::TooLarge(_))));
    assert!(matches!(gunzip(&packed[..packed.len() / 2], 1_000_000), Err(CodecError::Gzip(_))));
    assert!(matches!(gunzip(b"not gzip", 10), Err(CodecError::Gzip(_))));
}

proptest! {
    #[test]
    fn data_and_errors_that_were_written_are_read_back(id in "[0-9a-f]{16}", code in "\\PC{0,8}", text in "\\PC*") {
        let json = serde_json::to_vec(&[&text]).unwrap();
        let envelope = read_envelope(&write_data(&id, &key(), &json)).unwrap();
        prop_assert_eq!(envelope.open(&key()).unwrap(), Some(json));
        prop_assert_eq!(envelope.request_id.as_deref(), Some(id.as_str()));
        let envelope = read_envelope(&write_error(200, &id, &code, &text)).unwrap();
        prop_assert_eq!(envelope.payload, Payload::Error { code, message: text });
    }

    #[test]
    fn any_bytes_are_an_envelope_or_an_error(bytes: Vec<u8>, text in "[{}\\[\\]\":,a-z0-9\\\\]*") {
        let _ = read_envelope(&bytes);
        let _ = read_envelope(text.as_bytes());
        let _ = read_envelope(format!("{{\"body\":{text}}}").as_bytes());
        let _ = gunzip(&bytes, 1000);
    }
}
