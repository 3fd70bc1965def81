//! The four ways to trust the platform, through the real gateway, against a certificate without any usable name.

use serde_json::json;

use crate::{
    common::process::Simulator,
    site::Site,
    tools::{encrypt, run},
};

/// The pin of the key that a server shows, worked out with openssl alone.
fn pin(simulator: &Simulator) -> String {
    let address = simulator.address.to_string();
    let shown =
        run("openssl", ["s_client", "-connect", &address, "-servername", "lqpt.chinatax.gov.cn"], b"");
    let certificate = run("openssl", ["x509", "-outform", "pem"], &shown);
    let names = run("openssl", ["x509", "-noout", "-text"], &certificate);
    assert!(!String::from_utf8_lossy(&names).contains("Subject Alternative Name"), "it has a usable name");
    let key = run("openssl", ["x509", "-noout", "-pubkey"], &certificate);
    let der = run("openssl", ["pkey", "-pubin", "-outform", "der"], &key);
    let digest = run("openssl", ["dgst", "-sha256", "-binary"], &der);
    format!("sha256/{}", String::from_utf8(run("base64", ["-w0"], &digest)).unwrap().trim())
}

/// One upstream and one route per way: `/full/access/…` and so on.
fn upstreams(simulator: &Simulator) -> String {
    let (port, address) = (simulator.address.port(), simulator.address);
    let ca = format!("ca_file = \"{}\"", simulator.dir.path().join("ca.pem").display());
    let good = pin(simulator);
    let wrong = format!("sha256/{}=", "A".repeat(43));
    let ways = [
        ("full", format!("verify = \"full\"\n{ca}")),
        ("chain", format!("verify = \"chain\"\n{ca}")),
        ("strangers-chain", "verify = \"chain\"\nca_file = \"certs/ca.pem\"".to_owned()),
        ("pinned", format!("verify = \"pinned\"\npins = [\"{wrong}\", \"{good}\"]")),
        ("wrong-pin", format!("verify = \"pinned\"\npins = [\"{wrong}\"]")),
        ("off", "verify = \"off\"".to_owned()),
    ];
    let section = |(name, verify): (&str, String)| {
        format!(
            "[[upstream]]\nname = \"{name}\"\nbase_url = \"https://lqpt.chinatax.gov.cn:{port}\"\n\
             addresses = [\"{address}\"]\n{verify}\n\
             [[route]]\nprefix = \"/{name}/\"\nreplace = \"/\"\nupstream = \"{name}\"\n"
        )
    };
    ways.into_iter().map(section).collect()
}

#[test]
fn a_platform_without_a_name_is_trusted_by_chain_or_pin_and_refused_by_name() {
    let site = Site::start_with(&["--nameless"], upstreams);
    let body = encrypt(&site.key(), &json!({ "nsrsbh": site.unit().tax_no }).to_string());
    let path = "/access/v2/invoke/202007/CXNSRJBXX";
    for way in ["chain", "pinned", "off"] {
        let done = site.post(&site.https(&format!("/{way}{path}")), body.clone()).arrives_as(path).send();
        assert_eq!(done.got.status(), 200, "{way}: {}", done.got.said);
        done.assert_exact();
        assert_eq!(done.record()["upstream"], way);
    }
    for way in ["full", "strangers-chain", "wrong-pin"] {
        for service in ["CXNSRJBXX", "SCFPHZQRXX"] {
            let url = site.https(&format!("/{way}/access/v2/invoke/202007/{service}"));
            let done = site.post(&url, body.clone()).send();
            let (error, text) = done.got.error();
            // another key than the pinned one has a code of its own, for an alert
            let (code, word) =
                if way == "wrong-pin" { ("GW-UP-PIN", "pins") } else { ("GW-UP-TLS", "verify") };
            assert_eq!(error, (502, "502".to_owned(), code.to_owned()), "{way}");
            assert!(text.contains(word) && text.contains("没有发出"), "{text}");
            assert!(done.arrived().is_none(), "{way}");
            let record = done.record();
            assert_eq!((&record["decision"], &record["decision_code"]), (&json!("failed"), &json!(code)));
        }
    }
    // the words for the operator name what is wrong; whoever verifies nothing is told so
    let log = site.gateway.log();
    assert!(log.contains("NOT verified"), "{log}");
    assert!(log.contains("strangers-chain"), "{log}");
    // the alarm names what was shown and what was expected
    let alarm = log.lines().find(|line| line.contains("ALARM")).unwrap_or_else(|| panic!("{log}"));
    let wrong = format!("sha256/{}=", "A".repeat(43));
    for part in ["ERROR", "wrong-pin", &*pin(&site.simulator), &*wrong] {
        assert!(alarm.contains(part), "{part} in {alarm}");
    }
    let metrics = site.gateway.metrics();
    assert!(metrics.contains("upstream_pin_mismatches_total{upstream=\"wrong-pin\"} 2"), "{metrics}");
}
