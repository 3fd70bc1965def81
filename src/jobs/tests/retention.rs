//! What is deleted, and what is not.

use super::*;
use crate::{
    domain::{ExchangeId, ExchangeIds, InvoiceNo},
    store::exchanges::{Filter, Record, State},
};

fn record(id: ExchangeId, at: Timestamp, number: &str) -> Record {
    let mut record = Record::open(id, at);
    record.state = State::Complete;
    record.request_body = bytes::Bytes::from_static(b"request");
    record.response_body = bytes::Bytes::from_static(b"response");
    record.invoice_nos = vec![InvoiceNo::parse(number).unwrap()];
    record
}

#[tokio::test]
async fn old_exchanges_go_with_bodies_and_keys_in_portions_and_young_ones_stay() {
    let bench = Bench::at("2026-11-20 10:00:00").await;
    let ids = ExchangeIds::new(0, None);
    let table = &bench.store.exchanges;
    let (old, young) = (beijing("2026-11-01 10:00:00"), beijing("2026-11-11 10:00:00"));
    let mut records: Vec<_> = (0..1200).map(|n| record(ids.next(old), old, &format!("26{n:018}"))).collect();
    records.push(record(ids.next(young), young, "26999999999999999999"));
    let (first, last) = (records[0].id, records[1200].id);
    table.write(records.into()).await.unwrap();

    let job = RetentionJob {
        exchanges: Arc::clone(table),
        idempotency: Arc::clone(&bench.store.idempotency),
        tokens: Arc::clone(&bench.store.tokens),
        clock: bench.clock.clone(),
        retention: Retention { exchanges: Duration::from_secs(10 * 24 * 3600), ..Retention::default() },
        metrics: bench.metrics.clone(),
    };
    let (_trigger, shutdown) = shutdown::channel();
    let lease = bench.town.try_lease("retention").await.unwrap().unwrap();
    let context = super::super::job::Context::new(JobName::Retention, shutdown, Arc::from(lease));
    let mut outcome = Outcome::default();
    job.run(&context, &mut outcome).await.unwrap();
    assert_eq!(outcome.done, 1200);
    assert!(table.by_id(first).await.unwrap().is_none());
    assert!(table.body(first, store::exchanges::Side::Request).await.unwrap().is_none());
    assert_eq!(table.body(last, store::exchanges::Side::Response).await.unwrap().unwrap().bytes, "response");
    for (number, found) in [("26000000000000000000", 0), ("26999999999999999999", 1)] {
        let filter = Filter { invoice_no: Some(InvoiceNo::parse(number).unwrap()), ..Filter::default() };
        assert_eq!(table.search(&filter, None, 10).await.unwrap().len(), found, "{number}");
    }
    let mut again = Outcome::default();
    job.run(&context, &mut again).await.unwrap();
    assert_eq!(again, Outcome::default());
}

#[tokio::test]
async fn revoked_tokens_are_forgotten_in_the_end_and_valid_ones_never() {
    let bench = Bench::at("2026-11-20 10:00:00").await;
    let tokens = crate::unit::token::Tokens::new(Arc::clone(&bench.store.tokens), bench.clock.clone());
    for name in ["kept", "revoked"] {
        tokens.create(name, crate::unit::token::TokenRole::Viewer, "me").await.unwrap();
    }
    tokens.revoke("revoked", "me").await.unwrap();
    let table = &bench.store.tokens;
    assert_eq!(table.forget_revoked(bench.clock.now() - Duration::from_secs(60)).await.unwrap(), 0);
    assert_eq!(table.forget_revoked(bench.clock.now() + Duration::from_secs(60)).await.unwrap(), 1);
    let names: Vec<_> = table.all().await.unwrap().into_iter().map(|token| token.name).collect();
    assert_eq!(names, ["kept"]);
}
