//! Rules on their way to the store.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::{
    domain::ExchangeId,
    store::{
        PATIENCE, StoreError,
        ledger::{Books, Intent, LedgerJob, LedgerKeys, LedgerTable},
    },
};

/// A record of the request log that is committed with a decision, if it is one that this holds of.
pub(super) struct Beside<T> {
    /// The record.
    pub(super) record: Arc<Intent>,
    /// Of which decisions.
    pub(super) when: fn(&T) -> bool,
}

/// A rule with its rows. What it decided reaches the caller only after the commit.
struct Job<D, T, F> {
    keys: LedgerKeys,
    decide: D,
    decided: Option<T>,
    beside: Option<Beside<T>>,
    /// What is made of the decision once it is committed, whether somebody still waits for it or not.
    finish: F,
}

impl<D, T, F> LedgerJob for Job<D, T, F>
where
    D: FnMut(&mut Books) -> T + Send,
    T: Send,
    F: FnOnce(Result<T, StoreError>) + Send,
{
    fn keys(&self) -> LedgerKeys {
        self.keys.clone()
    }

    fn decide(&mut self, books: &mut Books) {
        self.decided = Some((self.decide)(books));
    }

    fn announces(&self) -> Option<ExchangeId> {
        self.beside.as_ref().map(|beside| beside.record.id)
    }

    fn record(&self) -> Option<Arc<Intent>> {
        let (beside, decided) = (self.beside.as_ref()?, self.decided.as_ref()?);
        (beside.when)(decided).then(|| Arc::clone(&beside.record))
    }

    fn finish(self: Box<Self>, result: Result<(), StoreError>) {
        let decided = self.decided;
        (self.finish)(result.and_then(|()| decided.ok_or(StoreError::Panicked)));
    }
}

/// Carries a rule out and gives what `made` makes of its decision. When the caller has gone meanwhile, what was made
/// is dropped, which for a reservation gives the credit free.
pub(super) async fn run<T, U, D, M>(
    table: &dyn LedgerTable,
    keys: LedgerKeys,
    decide: D,
    made: M,
) -> Result<U, StoreError>
where
    T: Send + 'static,
    U: Send + 'static,
    D: FnMut(&mut Books) -> T + Send + 'static,
    M: FnOnce(T) -> U + Send + 'static,
{
    run_with(table, keys, None, decide, made).await
}

/// The same with a record that is committed with it.
pub(super) async fn run_with<T, U, D, M>(
    table: &dyn LedgerTable,
    keys: LedgerKeys,
    beside: Option<Beside<T>>,
    decide: D,
    made: M,
) -> Result<U, StoreError>
where
    T: Send + 'static,
    U: Send + 'static,
    D: FnMut(&mut Books) -> T + Send + 'static,
    M: FnOnce(T) -> U + Send + 'static,
{
    let (answer, receipt) = oneshot::channel();
    let finish = move |result: Result<T, StoreError>| drop(answer.send(result.map(made)));
    table.submit(Box::new(Job { keys, decide, decided: None, beside, finish })).await?;
    match tokio::time::timeout(PATIENCE, receipt).await {
        Ok(answer) => answer.unwrap_or(Err(StoreError::Closed)),
        Err(_) => Err(StoreError::Away { reason: "no answer in time".to_owned() }),
    }
}
