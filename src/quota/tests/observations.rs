//! Balances: rule by rule.

use super::{Desk, balance, blue, issuer, now, red, yuan};
use crate::{
    domain::Money,
    leqi::messages::InvoiceStatus,
    quota::rules::{self, Observed},
};

impl Desk {
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
