//! The service on a real database, before a platform that answers as it is told.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::sync::{Notify, Semaphore};

use super::*;
use crate::{
    clock::Clock,
    domain::{Money, Period, PlatformId, TaxNo},
    leqi::{
        Verdict,
        messages::{Summary, SummaryAction, SummaryList, SummaryQuery, SummaryUpload},
    },
    quota::{self, Ledger},
    store::{self, Store},
    telemetry::metrics::Metrics,
};

const ID: &str = "0123456789ABCDEF0123";

fn tax_no() -> TaxNo {
    "91350100M000100Y43".parse().unwrap()
}

fn id() -> PlatformId {
    ID.parse().unwrap()
}

fn october() -> Period {
    "2026-10".parse().unwrap()
}

fn early() -> Timestamp {
    "2026-11-05T00:00:00Z".parse().unwrap()
}

fn late() -> Timestamp {
    "2026-11-20T00:00:00Z".parse().unwrap()
}

fn totals(count: i64) -> Totals {
    Totals { blue_count: count, blue_net: Money::from_fen(count * 100), ..Totals::default() }
}

/// A platform that answers as it is told, and waits before it does when it is given a gate.
#[derive(Default)]
struct Office {
    answers: Mutex<VecDeque<Result<(), CallEnded>>>,
    list: Mutex<Vec<Summary>>,
    uploads: Mutex<Vec<SummaryUpload>>,
    arrived: Notify,
    gate: Option<Semaphore>,
}

impl Office {
    fn answering(answers: impl IntoIterator<Item = Result<(), CallEnded>>) -> Self {
        Self { answers: Mutex::new(answers.into_iter().collect()), ..Self::default() }
    }

    fn show(&self, months: impl IntoIterator<Item = Period>) {
        let summary = |period| Summary { platform_id: id(), period, totals: totals(7) };
        *self.list.lock().unwrap() = months.into_iter().map(summary).collect();
    }

    fn uploads(&self) -> usize {
        self.uploads.lock().unwrap().len()
    }
}

impl Platform for Office {
    fn identity(&self, who: &TaxNo) -> Option<Identity> {
        let known = Identity { platform_id: id(), province: "14400000000".parse().unwrap() };
        Some(known).filter(|_| *who == tax_no())
    }

    fn upload<'a>(&'a self, upload: &'a SummaryUpload) -> BoxFuture<'a, Result<(), CallEnded>> {
        Box::pin(async move {
            self.uploads.lock().unwrap().push(upload.clone());
            self.arrived.notify_one();
            if let Some(gate) = &self.gate {
                gate.acquire().await.unwrap().forget();
            }
            self.answers.lock().unwrap().pop_front().unwrap_or(Ok(()))
        })
    }

    fn query<'a>(&'a self, _: &'a SummaryQuery) -> BoxFuture<'a, Result<SummaryList, CallEnded>> {
        let summaries = self.list.lock().unwrap().clone();
        Box::pin(async { Ok(SummaryList { summaries }) })
    }
}

fn refused() -> CallEnded {
    CallEnded::Refused { code: "99".to_owned(), text: "蓝字发票金额不一致".to_owned() }
}

struct Bench {
    service: Confirmations,
    ledger: Ledger,
    office: Arc<Office>,
    clock: Clock,
    store: Store,
    directory: TempDir,
}

async fn bench(office: Office) -> Bench {
    bench_in(tempfile::tempdir().unwrap(), Arc::new(office)).await
}

async fn bench_in(directory: TempDir, office: Arc<Office>) -> Bench {
    let registry = Metrics::new().unwrap();
    let path = directory.path().join("gateway.db");
    let config = store::testing::config(&path);
    let store = store::open(&config, &store::Metrics::register(&registry).unwrap()).await.unwrap();
    let clock = Clock::starting_at(early());
    let metrics = quota::Metrics::register(&registry).unwrap();
    let ledger = Ledger::new(Arc::clone(&store.ledger), clock.clone(), quota::Config::default(), &metrics);
    let platform = Arc::clone(&office) as Arc<dyn Platform>;
    let table = Arc::clone(&store.confirmations);
    let service = Confirmations::open(table, ledger.clone(), platform, clock.clone()).await.unwrap();
    Bench { service, ledger, office, clock, store, directory }
}

impl Bench {
    async fn created(&self) -> i64 {
        self.service.create(&tax_no(), october(), "me").await.unwrap().0.id
    }

    async fn is_closed(&self) -> bool {
        let account = self.ledger.balance(&tax_no(), october()).await.unwrap();
        account.is_some_and(|account| account.closed_for.iter().any(|p| p.eq_ignore_ascii_case(ID)))
    }

    async fn state(&self, id: i64) -> State {
        self.service.get(id).await.unwrap().row.state
    }

    fn seen(action: SummaryAction) -> SummaryUpload {
        SummaryUpload {
            seller: tax_no(),
            province: "14400000000".parse().unwrap(),
            platform_id: id(),
            period: october(),
            action,
        }
    }
}

fn accepted() -> Verdict {
    Verdict::Accepted { acceptance_no: None, json: Vec::new() }
}

#[tokio::test]
async fn a_month_is_confirmed_cancelled_and_confirmed_again() {
    let bench = bench(Office::default()).await;
    let id = bench.created().await;
    let (again, new) = bench.service.create(&tax_no(), october(), "you").await.unwrap();
    assert_eq!((again.id, new), (id, false));

    let row = bench.service.confirm(id, Some(totals(7)), "me").await.unwrap();
    assert_eq!((row.state, row.sent), (State::Confirmed, Some(totals(7))));
    assert!(bench.is_closed().await);
    // repeating sends nothing
    bench.service.confirm(id, Some(totals(7)), "me").await.unwrap();
    assert_eq!(bench.office.uploads(), 1);

    let row = bench.service.cancel(id, "me").await.unwrap();
    assert_eq!(row.state, State::Cancelled);
    assert!(!bench.is_closed().await);
    bench.service.cancel(id, "me").await.unwrap();
    assert_eq!(bench.office.uploads(), 2);

    assert_eq!(bench.service.confirm(id, None, "me").await.unwrap().sent, Some(Totals::default()));
    let actions: Vec<_> = bench.office.uploads.lock().unwrap().iter().map(|u| u.action).collect();
    let expected =
        [SummaryAction::Confirm(totals(7)), SummaryAction::Cancel, SummaryAction::Confirm(Totals::default())];
    assert_eq!(actions, expected);
    bench.clock.set(late());
    let error = bench.service.cancel(id, "me").await.unwrap_err();
    assert!(matches!(error, ConfirmationError::Step(StepError::AfterDeadline)));
    let audit = bench.store.audit.list(Some(tax_no().as_str()), None, 10).await.unwrap();
    assert_eq!(audit.len(), 4);
}

#[tokio::test]
async fn a_refusal_is_kept_with_its_words_until_the_platform_says_otherwise() {
    let not_sent = CallEnded::NotSent("no route".to_owned());
    let bench = bench(Office::answering([Err(refused()), Err(not_sent), Ok(())])).await;
    let id = bench.created().await;
    let row = bench.service.confirm(id, Some(totals(7)), "me").await.unwrap();
    assert_eq!((row.state, row.refusal_text.as_deref()), (State::Refused, Some("蓝字发票金额不一致")));
    assert!(!bench.is_closed().await);

    let error = bench.service.confirm(id, Some(totals(8)), "me").await.unwrap_err();
    assert!(matches!(error, ConfirmationError::Platform(CallEnded::NotSent(_))));
    let row = bench.service.get(id).await.unwrap().row;
    assert_eq!((row.state, row.refusal_code.as_deref()), (State::Refused, Some("99")));
    assert_eq!(row.sent, Some(totals(7)));

    let row = bench.service.confirm(id, Some(totals(8)), "me").await.unwrap();
    assert_eq!((row.state, row.refusal_text, row.sent), (State::Confirmed, None, Some(totals(8))));
}

#[tokio::test]
async fn an_unclear_outcome_waits_for_a_query() {
    let unclear = || Err(CallEnded::Unclear("no answer".to_owned()));
    let bench = bench(Office::answering([unclear(), unclear()])).await;
    let id = bench.created().await;
    assert_eq!(bench.service.confirm(id, Some(totals(7)), "me").await.unwrap().state, State::Unknown);
    let error = bench.service.confirm(id, None, "me").await.unwrap_err();
    assert!(matches!(error, ConfirmationError::Step(StepError::OutcomeUnknown)));

    bench.office.show([october()]);
    let row = bench.service.sync(id, "me").await.unwrap();
    assert_eq!((row.state, row.platform), (State::Confirmed, Some(totals(7))));
    assert!(bench.is_closed().await);

    assert_eq!(bench.service.cancel(id, "me").await.unwrap().state, State::Unknown);
    bench.office.show([]);
    assert_eq!(bench.service.sync(id, "me").await.unwrap().state, State::Cancelled);
    assert!(!bench.is_closed().await);
    assert_eq!(bench.office.uploads(), 2);
}

#[tokio::test]
async fn a_month_that_nobody_confirmed_is_seen_as_confirmed_by_itself() {
    let bench = bench(Office::default()).await;
    let id = bench.created().await;
    bench.clock.set(late());
    bench.office.show([october()]);
    assert_eq!(bench.service.sync(id, "job").await.unwrap().state, State::AutoConfirmed);
    assert!(bench.is_closed().await);
}

#[tokio::test]
async fn two_people_cannot_both_send_and_a_query_does_not_overtake() {
    let office = Arc::new(Office { gate: Some(Semaphore::new(0)), ..Office::default() });
    let bench = bench_in(tempfile::tempdir().unwrap(), Arc::clone(&office)).await;
    let id = bench.created().await;
    let first = {
        let service = bench.service.clone();
        tokio::spawn(async move { service.confirm(id, Some(totals(7)), "me").await })
    };
    office.arrived.notified().await;
    for busy in [
        bench.service.confirm(id, None, "you").await,
        bench.service.cancel(id, "you").await,
        bench.service.sync(id, "you").await,
    ] {
        assert!(matches!(busy, Err(ConfirmationError::Step(StepError::Busy))), "{busy:?}");
    }
    // the invoicing system sends its own at the same time and is refused
    let refused = Verdict::Refused { code: "99".to_owned(), text: "处理中".to_owned() };
    bench.service.observe(&Bench::seen(SummaryAction::Confirm(totals(6))), &refused).await.unwrap();
    office.gate.as_ref().unwrap().add_permits(1);
    let row = first.await.unwrap().unwrap();
    assert_eq!((row.state, row.sent), (State::Confirmed, Some(totals(7))));
    assert_eq!(bench.state(id).await, State::Confirmed);
    assert_eq!(office.uploads(), 1);
}

#[tokio::test]
async fn a_stop_in_the_middle_of_a_step_leaves_its_outcome_unknown() {
    let office = Arc::new(Office { gate: Some(Semaphore::new(0)), ..Office::default() });
    let bench = bench_in(tempfile::tempdir().unwrap(), Arc::clone(&office)).await;
    let id = bench.created().await;
    let service = bench.service.clone();
    drop(tokio::spawn(async move { service.confirm(id, Some(totals(7)), "me").await }));
    office.arrived.notified().await;
    assert_eq!(bench.state(id).await, State::Submitting);
    bench.store.close().await;
    let again = bench_in(bench.directory, Arc::new(Office::default())).await;
    assert_eq!(again.state(id).await, State::Unknown);
    assert_eq!(again.service.sync(id, "me").await.unwrap().state, State::Draft);
}

#[tokio::test]
async fn what_the_invoicing_system_sends_itself_is_followed() {
    let bench = bench(Office::default()).await;
    let confirm = Bench::seen(SummaryAction::Confirm(totals(7)));
    bench.service.observe(&confirm, &accepted()).await.unwrap();
    let rows = bench.service.list(&Filter::default(), None, 10).await.unwrap();
    assert_eq!((rows.len(), rows[0].state, rows[0].sent), (1, State::Confirmed, Some(totals(7))));
    assert!(bench.is_closed().await);
    let again = Verdict::Unclear { reason: "no answer" };
    bench.service.observe(&confirm, &again).await.unwrap();
    assert_eq!(bench.state(rows[0].id).await, State::Confirmed);
    bench.service.observe(&Bench::seen(SummaryAction::Cancel), &accepted()).await.unwrap();
    assert_eq!(bench.state(rows[0].id).await, State::Cancelled);
    assert!(!bench.is_closed().await);
    assert_eq!(bench.office.uploads(), 0);
}

#[tokio::test]
async fn a_query_seen_passing_is_followed() {
    let bench = bench(Office::default()).await;
    let september: Period = "2026-09".parse().unwrap();
    let query = |period| SummaryQuery {
        seller: tax_no(),
        province: "14400000000".parse().unwrap(),
        platform_id: Some(id()),
        period,
    };
    let shown = |period| Summary { platform_id: id(), period, totals: totals(7) };
    let list = SummaryList { summaries: vec![shown(september), shown(october())] };
    bench.service.observe_list(&query(None), &list).await.unwrap();
    let rows = bench.service.list(&Filter::default(), None, 10).await.unwrap();
    let states: Vec<_> = rows.iter().map(|r| (r.period, r.state)).collect();
    assert_eq!(states, [(october(), State::Confirmed), (september, State::AutoConfirmed)]);
    bench.service.observe_list(&query(Some(october())), &SummaryList::default()).await.unwrap();
    assert_eq!(bench.state(rows[0].id).await, State::Cancelled);
    let none = Filter { state: Some(State::Draft), ..Filter::default() };
    assert!(bench.service.list(&none, None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_month_of_nobody_or_not_over_is_refused_with_a_reason() {
    let bench = bench(Office::default()).await;
    let stranger: TaxNo = "123456789012345".parse().unwrap();
    let unknown = bench.service.create(&stranger, october(), "me").await.unwrap_err();
    assert!(matches!(unknown, ConfirmationError::UnknownUnit(_)));
    let (now, _) = bench.service.create(&tax_no(), october().next(), "me").await.unwrap();
    let early = bench.service.confirm(now.id, None, "me").await.unwrap_err();
    assert!(matches!(early, ConfirmationError::Step(StepError::MonthNotOver)));
    assert!(matches!(bench.service.get(99).await, Err(ConfirmationError::NotFound)));
}

#[tokio::test]
async fn queries_at_the_same_time_do_not_turn_a_step_away() {
    let bench = bench(Office::default()).await;
    let id = bench.created().await;
    for round in 0..20 {
        // every query stores when it was made
        let queries = futures_util::future::join_all((0..5).map(|_| bench.service.sync(id, "job")));
        let step = async {
            if round % 2 == 0 {
                bench.service.confirm(id, Some(totals(7)), "me").await
            } else {
                bench.service.cancel(id, "me").await
            }
        };
        let (_, done) = tokio::join!(queries, step);
        assert!(done.is_ok(), "{round}: {done:?}");
    }
}
