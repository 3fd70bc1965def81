//! The books as `GET /_sim/books` shows them: snake_case names, amounts as decimal strings in yuan, RFC 3339 times.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Account, Book, Books, Confirmation, Invoice, summaries};
use crate::domain::{Environment, Period, TaxNo};

/// Both environments in one list of each kind, told apart by `environment`.
pub(super) fn books(books: &Books, now: Timestamp) -> Value {
    let both = [(Environment::Production, &books.production), (Environment::Sandbox, &books.sandbox)];
    let all = |list: fn(&Book) -> Vec<Value>| -> Vec<Value> {
        let marked = |(environment, book): &(Environment, &Book)| {
            let environment = environment.as_str();
            list(book).into_iter().map(move |mut row| {
                if let Some(fields) = row.as_object_mut() {
                    fields.insert("environment".to_owned(), environment.into());
                }
                row
            })
        };
        both.iter().flat_map(marked).collect()
    };
    json!({
        "now": now,
        "credit": all(|book| book.accounts.iter().map(credit).collect()),
        "transfers": all(|book| book.transfers.iter().map(|(serial, transfer)| {
            with(json!(transfer), "serial", serial)
        }).collect()),
        "number_ranges": all(|book| book.ranges.values().map(|range| json!(range)).collect()),
        "invoices": all(|book| book.invoices.values().map(invoice).collect()),
        "confirmations": all(|book| book.confirmations.iter().map(confirmation).collect()),
        "red_letters": all(|book| book.red_letters.values().map(|letter| json!(letter)).collect()),
    })
}

fn with(mut row: Value, name: &str, value: &str) -> Value {
    if let Some(fields) = row.as_object_mut() {
        fields.insert(name.to_owned(), value.into());
    }
    row
}

fn credit(((tax_no, period), account): (&(TaxNo, Period), &Account)) -> Value {
    json!({
        "tax_no": tax_no,
        "period": period,
        "on_demand": account.month_total.is_on_demand(),
        "month_total": account.month_total,
        "at_bureau": account.at_bureau,
        "downloaded": account.downloaded,
        "used": account.used,
        "held": account.held,
        "unused": account.unused(),
        "valid_from": account.valid.map(|(from, _)| from.to_string()),
        "valid_to": account.valid.map(|(_, to)| to.to_string()),
        "suspended": account.suspended,
    })
}

fn invoice(invoice: &Invoice) -> Value {
    let draft = &invoice.draft;
    json!({
        "invoice_no": draft.number,
        "state": invoice.state,
        "red": draft.red,
        "issuer": draft.issuer,
        "seller": draft.seller,
        "buyer": draft.buyer,
        "platform_id": draft.platform_id,
        "dated": draft.dated,
        "period": draft.period(),
        "counted_in": invoice.counted_in,
        "net": draft.net,
        "tax": draft.tax,
        "held": invoice.held,
        "used": invoice.used,
        "reverses": draft.reverses,
        "acceptance_no": invoice.serial,
        "uploads": invoice.uploads,
        "accepted_at": invoice.accepted_at,
        "decided_at": invoice.decided_at,
        "message": invoice.message,
    })
}

fn confirmation(((tax_no, platform_id, period), row): (&summaries::Key, &Confirmation)) -> Value {
    json!({
        "tax_no": tax_no,
        "platform_id": platform_id,
        "period": period,
        "state": row.state,
        "totals": row.totals,
        "at": row.at,
    })
}
