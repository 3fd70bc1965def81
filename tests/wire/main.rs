//! The gateway at the wire, called by clients that are not this project's code: `curl` speaks HTTP, `openssl enc
//! -sm4-ecb` encrypts and decrypts, `sha256sum` and `gzip` check. What the platform received is read from the books of
//! the simulator.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "../common/mod.rs"]
mod common;

mod answers;
mod clients;
mod crowd;
mod exactness;
mod failures;
mod framing;
mod handshakes;
mod paths;
mod peer;
mod provoke;
mod record;
mod routes;
mod scripts;
mod scripts_upstream;
mod site;
mod smuggling;
mod streaming;
mod table;
mod tools;
mod trust;
