//! Certificate files that change while the gateway runs.

use leqi_gateway::tls::certificate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{common::eventually, load::certificate_of, stand::Stand};

const WATCH: &str = "\n[reload]\nwatch_certificates = \"100ms\"\n";
const TAKEN: &str = r#"leqi_gateway_certificate_renewals_total{result="taken"}"#;
const UNUSABLE: &str = r#"leqi_gateway_certificate_renewals_total{result="unusable"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn changed_certificate_files_are_taken_over_without_dropping_a_connection() {
    let stand = Stand::start(WATCH);
    let (mut kept, old) = certificate_of(stand.gateway.data, &stand.ca()).await;
    let new = stand.renew_certificate();
    assert_ne!(old, new);
    eventually("the new files are taken over", || stand.metric(TAKEN).filter(|times| *times >= 1.0));
    let (_, shown) = certificate_of(stand.gateway.data, &stand.ca()).await;
    assert_eq!(shown, new);
    kept.write_all(b"GET /nowhere HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    kept.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 404", "a connection from before goes on");
    let series = format!(
        "leqi_gateway_certificate_not_after_timestamp_seconds{{index=\"0\",listener=\"{}\"}}",
        stand.gateway.data
    );
    let ends = certificate::describe(&new).unwrap().not_after.as_second();
    let told = eventually("the end of its validity is told", || stand.metric(&series));
    assert!(told <= ends as f64, "{told} {ends}");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_pair_is_not_taken_and_said_until_the_other_half_comes() {
    let stand = Stand::start(WATCH);
    let (_, old) = certificate_of(stand.gateway.data, &stand.ca()).await;
    let key = stand.path().join("certs/server.key");
    let kept = std::fs::read(&key).unwrap();
    let new = stand.renew_certificate();
    let new_key = std::fs::read(&key).unwrap();
    std::fs::write(&key, kept).unwrap();
    eventually("the mismatch is counted", || stand.metric(UNUSABLE).filter(|times| *times >= 1.0));
    let (_, shown) = certificate_of(stand.gateway.data, &stand.ca()).await;
    assert_eq!(shown, old, "the old certificate stays");
    assert!(
        stand.gateway.log().contains("does not belong to the first certificate"),
        "{}",
        stand.gateway.log()
    );
    std::fs::write(&key, new_key).unwrap();
    eventually("the whole pair is taken over", || stand.metric(TAKEN).filter(|times| *times >= 1.0));
    let (_, shown) = certificate_of(stand.gateway.data, &stand.ca()).await;
    assert_eq!(shown, new);
}
