//! Rare writes: closures, each in a savepoint of the common transaction, so that one that fails takes nothing with it.

use std::any::Any;

use futures_util::future::BoxFuture;
use sqlx::Connection;

use super::{StoreError, backend::Backend, writer::Command};

type Answer = Box<dyn Any + Send>;
type Work<B> = Box<
    dyn for<'c> FnMut(&'c mut <B as Backend>::Connection) -> BoxFuture<'c, Result<Answer, StoreError>> + Send,
>;

/// A closure whose answer's type only its caller knows.
pub(super) struct Rare<B: Backend>(Work<B>);

impl<B: Backend> Rare<B> {
    /// Wraps a closure.
    pub(super) fn new<T, F>(mut work: F) -> Self
    where
        T: Send + 'static,
        F: for<'c> FnMut(&'c mut B::Connection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        Self(Box::new(move |connection| {
            let answer = work(connection);
            Box::pin(async move { Ok(Box::new(answer.await?) as Answer) })
        }))
    }
}

impl<B: Backend> Command<B> for Rare<B> {
    const KIND: &'static str = "rare";

    type Answer = Result<Answer, StoreError>;

    fn apply<'c>(
        batch: &'c mut [Self],
        connection: &'c mut B::Connection,
    ) -> BoxFuture<'c, Result<Vec<Self::Answer>, StoreError>> {
        Box::pin(async move {
            let mut answers = Vec::with_capacity(batch.len());
            for Self(work) in batch {
                let mut savepoint = connection.begin().await?;
                let answer = work(&mut savepoint).await;
                match &answer {
                    Ok(_) => savepoint.commit().await?,
                    // the engine has broken the whole transaction off, to be tried again
                    Err(error) if B::is_worth_another_try(error) => return answer.map(|_| Vec::new()),
                    Err(_) => savepoint.rollback().await?,
                }
                answers.push(answer);
            }
            Ok(answers)
        })
    }
}
