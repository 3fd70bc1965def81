//! Keys of POSTs on a real database.

use jiff::{Span, Timestamp};

use crate::{
    store::{
        self,
        idempotency::{Begun, KeyedRequest, StoredAnswer},
    },
    telemetry::metrics::Metrics,
};

fn request(fingerprint: u8) -> KeyedRequest {
    KeyedRequest { actor: "me".to_owned(), key: "k-1".to_owned(), fingerprint: [fingerprint; 32] }
}

fn answer() -> StoredAnswer {
    StoredAnswer { status: 201, content_type: "application/json".to_owned(), body: b"{}".to_vec() }
}

#[tokio::test]
async fn a_key_is_used_once_answered_again_and_forgotten_after_a_day() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.db");
    let config = store::testing::config(&path);
    let metrics = store::Metrics::register(&Metrics::new().unwrap()).unwrap();
    let keys = store::open(&config, &metrics).await.unwrap().idempotency;
    let now: Timestamp = "2026-11-23T04:00:00Z".parse().unwrap();

    assert_eq!(keys.begin(request(1), now).await.unwrap(), Begun::Fresh);
    assert_eq!(keys.begin(request(1), now).await.unwrap(), Begun::InProgress);
    assert_eq!(keys.begin(request(2), now).await.unwrap(), Begun::Mismatch);
    let other = KeyedRequest { actor: "you".to_owned(), ..request(2) };
    assert_eq!(keys.begin(other, now).await.unwrap(), Begun::Fresh);
    keys.abandon(request(1)).await.unwrap();
    assert_eq!(keys.begin(request(1), now).await.unwrap(), Begun::Fresh);

    keys.finish(request(1), answer()).await.unwrap();
    keys.abandon(request(1)).await.unwrap();
    let later = now + Span::new().hours(23);
    assert_eq!(keys.begin(request(1), later).await.unwrap(), Begun::Replay(answer()));
    assert_eq!(keys.begin(request(1), now + Span::new().hours(25)).await.unwrap(), Begun::Fresh);
    let given_up = now + Span::new().hours(25) + Span::new().minutes(11);
    assert_eq!(keys.begin(request(1), given_up).await.unwrap(), Begun::Fresh);
}
