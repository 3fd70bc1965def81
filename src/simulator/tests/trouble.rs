//! Scripted faults and the control under `/_sim/`.

use super::*;

/// Scripts a fault for the next balance query, and asks for the balance.
async fn struck(platform: &Platform, fault: Value) -> Result<Answer, String> {
    let caller = platform.caller(2);
    let mut fault = fault;
    fault["service"] = json!("CXSXED");
    let (status, left) = platform.control(Method::POST, "/_sim/faults", &json!([fault]).to_string()).await;
    assert_eq!(status, StatusCode::OK, "{left}");
    let ask = json!({ "nsrsbh": caller.unit.tax_no }).to_string();
    let body = STANDARD.encode(leqi::encrypt(&caller.key, ask.as_bytes())).into_bytes();
    platform.send(&caller, "CXSXED", body).await
}

fn last(platform: &Platform) -> crate::simulator::books::Call {
    platform.simulator.books.calls.all().pop().unwrap()
}

#[tokio::test]
async fn connections_are_reset_before_and_after_the_body() {
    let platform = Platform::start().await;
    struck(&platform, json!({ "kind": "reset_before_read" })).await.unwrap_err();
    let call = last(&platform);
    assert!(!call.answered && !call.processed && call.body_sha256.is_none());
    struck(&platform, json!({ "kind": "reset_after_read", "processed": true })).await.unwrap_err();
    let call = last(&platform);
    assert!(!call.answered && call.processed && call.body_sha256.is_some());
    struck(&platform, json!({ "kind": "reset_after_read" })).await.unwrap_err();
    assert!(!last(&platform).processed);
}

#[tokio::test]
async fn answers_are_late_in_drops_cut_or_no_envelopes() {
    let platform = Platform::start().await;
    let key = platform.caller(2).key;
    for fault in [json!({ "kind": "delay", "ms": 1 }), json!({ "kind": "drip", "ms": 1 })] {
        let answer = struck(&platform, fault).await.unwrap();
        assert_eq!(opened(&answer, &key).0, "00");
    }
    struck(&platform, json!({ "kind": "truncate" })).await.unwrap_err();
    assert!(last(&platform).processed && !last(&platform).answered);
    let answer = struck(&platform, json!({ "kind": "malformed" })).await.unwrap();
    assert!(serde_json::from_slice::<Value>(&answer.body).is_err());
    let answer = struck(&platform, json!({ "kind": "status", "status": 502 })).await.unwrap();
    assert_eq!((answer.status, last(&platform).processed), (StatusCode::BAD_GATEWAY, false));
    let stalled = struck(&platform, json!({ "kind": "stall" }));
    assert!(tokio::time::timeout(std::time::Duration::from_millis(200), stalled).await.is_err());
}

#[tokio::test]
async fn envelopes_take_every_form_that_was_seen() {
    let platform = Platform::start().await;
    let key = platform.caller(2).key;
    for form in ["body_object", "numeric_status", "response_string", "usual"] {
        let answer = struck(&platform, json!({ "kind": "envelope", "form": form })).await.unwrap();
        assert_eq!(opened(&answer, &key).0, "00", "{form}");
        let read = leqi::read_envelope(&answer.body).unwrap();
        assert!(read.open(&key).unwrap().is_some(), "{form}: the gateway reads it too");
    }
    let answer = struck(&platform, json!({ "kind": "wrong_key" })).await.unwrap();
    let read = leqi::read_envelope(&answer.body).unwrap();
    assert!(read.open(&key).is_err());
}

#[tokio::test]
async fn every_known_refusal_can_be_scripted() {
    let platform = Platform::start().await;
    let key = platform.caller(2).key;
    for known in crate::simulator::refusal::FRONT_DOOR {
        let answer = struck(&platform, json!({ "kind": "refuse", "code": known.0 })).await.unwrap();
        assert_eq!(opened(&answer, &key), (known.0.to_owned(), known.1.into()));
    }
    let answer = struck(&platform, json!({ "kind": "refuse", "code": "403" })).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::FORBIDDEN, &b"Forbidden"[..]));
}

#[tokio::test]
async fn a_fault_lets_calls_pass_and_strikes_as_often_as_it_says() {
    let platform = Platform::start().await;
    let caller = platform.caller(2);
    let ask = json!({ "nsrsbh": caller.unit.tax_no });
    let script = r#"{"faults":[{"kind":"refuse","code":"4067","skip":1,"times":2}]}"#;
    platform.control(Method::POST, "/_sim/faults", script).await;
    let mut codes = Vec::new();
    for _ in 0..4 {
        codes.push(platform.call(&caller, "CXSXED", &ask).await.0);
    }
    assert_eq!(codes, ["00", "4067", "4067", "00"]);
    platform.control(Method::POST, "/_sim/faults", r#"[{"kind":"refuse","code":"4067","times":0}]"#).await;
    for _ in 0..3 {
        assert_eq!(platform.call(&caller, "CXSXED", &ask).await.0, "4067");
    }
    platform.control(Method::POST, "/_sim/faults", "[]").await;
    platform.ask(&caller, "CXSXED", &ask).await;
}

#[tokio::test]
async fn the_clock_moves_and_bad_control_input_says_what_is_wrong() {
    let platform = Platform::start().await;
    let (_, now) =
        platform.control(Method::POST, "/_sim/clock", r#"{"now":"2026-12-01T00:00:00+08:00"}"#).await;
    assert!(now["now"].as_str().unwrap().starts_with("2026-11-30T16:00:00"), "{now}");
    let (_, now) = platform.control(Method::POST, "/_sim/clock", r#"{"advance":3600}"#).await;
    assert!(now["now"].as_str().unwrap().starts_with("2026-11-30T17:00:00"), "{now}");
    for (path, body, words) in [
        ("/_sim/clock", "{}", "either"),
        ("/_sim/clock", r#"{"now":"tomorrow"}"#, "line 1"),
        ("/_sim/faults", r#"[{"kind":"earthquake"}]"#, "unknown variant"),
        ("/_sim/faults", r#"[{"kind":"stall","servis":"X"}]"#, "unknown field"),
        ("/_sim/credit", r#"{"tax_no":"123"}"#, "tax number"),
        ("/_sim/credit", "not json", "line 1"),
    ] {
        let (status, answer) = platform.control(Method::POST, path, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {body}");
        assert!(answer["error"].as_str().unwrap().contains(words), "{path} {body}: {answer}");
    }
    assert_eq!(platform.control(Method::GET, "/_sim/nothing", "").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn calls_can_be_followed_while_they_come_in() {
    let platform = Platform::start().await;
    let caller = platform.caller(2);
    let ask = json!({ "nsrsbh": caller.unit.tax_no });
    for _ in 0..3 {
        platform.ask(&caller, "CXSXED", &ask).await;
    }
    let (_, all) = platform.control(Method::GET, "/_sim/calls", "").await;
    assert_eq!((&all["calls_received"], all["calls"].as_array().unwrap().len()), (&json!(3), 3));
    let (_, later) = platform.control(Method::GET, "/_sim/calls?after=2", "").await;
    assert_eq!((&later["calls"][0]["number"], later["calls"].as_array().unwrap().len()), (&json!(3), 1));
    let (_, none) = platform.control(Method::GET, "/_sim/calls?after=3", "").await;
    assert_eq!(none["calls"], json!([]));
    let (status, _) = platform.control(Method::GET, "/_sim/calls?after=x", "").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}
