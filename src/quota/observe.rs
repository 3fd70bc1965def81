//! The traffic that passes keeps the books: results, balances, transfers, validity, confirmed months.
//!
//! While a shared database is away, what no later question would tell is kept and applied afterwards: results,
//! settlements, transfers, intervals. A balance is asked for again, a confirmed month as well.

use jiff::Timestamp;

use super::{
    Ledger,
    evidence::Evidence,
    job::run,
    ledger::Inner,
    rules::{self, Mark, Observed, SerialReused, Settled},
};
use crate::{
    domain::{Period, PlatformId, TaxNo},
    leqi::messages::{
        InvoiceResult, QuotaBalance, QuotaTransfer, QuotaTransferAnswer, QuotaValidity, QuotaValidityAnswer,
    },
    store::{
        StoreError,
        ledger::{AccountKey, Books, EntryKey, LedgerKeys},
    },
};

impl Ledger {
    /// Books the results that an answer of `CXQDFPSCJG` gives; `issuer` is whoever asked, where it is known.
    ///
    /// # Errors
    /// When the database failed.
    pub async fn observe_results(
        &self,
        issuer: Option<&TaxNo>,
        acceptance_no: &str,
        results: &[InvoiceResult],
    ) -> Result<Settled, StoreError> {
        match self.0.results(issuer, acceptance_no, results).await {
            Err(error) => {
                let (issuer, acceptance_no) = (issuer.cloned(), acceptance_no.to_owned());
                let evidence = Evidence::Results { issuer, acceptance_no, results: results.to_vec() };
                self.keep(evidence, error).await.map(|()| Settled::default())
            }
            settled => settled,
        }
    }

    /// What the books say now: taken before a query or transfer is sent, given back with its answer.
    ///
    /// # Errors
    /// When the database failed.
    pub async fn mark(&self, issuer: &TaxNo) -> Result<Mark, StoreError> {
        self.0.mark(issuer).await
    }

    /// Follows an answer of `CXSXED`.
    ///
    /// # Errors
    /// When the database failed.
    pub async fn observe_balance(
        &self,
        issuer: &TaxNo,
        balance: &QuotaBalance,
        mark: &Mark,
    ) -> Result<Observed, StoreError> {
        self.0.observe_balance(issuer, balance, mark).await
    }

    /// Notes a transfer that is about to be sent, committed when this returns: its answer counts once, also when the
    /// first one is lost and the platform repeats it, and a return's credit is not used meanwhile. What comes of it is
    /// told with [`Self::observe_transfer`], [`Self::observe_transfer_refused`] or
    /// [`Self::observe_transfer_unclear`].
    ///
    /// # Errors
    /// When the database failed; inside, when the serial belongs to another transfer.
    pub async fn begin_transfer(
        &self,
        request: &QuotaTransfer,
    ) -> Result<Result<Mark, SerialReused>, StoreError> {
        let now = self.0.clock.now();
        let key = AccountKey { issuer: request.tax_no.clone(), period: Period::at(now) };
        let (keys, request) = (transfer_keys(&key, request), request.clone());
        let decide = move |books: &mut Books| {
            rules::begin_transfer(books, &request, &key, now)?;
            Ok(rules::mark(key.clone(), books.account(&key)))
        };
        run(&*self.0.table, keys, decide, |mark| mark).await
    }

    /// Follows a successful answer of `XZTHSXED`. The mark is [`Self::begin_transfer`]'s, or one taken before sending.
    ///
    /// # Errors
    /// When the database failed.
    pub async fn observe_transfer(
        &self,
        request: &QuotaTransfer,
        answer: &QuotaTransferAnswer,
        mark: &Mark,
    ) -> Result<Observed, StoreError> {
        match self.0.transfer(request.clone(), answer.clone(), mark.clone()).await {
            Err(error) => {
                let (request, answer, mark) = (request.clone(), answer.clone(), mark.clone());
                let kept = self.keep(Evidence::Transfer { request, answer, mark }, error).await;
                kept.map(|()| Observed::Applied)
            }
            observed => observed,
        }
    }

    /// Follows a transfer that the platform refused or that was proven not sent.
    ///
    /// # Errors
    /// When the database failed.
    pub async fn observe_transfer_refused(
        &self,
        request: &QuotaTransfer,
        code: &str,
        text: &str,
    ) -> Result<(), StoreError> {
        let (request, code, text) = (request.clone(), code.to_owned(), text.to_owned());
        self.apply_or_keep(Evidence::TransferRefused { request, code, text }).await
    }

    /// Follows a transfer whose answer proves nothing.
    ///
    /// # Errors
    /// When the database failed.
    pub async fn observe_transfer_unclear(
        &self,
        request: &QuotaTransfer,
        mark: &Mark,
        reason: &str,
    ) -> Result<(), StoreError> {
        let (request, mark, reason) = (request.clone(), mark.clone(), reason.to_owned());
        self.apply_or_keep(Evidence::TransferUnclear { request, mark, reason }).await
    }

    /// Follows a successful answer of `TZSXEDYXQ`.
    ///
    /// # Errors
    /// When the database failed.
    pub async fn observe_validity(
        &self,
        request: &QuotaValidity,
        answer: &QuotaValidityAnswer,
    ) -> Result<(), StoreError> {
        let (request, answer, seen_at) = (request.clone(), answer.clone(), self.0.clock.now());
        self.apply_or_keep(Evidence::Validity { request, answer, seen_at }).await
    }

    /// Notes that the taxpayer's month is confirmed for the platform (`closed`), or open again.
    ///
    /// # Errors
    /// When the database failed.
    pub async fn observe_month_closed(
        &self,
        issuer: &TaxNo,
        platform_id: &PlatformId,
        period: Period,
        closed: bool,
    ) -> Result<(), StoreError> {
        let now = self.0.clock.now();
        let key = AccountKey { issuer: issuer.clone(), period };
        let keys = LedgerKeys { accounts: vec![key.clone()], ..LedgerKeys::default() };
        let id = platform_id.clone();
        let decide = move |books: &mut _| rules::month_closed(books, &key, &id, closed, now);
        run(&*self.0.table, keys, decide, |()| ()).await
    }
}

impl Inner {
    pub(super) async fn transfer(
        &self,
        request: QuotaTransfer,
        answer: QuotaTransferAnswer,
        mark: Mark,
    ) -> Result<Observed, StoreError> {
        let now = self.clock.now();
        let mut keys = transfer_keys(&mark.key, &request);
        keys.accounts.push(rules::transfer_key(&request, &answer, &mark.key));
        let decide = move |books: &mut _| rules::transfer(books, &request, &answer, &mark, now);
        let observed = run(&*self.table, keys, decide, |observed| observed).await?;
        self.note(observed);
        Ok(observed)
    }

    pub(super) async fn transfer_refused(
        &self,
        request: QuotaTransfer,
        code: String,
        text: String,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let keys = LedgerKeys { transfers: vec![request.serial.clone()], ..LedgerKeys::default() };
        let decide = move |books: &mut _| rules::transfer_refused(books, &request, &code, &text, now);
        run(&*self.table, keys, decide, |()| ()).await
    }

    pub(super) async fn transfer_unclear(
        &self,
        request: QuotaTransfer,
        mark: Mark,
        reason: String,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let keys = transfer_keys(&mark.key, &request);
        let decide = move |books: &mut _| rules::transfer_unclear(books, &request, &mark, &reason, now);
        run(&*self.table, keys, decide, |()| ()).await
    }

    pub(super) async fn validity(
        &self,
        request: &QuotaValidity,
        answer: &QuotaValidityAnswer,
        seen_at: Timestamp,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let period = answer.period.unwrap_or(request.period);
        let key = AccountKey { issuer: request.tax_no.clone(), period };
        let keys = LedgerKeys { accounts: vec![key.clone()], ..LedgerKeys::default() };
        let (from, to) = (answer.valid_from, answer.valid_to);
        let decide = move |books: &mut _| rules::validity(books, &key, from, to, seen_at, now);
        run(&*self.table, keys, decide, |()| ()).await
    }

    pub(super) async fn results(
        &self,
        issuer: Option<&TaxNo>,
        acceptance_no: &str,
        results: &[InvoiceResult],
    ) -> Result<Settled, StoreError> {
        let now = self.clock.now();
        let mut keys = LedgerKeys { acceptance_nos: vec![acceptance_no.to_owned()], ..LedgerKeys::default() };
        let named = |issuer: &TaxNo| {
            let issuer = issuer.clone();
            results.iter().map(move |r| EntryKey { issuer: issuer.clone(), invoice_no: r.invoice_no.clone() })
        };
        keys.entries = issuer.into_iter().flat_map(named).collect();
        let (issuer, acceptance_no, results) = (issuer.cloned(), acceptance_no.to_owned(), results.to_vec());
        let decide =
            move |books: &mut _| rules::results(books, issuer.as_ref(), &acceptance_no, &results, now);
        let settled = run(&*self.table, keys, decide, |settled| settled).await?;
        self.count(&settled);
        Ok(settled)
    }
}

fn transfer_keys(key: &AccountKey, request: &QuotaTransfer) -> LedgerKeys {
    LedgerKeys {
        accounts: vec![key.clone()],
        transfers: vec![request.serial.clone()],
        ..LedgerKeys::default()
    }
}
