//! Uploads: form, sums, numbers, dates, credit; decisions and their results; red invoices; concurrency.

use super::*;

/// A platform, a company with so much downloaded credit, and so many numbers.
async fn ready(yuan: &str, numbers: usize) -> (Platform, Caller, Vec<String>) {
    let platform = Platform::start().await;
    let caller = platform.caller(2);
    platform.download(&caller, yuan).await;
    let numbers = platform.numbers(&caller, numbers).await;
    (platform, caller, numbers)
}

fn account(books: &Value, caller: &Caller) -> Value {
    let rows = books["credit"].as_array().unwrap();
    rows.iter().find(|row| row["tax_no"] == caller.unit.tax_no.as_str()).unwrap().clone()
}

#[tokio::test]
async fn an_upload_is_accepted_first_and_decided_later() {
    let (platform, caller, numbers) = ready("1000.00", 2).await;
    let invoices =
        json!([platform.invoice(&caller, &numbers[0], 300), platform.invoice(&caller, &numbers[1], 200)]);
    let accepted = platform.ask(&caller, "QDFPSC", &invoices).await;
    assert_eq!(platform.statuses(&caller, &accepted["sllsh"]).await, ["01", "01"]);
    let state = account(&platform.books().await, &caller);
    assert_eq!(
        (&state["held"], &state["used"], &state["unused"]),
        (&json!("500.00"), &json!("0.00"), &json!("500.00"))
    );
    platform.pass(3);
    assert_eq!(platform.statuses(&caller, &accepted["sllsh"]).await, ["00", "00"]);
    let state = account(&platform.books().await, &caller);
    assert_eq!(
        (&state["held"], &state["used"], &state["unused"]),
        (&json!("0.00"), &json!("500.00"), &json!("500.00"))
    );
}

#[tokio::test]
async fn invoices_that_are_wrong_in_themselves_are_refused() {
    let (platform, caller, numbers) = ready("1000.00", 3).await;
    let good = platform.invoice(&caller, &numbers[0], 100);
    let wrong = |field: &str, value: Value| {
        let mut invoice = good.clone();
        invoice[field] = value;
        json!([invoice])
    };
    for (message, words) in [
        (json!([]), "不能为空"),
        (json!({ "fphm": numbers[0] }), "不是JSON数组"),
        (json!([good, good]), "同一批次中重复"),
        (wrong("fphm", json!("123")), "20位数字"),
        (wrong("fphm", json!(5)), "应为字符串"),
        (wrong("lzfpbz", json!("2")), "lzfpbz"),
        (wrong("fppz", json!("03")), "fppz"),
        (wrong("ptbh", json!(caller.unit.platform_id)), "ptbh"),
        (wrong("xsfnsrsbh", json!("91350100M000100Y43")), "不一致"),
        (wrong("kprq", json!("2026-11-10T12:00")), "kprq格式不正确"),
        (wrong("kprq", json!("2026-11-10 12:30:00")), "不能晚于当前时间"),
        (wrong("kprq", json!("2026-11-08 11:00:00")), "超过48小时"),
        (wrong("hjje", json!("100.001")), "hjje格式不正确"),
        (wrong("hjje", json!(99)), "价税合计"),
        (wrong("jshj", json!("112.00")), "价税合计"),
        (wrong("fpmxList", json!([])), "fpmxList不能为空"),
        (wrong("fpmxList", json!([{ "je": "99.00" }])), "明细金额"),
        (wrong("fpmxList", json!([{ "je": "100.00", "se": "12.00" }])), "明细税额"),
        (wrong("lzfpbz", json!("1")), "红字发票金额"),
    ] {
        platform.refused(&caller, "QDFPSC", &message, "99", words).await;
    }
    let many: Vec<Value> = vec![good.clone(); 101];
    platform.refused(&caller, "QDFPSC", &many.into(), "99", "不能超过100张").await;
    assert_eq!(platform.upload(&caller, &json!([good])).await, ["00"], "none of the above left a trace");
}

#[tokio::test]
async fn numbers_of_another_taxpayer_year_or_origin_are_refused() {
    let (platform, caller, numbers) = ready("1000.00", 1).await;
    let foreign = platform.numbers(&platform.caller(3), 1).await.remove(0);
    let last_year = format!("25{}", &numbers[0][2..]);
    let never_given = format!("{}999", &numbers[0][..17]);
    for number in [foreign, last_year, never_given] {
        let invoices = json!([platform.invoice(&caller, &number, 1)]);
        platform
            .refused(&caller, "QDFPSC", &invoices, "99", "上传的发票号码不在该企业可用申请的赋码段内")
            .await;
    }
}

#[tokio::test]
async fn credit_that_is_short_or_over_refuses_the_whole_upload() {
    let (platform, caller, numbers) = ready("100.00", 3).await;
    let pair =
        json!([platform.invoice(&caller, &numbers[0], 60), platform.invoice(&caller, &numbers[1], 41)]);
    platform.refused(&caller, "QDFPSC", &pair, "99", "开票预扣授信额度失败，授信额度不足").await;
    let exact =
        json!([platform.invoice(&caller, &numbers[0], 60), platform.invoice(&caller, &numbers[1], 40)]);
    assert_eq!(platform.upload(&caller, &exact).await, ["00", "00"]);

    platform.download(&caller, "100.00").await;
    platform.set_clock("2026-11-16 00:00:00");
    let late = json!([platform.invoice(&caller, &numbers[2], 1)]);
    platform.refused(&caller, "QDFPSC", &late, "99", "授信额度不在有效期内").await;
    platform.download(&caller, "1.00").await;
    assert_eq!(platform.upload(&caller, &late).await, ["00"], "a new download has a new interval");
}

#[tokio::test]
async fn lines_that_are_not_taxable_use_no_credit_but_for_sixteen_codes() {
    let (platform, caller, numbers) = ready("10.00", 2).await;
    let untaxed = |number: &str, goods: &str| {
        let mut invoice = platform.invoice(&caller, number, 50);
        invoice["fpmxList"][0]["yhzcbs"] = json!("04");
        invoice["fpmxList"][0]["sphfwssflhbbm"] = json!(goods);
        json!([invoice])
    };
    let counted = untaxed(&numbers[0], "6160000000000000000");
    platform.refused(&caller, "QDFPSC", &counted, "99", "授信额度不足").await;
    assert_eq!(platform.upload(&caller, &untaxed(&numbers[0], "6170000000000000000")).await, ["00"]);
    assert_eq!(account(&platform.books().await, &caller)["used"], "0.00");
}

#[tokio::test]
async fn purchase_invoices_use_the_buyers_credit() {
    let (platform, caller, numbers) = ready("100.00", 1).await;
    let mut invoice = platform.invoice(&caller, &numbers[0], 30);
    invoice["xsfnsrsbh"] = json!("440106199001011234");
    invoice["gmfnsrsbh"] = json!(caller.unit.tax_no);
    invoice["sgfplxDm"] = json!("01");
    assert_eq!(platform.upload(&caller, &json!([invoice])).await, ["00"]);
    assert_eq!(account(&platform.books().await, &caller)["used"], "30.00");
}

#[tokio::test]
async fn the_same_number_twice_is_one_invoice() {
    let (platform, caller, numbers) = ready("100.00", 2).await;
    let first = json!([platform.invoice(&caller, &numbers[0], 60)]);
    let accepted = platform.ask(&caller, "QDFPSC", &first).await;
    let again = platform.ask(&caller, "QDFPSC", &first).await;
    platform.pass(10);
    assert_eq!(platform.statuses(&caller, &accepted["sllsh"]).await, ["00"]);
    assert_eq!(platform.statuses(&caller, &again["sllsh"]).await, ["03"]);
    let words = format!("发票号码为[{}]在数据库中已存在", numbers[0]);
    platform.refused(&caller, "QDFPSC", &first, "99", &words).await;
    let mixed =
        json!([platform.invoice(&caller, &numbers[0], 60), platform.invoice(&caller, &numbers[1], 40)]);
    assert_eq!(platform.upload(&caller, &mixed).await, ["03", "00"]);
    assert_eq!(account(&platform.books().await, &caller)["used"], "100.00");
}

#[tokio::test]
async fn a_failed_upload_uses_nothing_and_its_number_may_be_used_again() {
    let (platform, caller, numbers) = ready("100.00", 1).await;
    let script = r#"[{"kind":"fail_upload","service":"QDFPSC","text":"购方信息有误"}]"#;
    assert_eq!(platform.control(Method::POST, "/_sim/faults", script).await.0, StatusCode::OK);
    let invoices = json!([platform.invoice(&caller, &numbers[0], 100)]);
    assert_eq!(platform.upload(&caller, &invoices).await, ["02"]);
    let books = platform.books().await;
    assert_eq!(
        (&books["invoices"][0]["state"], &books["invoices"][0]["message"]),
        (&json!("failed"), &json!("购方信息有误"))
    );
    assert_eq!(account(&books, &caller)["unused"], "100.00");
    assert_eq!(platform.upload(&caller, &invoices).await, ["00"]);
}

#[tokio::test]
async fn results_are_for_their_own_company_and_for_twelve_hours() {
    let (platform, caller, numbers) = ready("100.00", 2).await;
    let accepted = platform.ask(&caller, "QDFPSC", &json!([platform.invoice(&caller, &numbers[0], 1)])).await;
    let ask = json!({ "sllsh": accepted["sllsh"] });
    let gone = "未查询到发票上传结果，请稍后再试，或联系主管税务机关";
    platform.refused(&platform.caller(3), "CXQDFPSCJG", &ask, "99", gone).await;
    platform.refused(&caller, "CXQDFPSCJG", &json!({ "sllsh": "0" }), "99", gone).await;

    let script = r#"[{"kind":"stuck_upload","service":"QDFPSC"}]"#;
    platform.control(Method::POST, "/_sim/faults", script).await;
    let stuck = platform.ask(&caller, "QDFPSC", &json!([platform.invoice(&caller, &numbers[1], 1)])).await;
    platform.pass(12 * 3600 - 60);
    assert_eq!(platform.statuses(&caller, &stuck["sllsh"]).await, ["01"]);
    platform.pass(120);
    platform.refused(&caller, "CXQDFPSCJG", &ask, "99", gone).await;
    platform.refused(&caller, "CXQDFPSCJG", &json!({ "sllsh": stuck["sllsh"] }), "99", gone).await;
    assert_eq!(account(&platform.books().await, &caller)["held"], "0.00", "what was stuck is given up");
}

fn red(blue: &Value, number: &str, yuan: i64) -> Value {
    let mut red = blue.clone();
    let (net, tax) = (Money::from_fen(-yuan * 100), Money::from_fen(-yuan * 13));
    red["fphm"] = json!(number);
    red["lzfpbz"] = json!("1");
    red["dylzfphm"] = blue["fphm"].clone();
    red["hjje"] = json!(net);
    red["hjse"] = json!(tax);
    red["jshj"] = json!(net.saturating_add(tax));
    red["fpmxList"] = json!([{ "je": net, "se": tax }]);
    red
}

#[tokio::test]
async fn a_red_invoice_gives_credit_back_in_the_month_of_its_blue_one_only() {
    let (platform, caller, numbers) = ready("100.00", 6).await;
    let blue = platform.invoice(&caller, &numbers[0], 60);
    let early = json!([red(&blue, &numbers[1], 60)]);
    assert_eq!(platform.upload(&caller, &early).await, ["02"], "its blue invoice does not exist");
    let books = platform.books().await;
    let words = &books["invoices"][0]["message"];
    assert_eq!(words, "红字确认单对应蓝字发票不存在，请稍后再试，或联系主管税务机关");
    assert_eq!(platform.upload(&caller, &json!([blue])).await, ["00"]);
    assert_eq!(platform.upload(&caller, &json!([red(&blue, &numbers[2], 20)])).await, ["00"]);
    assert_eq!(account(&platform.books().await, &caller)["used"], "40.00");
    assert_eq!(
        platform.upload(&caller, &json!([red(&blue, &numbers[3], 41)])).await,
        ["02"],
        "more than is left of it"
    );

    platform.set_clock("2026-12-02 10:00:00");
    let mut next_month = red(&blue, &numbers[4], 40);
    next_month["kprq"] = json!("2026-12-02 10:00:00");
    assert_eq!(platform.upload(&caller, &json!([next_month])).await, ["00"]);
    let books = platform.simulator.books.lock();
    let used: Vec<String> =
        books.production.accounts.values().map(|account| account.used.to_string()).collect();
    assert_eq!(used, ["40.00", "0.00"]);
}

#[tokio::test]
async fn a_red_letter_confirmation_is_agreed_then_used_once() {
    let (platform, caller, numbers) = ready("100.00", 4).await;
    let buyer = platform.caller(3);
    let mut blue = platform.invoice(&caller, &numbers[0], 60);
    blue["gmfnsrsbh"] = json!(buyer.unit.tax_no);
    platform.upload(&caller, &json!([blue])).await;
    let apply = |blue: &str, net: &str| json!({ "xsfnsrsbh": caller.unit.tax_no, "lzfphm": blue, "hzcxje": net, "hzcxse": "-7.80" });
    platform
        .refused(&caller, "QDHZQRDSQ", &apply(&numbers[1], "-60.00"), "99", "红字确认单对应蓝字发票不存在")
        .await;
    let letter = platform.ask(&caller, "QDHZQRDSQ", &apply(&numbers[0], "-60.00")).await;
    let uuid = &letter["uuid"];
    let mut reversal = red(&blue, &numbers[1], 60);
    reversal["hzqrduuid"] = uuid.clone();
    assert_eq!(platform.upload(&caller, &json!([reversal])).await, ["02"], "the buyer has not agreed");
    platform.ask(&buyer, "QDHZQRDQR", &json!({ "uuid": uuid, "qrlx": "Y" })).await;
    platform.refused(&buyer, "QDHZQRDQR", &json!({ "uuid": uuid, "qrlx": "Y" }), "99", "红字确认单").await;
    assert_eq!(platform.upload(&caller, &json!([reversal])).await, ["00"]);
    let listed = platform.ask(&buyer, "CXQDHZQRDLB", &json!({})).await;
    assert!(listed.to_string().contains(uuid.as_str().unwrap()));
    let detail = platform.ask(&caller, "CXQDHZQRDMX", &json!({ "uuid": uuid })).await;
    assert_eq!(detail["hzqrxxztDm"], "09");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_uploads_never_use_more_than_was_downloaded() {
    let (platform, caller, numbers) = ready("120.00", 200).await;
    let platform = Arc::new(platform);
    let mut racing = tokio::task::JoinSet::new();
    for number in numbers {
        let (platform, caller) = (Arc::clone(&platform), caller.clone());
        racing.spawn(async move {
            let invoices = json!([platform.invoice(&caller, &number, 1)]);
            platform.call(&caller, "QDFPSC", &invoices).await
        });
    }
    let outcomes = racing.join_all().await;
    assert_eq!(outcomes.iter().filter(|(code, _)| code == "00").count(), 120);
    platform.pass(10);
    let books = platform.books().await;
    let state = account(&books, &caller);
    assert_eq!(
        (&state["used"], &state["held"], &state["unused"]),
        (&json!("120.00"), &json!("0.00"), &json!("0.00"))
    );
    let issued = books["invoices"].as_array().unwrap().iter().filter(|row| row["state"] == "issued").count();
    assert_eq!(issued, 120);
}
