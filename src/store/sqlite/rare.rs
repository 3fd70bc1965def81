//! Rare writes: closures, each in a savepoint of the common transaction, so that one that fails takes nothing with it.

use std::any::Any;

use futures_util::future::BoxFuture;
use sqlx::{Connection, SqliteConnection};

use super::writer::Command;
use crate::store::StoreError;

type Answer = Box<dyn Any + Send>;
type Work =
    Box<dyn for<'c> FnMut(&'c mut SqliteConnection) -> BoxFuture<'c, Result<Answer, StoreError>> + Send>;

/// A closure whose answer's type only its caller knows.
pub(super) struct Rare(Work);

impl Rare {
    /// Wraps a closure.
    pub(super) fn new<T, F>(mut work: F) -> Self
    where
        T: Send + 'static,
        F: for<'c> FnMut(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        Self(Box::new(move |connection| {
            let answer = work(connection);
            Box::pin(async move { Ok(Box::new(answer.await?) as Answer) })
        }))
    }
}

impl Command for Rare {
    const KIND: &'static str = "rare";

    type Answer = Result<Answer, StoreError>;

    fn apply<'c>(
        batch: &'c mut [Self],
        connection: &'c mut SqliteConnection,
    ) -> BoxFuture<'c, Result<Vec<Self::Answer>, StoreError>> {
        Box::pin(async move {
            let mut answers = Vec::with_capacity(batch.len());
            for Self(work) in batch {
                let mut savepoint = connection.begin().await?;
                let answer = work(&mut savepoint).await;
                match answer {
                    Ok(_) => savepoint.commit().await?,
                    Err(_) => savepoint.rollback().await?,
                }
                answers.push(answer);
            }
            Ok(answers)
        })
    }
}
