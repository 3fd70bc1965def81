//! leqi-gateway: the host through which a company's invoicing systems reach the tax platform 乐企.
//!
//! The life of a request is one function, `proxy::handler`, that reads as a list of steps:
//! **open exchange → admit → resolve route → read and decode → reserve credit → forward → observe and settle →
//! record → answer.**
//!
//! Imports go downward only, which `tests/architecture.rs` checks:
//!
//! | layer | modules |
//! |---|---|
//! | entry | `main` → [`cli`] → [`app`] → [`config`] |
//! | planes | [`proxy`] (data plane), [`api`], [`jobs`], [`ops`] (control plane), and beside them [`simulator`] |
//! | services | [`quota`], [`request_log`], [`confirmation`], [`mod@unit`] |
//! | adapters | [`leqi`], [`upstream`], [`store`], [`listener`], [`tls`] |
//! | ground | [`domain`], [`telemetry`], [`shutdown`], [`clock`] |

pub mod api;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod confirmation;
pub mod domain;
pub mod jobs;
pub mod leqi;
pub mod listener;
pub mod ops;
pub mod proxy;
pub mod quota;
pub mod request_log;
pub mod shutdown;
pub mod simulator;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod unit;
pub mod upstream;
