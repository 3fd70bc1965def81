//! Summary confirmation: totals, cancellation, the 13th, and months that take no more invoices.

use super::*;

/// A confirmation: count, net and tax in yuan; blue, red.
pub(super) fn totals(caller: &Caller, month: &str, blue: [i64; 3], red: [i64; 3]) -> Value {
    let yuan = |amount: i64| Money::from_fen(amount * 100);
    json!({
        "xsfnsrsbh": caller.unit.tax_no, "xsfsjswjgdm": caller.unit.province_code, "ywlx": "0",
        "ptbh": caller.access.platform_id, "yf": month,
        "lzfpsl": blue[0].to_string(), "lzfpje": yuan(blue[1]), "lzfpse": yuan(blue[2]),
        "hzfpsl": red[0], "hzfpje": yuan(red[1]), "hzfpse": yuan(red[2]),
    })
}

fn changed(message: &Value, field: &str, value: Value) -> Value {
    let mut changed = message.clone();
    changed[field] = value;
    changed
}

/// November with one invoice of 100.00 + 13.00; now it is December 3rd.
async fn december() -> (Platform, Caller, Vec<String>) {
    let platform = Platform::start().await;
    let caller = platform.caller(2);
    platform.set_clock("2026-11-30 23:00:00");
    platform.download(&caller, "1000.00").await;
    let numbers = platform.numbers(&caller, 4).await;
    let invoice = platform.invoice(&caller, &numbers[0], 100);
    assert_eq!(platform.upload(&caller, &json!([invoice])).await, ["00"]);
    platform.set_clock("2026-12-02 20:00:00");
    (platform, caller, numbers)
}

#[tokio::test]
async fn each_figure_that_differs_is_named_with_both_values() {
    let (platform, caller, _) = december().await;
    let right = totals(&caller, "2026-11", [1, 100, 13], [0, 0, 0]);
    for (field, value, words) in [
        ("lzfpsl", json!(2), "蓝字数量与局端不一致，局端数量 1，上传确认数量2"),
        ("lzfpje", json!("99.99"), "蓝字金额与局端不一致，局端金额 100.00，上传确认金额99.99"),
        ("lzfpse", json!("0"), "蓝字税额与局端不一致"),
        ("hzfpsl", json!("1"), "红字数量与局端不一致"),
        ("hzfpje", json!(-1), "红字金额与局端不一致"),
        ("hzfpse", json!("-0.01"), "红字税额与局端不一致"),
    ] {
        platform.refused(&caller, "SCFPHZQRXX", &changed(&right, field, value), "99", words).await;
    }
    platform.ask(&caller, "SCFPHZQRXX", &right).await;
    platform.ask(&caller, "SCFPHZQRXX", &right).await;
    let ask = json!({ "xsfnsrsbh": caller.unit.tax_no, "xsfsjswjgdm": caller.unit.province_code, "ptbh": "", "yf": "2026-11" });
    let listed = platform.ask(&caller, "CXFPHZQRXX", &ask).await;
    assert_eq!(listed["fphzqrxxList"][0]["yf"], "2026-11");
    assert_eq!(listed["fphzqrxxList"][0]["lzfpje"], "100.00");
}

#[tokio::test]
async fn what_is_wrong_in_a_confirmation_is_named() {
    let (platform, caller, _) = december().await;
    let right = totals(&caller, "2026-11", [1, 100, 13], [0, 0, 0]);
    for (field, value, words) in [
        ("xsfsjswjgdm", json!(""), "参数错误，销售方省级税务机关代码不能为空"),
        ("xsfsjswjgdm", json!("13100000000"), "xsfsjswjgdm"),
        ("xsfnsrsbh", json!(platform.caller(3).unit.tax_no), "不一致"),
        ("ptbh", json!(caller.unit.platform_id), "ptbh"),
        ("yf", json!("202611"), "yf格式不正确"),
        ("yf", json!("2026-12"), "尚未结束"),
        ("yf", json!("2026-09"), "已超过汇总确认截止时间"),
        ("ywlx", json!("2"), "ywlx"),
        ("lzfpsl", json!("1.5"), "lzfpsl格式不正确"),
    ] {
        platform.refused(&caller, "SCFPHZQRXX", &changed(&right, field, value), "99", words).await;
    }
    let cancel = changed(&right, "ywlx", json!("1"));
    platform.refused(&caller, "SCFPHZQRXX", &cancel, "99", "纳税人未上传发票汇总确认信息").await;
}

#[tokio::test]
async fn a_confirmed_month_takes_invoices_only_after_it_is_cancelled() {
    let (platform, caller, numbers) = december().await;
    let right = totals(&caller, "2026-11", [1, 100, 13], [0, 0, 0]);
    platform.ask(&caller, "SCFPHZQRXX", &right).await;
    let mut late = platform.invoice(&caller, &numbers[1], 10);
    late["kprq"] = json!("2026-11-30 23:30:00");
    let words = "当前开票方开具日期所属年月已完成对账，不再允许上传此年月发票";
    platform.refused(&caller, "QDFPSC", &json!([late]), "99", words).await;
    platform.ask(&caller, "SCFPHZQRXX", &changed(&right, "ywlx", json!("1"))).await;
    assert_eq!(platform.upload(&caller, &json!([late])).await, ["00"]);
    let completed = totals(&caller, "2026-11", [2, 110, 14], [0, 0, 0]);
    let completed = changed(&completed, "lzfpse", json!("14.30"));
    platform.ask(&caller, "SCFPHZQRXX", &completed).await;
}

#[tokio::test]
async fn on_the_thirteenth_the_platform_confirms_what_it_has() {
    let (platform, caller, _) = december().await;
    platform.set_clock("2026-12-12 23:59:59");
    assert!(!confirmed(&platform, &caller, "2026-11").await);
    platform.set_clock("2026-12-13 00:00:00");
    let right = totals(&caller, "2026-11", [1, 100, 13], [0, 0, 0]);
    platform.refused(&caller, "SCFPHZQRXX", &right, "99", "已超过汇总确认截止时间").await;
    assert!(confirmed(&platform, &caller, "2026-11").await);
    let books = platform.books().await;
    let rows = books["confirmations"].as_array().unwrap();
    let november = rows.iter().filter(|row| row["period"] == "2026-11" && row["environment"] == "production");
    assert_eq!(november.clone().count(), 6, "months without invoices too");
    assert!(november.into_iter().all(|row| row["state"] == "automatic"));
}

async fn confirmed(platform: &Platform, caller: &Caller, month: &str) -> bool {
    let ask =
        json!({ "xsfnsrsbh": caller.unit.tax_no, "xsfsjswjgdm": caller.unit.province_code, "yf": month });
    let listed = platform.ask(caller, "CXFPHZQRXX", &ask).await;
    !listed["fphzqrxxList"].as_array().unwrap().is_empty()
}

#[tokio::test]
async fn an_invoice_issued_after_midnight_counts_for_the_next_month() {
    let platform = Platform::start().await;
    let caller = platform.caller(2);
    platform.set_clock("2026-11-30 23:00:00");
    platform.download(&caller, "1000.00").await;
    let numbers = platform.numbers(&caller, 1).await;
    platform.set_clock("2026-11-30 23:59:59");
    let invoice = platform.invoice(&caller, &numbers[0], 100);
    assert_eq!(platform.upload(&caller, &json!([invoice])).await, ["00"]);
    let row = platform.books().await["invoices"][0].clone();
    assert_eq!((&row["period"], &row["counted_in"]), (&json!("2026-11"), &json!("2026-12")));
    let naive = totals(&caller, "2026-11", [1, 100, 13], [0, 0, 0]);
    platform.refused(&caller, "SCFPHZQRXX", &naive, "99", "局端数量 0，上传确认数量1").await;
}
