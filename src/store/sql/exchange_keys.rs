//! What exchanges are found by besides their columns, for both engines: values that name few exchanges each.

use crate::{
    domain::InvoiceNo,
    store::exchanges::{Filter, Record},
};

/// How far an id is shifted to give its bucket: 21 bits below the millisecond, and 2^23 ms.
pub(in crate::store) const BUCKET_SHIFT: u32 = 44;

/// What a value is; stored as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Kind {
    Invoice = 1,
    ClientTid = 2,
    AcceptanceNo = 3,
    Serial = 4,
    RequestId = 5,
}

/// The keys of a record; those that a committed intent brought are left out.
pub(in crate::store) fn keys(record: &Record) -> impl Iterator<Item = (i64, Kind, &str)> {
    let id = record.id.number();
    let invoices = record.invoice_nos.iter().map(|number| (Kind::Invoice, number.as_str()));
    let request = [(Kind::ClientTid, record.client_tid.as_deref()), (Kind::Serial, record.serial.as_deref())];
    let answer = [
        (Kind::AcceptanceNo, record.acceptance_no.as_deref()),
        (Kind::RequestId, record.request_id.as_deref()),
    ];
    let begun = invoices.chain(request.into_iter().filter_map(|(kind, value)| Some((kind, value?))));
    begun
        .filter(|_| !record.intent_committed)
        .chain(answer.into_iter().filter_map(|(kind, value)| Some((kind, value?))))
        .filter(|(_, value)| !value.is_empty())
        .map(move |(kind, value)| (id, kind, value))
}

/// The key that narrows the search most, if one is given.
pub(in crate::store) fn sought(filter: &Filter) -> Option<(Kind, &str)> {
    let keys = [
        (Kind::Invoice, filter.invoice_no.as_ref().map(InvoiceNo::as_str)),
        (Kind::RequestId, filter.request_id.as_deref()),
        (Kind::AcceptanceNo, filter.acceptance_no.as_deref()),
        (Kind::Serial, filter.serial.as_deref()),
        (Kind::ClientTid, filter.client_tid.as_deref()),
    ];
    keys.into_iter().find_map(|(kind, value)| Some((kind, value?)))
}
