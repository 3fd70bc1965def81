//! The front door: path, headers, ids, grants, key, encoding; and the sandbox.

use super::*;

fn asked(caller: &Caller) -> Value {
    json!({ "nsrsbh": caller.unit.tax_no })
}

fn with(caller: &Caller, name: &'static str, value: &str) -> Caller {
    let mut changed = caller.clone();
    changed.headers.push((name, value.to_owned()));
    changed
}

#[tokio::test]
async fn only_posts_to_known_paths_are_resources() {
    let platform = Platform::start().await;
    for (method, path) in [
        (Method::GET, "/access/v2/invoke/202007/CXSXED"),
        (Method::POST, "/access/v2/invoke/202007"),
        (Method::POST, "/leqi-api/access/v2/invoke/202007/CXSXED"),
        (Method::POST, "/"),
    ] {
        let answer = platform.raw(method, path, &[], "").await.unwrap();
        assert_eq!(
            (answer.status, &answer.body[..]),
            (StatusCode::NOT_FOUND, &b"ResourceNotFound"[..]),
            "{path}"
        );
    }
}

#[tokio::test]
async fn headers_that_do_not_fit_are_refused_by_number() {
    let platform = Platform::start().await;
    let caller = platform.caller(2);
    let ask = asked(&caller);
    platform.ask(&caller, "CXSXED", &ask).await;
    let other = platform.caller(4).unit.platform_id.to_string();
    for (name, value, code) in [
        ("fwbm", "QDFPSC", "4033"),
        ("nlbm", "202076", "4033"),
        ("jrdwptbh", "", "4054"),
        ("jrdwptbh", "00000000000000000000", "4054"),
        ("jrdwptbh", caller.unit.platform_id.as_str(), "4054"),
        ("sydwptbh", "", "4055"),
        ("sydwptbh", "00000000000000000000", "4055"),
        ("sydwptbh", other.as_str(), "4033"),
        ("sxcsbz", "1", "4047"),
    ] {
        platform.refused(&with(&caller, name, value), "CXSXED", &ask, code, "").await;
    }
    platform.ask(&with(&caller, "sxcsbz", ""), "CXSXED", &ask).await;
    platform.ask(&with(&with(&caller, "fwbm", ""), "nlbm", ""), "CXSXED", &ask).await;
}

#[tokio::test]
async fn services_and_capabilities_must_belong_together_and_be_granted() {
    let platform = Platform::start().await;
    let caller = platform.caller(2);
    platform.refused(&caller, "XINFUWU", &asked(&caller), "4061", "未查询到服务其他信息").await;
    platform.refused(&caller, "NCPSGFPSC", &json!([]), "4049", "未查询到该能力").await;
    let cigarettes = Caller { capability: "202040", ..caller.clone() };
    platform.refused(&cigarettes, "QDFPSC_JY", &json!([]), "4032", "使用单位无授权服务").await;
    let itself = Caller { capability: "202040", ..platform.caller(0) };
    platform.refused(&itself, "QDFPSC_JY", &json!([]), "4033", "使用单位未授权此能力").await;
    let purchases = Caller { capability: "202017", ..caller.clone() };
    platform.ask(&purchases, "CXSXED", &asked(&caller)).await;
}

#[tokio::test]
async fn bodies_that_cannot_be_decrypted_are_refused() {
    let platform = Platform::start().await;
    let caller = platform.caller(2);
    let json = asked(&caller).to_string();
    let cipher = leqi::encrypt(&caller.key, json.as_bytes());
    let other_key = leqi::encrypt(&Sm4Key::generate(), json.as_bytes());
    let cut = &cipher[..cipher.len() - 1];
    for body in [
        json.clone().into_bytes(),
        b"%%%".to_vec(),
        STANDARD.encode(other_key).into_bytes(),
        STANDARD.encode(cut).into_bytes(),
        STANDARD.encode(STANDARD.encode(&cipher)).into_bytes(),
        STANDARD.encode(leqi::encrypt(&caller.key, b"\xff\xfe")).into_bytes(),
    ] {
        let answer = platform.send(&caller, "CXSXED", body).await.unwrap();
        assert_eq!(opened(&answer, &caller.key), ("4057".to_owned(), "报文解密失败".into()));
    }
    let escaped = with(&caller, "content-type", "application/x-www-form-urlencoded");
    platform.refused(&escaped, "CXSXED", &asked(&caller), "4057", "报文解密失败").await;
    let lines = STANDARD
        .encode(&cipher)
        .as_bytes()
        .chunks(20)
        .map(<[u8]>::to_vec)
        .collect::<Vec<_>>()
        .join(&b"\r\n"[..]);
    let answer = platform.send(&caller, "CXSXED", lines).await.unwrap();
    assert_eq!(opened(&answer, &caller.key).0, "00");
}

#[tokio::test]
async fn unicode_escapes_and_other_json_are_refused() {
    let platform = Platform::start().await;
    let caller = platform.caller(2);
    for (text, words) in [
        (r#"{"nsrsbh":"91\u0033"}"#, "转义"),
        ("[]", "不是JSON对象"),
        ("{", "不是JSON对象"),
        ("{}", "nsrsbh不能为空"),
        (r#"{"nsrsbh":"91350100M000100Y43"}"#, "不一致"),
        (r#"{"nsrsbh":5}"#, "应为字符串"),
    ] {
        let body = STANDARD.encode(leqi::encrypt(&caller.key, text.as_bytes()));
        let answer = platform.send(&caller, "CXSXED", body.into_bytes()).await.unwrap();
        let (code, data) = opened(&answer, &caller.key);
        assert!(code == "99" && data["returnmsg"].as_str().unwrap().contains(words), "{text}: {data}");
    }
}

#[tokio::test]
async fn every_service_of_the_catalogue_answers() {
    let platform = Platform::start().await;
    let caller = platform.caller(2);
    for (service, known) in leqi::catalogue::services() {
        if known.class == crate::domain::ServiceClass::Read && leqi::catalogue::is_offered("202007", service)
        {
            let (code, data) = platform.call(&caller, service, &asked(&caller)).await;
            assert!(code == "00" || service.starts_with("CXQDHZQRDMX"), "{service}: {data}");
        }
    }
}

#[tokio::test]
async fn calls_are_written_down_as_they_were_sent() {
    let platform = Platform::start().await;
    let caller = platform.caller(2);
    let body = STANDARD.encode(leqi::encrypt(&caller.key, asked(&caller).to_string().as_bytes()));
    let headers = [
        ("fwbm", String::new()),
        ("access_signature", String::new()),
        ("clientTid", "T-1".to_owned()),
        ("jrdwptbh", caller.access.platform_id.to_string()),
        ("sydwptbh", caller.unit.platform_id.to_string()),
    ];
    let path = "/access/v2/invoke/202007/CXSXED/?a=%20b";
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\n{lines}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    let answer = platform.bytes(request.as_bytes()).await;
    let (_, answer) = answer.split_once("\r\n\r\n").unwrap();
    let call = platform.simulator.books.calls.all().pop().unwrap();
    assert_eq!(
        (call.path.as_str(), call.query.as_deref()),
        ("/access/v2/invoke/202007/CXSXED/", Some("a=%20b"))
    );
    let sent: Vec<(String, String)> = headers.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect();
    let order: Vec<_> = call.headers.iter().filter(|pair| sent.contains(pair)).cloned().collect();
    assert_eq!(order, sent, "names in the case and order in which they were written, empty values too");
    let digest = |bytes: &[u8]| {
        super::super::hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref())
    };
    assert_eq!(call.body_sha256.unwrap(), digest(body.as_bytes()));
    assert_eq!(call.answer_sha256.unwrap(), digest(answer.as_bytes()));
    assert!(call.answered && call.processed);
    assert_eq!(call.code.as_deref(), Some("00"));
}

#[tokio::test]
async fn large_answers_are_compressed_for_those_who_take_it() {
    let platform = Platform::start().await;
    let caller = platform.caller(2);
    let caller = Caller { capability: "202019", ..caller };
    let service = "PLFPXZSQ";
    let ask = json!({ "simSizeMb": "3" });
    let plain = platform.call(&caller, service, &ask).await.1;
    assert!(plain["wjnr"].as_str().unwrap().len() > 3 << 20);
    let taking = with(&caller, "accept-encoding", "gzip, deflate");
    let body = STANDARD.encode(leqi::encrypt(&caller.key, ask.to_string().as_bytes())).into_bytes();
    let answer = platform.send(&taking, service, body).await.unwrap();
    assert_eq!(answer.headers["content-encoding"], "gzip");
    assert!(leqi::gunzip(&answer.body, 64 << 20).unwrap().len() > answer.body.len());
}

#[tokio::test]
async fn the_sandbox_has_its_own_key_books_and_rules() {
    let platform = Platform::start().await;
    let production = platform.caller(0);
    let key = Sm4Key::from_hex(production.access.sandbox_sm4_key.as_deref().unwrap()).unwrap();
    let sandbox = Caller { key: key.clone(), prefix: "/access/newsandbox/v2/invoke/", ..production.clone() };
    let sandbox = with(&with(&sandbox, "sxcsbz", "1"), "ylbm", "YL001");
    let ask = asked(&sandbox);
    platform.refused(&sandbox, "CXSXED", &ask, "4047", "未查询到该单位的测试批次号").await;

    let control = Caller { capability: "", prefix: "/access/sandbox_kzfw/v1/", key, ..production.clone() };
    platform.refused(&platform_using(&control, &platform), "LQSX_SWZJ_GT4_QYXXCSH", &ask, "4049", "").await;
    platform.ask(&control, "LQSX_SWZJ_GT4_QYXXCSH", &ask).await;
    platform.ask(&control, "LQSX_SWZJ_GT4_ZJNSRSXED", &json!({ "sxed": "500.00" })).await;
    platform.refused(&control, "LQSX_SWZJ_GT4_ZJNSRSXED", &json!({ "sxed": "-1" }), "99", "大于0").await;
    assert_eq!(platform.ask(&sandbox, "CXSXED", &ask).await["bysxed"], "10500.00");
    assert_eq!(platform.ask(&production, "CXSXED", &ask).await["bysxed"], "10000.00");

    platform
        .refused(&Caller { key: production.key.clone(), ..sandbox.clone() }, "CXSXED", &ask, "4057", "")
        .await;
    let no_case = Caller { headers: vec![("sxcsbz", "1".to_owned())], ..sandbox.clone() };
    platform.refused(&no_case, "CXSXED", &ask, "4047", "").await;
    platform.download(&sandbox, "1000.00").await;
    let number = platform.numbers(&sandbox, 1).await.remove(0);
    let stranger = json!([platform.invoice(&sandbox, &number, 1)]);
    platform.refused(&sandbox, "QDFPSC", &stranger, "4063", "沙箱服务请求报文业务校验不通过").await;
    let mut own = platform.invoice(&sandbox, &number, 1);
    own["gmfnsrsbh"] = json!(sandbox.unit.tax_no);
    assert_eq!(platform.upload(&sandbox, &json!([own])).await, ["00"]);
    assert!(platform.simulator.books.lock().production.invoices.is_empty());

    platform.pass(73 * 3600);
    platform.refused(&sandbox, "CXSXED", &ask, "4047", "").await;
}

/// The same call made for a using unit.
fn platform_using(caller: &Caller, platform: &Platform) -> Caller {
    Caller { unit: platform.caller(2).unit, ..caller.clone() }
}

#[tokio::test]
async fn a_certificate_can_be_without_any_usable_name() {
    for nameless in [false, true] {
        let platform = Platform::with(|config| Config { nameless, ..config }).await;
        let dir = tempfile::tempdir().unwrap();
        platform.simulator.describe(dir.path()).unwrap();
        let config = tls::client_config(&tls::Verify::Full, Some(&dir.path().join("ca.pem"))).unwrap();
        let tcp = TcpStream::connect(platform.simulator.address).await.unwrap();
        let name = ServerName::try_from("lqpt.chinatax.gov.cn").unwrap();
        let met = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
        assert_eq!(met.is_err(), nameless);
        let caller = platform.caller(2);
        platform.ask(&caller, "CXSXED", &asked(&caller)).await;
    }
}
