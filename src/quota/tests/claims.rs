//! What an upload asks for.

use super::{at, issuer, number, yuan};
use crate::{
    domain::{Money, ServiceCode, TaxNo},
    leqi::messages::{Invoice, InvoiceLine},
    quota::{Claim, Refusal, claims},
};

const BUYER: &str = "91440300MA5FKR1X0D";

fn invoice(n: u64) -> Invoice {
    Invoice {
        invoice_no: number(n),
        red: false,
        kind: "01".to_owned(),
        seller: Some(super::ISSUER.to_owned()),
        buyer: Some(buyer().to_string()),
        net: yuan(100),
        tax: yuan(13),
        gross: None,
        issued_at: at("2026-11-23 10:00:00"),
        platform_id: None,
        province: None,
        purchase_type: None,
        reversed_invoice_no: None,
        red_letter_no: None,
        red_letter_uuid: None,
        red_reason: None,
        lines: Vec::new(),
    }
}

/// A valid number other than the issuer's.
fn buyer() -> TaxNo {
    let digits = "0123456789ABCDEFGHJKLMNPQRTUWXY";
    digits.chars().find_map(|last| TaxNo::parse(&format!("{}{last}", &BUYER[..17])).ok()).unwrap()
}

fn line(net: i64, mark: Option<&str>, code: Option<&str>) -> InvoiceLine {
    let own = |text: Option<&str>| text.map(str::to_owned);
    InvoiceLine { net: yuan(net), tax: None, tax_exempt_mark: own(mark), goods_code: own(code) }
}

fn claims_of(invoices: &[Invoice]) -> Result<(TaxNo, Vec<Claim>), Refusal> {
    claims(invoices, &ServiceCode::parse("QDFPSC").unwrap())
}

fn credit_of(invoice: Invoice) -> Money {
    claims_of(&[invoice]).unwrap().1[0].credit
}

#[test]
fn the_seller_issues_and_the_net_amount_counts_without_tax() {
    let (who, claims) = claims_of(&[invoice(1)]).unwrap();
    assert_eq!(who, issuer());
    assert_eq!(claims[0].credit, yuan(100));
}

#[test]
fn the_buyer_issues_purchase_invoices() {
    let purchase = Invoice { purchase_type: Some("01".to_owned()), ..invoice(1) };
    assert_eq!(claims_of(&[purchase]).unwrap().0, buyer());
    for service in ["NCPSGFPSC", "GFSGFPSC", "FXKPTYFPSC"] {
        let service = ServiceCode::parse(service).unwrap();
        assert_eq!(claims(&[invoice(1)], &service).unwrap().0, buyer());
    }
    let none = Invoice { purchase_type: Some(String::new()), ..invoice(1) };
    assert_eq!(claims_of(&[none]).unwrap().0, issuer());
}

#[test]
fn lines_that_are_not_taxable_use_no_credit() {
    let mixed = Invoice {
        lines: vec![line(30, Some("04"), Some("1010101010000000000")), line(70, None, None)],
        ..invoice(1)
    };
    assert_eq!(credit_of(mixed), yuan(70));
    let other_mark = Invoice { lines: vec![line(100, Some("03"), None)], ..invoice(1) };
    assert_eq!(credit_of(other_mark), yuan(100));
}

#[test]
fn the_sixteen_codes_use_credit_although_they_are_not_taxable() {
    for kind in 600..=618 {
        let code = format!("{kind}0000000000000000");
        let invoice = Invoice { lines: vec![line(100, Some("04"), Some(&code))], ..invoice(1) };
        let expected = if (601..=616).contains(&kind) { yuan(100) } else { Money::ZERO };
        assert_eq!(credit_of(invoice), expected, "{code}");
    }
    for code in ["6010000000000000001", "601000000000000000", "60100000000000000000", "+010000000000000000"] {
        let invoice = Invoice { lines: vec![line(100, Some("04"), Some(code))], ..invoice(1) };
        assert_eq!(credit_of(invoice), Money::ZERO, "{code}");
    }
}

#[test]
fn a_red_invoice_asks_for_nothing_and_offers_its_amount() {
    let red = Invoice {
        red: true,
        net: yuan(-100),
        reversed_invoice_no: Some(number(7).to_string()),
        lines: vec![line(-30, Some("04"), None), line(-70, None, None)],
        ..invoice(1)
    };
    let (_, claims) = claims_of(&[red]).unwrap();
    assert_eq!(claims[0].credit, yuan(-70));
    assert_eq!(claims[0].reversed_no, Some(number(7)));
}

#[test]
fn a_hundred_invoices_pass_and_one_more_does_not() {
    let invoices: Vec<_> = (0..101).map(invoice).collect();
    assert_eq!(claims_of(&invoices[..100]).unwrap().1.len(), 100);
    assert_eq!(claims_of(&invoices), Err(Refusal::TooMany { count: 101 }));
    assert_eq!(claims_of(&[]), Err(Refusal::Empty));
}

#[test]
fn the_same_number_twice_is_named() {
    let refusal = claims_of(&[invoice(1), invoice(2), invoice(1)]).unwrap_err();
    assert_eq!(refusal, Refusal::Duplicate { invoice_no: number(1) });
    assert!(refusal.message().contains("fphm") && refusal.message().contains(number(1).as_str()));
}

#[test]
fn different_issuing_parties_are_named_with_their_field() {
    let other = Invoice { seller: Some(buyer().to_string()), ..invoice(2) };
    let refusal = claims_of(&[invoice(1), other]).unwrap_err();
    let text = refusal.message();
    assert_eq!(refusal.code(), "GW-INVOICE-ISSUERS");
    assert!(text.contains("xsfnsrsbh") && text.contains(super::ISSUER) && text.contains(buyer().as_str()));
}

#[test]
fn an_unreadable_issuing_party_is_named_with_its_field() {
    for seller in [None, Some("12".to_owned())] {
        let refusal = claims_of(&[Invoice { seller, ..invoice(1) }]).unwrap_err();
        assert!(matches!(refusal, Refusal::Field { field: "xsfnsrsbh", .. }), "{refusal:?}");
    }
}

#[test]
fn a_number_of_another_year_than_its_date_in_beijing_is_refused() {
    let late = Invoice { issued_at: at("2027-01-01 00:00:00"), ..invoice(1) };
    assert!(matches!(claims_of(&[late]), Err(Refusal::NumberYear { .. })));
    let just = Invoice { issued_at: at("2026-12-31 23:59:59"), ..invoice(1) };
    assert!(claims_of(&[just]).is_ok());
}

#[test]
fn amounts_that_cannot_be_booked_are_refused() {
    let invoice = Invoice { net: Money::ON_DEMAND, ..invoice(1) };
    assert!(matches!(claims_of(&[invoice]), Err(Refusal::Amount { .. })));
}

#[test]
fn every_refusal_has_its_own_code_and_a_chinese_sentence() {
    let key = super::account_key();
    let (invoice_no, issuer, period) = (number(1), key.issuer, key.period);
    let date = period.first_day();
    let all = [
        Refusal::Amount { invoice_no: invoice_no.clone() },
        Refusal::Date { invoice_no: invoice_no.clone(), date, today: date },
        Refusal::Duplicate { invoice_no: invoice_no.clone() },
        Refusal::Empty,
        Refusal::Field { invoice_no: "1".into(), field: "hjje", reason: "missing".into() },
        Refusal::Issuers {
            invoice_no: invoice_no.clone(),
            issuer: issuer.clone(),
            first: buyer(),
            field: "xsfnsrsbh",
        },
        Refusal::MonthClosed { invoice_no: invoice_no.clone(), period },
        Refusal::Moved { invoice_no: invoice_no.clone(), before: date },
        Refusal::NoBalance { issuer: issuer.clone(), period, reason: "超时".into() },
        Refusal::NumberYear { invoice_no: invoice_no.clone(), date },
        Refusal::PastMonth { issuer: issuer.clone(), period },
        Refusal::Short {
            issuer,
            period,
            available: yuan(1),
            needed: yuan(2),
            at_bureau: Some(yuan(3)),
            top_up: None,
        },
        Refusal::TooMany { count: 101 },
        Refusal::Transfer { field: "sqed", reason: "x".into() },
        Refusal::Validity { invoice_no, date, from: Some(date), to: None },
    ];
    let codes: std::collections::HashSet<_> = all.iter().map(Refusal::code).collect();
    assert_eq!(codes.len(), all.len());
    for refusal in &all {
        assert!(refusal.code().starts_with("GW-"));
        assert!(refusal.message().chars().filter(|c| !c.is_ascii()).count() > 8, "{}", refusal.message());
        assert!(refusal.english().is_ascii() || matches!(refusal, Refusal::NoBalance { .. }), "{refusal}");
    }
    let short = all.iter().find(|refusal| refusal.code() == "GW-QUOTA-SHORT").unwrap().message();
    assert!(short.contains("1.00元") && short.contains("2.00元") && short.contains("2026-11"), "{short}");
}
