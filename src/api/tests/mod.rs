//! The API at the wire: a real listener, a real store in a temporary directory.

mod confirmations;
mod documents;
mod harness;
mod idempotency;
mod jobs;
mod log;
mod money;
mod people;
mod shapes;
mod units;
