//! The three sets of books: the platform's, the ledger's, the request log's.

use std::collections::{BTreeMap, BTreeSet};

use leqi_gateway::domain::Money;
use serde_json::Value;

use crate::{
    Scene,
    common::process::{Gateway, Simulator},
};

/// All pages of a list of the management API.
pub(crate) fn all(gateway: &Gateway, path: &str) -> Vec<Value> {
    let mut items = Vec::new();
    let mut cursor = String::new();
    loop {
        let mark = if path.contains('?') { '&' } else { '?' };
        let (status, page) = gateway.api("GET", &format!("{path}{mark}limit=500{cursor}"), None);
        assert_eq!(status, 200, "{page}");
        items.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
}

/// The ledger's invoices by number.
pub(crate) fn entries(gateway: &Gateway, tax_no: &str) -> BTreeMap<String, Value> {
    let rows = all(gateway, &format!("/quotas/{tax_no}/entries"));
    rows.into_iter().map(|row| (text(&row, "invoice_no"), row)).collect()
}

/// The log's rows of uploads, newest first.
pub(crate) fn uploads(gateway: &Gateway) -> Vec<Value> {
    all(gateway, "/exchanges?class=issue")
}

/// The numbers of the invoices that the rows of the log name.
pub(crate) fn named<'r>(rows: impl IntoIterator<Item = &'r Value>) -> BTreeSet<String> {
    let numbers = rows.into_iter().flat_map(|row| row["invoice_nos"].as_array().into_iter().flatten());
    numbers.map(|number| number.as_str().unwrap().to_owned()).collect()
}

/// The platform's invoices of a taxpayer by number.
pub(crate) fn invoices(simulator: &Simulator, tax_no: &str) -> BTreeMap<String, Value> {
    let books = simulator.books_without_calls();
    let rows = books["invoices"].as_array().unwrap().iter().filter(|row| row["issuer"] == tax_no);
    rows.map(|row| (text(row, "invoice_no"), row.clone())).collect()
}

/// The uploads that reached the platform.
pub(crate) fn received(simulator: &Simulator) -> Vec<Value> {
    let mut calls = simulator.calls();
    calls.retain(|call| call["service"] == "QDFPSC");
    calls
}

pub(crate) fn text(row: &Value, field: &str) -> String {
    row[field].as_str().unwrap_or_else(|| panic!("no {field} in {row}")).to_owned()
}

pub(crate) fn money(row: &Value, field: &str) -> Money {
    text(row, field).parse().unwrap()
}

fn sum(amounts: impl Iterator<Item = Money>) -> Money {
    amounts.fold(Money::ZERO, Money::saturating_add)
}

/// Platform and ledger know the same issued invoices and the same figures, nothing is open and nothing oversold.
pub(crate) fn agree(scene: &Scene) {
    let tax_no = &scene.unit.tax_no;
    let ours = entries(&scene.gateway, tax_no);
    let theirs = invoices(&scene.simulator, tax_no);
    let in_state = |rows: &BTreeMap<String, Value>, state: &str| -> BTreeMap<String, Money> {
        let rows = rows.iter().filter(|(_, row)| row["state"] == state);
        rows.map(|(number, row)| (number.clone(), money(row, "net"))).collect()
    };
    assert_eq!(in_state(&ours, "reserved"), BTreeMap::new(), "nothing is open at the end");
    assert_eq!(in_state(&theirs, "processing"), BTreeMap::new(), "nothing is undecided at the end");
    assert_eq!(in_state(&ours, "issued"), in_state(&theirs, "issued"));
    let used = sum(in_state(&theirs, "issued").into_values());

    let books = scene.simulator.books_without_calls();
    let account = books["credit"].as_array().unwrap().iter().find(|row| row["tax_no"] == *tax_no).unwrap();
    let (status, quota) = scene.gateway.api("GET", &format!("/quotas/{tax_no}"), None);
    assert_eq!(status, 200, "{quota}");
    assert!(money(account, "used") <= money(account, "downloaded"), "oversold: {account}");
    for (ours, theirs) in [("downloaded", "downloaded"), ("issued", "used"), ("available", "unused")] {
        assert_eq!(money(&quota, ours), money(account, theirs), "{ours}: {quota} {account}");
    }
    for zero in ["reserved", "used_elsewhere", "pending_return"] {
        assert_eq!(money(&quota, zero), Money::ZERO, "{zero}: {quota}");
    }
    assert_eq!((money(account, "used"), money(account, "held")), (used, Money::ZERO));
}

/// Every upload that reached the platform has a row of its own in the log with the same body, and the row is final.
pub(crate) fn every_sent_upload_is_in_the_log(scene: &Scene, states: &[&str]) {
    let mut rows: BTreeMap<String, usize> = BTreeMap::new();
    for row in uploads(&scene.gateway) {
        let state = text(&row, "state");
        assert!(states.contains(&state.as_str()), "{state}: {row}");
        if row["decision"] != "refused" {
            *rows.entry(text(&row, "request_sha256")).or_default() += 1;
        }
    }
    for call in received(&scene.simulator) {
        // a body that was cut short by the kill was not received
        let Some(sha256) = call["body_sha256"].as_str() else { continue };
        let left = rows.get_mut(sha256).unwrap_or_else(|| panic!("no row for {call}"));
        assert!(*left > 0, "more calls than rows with this body: {call}");
        *left -= 1;
    }
}
