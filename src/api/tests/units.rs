//! Units.

use serde_json::json;

use super::{
    documents::assert_shape,
    harness::{ACCESS, ACCESS_ID, Api, KEY, access_unit},
};

const USING: &str = "91110000000000000W";

fn using() -> String {
    // a number whose check digit fits
    let error = crate::domain::TaxNo::parse(USING).err().map(|error| error.to_string());
    match error.and_then(|text| text.split("must end in ").nth(1).and_then(|rest| rest.chars().next())) {
        Some(digit) => format!("{}{digit}", &USING[..17]),
        None => USING.to_owned(),
    }
}

#[tokio::test]
async fn a_unit_is_registered_read_changed_and_deleted_and_its_key_never_comes_back() {
    let api = Api::start().await;
    let created = api.post(&api.admin, "/units", &access_unit()).await.ok(201);
    assert_shape(&created, "Unit");
    assert_eq!((&created["has_sm4_key"], &created["has_sandbox_sm4_key"]), (&json!(true), &json!(false)));
    assert_eq!(created["province_name"], "福建");
    assert!(created["created_at"].as_str().unwrap().ends_with("+08:00"));

    let read = api.get(&api.viewer, &format!("/units/{ACCESS}")).await;
    assert_eq!(read.ok(200), created);
    assert!(!String::from_utf8_lossy(&read.body).contains(KEY));

    let change = json!({ "name": "新名称", "sandbox_sm4_key": KEY, "quota_mode": "observe" });
    let changed = api.patch(&api.admin, &format!("/units/{ACCESS}"), &change).await.ok(200);
    assert_eq!((&changed["name"], &changed["has_sandbox_sm4_key"]), (&json!("新名称"), &json!(true)));

    assert_eq!(api.delete(&api.admin, &format!("/units/{ACCESS}")).await.status, 204);
    api.get(&api.viewer, &format!("/units/{ACCESS}")).await.problem(404, "not-found");

    let audit = api.get(&api.operator, &format!("/audit?subject={ACCESS}")).await;
    let json = audit.ok(200);
    let actions: Vec<_> =
        json["items"].as_array().unwrap().iter().map(|item| item["action"].clone()).collect();
    assert_eq!(actions, ["unit.delete", "unit.update", "unit.create"]);
    assert_shape(&json["items"][0], "Change");
    assert_eq!(json["items"][0]["actor"], "admin");
    assert!(!String::from_utf8_lossy(&audit.body).contains(KEY));
}

#[tokio::test]
async fn what_is_wrong_with_a_unit_is_named_by_its_field() {
    let api = Api::with_unit().await;
    let wrong = async |name: &str, value: serde_json::Value| {
        let mut unit = access_unit();
        unit["tax_no"] = json!("123456789012345");
        unit["platform_id"] = json!("FFFFFFFFFFFFFFFFFFFF");
        unit[name] = value;
        api.post(&api.admin, "/units", &unit).await
    };
    for (field, value) in [
        ("tax_no", json!("91350100M000100Y44")),
        ("tax_no", json!(null)),
        ("name", json!("")),
        ("role", json!("owner")),
        ("platform_id", json!("xyz")),
        ("platform_id", json!(ACCESS_ID.to_lowercase())),
        ("province_code", json!("99900000000")),
        ("sm4_key", json!("0123")),
        ("access_unit", json!(ACCESS)),
        ("colour", json!("red")),
        ("name", json!(["a"])),
    ] {
        let answer = wrong(field, value.clone()).await;
        assert_eq!(answer.problem(422, "invalid-field").as_deref(), Some(field), "{value}");
        assert!(!String::from_utf8_lossy(&answer.body).contains(KEY));
    }
    api.post(&api.admin, "/units", &access_unit()).await.problem(409, "conflict");
    let path = format!("/units/{ACCESS}");
    let answer = api.patch(&api.admin, &path, &json!({ "tax_no": "x" })).await;
    assert_eq!(answer.problem(422, "invalid-field").as_deref(), Some("tax_no"));
}

#[tokio::test]
async fn using_units_need_their_access_unit_first_and_hold_it_in_place() {
    let api = Api::start().await;
    let unit = json!({ "tax_no": using(), "name": "使用单位", "role": "using", "access_unit": ACCESS,
        "platform_id": "AAAAAAAAAAAAAAAAAAAA", "province_code": "11100000000" });
    let answer = api.post(&api.admin, "/units", &unit).await;
    assert_eq!(answer.problem(422, "invalid-field").as_deref(), Some("access_unit"));
    api.post(&api.admin, "/units", &access_unit()).await.ok(201);
    let shown = api.post(&api.admin, "/units", &unit).await.ok(201);
    assert_eq!((&shown["role"], &shown["access_unit"]), (&json!("using"), &json!(ACCESS)));
    api.delete(&api.admin, &format!("/units/{ACCESS}")).await.problem(409, "conflict");

    let first = api.get(&api.viewer, "/units?limit=1").await.ok(200);
    assert_eq!(first["items"].as_array().unwrap().len(), 1);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = api.get(&api.viewer, &format!("/units?limit=1&cursor={cursor}")).await.ok(200);
    assert_eq!(second["next_cursor"], json!(null));
    assert_ne!(first["items"][0]["tax_no"], second["items"][0]["tax_no"]);
}
