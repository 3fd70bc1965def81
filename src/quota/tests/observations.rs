//! Balances, transfers: rule by rule.

use super::{Desk, account_key, balance, blue, issuer, now, red, yuan};
use crate::{
    domain::{Money, PlatformId},
    leqi::messages::{Direction, InvoiceStatus, QuotaTransfer, QuotaTransferAnswer},
    quota::rules::{self, Mark, Observed},
};

fn request(serial: &str, direction: Direction, amount: i64) -> QuotaTransfer {
    QuotaTransfer {
        tax_no: issuer(),
        platform_id: PlatformId::parse(&"a".repeat(20)).unwrap(),
        direction,
        amount: yuan(amount),
        serial: serial.to_owned(),
    }
}

fn answer() -> QuotaTransferAnswer {
    QuotaTransferAnswer {
        valid_from: Some("2026-11-01".parse().unwrap()),
        valid_to: Some("2026-11-30".parse().unwrap()),
        amount: None,
    }
}

impl Desk {
    fn transfer(&mut self, serial: &str, direction: Direction, amount: i64, mark: &Mark) -> Observed {
        rules::transfer(&mut self.books, &request(serial, direction, amount), &answer(), mark, now())
    }

    fn issue(&mut self, exchange: i64, n: u64, amount: i64) {
        self.reserve(exchange, &[blue(n, amount)]).unwrap();
        self.result("S", n, InvoiceStatus::Issued);
    }
}

#[test]
fn the_first_balance_counts_what_was_used_before_as_used_elsewhere() {
    let mut desk = Desk::empty();
    assert_eq!(desk.balance(1000, 600), Observed::Applied);
    assert_eq!(desk.figures(), (600, 0, 0));
    assert_eq!(desk.account().figures.elsewhere, yuan(400));
}

#[test]
fn a_balance_without_uploads_under_way_is_exact() {
    let mut desk = Desk::with_credit(1000);
    desk.issue(1, 1, 300);
    desk.balance(1000, 500);
    assert_eq!(desk.account().figures.elsewhere, yuan(200));
    assert_eq!(desk.figures(), (500, 0, 300));
}

#[test]
fn a_reservation_that_the_platform_has_counted_is_not_counted_twice() {
    let mut desk = Desk::with_credit(1000);
    desk.reserve(1, &[blue(1, 300)]).unwrap();
    // the platform has it or has it not: in both cases nothing was used elsewhere
    for unused in [1000, 700] {
        desk.balance(1000, unused);
        assert_eq!(desk.figures(), (700, 300, 0), "{unused}");
    }
    // here something must have been
    desk.balance(1000, 600);
    assert_eq!(desk.figures(), (600, 300, 0));
}

#[test]
fn an_upload_that_is_issued_between_question_and_answer_is_not_counted_twice() {
    let mut desk = Desk::with_credit(1000);
    desk.reserve(1, &[blue(1, 300)]).unwrap();
    let mark = desk.mark();
    desk.result("S", 1, InvoiceStatus::Issued);
    for unused in [1000, 700] {
        let seen = rules::balance(&mut desk.books, &issuer(), &balance(1000, unused), &mark, now());
        assert_eq!(desk.figures(), (700, 0, 300), "{unused}");
        if unused == 1000 {
            assert_eq!(seen, Observed::Applied);
        }
    }
}

#[test]
fn a_red_invoice_that_the_platform_has_counted_does_not_give_back_twice() {
    let mut desk = Desk::with_credit(1000);
    desk.issue(1, 1, 300);
    desk.reserve(2, &[red(2, 300, 1)]).unwrap();
    desk.balance(1000, 1000);
    assert_eq!(desk.figures(), (700, 0, 300));
    desk.result("S", 2, InvoiceStatus::Issued);
    assert_eq!(desk.figures(), (1000, 0, 0));
}

#[test]
fn a_red_invoice_issued_between_question_and_answer_makes_the_answer_too_old() {
    let mut desk = Desk::with_credit(1000);
    desk.issue(1, 1, 300);
    desk.reserve(2, &[red(2, 300, 1)]).unwrap();
    let mark = desk.mark();
    desk.result("S", 2, InvoiceStatus::Issued);
    let seen = rules::balance(&mut desk.books, &issuer(), &balance(1000, 700), &mark, now());
    assert_eq!(seen, Observed::Overtaken);
    assert_eq!(desk.figures(), (1000, 0, 0));
}

#[test]
fn the_answer_of_an_older_question_does_not_undo_a_newer_one() {
    let mut desk = Desk::with_credit(1000);
    let old = desk.mark();
    desk.balance(5000, 5000);
    let seen = rules::balance(&mut desk.books, &issuer(), &balance(1000, 1000), &old, now());
    assert_eq!(seen, Observed::Overtaken);
    assert_eq!(desk.figures(), (5000, 0, 0));
}

#[test]
fn where_the_platform_counts_less_the_difference_is_available() {
    let mut desk = Desk::with_credit(1000);
    desk.issue(1, 1, 300);
    // a red invoice for last month's account, say, that this ledger never saw
    desk.balance(1000, 900);
    assert_eq!(desk.figures(), (900, 0, 300));
}

#[test]
fn the_bureaus_figures_of_an_on_demand_taxpayer_are_shown_and_never_counted() {
    let mut desk = Desk::empty();
    let mark = desk.mark();
    let mut seen = balance(1000, 1000);
    (seen.month_total, seen.available) = (Money::ON_DEMAND, Money::ON_DEMAND);
    rules::balance(&mut desk.books, &issuer(), &seen, &mark, now());
    assert_eq!(desk.figures(), (1000, 0, 0));
    assert!(desk.account().bureau_available.unwrap().is_on_demand());
    let error = desk.reserve(1, &[blue(1, 1001)]).unwrap_err();
    let rules::NotReserved::Refused(refusal) = error else { panic!("{error:?}") };
    assert!(refusal.message().contains("不限额"), "{}", refusal.message());
}

#[test]
fn suspension_does_not_stop_invoices_that_downloaded_credit_covers() {
    let mut desk = Desk::empty();
    let mark = desk.mark();
    let mut seen = balance(1000, 1000);
    seen.suspended = true;
    rules::balance(&mut desk.books, &issuer(), &seen, &mark, now());
    desk.reserve(1, &[blue(1, 1000)]).unwrap();
    assert!(desk.account().suspended);
}

#[test]
fn downloads_and_returns_change_the_credit_and_set_its_validity() {
    let mut desk = Desk::with_credit(1000);
    let mark = desk.mark();
    assert_eq!(desk.transfer("A", Direction::Download, 500, &mark), Observed::Applied);
    let mark = desk.mark();
    desk.transfer("B", Direction::Return, 200, &mark);
    assert_eq!(desk.figures(), (1300, 0, 0));
    assert_eq!(desk.account().valid_to, answer().valid_to);
}

#[test]
fn the_same_serial_counts_once() {
    let mut desk = Desk::with_credit(1000);
    for _ in 0..3 {
        let mark = desk.mark();
        desk.transfer("A", Direction::Download, 500, &mark);
    }
    assert_eq!(desk.figures(), (1500, 0, 0));
}

#[test]
fn a_download_that_a_balance_may_hold_already_is_not_added() {
    let mut desk = Desk::with_credit(1000);
    let sent = desk.mark();
    desk.balance(1500, 1500);
    assert_eq!(desk.transfer("A", Direction::Download, 500, &sent), Observed::Overtaken);
    assert_eq!(desk.figures(), (1500, 0, 0));
    assert!(desk.account().stale);
    desk.balance(1500, 1500);
    assert!(!desk.account().stale);
}

#[test]
fn a_return_that_a_balance_may_hold_already_is_taken_off_until_the_next_balance() {
    let mut desk = Desk::with_credit(1000);
    let sent = desk.mark();
    desk.balance(800, 800);
    desk.transfer("A", Direction::Return, 200, &sent);
    assert_eq!(desk.figures(), (600, 0, 0));
    desk.balance(800, 800);
    assert_eq!(desk.figures(), (800, 0, 0));
}

#[test]
fn a_balance_asked_for_before_a_transfer_does_not_undo_it() {
    let mut desk = Desk::with_credit(1000);
    let asked = desk.mark();
    let mark = desk.mark();
    desk.transfer("A", Direction::Return, 400, &mark);
    let seen = rules::balance(&mut desk.books, &issuer(), &balance(1000, 1000), &asked, now());
    assert_eq!(seen, Observed::Overtaken);
    assert_eq!(desk.figures(), (600, 0, 0));
}

#[test]
fn after_an_unclear_return_the_balance_must_be_asked_for() {
    let mut desk = Desk::with_credit(1000);
    let mark = desk.mark();
    rules::transfer_unclear(&mut desk.books, &request("A", Direction::Return, 400), &mark, now());
    assert_eq!(desk.reserve(1, &[blue(1, 1)]), Err(rules::NotReserved::Unknown(account_key())));
    assert_eq!(desk.balance(600, 600), Observed::Applied);
    desk.reserve(1, &[blue(1, 600)]).unwrap();
}

#[test]
fn after_an_unclear_download_the_known_credit_may_still_be_used() {
    let mut desk = Desk::with_credit(1000);
    let mark = desk.mark();
    rules::transfer_unclear(&mut desk.books, &request("A", Direction::Download, 400), &mark, now());
    desk.reserve(1, &[blue(1, 1000)]).unwrap();
    assert!(desk.account().stale);
}
