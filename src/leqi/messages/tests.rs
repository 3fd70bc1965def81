use std::fmt::Write;

use proptest::prelude::*;

use super::*;
use crate::{
    domain::{InvoiceNo, Money, Period, PlatformId, TaxNo},
    leqi::vectors,
};

const ID: &str = "0123456789abcdef0123";

fn tax_no() -> TaxNo {
    "91350100M000100Y43".parse().unwrap()
}

fn message(name: &str) -> String {
    let vectors = vectors::load();
    let messages = vectors["messages"].as_array().unwrap();
    messages.iter().find(|m| m["name"] == name).unwrap()["plaintext"].as_str().unwrap().to_owned()
}

#[test]
fn a_balance_is_read_and_written_as_the_vector_has_it() {
    let plain = message("quota_query_response");
    let balance: QuotaBalance = read_answer(plain.as_bytes()).unwrap();
    assert_eq!(balance.unused, Money::from_fen(48_000_000));
    assert_eq!(balance.period, Period::parse("2026-11").unwrap());
    assert!(!balance.suspended);
    assert_eq!(String::from_utf8(write_answer(&balance)).unwrap(), plain);
    let upload: UploadAnswer = read(message("upload_response").as_bytes()).unwrap();
    assert_eq!(upload.acceptance_no.as_deref(), Some("f0f4d6beb42b46d68960dc0dfd5adf83"));
    assert_eq!(String::from_utf8(write(&upload)).unwrap(), message("upload_response"));
}

#[test]
fn numbers_and_strings_nulls_and_unknown_fields_are_read_alike() {
    let text = r#"{"returncode":"00","bysxed":9999999999999999,"kysyed":"9999999999999999","yxzed":500000.10,
        "yxzwsyed":"-0.5","sq":202611,"extra":{"deep":[1]},"ztsxbz":"Y"}"#;
    let balance: QuotaBalance = read_answer(text.as_bytes()).unwrap();
    assert!(balance.month_total.is_on_demand() && balance.available.is_on_demand() && balance.suspended);
    assert_eq!(balance.downloaded, Money::from_fen(50_000_010));
    assert_eq!(balance.unused, Money::from_fen(-50));
    let answer: Answer = read(br#"{"returncode":0,"returnmsg":null}"#).unwrap();
    assert_eq!(answer, Answer { return_code: "0".into(), return_message: String::new() });
}

#[test]
fn a_refusing_answer_is_no_balance() {
    let error =
        read_answer::<QuotaBalance>(r#"{"returncode":"11","returnmsg":"无资格"}"#.as_bytes()).unwrap_err();
    assert!(matches!(error, MessageError::Refused { code, text } if code == "11" && text == "无资格"));
    assert!(matches!(read_answer::<QuotaBalance>(b"{}"), Err(MessageError::Refused { .. })));
    assert!(matches!(read_answer::<QuotaBalance>(br#"{"returncode":"00"}"#), Err(MessageError::Shape(_))));
}

#[test]
fn transfers_carry_a_serial_of_both_ids_and_random_digits() {
    let id: PlatformId = ID.parse().unwrap();
    let serial = new_serial(&id, &id);
    assert_eq!(serial.len(), 72);
    assert_ne!(serial, new_serial(&id, &id));
    let transfer = QuotaTransfer {
        tax_no: tax_no(),
        platform_id: id,
        direction: Direction::Return,
        amount: Money::from_fen(12_345),
        serial,
    };
    let written = write(&transfer);
    assert!(String::from_utf8_lossy(&written).contains(r#""sqlx":"1","sqed":"123.45""#));
    assert_eq!(read::<QuotaTransfer>(&written).unwrap(), transfer);
    let answer: QuotaTransferAnswer =
        read_answer(br#"{"returncode":"00","syqjq":"20261101","syqjz":20261115}"#).unwrap();
    assert_eq!(answer.valid_to.unwrap().to_string(), "2026-11-15");
    assert_eq!(read_answer::<QuotaTransferAnswer>(&write_answer(&answer)).unwrap(), answer);
    let validity: QuotaValidityAnswer =
        read_answer(br#"{"returncode":"00","sxedsq":"2026-11","syqjq":"2026-11-01","syqjz":""}"#).unwrap();
    assert_eq!((validity.period, validity.valid_to), (Period::parse("202611").ok(), None));
}

#[test]
fn the_official_sample_of_a_confirmation_is_read() {
    let sample = format!(
        r#"{{"xsfnsrsbh":"91350100M000100Y43","xsfsjswjgdm":"14400020000","ywlx":"0","ptbh":"{ID}","yf":"2025-05",
        "lzfpsl":"1300","lzfpje":15518088765.27,"lzfpse":1687911.48,"hzfpsl":257,"hzfpje":-9770623.50,
        "hzfpse":-1043355.60}}"#
    );
    let upload: SummaryUpload = read(sample.as_bytes()).unwrap();
    let totals = Totals {
        blue_count: 1300,
        blue_net: Money::from_fen(1_551_808_876_527),
        blue_tax: Money::from_fen(168_791_148),
        red_count: 257,
        red_net: Money::from_fen(-977_062_350),
        red_tax: Money::from_fen(-104_335_560),
    };
    assert_eq!(upload.action, SummaryAction::Confirm(totals));
    assert_eq!(read::<SummaryUpload>(&write(&upload)).unwrap(), upload);
    let cancel = SummaryUpload { action: SummaryAction::Cancel, ..upload.clone() };
    let written = String::from_utf8(write(&cancel)).unwrap();
    assert!(written.contains(r#""ywlx":"1""#) && !written.contains("lzfpsl"), "{written}");
    assert_eq!(read::<SummaryUpload>(written.as_bytes()).unwrap(), cancel);
    let missing = sample.replace("hzfpse", "other");
    assert!(read::<SummaryUpload>(missing.as_bytes()).unwrap_err().to_string().contains("hzfpse is missing"));
    let summary = Summary { platform_id: upload.platform_id, period: upload.period, totals };
    let list = SummaryList { summaries: vec![summary] };
    assert_eq!(read_answer::<SummaryList>(&write_answer(&list)).unwrap(), list);
    let none: SummaryList = read_answer(br#"{"returncode":"00","fphzqrxxList":null}"#).unwrap();
    assert!(none.summaries.is_empty());
}

#[test]
fn results_are_read_with_every_status() {
    let answer: ResultAnswer = read(
        br#"{"returncode":"00","resultList":[
        {"fphm":"26312000000000000001","status":"00","message":""},
        {"fphm":26312000000000000002,"status":1},
        {"fphm":"26312000000000000003","status":"02","message":"x","Code":1234},
        {"fphm":"26312000000000000004","status":"03"},
        {"fphm":"26312000000000000005","status":"99"}]}"#,
    )
    .unwrap();
    let statuses: Vec<_> = answer.results.iter().map(|r| r.status.clone()).collect();
    assert_eq!(
        statuses,
        [
            InvoiceStatus::Issued,
            InvoiceStatus::Processing,
            InvoiceStatus::Failed,
            InvoiceStatus::UploadedBefore,
            InvoiceStatus::Other("99".into())
        ]
    );
    assert_eq!(answer.results[2].code.as_deref(), Some("1234"));
    assert_eq!(read::<ResultAnswer>(&write(&answer)).unwrap(), answer);
}

fn invoice(no: &str, net: &str) -> String {
    format!(
        r#"{{"fphm":"{no}","lzfpbz":"0","fppz":"01","xsfnsrsbh":"91350100M000100Y43","gmfnsrsbh":"","hjje":{net},
        "hjse":"13.00","jshj":113,"kprq":"2026-11-30 23:59:59","ptbh":"{ID}","qyDm":"35","sgfplxDm":"","other":[{{}}],
        "fpmxList":[{{"je":"100.00","se":13,"yhzcbs":"04","sphfwssflhbbm":6010000000000000000}}]}}"#
    )
}

const NO: &str = "26312000000000000001";

#[test]
fn invoices_are_found_in_an_array_an_object_and_an_object_around_the_array() {
    let one = invoice(NO, "100.00");
    let shapes = [
        format!("[{one}]"),
        one.clone(),
        format!(r#"{{"total":1,"tags":["a"],"list":[{one}]}}"#),
        format!(r#"{{"data":{{"fpList":[{one}]}}}}"#),
    ];
    for shape in shapes {
        let invoices = read_invoices(shape.as_bytes()).unwrap();
        assert_eq!(invoices.len(), 1, "{shape}");
        let found = &invoices[0];
        assert_eq!(found.invoice_no, InvoiceNo::parse(NO).unwrap());
        assert_eq!(
            (found.net, found.tax, found.red),
            (Money::from_fen(10_000), Money::from_fen(1_300), false)
        );
        assert_eq!(found.issued_at.to_string(), "2026-11-30T15:59:59Z");
        assert_eq!((found.buyer.as_ref(), found.purchase_type.as_ref()), (None, None));
        assert_eq!(found.lines[0].goods_code.as_deref(), Some("6010000000000000000"));
        assert!(looks_like_invoices(shape.as_bytes()));
        assert_eq!(read_invoices(&write_invoices(&invoices)).unwrap(), invoices);
    }
}

#[test]
fn a_field_that_cannot_be_read_is_named_with_its_invoice() {
    let good = invoice(NO, "100.00");
    for (bad, field) in [
        (invoice(NO, "1.234"), "hjje"),
        (invoice(NO, "null"), "hjje"),
        (invoice("123", "1"), "fphm"),
        (good.replace("\"lzfpbz\":\"0\"", "\"lzfpbz\":\"2\""), "lzfpbz"),
        (good.replace("2026-11-30 23:59:59", "2026-11-31 23:59:59"), "kprq"),
        (good.replace(ID, "xyz"), "ptbh"),
        (good.replace("\"100.00\"", "\"abc\""), "fpmxList"),
    ] {
        match read_invoices(format!("[{good},{bad}]").as_bytes()) {
            Err(MessageError::Invoice(error)) => {
                assert_eq!((error.index, error.field), (1, field), "{error}");
                assert!(error.invoice_no.is_some());
            }
            other => panic!("{field}: {other:?}"),
        }
    }
}

#[test]
fn what_holds_no_invoices_is_an_error_and_does_not_look_like_one() {
    for text in [
        "[]",
        "{}",
        "null",
        "1",
        r#"{"nsrsbh":"x"}"#,
        r#"{"list":[1,2]}"#,
        "[1]",
        "not json",
        r#"{"fphm":"1"}"#,
    ] {
        assert!(read_invoices(text.as_bytes()).is_err(), "{text}");
        assert!(!looks_like_invoices(text.as_bytes()), "{text}");
    }
}

#[test]
fn a_duplicate_field_is_refused_since_readers_differ_on_which_one_counts() {
    let twice = invoice(NO, "1").replacen("\"hjje\"", "\"hjje\":5,\"hjje\"", 1);
    assert!(matches!(read_invoices(format!("[{twice}]").as_bytes()), Err(MessageError::Shape(_))));
}

#[test]
fn a_hundred_invoices_with_many_lines_are_read() {
    let mut upload = String::from("[");
    for n in 0..100 {
        let line = r#"{"je":"100.00","se":13,"xmmc":"咨询服务","yhzcbs":""},"#.repeat(40);
        let one = invoice(&format!("263120000000000000{n:02}"), "4100.00").replacen(
            "[{\"je\"",
            &format!("[{line}{{\"je\""),
            1,
        );
        write!(upload, "{}{one}", if n == 0 { "" } else { "," }).unwrap();
    }
    upload.push(']');
    let invoices = read_invoices(upload.as_bytes()).unwrap();
    assert_eq!(invoices.len(), 100);
    assert!(invoices.iter().all(|i| i.lines.len() == 41));
}

proptest! {
    #[test]
    fn any_text_is_invoices_or_an_error(text in "[\\[\\]{}\":,0-9a-z]{0,60}", net in "[0-9.eE+-]{1,12}") {
        let _ = read_invoices(text.as_bytes());
        let _ = looks_like_invoices(text.as_bytes());
        let _ = read_invoices(invoice(NO, &net).as_bytes());
        let _ = read::<SummaryUpload>(text.as_bytes());
        let _ = read_answer::<QuotaBalance>(text.as_bytes());
    }
}

#[test]
fn an_error_never_shows_what_was_sent() {
    for body in [r#"["secret words"]"#, r#"[{"fphm":"26440000000000000001","fpmxList":"secret words"}]"#] {
        let error = read_invoices(body.as_bytes()).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
