//! The two ways to stop.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    common::{client::Client, eventually},
    stand::Stand,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once_and_says_so_with_its_exit_code() {
    let mut stand = Stand::start("");
    stand.simulator.faults(&json!([{ "kind": "delay", "service": "CXNSRJBXX", "ms": 20_000, "times": 1 }]));
    let client = Client::new(stand.gateway.plain, &stand.simulator.units, &stand.unit);
    let request = json!({ "nsrsbh": stand.unit.tax_no });
    let call = tokio::spawn(async move { client.call("CXNSRJBXX", &request).await });
    eventually("the call is in flight", || {
        stand.metric("leqi_gateway_requests_in_flight").filter(|calls| *calls >= 1.0)
    });
    let id = stand.gateway.process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    eventually("the drain has begun", || {
        stand.gateway.log().contains("draining: no new calls").then_some(())
    });
    let began = Instant::now();
    assert_eq!(stand.gateway.process.terminate(), 1);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(stand.gateway.log().contains("ended at once by a second signal"), "{}", stand.gateway.log());
    call.await.unwrap();
}
