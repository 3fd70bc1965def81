//! Every answer that the gateway makes itself, row by row of its table: the envelope that the client gets, the record in
//! the log, the figures, and how often the platform was called.
//!
//! A new error does not compile here until it has a row ([`row_of`]), and a row not until it has a script and a test.

use leqi_gateway::{listener, proxy::GatewayError, quota::Refusal, unit::IdCheck, upstream::Phase};
use serde_json::{Value, json};

use crate::{
    common::eventually,
    scripts::{Ending, Script, script},
    site::Site,
};

macro_rules! rows {
    ($($row:ident = $test:ident,)+) => {
        /// The rows of the table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Row { $($row,)+ }
        $(#[test] fn $test() { check(Row::$row); })+
    };
}

rows! {
    Body = an_upload_that_cannot_be_read,
    Busy = too_many_calls_of_one_client_at_a_time,
    Client = a_client_that_is_not_allowed,
    Framing = a_request_that_can_be_read_in_two_ways,
    HeadLarge = a_head_that_is_too_large,
    HeadSlow = a_head_that_never_ends,
    InvoiceAmount = an_amount_beyond_what_can_be_booked,
    InvoiceDate = an_invoice_of_a_month_to_come,
    InvoiceCount = too_many_invoices_in_one_upload,
    InvoiceDuplicate = a_number_twice_in_one_upload,
    InvoiceField = a_field_that_cannot_be_read,
    InvoiceIssuers = two_issuers_in_one_upload,
    InvoiceUnresolved = an_unresolved_invoice_with_another_month,
    InvoiceYear = a_number_of_another_year,
    Issuer = an_issuer_that_is_not_the_unit,
    Key = a_unit_without_its_key,
    MonthConfirmed = a_month_that_is_confirmed,
    Path = a_path_that_leaves_its_route,
    QuotaPastMonth = a_past_month_that_was_never_seen,
    QuotaShort = not_enough_credit,
    QuotaUnknown = a_balance_that_cannot_be_asked_for,
    QuotaValidity = a_date_outside_of_the_credits_days,
    Rate = too_many_calls_of_one_client,
    Request = a_request_that_breaks_off,
    Route = a_path_without_a_route,
    Size = a_request_that_is_too_large,
    Slow = a_body_that_never_ends,
    Store = a_database_that_takes_nothing,
    Sxcsbz = a_sandbox_flag_in_production,
    TransferField = a_transfer_with_a_wrong_field,
    UnitAccess = an_access_unit_that_nobody_knows,
    UnitPair = two_units_that_do_not_belong_together,
    UnitSwapped = two_ids_the_wrong_way_round,
    UnitUsing = a_using_unit_that_nobody_knows,
    UpBody = an_answer_that_breaks_off,
    UpConnect = a_platform_that_cannot_be_connected,
    UpDns = a_platform_that_cannot_be_resolved,
    UpHead = a_platform_that_hangs_up,
    UpIdle = an_answer_that_stands_still,
    UpOpen = a_platform_that_failed_too_often,
    UpPin = a_platform_with_another_key,
    UpPool = no_connection_left,
    UpProxy = an_egress_proxy_that_is_away,
    UpSend = a_platform_that_hangs_up_while_it_is_sent_to,
    UpTimeout = a_platform_that_does_not_answer,
    UpTls = a_platform_that_is_not_trusted,
    UpTotal = a_call_that_takes_too_long_in_all,
}

/// The row of an error; `None` for what no client can get.
fn row_of(error: &GatewayError) -> Option<Row> {
    Some(match error {
        GatewayError::BodyTooLarge(_) => Row::Size,
        GatewayError::BodyUnreadable(_) => Row::Body,
        GatewayError::ClientBody(_) => Row::Request,
        GatewayError::ClientDenied => Row::Client,
        GatewayError::ClientSlow => Row::Slow,
        GatewayError::Credit(refusal) => return row_of_refusal(refusal),
        // only a bug in the task of a call makes it: after a forced stop nobody is left to answer
        GatewayError::Interrupted => return None,
        GatewayError::IssuerMismatch { .. } => Row::Issuer,
        GatewayError::KeyMissing(_) => Row::Key,
        GatewayError::NoRoute => Row::Route,
        GatewayError::PathAmbiguous => Row::Path,
        GatewayError::Refused(refusal) => match refusal {
            listener::Refusal::Busy => Row::Busy,
            listener::Refusal::Framing(_) => Row::Framing,
            listener::Refusal::HeadTooLarge => Row::HeadLarge,
            listener::Refusal::HeadTooSlow => Row::HeadSlow,
            listener::Refusal::TooOften => Row::Rate,
        },
        GatewayError::SandboxFlag => Row::Sxcsbz,
        GatewayError::StoreDown(_) => Row::Store,
        GatewayError::Units { check, .. } => match check {
            IdCheck::Fits { .. } => return None,
            IdCheck::NotTogether { .. } => Row::UnitPair,
            IdCheck::Swapped { .. } => Row::UnitSwapped,
            IdCheck::UnknownAccess => Row::UnitAccess,
            IdCheck::UnknownUsing { .. } => Row::UnitUsing,
        },
        GatewayError::Upstream { phase, .. } => match phase {
            Phase::Body => Row::UpBody,
            Phase::Connect => Row::UpConnect,
            Phase::Head => Row::UpHead,
            Phase::Idle => Row::UpIdle,
            Phase::Open => Row::UpOpen,
            Phase::Pin => Row::UpPin,
            Phase::Pool => Row::UpPool,
            Phase::Proxy => Row::UpProxy,
            Phase::Resolve => Row::UpDns,
            Phase::Response => Row::UpTimeout,
            Phase::Send => Row::UpSend,
            Phase::Tls => Row::UpTls,
            Phase::Total => Row::UpTotal,
        },
    })
}

fn row_of_refusal(refusal: &Refusal) -> Option<Row> {
    Some(match refusal {
        Refusal::Amount { .. } => Row::InvoiceAmount,
        Refusal::Date { .. } => Row::InvoiceDate,
        Refusal::Duplicate { .. } => Row::InvoiceDuplicate,
        // an upload without an invoice is unreadable before the ledger sees it
        Refusal::Empty => return None,
        Refusal::Field { .. } => Row::InvoiceField,
        Refusal::Issuers { .. } => Row::InvoiceIssuers,
        Refusal::MonthClosed { .. } => Row::MonthConfirmed,
        Refusal::Moved { .. } => Row::InvoiceUnresolved,
        Refusal::NoBalance { .. } => Row::QuotaUnknown,
        Refusal::NumberYear { .. } => Row::InvoiceYear,
        Refusal::PastMonth { .. } => Row::QuotaPastMonth,
        Refusal::Short { .. } => Row::QuotaShort,
        Refusal::TooMany { .. } => Row::InvoiceCount,
        Refusal::Transfer { .. } => Row::TransferField,
        Refusal::Validity { .. } => Row::QuotaValidity,
    })
}

#[test]
fn every_upstream_phase_has_a_row_with_a_code_of_its_own() {
    let error =
        |phase| GatewayError::Upstream { phase, sent: false, retry_after: None, reason: String::new() };
    for phase in Phase::ALL {
        if let Some(row) = row_of(&error(phase)) {
            assert_eq!(script(row).code, error(phase).code(), "{phase:?}");
        }
    }
}

/// Makes the call of a row and looks at everything that it must leave behind.
fn check(row: Row) {
    let script = script(row);
    let site = (script.start)();
    let guard = (script.prepare)(&site);
    let before = Figures::of(&site, &script);
    let calls = site.simulator.calls().len();
    let seen = (script.call)(&site);
    let Script { status, code, words, ending, arrives, .. } = script;

    let said = &seen.response;
    let number = status.to_string();
    assert_eq!(
        (seen.status, seen.number.as_str(), &said["Error"]["Code"]),
        (status, &*number, &json!(code)),
        "{said}"
    );
    let text = said["Error"]["Message"].as_str().unwrap();
    assert!(text.contains(words), "{words} is not in {text}");
    assert_eq!(seen.arrived, arrives, "calls of it at the platform");

    if let Ending::TurnedAway | Ending::Unstored = ending {
        assert_eq!(seen.record, Value::Null);
    } else {
        let decision = ending.outcome();
        let record = &seen.record;
        for (field, value) in [
            ("state", json!("complete")),
            ("decision", json!(decision)),
            ("decision_code", json!(code)),
            ("error_code", json!(code)),
            ("error_text", json!(text)),
            ("status", json!(status)),
            ("id", said["RequestId"].clone()),
        ] {
            assert_eq!(record[field], value, "{field}: {record}");
        }
    }
    assert_eq!(said["RequestId"].as_str().map(str::len), Some(16), "{said}");

    eventually("the figures have moved by one", || {
        let now = Figures::of(&site, &script);
        assert!(
            now.refusals <= before.refusals + 1 && now.outcome <= before.outcome + 1,
            "{before:?} {now:?}"
        );
        (now == before.moved(ending)).then_some(())
    });
    // whatever the gateway asked about credit on its own, it did not send the call again
    let mut later = site.simulator.calls().split_off(calls);
    later.retain(|call| !["CXSXED", "XZTHSXED"].contains(&call["service"].as_str().unwrap_or("")));
    assert_eq!(later.len(), arrives, "{later:?}");
    drop(guard);
}

/// What the gateway counts of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Figures {
    refusals: u64,
    outcome: u64,
    phase: u64,
}

impl Figures {
    fn of(site: &Site, script: &Script) -> Self {
        let metrics = site.gateway.metrics();
        let sum = |name: &str, label: &str| -> u64 {
            let lines = metrics.lines().filter(|line| line.starts_with(name) && line.contains(label));
            lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
        };
        Self {
            refusals: sum("leqi_gateway_refusals_total{", &format!("code=\"{}\"", script.code)),
            outcome: sum("leqi_gateway_requests_total{", &format!("outcome=\"{}\"", script.ending.outcome())),
            phase: match script.ending {
                Ending::Failed(phase) => {
                    sum("leqi_gateway_upstream_failures_total{", &format!("phase=\"{}\"", phase.as_str()))
                }
                Ending::Refused | Ending::TurnedAway | Ending::Unstored => 0,
            },
        }
    }

    fn moved(self, ending: Ending) -> Self {
        let phase = u64::from(matches!(ending, Ending::Failed(_)));
        Self { refusals: self.refusals + 1, outcome: self.outcome + 1, phase: self.phase + phase }
    }
}
