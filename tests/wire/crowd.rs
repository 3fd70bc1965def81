//! Many calls at once: none gets another's answer, none is lost, none is sent twice.

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::{Value, json};

use crate::{
    common::eventually,
    site::Site,
    tools::{encrypt, sha256_of_files},
};

const CALLS: usize = 120;

/// Every record of a service, over all pages of the log.
fn records(site: &Site, service: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let (status, page) =
            site.gateway.api("GET", &format!("/exchanges?service={service}&limit=50{cursor}"), None);
        assert_eq!(status, 200, "{page}");
        all.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

#[test]
fn of_many_calls_at_once_each_gets_its_own_answer_and_its_own_record() {
    let site = Site::start();
    let json = json!({ "nsrsbh": site.unit().tax_no }).to_string();
    // watched calls are read whole, the others flow through
    for (service, option) in [("CXKYSL", "--http1.1"), ("CXNSRFXXX", "--http2"), ("CXSXED", "--http2")] {
        let answers = tempfile::tempdir().unwrap();
        let url = site.https(&format!("/access/v2/invoke/202007/{service}?n=[1-{CALLS}]"));
        let out = answers.path().join("#1");
        let done = site
            .post(&url, encrypt(&site.key(), &json))
            .args(&["-Z", "--parallel-max", "40", option, "-o", out.to_str().unwrap()])
            .try_send();
        assert_eq!(done.got.exit, 0, "{}", done.got.said);

        let calls: BTreeMap<String, Value> = site
            .simulator
            .calls()
            .into_iter()
            .filter(|call| call["service"] == service && call["query"].is_string())
            .map(|call| (call["query"].as_str().unwrap().to_owned(), call["answer_sha256"].clone()))
            .collect();
        assert_eq!(calls.len(), CALLS);
        let files: Vec<PathBuf> = (1..=CALLS).map(|n| answers.path().join(n.to_string())).collect();
        let digests = sha256_of_files(&files);
        for (n, digest) in (1..).zip(&digests) {
            assert_eq!(calls[&format!("n={n}")], **digest, "{service} {n}");
        }
        let logged = eventually("every call is in the log", || {
            let mut rows = records(&site, service);
            rows.retain(|row| row["client"] != "gateway");
            (rows.len() >= CALLS).then_some(rows)
        });
        let logged: BTreeMap<&str, &Value> =
            logged.iter().map(|row| (row["path"].as_str().unwrap(), row)).collect();
        assert_eq!(logged.len(), CALLS);
        for (n, digest) in (1..).zip(&digests) {
            let row = logged[&*format!("/access/v2/invoke/202007/{service}?n={n}")];
            assert_eq!(
                (&row["response_sha256"], &row["state"]),
                (&json!(digest), &json!("complete")),
                "{row}"
            );
        }
    }
}
