//! Reserve, settle, results: rule by rule.

use super::{Desk, account_key, at, blue, issuer, number, red, yuan};
use crate::{
    domain::{ExchangeId, Money},
    leqi::messages::InvoiceStatus,
    quota::{
        Claim, Mode, Refusal, Settlement,
        rules::{self, NotReserved},
    },
    store::ledger::EntryState,
};

fn refusal(error: NotReserved) -> Refusal {
    match error {
        NotReserved::Refused(refusal) => refusal,
        NotReserved::Unknown(key) => panic!("{key:?} is unknown"),
    }
}

#[test]
fn an_upload_holds_its_credit_until_it_is_issued() {
    let mut desk = Desk::with_credit(1000);
    let reserved = desk.reserve(1, &[blue(1, 300), blue(2, 200)]).unwrap();
    assert_eq!((reserved.held, reserved.invoices.len()), (yuan(500), 2));
    assert_eq!(desk.figures(), (500, 500, 0));
    desk.accept(1, &[1, 2], "S1");
    assert_eq!(desk.figures(), (500, 500, 0));
    desk.result("S1", 1, InvoiceStatus::Issued);
    desk.result("S1", 2, InvoiceStatus::UploadedBefore);
    assert_eq!(desk.figures(), (500, 0, 500));
    assert_eq!((desk.state(1), desk.state(2)), (EntryState::Issued, EntryState::Issued));
}

#[test]
fn all_invoices_of_an_upload_are_reserved_or_none() {
    let mut desk = Desk::with_credit(1000);
    let error = desk.reserve(1, &[blue(1, 600), blue(2, 500)]).unwrap_err();
    let Refusal::Short { available, needed, at_bureau, .. } = refusal(error) else { panic!() };
    assert_eq!((available, needed, at_bureau), (yuan(1000), yuan(1100), Some(yuan(500_000))));
    assert_eq!(desk.figures(), (1000, 0, 0));
    assert!(desk.books.changed_entries().next().is_none());
}

#[test]
fn credit_can_be_used_to_the_last_fen_and_not_beyond() {
    let mut desk = Desk::with_credit(1000);
    desk.reserve(1, &[blue(1, 1000)]).unwrap();
    let fen = Claim { credit: Money::from_fen(1), ..blue(2, 0) };
    assert!(matches!(refusal(desk.reserve(2, &[fen]).unwrap_err()), Refusal::Short { .. }));
    desk.reserve(3, &[blue(3, 0)]).unwrap();
}

#[test]
fn a_retry_holds_nothing_more() {
    let mut desk = Desk::with_credit(1000);
    desk.reserve(1, &[blue(1, 600)]).unwrap();
    let again = desk.reserve(2, &[blue(1, 600)]).unwrap();
    assert_eq!(again.held, Money::ZERO);
    assert_eq!(desk.figures(), (400, 600, 0));
    assert_eq!(desk.entry(1).sends.len(), 2);
}

#[test]
fn a_smaller_batch_after_a_larger_one_counts_once() {
    let mut desk = Desk::with_credit(1000);
    desk.reserve(1, &[blue(1, 300), blue(2, 300), blue(3, 300)]).unwrap();
    desk.reserve(2, &[blue(2, 300)]).unwrap();
    assert_eq!(desk.figures(), (100, 900, 0));
}

#[test]
fn a_retry_with_another_amount_holds_the_larger() {
    let mut desk = Desk::with_credit(1000);
    desk.reserve(1, &[blue(1, 300)]).unwrap();
    assert_eq!(desk.reserve(2, &[blue(1, 500)]).unwrap().held, yuan(200));
    desk.reserve(3, &[blue(1, 100)]).unwrap();
    assert_eq!(desk.figures(), (500, 500, 0));
    assert!(desk.reserve(4, &[blue(1, 1001)]).is_err());
    assert_eq!(desk.figures(), (500, 500, 0));
}

#[test]
fn a_proven_refusal_releases_and_twice_is_once() {
    let mut desk = Desk::with_credit(1000);
    desk.reserve(1, &[blue(1, 300)]).unwrap();
    assert_eq!(desk.refuse(1, &[1]).released, 1);
    assert_eq!(desk.refuse(1, &[1]).released, 0);
    assert_eq!(desk.figures(), (1000, 0, 0));
    assert_eq!(desk.state(1), EntryState::Released);
    assert_eq!(desk.entry(1).result_text.as_deref(), Some("不行"));
}

#[test]
fn a_released_number_may_be_used_again() {
    let mut desk = Desk::with_credit(1000);
    desk.reserve(1, &[blue(1, 300)]).unwrap();
    desk.settle(1, &[1], &Settlement::NotSent);
    desk.reserve(2, &[blue(1, 400)]).unwrap();
    assert_eq!(desk.figures(), (600, 400, 0));
}

#[test]
fn the_refusal_of_a_retry_does_not_free_what_the_first_may_have_used() {
    let mut desk = Desk::with_credit(1000);
    desk.reserve(1, &[blue(1, 300)]).unwrap();
    desk.settle(1, &[1], &Settlement::Unclear);
    desk.reserve(2, &[blue(1, 300)]).unwrap();
    assert_eq!(desk.refuse(2, &[1]).released, 0);
    assert_eq!(desk.figures(), (700, 300, 0));
    assert_eq!(desk.refuse(1, &[1]).released, 1);
    assert_eq!(desk.figures(), (1000, 0, 0));
}

#[test]
fn processing_and_unknown_states_wait() {
    let mut desk = Desk::with_credit(1000);
    desk.reserve(1, &[blue(1, 300)]).unwrap();
    desk.accept(1, &[1], "S1");
    desk.result("S1", 1, InvoiceStatus::Processing);
    desk.result("S1", 1, InvoiceStatus::Other("77".to_owned()));
    assert_eq!(desk.figures(), (700, 300, 0));
}

#[test]
fn a_failed_result_releases() {
    let mut desk = Desk::with_credit(1000);
    desk.reserve(1, &[blue(1, 300)]).unwrap();
    desk.accept(1, &[1], "S1");
    assert_eq!(desk.result("S1", 1, InvoiceStatus::Failed).released, 1);
    assert_eq!(desk.result("S1", 1, InvoiceStatus::Failed).released, 0);
    assert_eq!(desk.figures(), (1000, 0, 0));
}

#[test]
fn a_failed_result_of_an_earlier_upload_does_not_free_a_later_one() {
    let mut desk = Desk::with_credit(1000);
    desk.reserve(1, &[blue(1, 300)]).unwrap();
    desk.accept(1, &[1], "S1");
    desk.reserve(2, &[blue(1, 300)]).unwrap();
    assert_eq!(desk.result("S1", 1, InvoiceStatus::Failed).released, 0);
    assert_eq!(desk.figures(), (700, 300, 0));
    desk.accept(2, &[1], "S2");
    assert_eq!(desk.result("S1", 1, InvoiceStatus::Failed).released, 0);
    assert_eq!(desk.result("S2", 1, InvoiceStatus::Failed).released, 1);
}

#[test]
fn a_failed_result_also_proves_that_unclear_uploads_before_it_were_not_taken() {
    let mut desk = Desk::with_credit(1000);
    desk.reserve(1, &[blue(1, 300)]).unwrap();
    desk.reserve(2, &[blue(1, 300)]).unwrap();
    desk.accept(2, &[1], "S2");
    assert_eq!(desk.result("S2", 1, InvoiceStatus::Failed).released, 1);
}

#[test]
fn a_success_after_the_release_is_booked_into_overdraft_with_an_alarm() {
    let mut desk = Desk::with_credit(1000);
    desk.reserve(1, &[blue(1, 600)]).unwrap();
    desk.accept(1, &[1], "S1");
    desk.result("S1", 1, InvoiceStatus::Failed);
    desk.reserve(2, &[blue(2, 700)]).unwrap();
    let settled = desk.result("S1", 1, InvoiceStatus::Issued);
    assert_eq!((settled.issued, settled.overdrawn.len()), (1, 1));
    assert_eq!(desk.figures(), (-300, 700, 600));
    assert_eq!(desk.result("S1", 1, InvoiceStatus::Issued).issued, 0);
}

#[test]
fn a_retry_of_an_issued_invoice_costs_nothing_and_cannot_free_it() {
    let mut desk = Desk::with_credit(1000);
    desk.reserve(1, &[blue(1, 1000)]).unwrap();
    desk.accept(1, &[1], "S1");
    desk.result("S1", 1, InvoiceStatus::Issued);
    let again = desk.reserve(2, &[blue(1, 1000)]).unwrap();
    assert!(again.invoices.is_empty());
    desk.refuse(2, &[1]);
    desk.result("S1", 1, InvoiceStatus::Failed);
    assert_eq!(desk.figures(), (0, 0, 1000));
}

#[test]
fn numbers_that_are_at_the_platform_already_are_issued_and_the_rest_of_the_batch_was_refused() {
    let mut desk = Desk::with_credit(1000);
    desk.reserve(1, &[blue(1, 300), blue(2, 200)]).unwrap();
    let settlement = Settlement::AlreadyUploaded {
        invoice_nos: vec![number(1)],
        code: String::new(),
        text: "在数据库中已存在".to_owned(),
    };
    let settled = desk.settle(1, &[1, 2], &settlement);
    assert_eq!((settled.issued, settled.released), (1, 1));
    assert_eq!(desk.figures(), (700, 0, 300));
}

#[test]
fn a_number_that_is_there_already_waits_for_the_result_it_was_accepted_for() {
    let mut desk = Desk::with_credit(1000);
    desk.reserve(1, &[blue(1, 300)]).unwrap();
    desk.accept(1, &[1], "S1");
    desk.reserve(2, &[blue(1, 300)]).unwrap();
    let settlement = Settlement::AlreadyUploaded {
        invoice_nos: vec![number(1)],
        code: String::new(),
        text: String::new(),
    };
    desk.settle(2, &[1], &settlement);
    assert_eq!(desk.figures(), (700, 300, 0));
    desk.result("S1", 1, InvoiceStatus::Failed);
    assert_eq!(desk.figures(), (1000, 0, 0));
}

#[test]
fn an_answer_that_names_no_number_proves_nothing() {
    let mut desk = Desk::with_credit(1000);
    desk.reserve(1, &[blue(1, 300)]).unwrap();
    for settlement in [
        Settlement::AlreadyUploaded { invoice_nos: Vec::new(), code: String::new(), text: String::new() },
        Settlement::Accepted { acceptance_no: None },
        Settlement::Unclear,
    ] {
        desk.settle(1, &[1], &settlement);
        assert_eq!(desk.figures(), (700, 300, 0));
    }
}

#[test]
fn a_red_invoice_of_the_month_gives_back_when_it_is_issued_and_not_before() {
    let mut desk = Desk::with_credit(1000);
    desk.reserve(1, &[blue(1, 600)]).unwrap();
    desk.accept(1, &[1], "S1");
    desk.result("S1", 1, InvoiceStatus::Issued);
    assert_eq!(desk.reserve(2, &[red(2, 600, 1)]).unwrap().held, Money::ZERO);
    desk.accept(2, &[2], "S2");
    assert_eq!(desk.figures(), (400, 0, 600));
    desk.result("S2", 2, InvoiceStatus::Issued);
    assert_eq!(desk.figures(), (1000, 0, 0));
    assert_eq!(desk.account().figures.pending_return, Money::ZERO);
}

#[test]
fn a_red_invoice_gives_back_no_more_than_its_blue_one_used() {
    let mut desk = Desk::with_credit(1000);
    desk.reserve(1, &[blue(1, 600)]).unwrap();
    desk.reserve(2, &[red(2, 900, 1)]).unwrap();
    desk.result("S", 2, InvoiceStatus::Issued);
    desk.result("S", 1, InvoiceStatus::Issued);
    assert_eq!(desk.figures(), (1000, 0, 0));
}

#[test]
fn a_red_invoice_whose_blue_one_is_of_another_month_or_unknown_gives_nothing_back() {
    let mut desk = Desk::with_credit(1000);
    desk.mode = Mode::Observe;
    let october = Claim { dated_at: at("2026-10-31 23:59:59"), ..blue(1, 600) };
    desk.reserve(1, &[october]).unwrap();
    desk.mode = Mode::Enforce;
    desk.reserve(2, &[red(2, 600, 1), red(3, 100, 99)]).unwrap();
    desk.result("S", 2, InvoiceStatus::Issued);
    desk.result("S", 3, InvoiceStatus::Issued);
    assert_eq!(desk.figures(), (1000, 0, 0));
}

#[test]
fn months_have_accounts_of_their_own() {
    let mut desk = Desk::with_credit(1000);
    let december = Claim { dated_at: at("2026-12-01 00:00:00"), ..blue(1, 10) };
    let Err(NotReserved::Unknown(key)) = desk.reserve(1, &[blue(2, 10), december]) else { panic!() };
    assert_eq!(key.period.to_string(), "2026-12");
    assert_eq!(desk.figures(), (1000, 0, 0));
}

#[test]
fn an_account_that_was_never_seen_asks_for_its_balance() {
    let mut desk = Desk::empty();
    assert_eq!(desk.reserve(1, &[blue(1, 10)]), Err(NotReserved::Unknown(account_key())));
    // what needs no credit needs no balance
    desk.reserve(2, &[red(2, 10, 1), blue(3, 0)]).unwrap();
}

#[test]
fn a_confirmed_month_takes_no_more_invoices_of_that_platform() {
    let mut desk = Desk::with_credit(1000);
    let platform = "A".repeat(20).parse().unwrap();
    rules::month_closed(&mut desk.books, &account_key(), &platform, true, super::now());
    assert!(matches!(refusal(desk.reserve(1, &[blue(1, 10)]).unwrap_err()), Refusal::MonthClosed { .. }));
    let unnamed = Claim { platform_id: String::new(), ..blue(1, 10) };
    assert!(matches!(refusal(desk.reserve(1, &[unnamed]).unwrap_err()), Refusal::MonthClosed { .. }));
    let other = Claim { platform_id: "b".repeat(20), ..blue(1, 10) };
    desk.reserve(1, &[other]).unwrap();
    rules::month_closed(&mut desk.books, &account_key(), &platform, false, super::now());
    desk.reserve(2, &[blue(2, 10)]).unwrap();
}

#[test]
fn dates_outside_the_validity_of_the_credit_are_refused_where_credit_is_used() {
    let mut desk = Desk::with_credit(1000);
    let day = |text: &str| Some(text.parse().unwrap());
    let (from, to) = (day("2026-11-01"), day("2026-11-22"));
    rules::validity(&mut desk.books, &account_key(), from, to, super::now(), super::now());
    let error = refusal(desk.reserve(1, &[blue(1, 10)]).unwrap_err());
    assert!(matches!(&error, Refusal::Validity { .. }) && error.message().contains("2026-11-22"), "{error}");
    desk.reserve(1, &[red(3, 10, 1)]).unwrap();
    rules::validity(&mut desk.books, &account_key(), None, day("2026-11-23"), super::now(), super::now());
    desk.reserve(1, &[blue(1, 10)]).unwrap();
}

#[test]
fn an_unresolved_invoice_cannot_change_its_month() {
    let mut desk = Desk::with_credit(1000);
    desk.reserve(1, &[blue(1, 10)]).unwrap();
    let moved = Claim { dated_at: at("2026-12-01 00:00:00"), ..blue(1, 10) };
    let error = refusal(desk.reserve(2, std::slice::from_ref(&moved)).unwrap_err());
    assert!(matches!(&error, Refusal::Moved { .. }) && error.message().contains("2026-11-23"), "{error}");
    desk.mode = Mode::Observe;
    desk.reserve(3, &[moved]).unwrap();
    assert_eq!(desk.figures(), (1000, 0, 0));
}

#[test]
fn observing_refuses_nothing_and_keeps_the_books() {
    let mut desk = Desk::empty();
    desk.mode = Mode::Observe;
    desk.reserve(1, &[blue(1, 100)]).unwrap();
    assert_eq!(desk.figures(), (-100, 100, 0));
    assert_eq!(desk.account().synced_at, None);
    desk.mode = Mode::Enforce;
    assert!(matches!(desk.reserve(2, &[blue(2, 1)]), Err(NotReserved::Unknown(_))));
}

#[test]
fn uploads_beyond_what_is_remembered_cannot_free_anything() {
    let mut desk = Desk::with_credit(1000);
    for exchange in 1..=40 {
        desk.reserve(exchange, &[blue(1, 300)]).unwrap();
    }
    for exchange in 33..=40 {
        desk.refuse(exchange, &[1]);
    }
    assert_eq!(desk.figures(), (700, 300, 0));
}

#[test]
fn results_are_found_by_the_acceptance_when_nobody_says_whose_they_are() {
    let mut desk = Desk::with_credit(1000);
    desk.reserve(1, &[blue(1, 300)]).unwrap();
    desk.accept(1, &[1], "S1");
    let results = [super::result(1, InvoiceStatus::Issued), super::result(2, InvoiceStatus::Issued)];
    let settled = rules::results(&mut desk.books, None, "S1", &results, super::now());
    assert_eq!(settled.issued, 1);
}

#[test]
fn an_acceptance_that_is_noted_after_its_result_changes_nothing() {
    let mut desk = Desk::with_credit(1000);
    desk.reserve(1, &[blue(1, 300)]).unwrap();
    desk.accept(1, &[1], "S1");
    desk.result("S1", 1, InvoiceStatus::Failed);
    desk.accept(1, &[1], "S1");
    assert_eq!(desk.figures(), (1000, 0, 0));
    let exchange = ExchangeId::from_number(1);
    assert!(desk.entry(1).sends.iter().all(|send| send.exchange != exchange));
    assert_eq!(desk.account().key.issuer, issuer());
}
