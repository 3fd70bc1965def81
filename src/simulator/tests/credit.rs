//! Credit: query, download and return, validity; and ranges of numbers.

use super::*;

#[tokio::test]
async fn credit_moves_between_bureau_and_company_to_the_fen() {
    let platform = Platform::start().await;
    let caller = platform.caller(2);
    let ask = json!({ "nsrsbh": caller.unit.tax_no });
    let before = platform.ask(&caller, "CXSXED", &ask).await;
    assert_eq!(
        (&before["kysyed"], &before["yxzed"], &before["sq"]),
        (&json!("10000.00"), &json!("0.00"), &json!("202611"))
    );
    let valid = platform.download(&caller, "4000.01").await;
    assert_eq!(
        (&valid["syqjq"], &valid["syqjz"]),
        (&json!("20261101"), &json!("20261115")),
        "until VAT is filed"
    );
    let back = transfer(&caller, "1", "0.01", &platform.serial(&caller));
    platform.ask(&caller, "XZTHSXED", &back).await;
    let after = platform.ask(&caller, "CXSXED", &ask).await;
    assert_eq!(
        (&after["kysyed"], &after["yxzed"], &after["yxzwsyed"]),
        (&json!("6000.00"), &json!("4000.00"), &json!("4000.00"))
    );
}

#[tokio::test]
async fn the_same_serial_gives_the_original_result_and_no_other_transfer() {
    let platform = Platform::start().await;
    let caller = platform.caller(2);
    let serial = platform.serial(&caller);
    let first = platform.ask(&caller, "XZTHSXED", &transfer(&caller, "0", "100.00", &serial)).await;
    let again = platform.ask(&caller, "XZTHSXED", &transfer(&caller, "0", "100", &serial)).await;
    assert_eq!(first, again);
    for message in [transfer(&caller, "0", "100.01", &serial), transfer(&caller, "1", "100.00", &serial)] {
        platform.refused(&caller, "XZTHSXED", &message, "99", "业务流水号已存在").await;
    }
    let downloaded = platform.books().await["credit"][0]["downloaded"].clone();
    assert_eq!(downloaded, "100.00");
}

#[tokio::test]
async fn transfers_that_cannot_be_are_refused() {
    let platform = Platform::start().await;
    let caller = platform.caller(2);
    let serial = || platform.serial(&caller);
    for (message, words) in [
        (transfer(&caller, "0", "10000.01", &serial()), "大于可用剩余额度"),
        (transfer(&caller, "1", "0.01", &serial()), "大于已下载未使用额度"),
        (transfer(&caller, "0", "0", &serial()), "必须大于0"),
        (transfer(&caller, "0", "-5", &serial()), "必须大于0"),
        (transfer(&caller, "0", "1.001", &serial()), "sqed格式不正确"),
        (transfer(&caller, "2", "1", &serial()), "sqlx应为0或1"),
        (transfer(&caller, "0", "1", "short"), "ywlsh"),
        (transfer(&platform.caller(3), "0", "1", &serial()), "不一致"),
    ] {
        platform.refused(&caller, "XZTHSXED", &message, "99", words).await;
    }
    let body = json!({ "tax_no": caller.unit.tax_no, "suspended": true }).to_string();
    assert_eq!(platform.control(Method::POST, "/_sim/credit", &body).await.0, StatusCode::OK);
    let message = transfer(&caller, "0", "1", &serial());
    platform.refused(&caller, "XZTHSXED", &message, "11", "当前企业无资格办理此业务").await;
    let state = platform.ask(&caller, "CXSXED", &json!({ "nsrsbh": caller.unit.tax_no })).await;
    assert_eq!(state["ztsxbz"], "Y");
}

#[tokio::test]
async fn on_demand_taxpayers_have_sixteen_nines_and_download_all_the_same() {
    let platform = Platform::start().await;
    let caller = platform.caller(5);
    let ask = json!({ "nsrsbh": caller.unit.tax_no });
    platform.download(&caller, "123456789.00").await;
    let state = platform.ask(&caller, "CXSXED", &ask).await;
    assert_eq!(
        (&state["bysxed"], &state["kysyed"]),
        (&json!("9999999999999999"), &json!("9999999999999999"))
    );
    assert_eq!(state["yxzed"], "123456789.00");
}

#[tokio::test]
async fn validity_is_extended_once_last_month_is_confirmed_and_filed() {
    let platform = Platform::start().await;
    let caller = platform.caller(2);
    let (tax_no, ask) =
        (caller.unit.tax_no.clone(), json!({ "xsfnsrsbh": caller.unit.tax_no, "sxedsq": "2026-11" }));
    platform.refused(&caller, "TZSXEDYXQ", &ask, "BD1004", "上月未完成上传汇总确认").await;
    let filing = json!({ "tax_no": tax_no, "period": "2026-10" }).to_string();
    let (status, why) = platform.control(Method::POST, "/_sim/file", &filing).await;
    assert_eq!((status, &why["error"]), (StatusCode::CONFLICT, &json!("纳税人未上传发票汇总确认信息")));

    let nothing = super::months::totals(&caller, "2026-10", [0, 0, 0], [0, 0, 0]);
    platform.ask(&caller, "SCFPHZQRXX", &nothing).await;
    platform.refused(&caller, "TZSXEDYXQ", &ask, "99", "不符合属期变更条件").await;
    assert_eq!(platform.control(Method::POST, "/_sim/file", &filing).await.0, StatusCode::OK);
    platform.refused(&caller, "TZSXEDYXQ", &ask, "99", "授信额度不在有效期内").await;
    platform.download(&caller, "1").await;
    assert_eq!(platform.ask(&caller, "TZSXEDYXQ", &ask).await["syqjz"], "20261130");
    let other = json!({ "xsfnsrsbh": caller.unit.tax_no, "sxedsq": "2026-10" });
    platform.refused(&caller, "TZSXEDYXQ", &other, "99", "不符合属期变更条件").await;
}

#[tokio::test]
async fn numbers_are_given_once_for_this_year() {
    let platform = Platform::start().await;
    let (caller, other) = (platform.caller(2), platform.caller(3));
    let serial = platform.serial(&caller);
    let ask =
        |count: Value, serial: &str| json!({ "nsrsbh": caller.unit.tax_no, "lysl": count, "ywlsh": serial });
    let first = platform.ask(&caller, "QDFPPLFM", &ask(json!("5000"), &serial)).await;
    assert_eq!(first, platform.ask(&caller, "QDFPPLFM", &ask(json!(5000), &serial)).await);
    assert!(first["fpqshm"].as_str().unwrap().starts_with("26"));
    platform.refused(&caller, "QDFPPLFM", &ask(json!(1), &serial), "99", "业务流水号已存在").await;
    for count in [json!(0), json!(5001), json!("-1"), json!("a")] {
        let message = ask(count, &platform.serial(&caller));
        platform.refused(&caller, "QDFPPLFM", &message, "99", "lysl").await;
    }
    let mut all: Vec<String> = Vec::new();
    for from in [&caller, &other, &caller] {
        all.extend(platform.numbers(from, 3).await);
    }
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count, "no number is given twice");
}
