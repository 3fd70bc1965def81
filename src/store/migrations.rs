//! What brings tables up to date, by name.

use sqlx::migrate::{Migrate, MigrateError, Migrator};

/// Where sqlx writes down what it has carried out.
const TABLE: &str = "_sqlx_migrations";

/// The names of the migrations that the database lacks, such as `0030 unit version`.
pub(in crate::store) async fn missing(
    migrations: &Migrator,
    connection: &mut impl Migrate,
) -> Result<Vec<String>, MigrateError> {
    // without the lock two that begin at the same time would both make the table
    connection.lock().await?;
    connection.ensure_migrations_table(TABLE).await?;
    let there = connection.list_applied_migrations(TABLE).await?;
    connection.unlock().await?;
    let missing = migrations.iter().filter(|one| there.iter().all(|applied| applied.version != one.version));
    Ok(missing.map(|one| format!("{:04} {}", one.version, one.description)).collect())
}
