//! A tax office that keeps its own books and fails as told, and the service in front of it on a real database.

use std::{
    collections::{HashMap, VecDeque},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::{issuer, now, service::upload, yuan};
use crate::{
    clock::Clock,
    domain::{ExchangeId, Money, Period, TaxNo},
    leqi::{
        client::CallEnded,
        messages::{
            Direction, InvoiceResult, QuotaBalance, QuotaTransfer, QuotaTransferAnswer, QuotaValidity,
            QuotaValidityAnswer, ResultAnswer,
        },
    },
    quota::{
        Bureau, Claim, Config, Ids, Ledger, Metrics, NoCaller, QuotaSource, Reservation, Settlement,
        Transfers,
        transfers::{Order, Origin},
    },
    store::{self, Store, ledger::Account},
    telemetry,
};

/// What goes wrong with a transfer.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// It is carried out, its answer is lost.
    Lost,
    /// Nothing left.
    NotSent,
    /// It is refused.
    Refused(&'static str),
    /// It is not carried out, and nobody says so.
    Swallowed,
}

/// What the office knows.
#[derive(Default)]
pub(super) struct Books {
    pub(super) at_bureau: Money,
    pub(super) downloaded: Money,
    pub(super) used: Money,
    pub(super) suspended: bool,
    pub(super) faults: VecDeque<Fault>,
    /// Every transfer that arrived, also repeated ones.
    pub(super) arrived: Vec<QuotaTransfer>,
    pub(super) balances: usize,
    /// What the clock shows from the next balance on.
    pub(super) midnight: Option<Timestamp>,
    pub(super) asked: Vec<String>,
    pub(super) results: HashMap<String, Vec<InvoiceResult>>,
    done: HashMap<String, QuotaTransferAnswer>,
}

/// The office; months change with the clock, and a new one begins with nothing downloaded.
pub(super) struct Office {
    books: Mutex<Books>,
    clock: Clock,
}

impl Office {
    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    fn carry_out(&self, request: &QuotaTransfer) -> Result<QuotaTransferAnswer, CallEnded> {
        let mut books = self.books();
        if let Some(earlier) = books.done.get(&request.serial) {
            return Ok(earlier.clone());
        }
        let unused = books.downloaded.saturating_sub(books.used);
        let (amount, limit) = match request.direction {
            Direction::Download => (request.amount, books.at_bureau),
            Direction::Return => (Money::ZERO.saturating_sub(request.amount), unused),
        };
        if request.amount > limit || books.suspended {
            return Err(CallEnded::Refused {
                code: "99".into(), text: "申请额度大于可用额度".into()
            });
        }
        if !books.at_bureau.is_on_demand() {
            books.at_bureau = books.at_bureau.saturating_sub(amount);
        }
        books.downloaded = books.downloaded.saturating_add(amount);
        let period = Period::at(self.clock.now());
        let answer = QuotaTransferAnswer {
            valid_from: Some(period.first_day()),
            valid_to: Some(period.last_day()),
            amount: None,
        };
        books.done.insert(request.serial.clone(), answer.clone());
        Ok(answer)
    }
}

impl QuotaSource for Office {
    fn balance<'a>(&'a self, _: &'a TaxNo) -> BoxFuture<'a, Result<QuotaBalance, String>> {
        Box::pin(async {
            tokio::task::yield_now().await;
            let mut books = self.books();
            books.balances += 1;
            books.midnight.take().into_iter().for_each(|at| self.clock.set(at));
            Ok(QuotaBalance {
                suspended: books.suspended,
                month_total: books.at_bureau.saturating_add(books.downloaded),
                available: books.at_bureau,
                downloaded: books.downloaded,
                unused: books.downloaded.saturating_sub(books.used),
                period: Period::at(self.clock.now()),
            })
        })
    }
}

impl Bureau for Office {
    fn taxpayers(&self) -> Vec<TaxNo> {
        vec![issuer()]
    }

    fn ids(&self, issuer: &TaxNo) -> Result<Ids, NoCaller> {
        if *issuer != super::issuer() {
            return Err(NoCaller::Unit(issuer.clone()));
        }
        Ok(Ids { access: "a".repeat(20).parse().unwrap(), using: "b".repeat(20).parse().unwrap() })
    }

    fn transfer<'a>(
        &'a self,
        request: &'a QuotaTransfer,
    ) -> BoxFuture<'a, Result<QuotaTransferAnswer, CallEnded>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            let fault = self.books().faults.pop_front();
            if !matches!(fault, Some(Fault::NotSent)) {
                self.books().arrived.push(request.clone());
            }
            match fault {
                None => self.carry_out(request),
                Some(Fault::Lost) => {
                    self.carry_out(request)?;
                    Err(CallEnded::Unclear("connection reset".into()))
                }
                Some(Fault::NotSent) => Err(CallEnded::NotSent("no route".into())),
                Some(Fault::Refused(code)) => {
                    Err(CallEnded::Refused { code: code.into(), text: "不行".into() })
                }
                Some(Fault::Swallowed) => Err(CallEnded::Unclear("timeout".into())),
            }
        })
    }

    fn extend<'a>(
        &'a self,
        request: &'a QuotaValidity,
    ) -> BoxFuture<'a, Result<QuotaValidityAnswer, CallEnded>> {
        let (period, from, to) =
            (Some(request.period), request.period.first_day(), request.period.last_day());
        Box::pin(
            async move { Ok(QuotaValidityAnswer { period, valid_from: Some(from), valid_to: Some(to) }) },
        )
    }

    fn results<'a>(
        &'a self,
        _: &'a TaxNo,
        acceptance_no: &'a str,
    ) -> BoxFuture<'a, Result<ResultAnswer, CallEnded>> {
        Box::pin(async move {
            let mut books = self.books();
            books.asked.push(acceptance_no.to_owned());
            let results = books.results.get(acceptance_no).cloned();
            let results = results
                .ok_or(CallEnded::Refused { code: "99".into(), text: "受理流水号不存在".into() })?;
            Ok(ResultAnswer { results, ..ResultAnswer::default() })
        })
    }
}

/// The service in front of the office.
pub(super) struct Counter {
    pub(super) transfers: Transfers,
    pub(super) office: Arc<Office>,
    pub(super) clock: Clock,
    pub(super) store: Store,
    path: PathBuf,
    directory: Arc<tempfile::TempDir>,
}

impl Counter {
    /// An office that has so much, in yuan.
    pub(super) async fn open(at_bureau: i64) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let path = directory.path().join("gateway.db");
        let clock = Clock::starting_at(now());
        let books = Books { at_bureau: yuan(at_bureau), ..Books::default() };
        let office = Arc::new(Office { books: Mutex::new(books), clock: clock.clone() });
        let (store, transfers) = serve(&path, &clock, &office).await;
        register(&store).await;
        Self { transfers, office, clock, store, path, directory }
    }

    /// The process dies and starts again on the same database.
    pub(super) async fn restarted(self) -> Self {
        let (store, transfers) = serve(&self.path, &self.clock, &self.office).await;
        Self { transfers, store, directory: Arc::clone(&self.directory), ..self }
    }

    /// The service of another gateway on the same database.
    pub(super) async fn again(&self) -> Transfers {
        serve(&self.path, &self.clock, &self.office).await.1
    }

    pub(super) fn at(&self, text: &str) {
        self.clock.set(super::at(text));
    }

    pub(super) async fn account(&self) -> Account {
        let period = self.clock.period();
        self.transfers.ledger().balance(&issuer(), period).await.unwrap().unwrap()
    }

    pub(super) async fn available(&self) -> Money {
        self.account().await.available()
    }

    pub(super) fn arrived(&self) -> Vec<QuotaTransfer> {
        self.office.books().arrived.clone()
    }

    /// Fails the next transfers like this.
    pub(super) fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.office.books().faults.extend(faults);
    }

    /// Holds credit for invoices and leaves the upload's outcome open, with this acceptance.
    pub(super) async fn send(&self, claims: Vec<Claim>, acceptance_no: Option<&str>) -> ExchangeId {
        let exchange = ExchangeId::first_at(self.clock.now());
        let mut reservation = self.reserve(exchange, claims).await;
        reservation.sending();
        let settlement = acceptance_no.map_or(Settlement::Unclear, |acceptance_no| Settlement::Accepted {
            acceptance_no: Some(acceptance_no.to_owned()),
        });
        self.transfers.ledger().settle(reservation, settlement).await.unwrap();
        exchange
    }

    async fn reserve(&self, exchange: ExchangeId, claims: Vec<Claim>) -> Reservation {
        let claims = claims.into_iter().map(|claim| Claim { dated_at: self.clock.now(), ..claim });
        self.transfers.reserve(upload(exchange.number(), claims.collect())).await.unwrap()
    }

    /// The books are what their entries and events add up to.
    pub(super) async fn check(&self) {
        assert_eq!(self.transfers.verify(self.clock.period()).await.unwrap(), []);
    }
}

pub(super) fn order(origin: Option<&str>) -> Order {
    let origin = origin.map(|key| Origin::Request(key.to_owned()));
    Order { issuer: issuer(), origin, actor: "clerk".to_owned() }
}

async fn serve(path: &Path, clock: &Clock, office: &Arc<Office>) -> (Store, Transfers) {
    let telemetry = telemetry::metrics::Metrics::new().unwrap();
    let config = store::testing::config(path);
    let store = store::open(&config, &store::Metrics::register(&telemetry).unwrap()).await.unwrap();
    let config = Config { top_up_wait: Duration::from_secs(5), ..Config::default() };
    let metrics = Metrics::register(&telemetry).unwrap();
    let ledger = Ledger::new(Arc::clone(&store.ledger), clock.clone(), config, &metrics);
    let (settings, audit) = (Arc::clone(&store.quota_settings), Arc::clone(&store.audit));
    let transfers = Transfers::open(ledger, Arc::<Office>::clone(office), settings, audit).await.unwrap();
    (store, transfers)
}

/// Settings belong to units.
async fn register(store: &Store) {
    let row = store::units::UnitRow {
        tax_no: issuer(),
        name: "单位".to_owned(),
        access_unit: None,
        platform_id: "a".repeat(20).parse().unwrap(),
        province: "13500000000".parse().unwrap(),
        quota_mode: store::units::QuotaMode::Enforce,
        sealed_key: None,
        sealed_sandbox_key: None,
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
    };
    let audit = store::audit::AuditRow {
        at: Timestamp::UNIX_EPOCH,
        actor: String::new(),
        action: String::new(),
        subject: String::new(),
        detail: "{}".to_owned(),
    };
    let seen = store.units.version().await.unwrap();
    let changed = store.units.insert(row, audit, seen).await.unwrap();
    assert_eq!(changed, store::units::Changed::Done);
}
