//! Downloads and returns: rule by rule.

use super::{Desk, account_key, balance, blue, issuer, now, yuan};
use crate::{
    domain::PlatformId,
    leqi::messages::{Direction, QuotaTransfer, QuotaTransferAnswer},
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
    fn begin(&mut self, serial: &str, direction: Direction, amount: i64) -> Mark {
        let request = request(serial, direction, amount);
        rules::begin_transfer(&mut self.books, &request, &account_key(), now()).unwrap();
        self.mark()
    }

    fn transfer(&mut self, serial: &str, direction: Direction, amount: i64, mark: &Mark) -> Observed {
        rules::transfer(&mut self.books, &request(serial, direction, amount), &answer(), mark, now())
    }

    fn refuse_transfer(&mut self, serial: &str, direction: Direction, amount: i64) {
        let request = request(serial, direction, amount);
        rules::transfer_refused(&mut self.books, &request, "X", "不行", now());
    }

    fn unclear(&mut self, serial: &str, direction: Direction, amount: i64) {
        let mark = self.mark();
        rules::transfer_unclear(&mut self.books, &request(serial, direction, amount), &mark, "cut", now());
    }
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
    rules::transfer_unclear(&mut desk.books, &request("A", Direction::Return, 400), &mark, "cut", now());
    assert_eq!(desk.reserve(1, &[blue(1, 1)]), Err(rules::NotReserved::Unknown(account_key())));
    assert_eq!(desk.balance(600, 600), Observed::Applied);
    desk.reserve(1, &[blue(1, 600)]).unwrap();
}

#[test]
fn after_an_unclear_download_the_known_credit_may_still_be_used() {
    let mut desk = Desk::with_credit(1000);
    let mark = desk.mark();
    rules::transfer_unclear(&mut desk.books, &request("A", Direction::Download, 400), &mark, "cut", now());
    desk.reserve(1, &[blue(1, 1000)]).unwrap();
    assert!(desk.account().stale);
}

#[test]
fn a_download_whose_answer_was_lost_counts_once_when_it_is_repeated() {
    let mut desk = Desk::with_credit(1000);
    desk.begin("A", Direction::Download, 500);
    desk.unclear("A", Direction::Download, 500);
    let again = desk.begin("A", Direction::Download, 500);
    assert_eq!(desk.transfer("A", Direction::Download, 500, &again), Observed::Applied);
    assert_eq!(desk.figures(), (1500, 0, 0));
}

#[test]
fn a_repeated_download_that_a_balance_has_counted_meanwhile_is_not_added() {
    let mut desk = Desk::with_credit(1000);
    desk.begin("A", Direction::Download, 500);
    // the process dies; nobody says that the answer was lost
    desk.balance(1500, 1500);
    let again = desk.begin("A", Direction::Download, 500);
    assert_eq!(desk.transfer("A", Direction::Download, 500, &again), Observed::Overtaken);
    assert_eq!(desk.figures(), (1500, 0, 0));
    assert!(desk.account().stale);
}

#[test]
fn the_credit_of_a_return_is_not_used_while_it_is_under_way() {
    let mut desk = Desk::with_credit(1000);
    let asked = desk.mark();
    let mark = desk.begin("A", Direction::Return, 400);
    assert_eq!(desk.figures(), (600, 0, 0));
    let late = rules::balance(&mut desk.books, &issuer(), &balance(1000, 1000), &asked, now());
    assert_eq!(late, Observed::Overtaken);
    assert_eq!(desk.transfer("A", Direction::Return, 400, &mark), Observed::Applied);
    assert_eq!(desk.figures(), (600, 0, 0));
}

#[test]
fn a_refused_return_puts_its_credit_back_once() {
    let mut desk = Desk::with_credit(1000);
    desk.begin("A", Direction::Return, 400);
    for _ in 0..2 {
        desk.refuse_transfer("A", Direction::Return, 400);
        assert_eq!(desk.figures(), (1000, 0, 0));
    }
    // the same serial may be tried again
    let mark = desk.begin("A", Direction::Return, 400);
    desk.transfer("A", Direction::Return, 400, &mark);
    desk.refuse_transfer("A", Direction::Return, 400);
    assert_eq!(desk.figures(), (600, 0, 0));
}

#[test]
fn a_refused_download_changes_nothing() {
    let mut desk = Desk::with_credit(1000);
    desk.begin("A", Direction::Download, 400);
    desk.refuse_transfer("A", Direction::Download, 400);
    assert_eq!(desk.figures(), (1000, 0, 0));
}

#[test]
fn an_unclear_return_that_was_noted_stays_taken_off_and_the_rest_may_be_used() {
    let mut desk = Desk::with_credit(1000);
    desk.begin("A", Direction::Return, 400);
    desk.unclear("A", Direction::Return, 400);
    desk.reserve(1, &[blue(1, 600)]).unwrap();
    assert_eq!(desk.figures(), (0, 600, 0));
    desk.balance(1000, 1000);
    assert_eq!(desk.figures(), (400, 600, 0));
}

#[test]
fn a_return_that_arrives_after_a_balance_has_put_it_back_is_taken_off_before_it_is_sent_again() {
    let mut desk = Desk::with_credit(1000);
    desk.begin("A", Direction::Return, 400);
    desk.unclear("A", Direction::Return, 400);
    desk.balance(1000, 1000);
    assert_eq!(desk.figures(), (1000, 0, 0));
    let again = desk.begin("A", Direction::Return, 400);
    assert_eq!(desk.figures(), (600, 0, 0));
    assert_eq!(desk.transfer("A", Direction::Return, 400, &again), Observed::Applied);
    assert_eq!(desk.figures(), (600, 0, 0));
}
