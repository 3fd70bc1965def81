//! Several uploads of one number whose answers and results overlap.

use super::{Desk, blue, number};
use crate::{leqi::messages::InvoiceStatus, quota::Settlement, store::ledger::EntryState};

fn there_already(n: u64) -> Settlement {
    Settlement::AlreadyUploaded { invoice_nos: vec![number(n)], code: String::new(), text: String::new() }
}

#[test]
fn a_number_that_is_there_already_is_issued_when_there_is_nothing_to_ask_with() {
    let mut desk = Desk::with_credit(1000);
    desk.reserve(1, &[blue(1, 300)]).unwrap();
    desk.reserve(2, &[blue(1, 300)]).unwrap();
    assert_eq!(desk.settle(2, &[1], &there_already(1)).issued, 1);
    assert_eq!(desk.figures(), (700, 0, 300));
}

#[test]
fn a_number_that_is_there_already_waits_for_an_accepted_upload() {
    let mut desk = Desk::with_credit(1000);
    desk.reserve(1, &[blue(1, 300)]).unwrap();
    desk.accept(1, &[1], "S1");
    desk.reserve(2, &[blue(1, 300)]).unwrap();
    assert_eq!(desk.settle(2, &[1], &there_already(1)).issued, 0);
    assert_eq!(desk.figures(), (700, 300, 0));
    assert_eq!(desk.result("S1", 1, InvoiceStatus::Failed).released, 1);
    assert_eq!(desk.figures(), (1000, 0, 0));
}

#[test]
fn a_result_that_names_a_number_as_uploaded_before_waits_for_that_other_upload() {
    let mut desk = Desk::with_credit(1000);
    desk.reserve(1, &[blue(1, 300)]).unwrap();
    desk.accept(1, &[1], "S1");
    desk.reserve(2, &[blue(1, 300)]).unwrap();
    desk.accept(2, &[1], "S2");
    assert_eq!(desk.result("S2", 1, InvoiceStatus::UploadedBefore).issued, 0);
    assert_eq!(desk.result("S1", 1, InvoiceStatus::Issued).issued, 1);
    assert_eq!(desk.figures(), (700, 0, 300));
    desk.reserve(3, &[blue(2, 100)]).unwrap();
    desk.accept(3, &[2], "S3");
    assert_eq!(desk.result("S3", 2, InvoiceStatus::UploadedBefore).issued, 1, "nothing else is under way");
}

#[test]
fn a_failed_later_upload_does_not_free_what_an_earlier_accepted_one_holds() {
    let mut desk = Desk::with_credit(1000);
    desk.reserve(1, &[blue(1, 300)]).unwrap();
    desk.accept(1, &[1], "S1");
    desk.reserve(2, &[blue(1, 300)]).unwrap();
    desk.reserve(3, &[blue(1, 300)]).unwrap();
    desk.accept(3, &[1], "S3");
    assert_eq!(desk.result("S3", 1, InvoiceStatus::Failed).released, 0);
    assert_eq!(desk.entry(1).sends.len(), 1, "the unclear one before it was not taken either");
    assert_eq!(desk.result("S1", 1, InvoiceStatus::Issued).late, []);
    assert_eq!(desk.figures(), (700, 0, 300));
}

#[test]
fn a_failure_of_an_issued_invoice_is_an_alarm_unless_an_earlier_upload_failed() {
    let mut desk = Desk::with_credit(1000);
    desk.reserve(1, &[blue(1, 300)]).unwrap();
    desk.settle(1, &[1], &there_already(1));
    assert_eq!(desk.result("S1", 1, InvoiceStatus::Failed).contradicted.len(), 1);
    assert_eq!(desk.state(1), EntryState::Issued);
    desk.reserve(2, &[blue(2, 100)]).unwrap();
    desk.accept(2, &[2], "S2");
    desk.result("S2", 2, InvoiceStatus::Failed);
    desk.reserve(3, &[blue(2, 100)]).unwrap();
    desk.accept(3, &[2], "S3");
    desk.result("S3", 2, InvoiceStatus::Issued);
    assert_eq!(desk.result("S2", 2, InvoiceStatus::Failed).contradicted, [], "it is seen again");
    assert_eq!(desk.result("S3", 2, InvoiceStatus::Failed).contradicted.len(), 1);
    assert_eq!(desk.figures(), (600, 0, 400));
}
