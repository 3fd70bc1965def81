//! The server as a writer knows it: how to connect, how to commit, what its errors mean.

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use sqlx::{ConnectOptions, Connection, PgConnection, Postgres, Transaction, postgres::PgConnectOptions};
use tokio::time::timeout;

use crate::store::{
    StoreError,
    backend::{Backend, CommitError},
};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

/// Where the database is, and how to get there.
#[derive(Clone, Debug)]
pub(in crate::store) struct Server {
    pub(super) options: PgConnectOptions,
    /// `postgres://HOST:PORT/DATABASE`, for people.
    pub(super) address: Arc<str>,
    /// How long a transaction may take before its connection counts as broken.
    pub(super) patience: Duration,
}

impl Backend for Server {
    type Driver = Postgres;
    type Connection = PgConnection;
    /// The transaction's number.
    type Doubt = String;

    fn connect(&self) -> BoxFuture<'_, Result<PgConnection, sqlx::Error>> {
        Box::pin(async {
            let connecting = async {
                let mut connection = self.options.connect().await?;
                // after a failover the address may still lead to a server that takes no writes
                let standby: bool =
                    sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(&mut connection).await?;
                if standby {
                    return Err(away("the server is a standby and takes no writes"));
                }
                Ok(connection)
            };
            timeout(CONNECT, connecting).await.unwrap_or_else(|_| Err(away("no answer in time")))
        })
    }

    fn begin<'c>(
        &'c self,
        connection: &'c mut PgConnection,
    ) -> BoxFuture<'c, Result<Transaction<'c, Postgres>, sqlx::Error>> {
        Box::pin(connection.begin())
    }

    fn commit<'c>(
        &'c self,
        mut transaction: Transaction<'c, Postgres>,
    ) -> BoxFuture<'c, Result<(), CommitError<String>>> {
        const NUMBER: &str = "SELECT pg_current_xact_id_if_assigned()::text";
        Box::pin(async move {
            let number: Option<String> =
                sqlx::query_scalar(NUMBER).fetch_one(&mut *transaction).await.map_err(CommitError::Failed)?;
            let done = timeout(self.patience, transaction.commit()).await;
            let error = match done {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error,
                Err(_) => away("no answer to a commit in time"),
            };
            // without a number nothing was written, so nothing can be in doubt
            match number {
                Some(number) if is_broken(&error) => Err(CommitError::InDoubt(number, error)),
                _ => Err(CommitError::Failed(error)),
            }
        })
    }

    fn clear_up<'c>(
        &'c self,
        doubt: &'c String,
        connection: &'c mut PgConnection,
    ) -> BoxFuture<'c, Result<bool, sqlx::Error>> {
        Box::pin(async move {
            let asked: Result<Option<String>, sqlx::Error> =
                sqlx::query_scalar("SELECT pg_xact_status($1::text::xid8)")
                    .bind(doubt)
                    .fetch_one(connection)
                    .await;
            match asked.as_ref().map(Option::as_deref) {
                Ok(Some("committed")) => Ok(true),
                Ok(Some("in progress")) => Err(away("the server has not finished the transaction")),
                Ok(_) => Ok(false),
                // a server that took over without it has never heard of the number
                Err(error) if sqlstate(error).as_deref() == Some("22023") => Ok(false),
                Err(_) => asked.map(|_| false),
            }
        })
    }

    fn explain(&self, error: StoreError) -> StoreError {
        let StoreError::Sql(source) = error else { return error };
        let path = PathBuf::from(&*self.address);
        if is_broken(&source) {
            return StoreError::Away { reason: format!("{}: {source}", self.address) };
        }
        match sqlstate(&source).as_deref() {
            Some("53100") => StoreError::Full { path },
            Some("55P03" | "57014") => StoreError::Busy { path },
            Some(code) if code.starts_with("23") => StoreError::Conflict(source.to_string()),
            Some(code) if code.starts_with("28") || matches!(code, "3D000" | "42501") => {
                StoreError::Permission { path, reason: source.to_string() }
            }
            _ => StoreError::Sql(source),
        }
    }

    /// A broken connection is a new one by then; deadlocks end themselves.
    fn is_worth_another_try(error: &StoreError) -> bool {
        match error {
            StoreError::Away { .. } => true,
            StoreError::Sql(source) => {
                matches!(source, sqlx::Error::BeginFailed)
                    || matches!(sqlstate(source).as_deref(), Some("40001" | "40P01"))
            }
            StoreError::Busy { .. }
            | StoreError::Closed
            | StoreError::Conflict(_)
            | StoreError::Corrupt { .. }
            | StoreError::Full { .. }
            | StoreError::Migration { .. }
            | StoreError::Panicked
            | StoreError::Permission { .. }
            | StoreError::Url { .. }
            | StoreError::Value { .. } => false,
        }
    }

    fn patience(&self) -> Option<Duration> {
        Some(self.patience)
    }
}

/// An error of the connection's making.
pub(super) fn away(reason: &'static str) -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::other(reason))
}

/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
pub(super) fn sqlstate(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// Whether the connection is of no use any more: lost, ended by the server, or leading to one that takes no writes.
fn is_broken(error: &sqlx::Error) -> bool {
    if let Some(code) = sqlstate(error) {
        return code.starts_with("08")
            || matches!(
                code.as_str(),
                "25006" | "25P03" | "53300" | "57P01" | "57P02" | "57P03" | "57P04" | "57P05"
            );
    }
    matches!(
        error,
        sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::WorkerCrashed
    )
}
