//! Months pass: the gateway and the platform in one process on one clock that the test moves. What jobs do at the ends
//! and beginnings of months, with stops over a month's change and answers that are lost, is compared with the platform's
//! books.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

#[path = "../common/mod.rs"]
mod common;

mod company;
mod jobs;
mod outage;
mod stage;
mod three;
