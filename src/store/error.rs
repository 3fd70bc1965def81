//! What can go wrong with the database, each with what to do about it.

use std::path::PathBuf;

/// Why the store could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The connection to the database is lost, or cannot be made.
    #[error(
        "the database cannot be reached: {reason}; check that it runs and takes connections, the gateway tries again by itself"
    )]
    Away {
        /// What the operating system or the driver says.
        reason: String,
    },
    /// Somebody else holds the database longer than the store waits.
    #[error("database {path:?} is locked by another process; stop it, or wait until it has finished")]
    Busy {
        /// The file, or the address of the server.
        path: PathBuf,
    },
    /// The store is closed or its writer has ended.
    #[error("the database is closed: the gateway is stopping")]
    Closed,
    /// The row is there already, or something it refers to is not; nothing was changed.
    #[error("conflict in the database: {0}")]
    Conflict(String),
    /// The file is damaged or is no database.
    #[error(
        "database {path:?} is damaged or is not a SQLite database ({reason}); move it away together with its -wal and -shm files and restore the latest backup"
    )]
    Corrupt {
        /// The file, or the address of the server.
        path: PathBuf,
        /// What the engine says.
        reason: String,
    },
    /// There is no room left for the file.
    #[error("no space left for database {path:?}; free some, nothing of this write was kept")]
    Full {
        /// The file, or the address of the server.
        path: PathBuf,
    },
    /// A command of the writer panicked; it was rolled back. A bug.
    #[error("a write was given up because of a bug in the gateway; nothing of it was kept")]
    Panicked,
    /// The file cannot be opened, created or written.
    #[error(
        "database {path:?} cannot be opened for writing: {reason}; check that the directory exists, that it belongs to the gateway's user, and that the disk works"
    )]
    Permission {
        /// The file, or the address of the server.
        path: PathBuf,
        /// What the operating system or the engine says.
        reason: String,
    },
    /// The tables cannot be brought up to date.
    #[error(
        "tables of database {path:?} cannot be brought up to date: {source}; a database of a newer version needs that version or the backup made before it"
    )]
    Migration {
        /// The file, or the address of the server.
        path: PathBuf,
        /// What the migration says.
        source: sqlx::migrate::MigrateError,
    },
    /// Anything else that the engine reports.
    #[error("database: {0}")]
    Sql(#[source] sqlx::Error),
    /// The address in the configuration is none.
    #[error("[store] url cannot be used: {reason}")]
    Url {
        /// Which rule it breaks.
        reason: String,
    },
    /// A stored value breaks the rule of its type: the row was changed by something else.
    #[error("a stored {what} cannot be read: {reason}")]
    Value {
        /// The column.
        what: &'static str,
        /// Which rule it breaks.
        reason: String,
    },
}

/// Errors inside a transaction, where the file's path is not at hand; the writer and the readers add it.
impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl StoreError {
    /// The same error for another command of the transaction, where the cause lies in the file and not in any of them:
    /// trying them one by one would only take longer.
    pub(super) fn shared(&self) -> Option<Self> {
        match self {
            Self::Away { reason } => Some(Self::Away { reason: reason.clone() }),
            Self::Busy { path } => Some(Self::Busy { path: path.clone() }),
            Self::Corrupt { path, reason } => {
                Some(Self::Corrupt { path: path.clone(), reason: reason.clone() })
            }
            Self::Full { path } => Some(Self::Full { path: path.clone() }),
            Self::Permission { path, reason } => {
                Some(Self::Permission { path: path.clone(), reason: reason.clone() })
            }
            Self::Closed
            | Self::Conflict(_)
            | Self::Migration { .. }
            | Self::Panicked
            | Self::Sql(_)
            | Self::Url { .. }
            | Self::Value { .. } => None,
        }
    }

    /// Whether the database may take the same write later: it is away, full, or held by somebody else.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        match self {
            Self::Away { .. } | Self::Busy { .. } | Self::Full { .. } => true,
            Self::Closed
            | Self::Conflict(_)
            | Self::Corrupt { .. }
            | Self::Migration { .. }
            | Self::Panicked
            | Self::Permission { .. }
            | Self::Sql(_)
            | Self::Url { .. }
            | Self::Value { .. } => false,
        }
    }

    /// What is answered while the database is known to be away.
    pub(super) fn away() -> Self {
        Self::Away { reason: "the connection is lost".to_owned() }
    }

    /// A stored value that its type does not accept.
    #[must_use]
    pub fn value(what: &'static str, reason: impl std::fmt::Display) -> Self {
        Self::Value { what, reason: reason.to_string() }
    }
}
