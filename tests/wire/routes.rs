//! Where calls go: prefixes, the sandbox, and who may call at all.

use serde_json::{Value, json};

use crate::{
    common::{
        eventually,
        message::{invoice, numbers},
    },
    site::{Done, Site},
    tools::encrypt,
};

const READ: &str = "/access/v2/invoke/202007/CXNSRJBXX";

#[test]
fn a_prefix_of_the_companys_own_is_replaced_and_nothing_else() {
    let site = Site::start();
    let body = encrypt(&site.key(), &json!({ "nsrsbh": site.unit().tax_no }).to_string());
    for tail in ["", "/", "/?a=/leqi-api/&b="] {
        let target = format!("/leqi-api{READ}{tail}");
        let path = format!("{READ}{}", tail.split('?').next().unwrap());
        let done = site.post(&site.https(&target), body.clone()).arrives_as(&path).send();
        done.assert_exact();
        let record = done.record();
        assert_eq!((&record["route"], &record["path"]), (&json!("/leqi-api/"), &json!(target)));
        assert_eq!((&record["service"], &record["capability"]), (&json!("CXNSRJBXX"), &json!("202007")));
    }
}

#[test]
fn an_unknown_path_is_answered_in_the_platforms_envelope_and_logged() {
    let site = Site::start();
    for path in ["/", "/leqi/access/v2/invoke/202007/QDFPSC", "/accessv2/invoke"] {
        let done = site.post(&site.https(path), b"x".to_vec()).send();
        let (error, text) = done.got.error();
        assert_eq!(error, (404, "404".to_owned(), "GW-ROUTE".to_owned()), "{path}");
        assert!(text.contains("/access/v2/invoke/"), "{text}");
        assert!(done.arrived().is_none());
        let record = done.record();
        assert_eq!((&record["decision"], &record["decision_code"]), (&json!("refused"), &json!("GW-ROUTE")));
        assert_eq!((&record["status"], &record["route"]), (&json!(404), &json!("")));
    }
}

#[test]
fn a_client_that_is_not_on_the_allow_list_is_turned_away() {
    let site = Site::start_with(&[], |_| {
        "[[listen]]\naddress = \"127.0.0.1:0\"\nplaintext = true\nallow = [\"10.0.0.0/8\", \"192.168.0.0/16\"]\n".to_owned()
    });
    let strict = site.gateway.listeners[2];
    let done = site.post(&format!("http://{strict}{READ}"), encrypt(&site.key(), "{}")).send();
    let (error, text) = done.got.error();
    assert_eq!(error, (403, "403".to_owned(), "GW-CLIENT".to_owned()));
    assert!(text.contains("allow"), "{text}");
    assert!(done.arrived().is_none());
    // strangers cannot fill the log: the process tells of them
    let log = site.gateway.log();
    assert!(log.contains("GW-CLIENT") && log.contains("127.0.0.1"), "{log}");
    eventually("the refusal is counted", || {
        let metrics = site.gateway.metrics();
        metrics.lines().find(|line| line.contains("code=\"GW-CLIENT\"") && line.ends_with(" 1")).map(drop)
    });
    // the other listeners still serve the same client
    assert_eq!(site.post(&site.http(READ), encrypt(&site.key(), "{}")).send().got.status(), 200);
}

/// A call of the sandbox: the access unit for itself, with its sandbox key.
fn sandbox<'s>(site: &'s Site, path: &str, json: &Value) -> (Done<'s>, Value) {
    let access = site.simulator.units.access();
    let key = access.sandbox_sm4_key.clone().unwrap();
    let (id, url) = (&access.platform_id, site.https(path));
    let done = site.post_as(id, id, &url, encrypt(&key, &json.to_string())).header("sxcsbz", "1").send();
    let data = done.got.data(&key);
    done.assert_exact();
    let record = done.record();
    assert_eq!(
        (&record["environment"], &record["decision"]),
        (&json!("sandbox"), &json!("forwarded")),
        "{record}"
    );
    (done, data)
}

#[test]
fn the_sandbox_has_a_key_of_its_own_and_touches_no_credit() {
    let site = Site::start();
    let access = site.simulator.units.access().clone();
    let tax_no = &access.tax_no;
    let quota = || site.gateway.api("GET", &format!("/quotas/{tax_no}"), None);
    let before = quota();
    let control = "/access/sandbox_kzfw/v1/LQSX_SWZJ_GT4_";
    let (_, started) = sandbox(&site, &format!("{control}QYXXCSH"), &json!({ "nsrsbh": tax_no }));
    assert_eq!(started["returncode"], "00", "{started}");
    sandbox(&site, &format!("{control}ZJNSRSXED"), &json!({ "sxed": "1000.00" }));

    let serial = |n: u32| format!("{0}{0}{n:032}", access.platform_id);
    let download = json!({ "nsrsbh": tax_no, "ptbh": access.platform_id, "sqlx": "0", "sqed": "500.00", "ywlsh": serial(1) });
    for (n, prefix) in ["/access/sandbox", "/access/newsandbox"].into_iter().enumerate() {
        let service = |name: &str| format!("{prefix}/v2/invoke/202007/{name}");
        let (_, downloaded) = sandbox(&site, &service("XZTHSXED"), &download);
        assert_eq!(downloaded["returncode"], "00", "{downloaded}");
        let range = json!({ "nsrsbh": tax_no, "lysl": "1", "ywlsh": serial(2 + u32::try_from(n).unwrap()) });
        let (_, range) = sandbox(&site, &service("QDFPPLFM"), &range);
        let number = numbers(range["fpqshm"].as_str().unwrap(), 1).remove(0);
        // the ledger has no credit for it; the sandbox's own books decide
        let mut test_invoice = invoice(&access, &number, 10_000);
        // in the sandbox a unit trades with itself or its virtual partner (4063)
        test_invoice["gmfnsrsbh"] = json!(tax_no);
        let (upload, accepted) = sandbox(&site, &service("QDFPSC"), &json!([test_invoice]));
        assert_eq!(accepted["returncode"], "00", "{accepted}");
        let record = upload.record();
        assert_eq!((&record["class"], &record["invoice_nos"]), (&json!("issue"), &json!([number])));
        let clear = site.gateway.api(
            "GET",
            &format!("/exchanges/{}/request?view=clear", record["id"].as_str().unwrap()),
            None,
        );
        assert_eq!(clear.1[0]["fphm"], number, "{clear:?}");
    }
    assert_eq!(quota(), before);
}

#[test]
fn a_sandbox_flag_in_production_is_refused_and_never_sent() {
    let site = Site::start();
    for service in ["CXNSRJBXX", "QDFPSC"] {
        let url = site.https(&format!("/access/v2/invoke/202007/{service}"));
        let done = site.post(&url, encrypt(&site.key(), "[]")).header("sxcsbz", "1").send();
        let (error, text) = done.got.error();
        assert_eq!(error, (200, "200".to_owned(), "GW-SXCSBZ".to_owned()));
        assert!(text.contains("sxcsbz"), "{text}");
        assert!(done.arrived().is_none());
        assert_eq!(done.record()["decision_code"], "GW-SXCSBZ");
    }
    // an empty one is no flag, and passes as it is
    let url = site.https(READ);
    site.post(&url, encrypt(&site.key(), "{}")).header("sxcsbz", "").send().assert_exact();
}
