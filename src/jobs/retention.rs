//! Deletes what is kept long enough, in small portions, so that calls never wait for it long.

use std::{sync::Arc, time::Instant};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::time::sleep;

use super::{Context, Job, JobError, Metrics, Outcome, Retention};
use crate::{
    clock::Clock,
    domain::ExchangeId,
    store::{exchanges::ExchangeTable, idempotency::IdempotencyTable, jobs::JobName, tokens::TokenTable},
};

/// Exchanges that one portion deletes at most.
const PORTION: usize = 500;

/// Deletes old exchanges, forgotten keys of requests and revoked tokens.
pub struct RetentionJob {
    /// The request log.
    pub exchanges: Arc<dyn ExchangeTable>,
    /// Keys of requests.
    pub idempotency: Arc<dyn IdempotencyTable>,
    /// Tokens.
    pub tokens: Arc<dyn TokenTable>,
    /// The clock.
    pub clock: Clock,
    /// How long things are kept.
    pub retention: Retention,
    /// Where deletions are counted.
    pub metrics: Metrics,
}

impl Job for RetentionJob {
    fn name(&self) -> JobName {
        JobName::Retention
    }

    fn run<'a>(
        &'a self,
        context: &'a Context,
        outcome: &'a mut Outcome,
    ) -> BoxFuture<'a, Result<(), JobError>> {
        Box::pin(async move {
            let now = self.clock.now();
            let before = |age| now.checked_sub(age).unwrap_or(Timestamp::MIN);
            outcome.done += self.idempotency.forget(now).await?;
            outcome.done += self.tokens.forget_revoked(before(self.retention.tokens)).await?;
            let oldest = ExchangeId::first_at(before(self.retention.exchanges));
            loop {
                context.go_on()?;
                let began = Instant::now();
                let purged = self.exchanges.purge(oldest, PORTION).await?;
                outcome.done += purged.exchanges;
                self.metrics.deleted.inc_by(purged.exchanges);
                if !purged.more {
                    return Ok(());
                }
                // at most half of the writer's time
                sleep(began.elapsed()).await;
            }
        })
    }
}
