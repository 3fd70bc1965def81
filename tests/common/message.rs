//! Messages of an invoicing system.

use jiff::Timestamp;
use leqi_gateway::domain::{BEIJING, Money};
use serde_json::{Value, json};

use super::SimUnit;

/// Now, as the wire writes it.
#[expect(
    clippy::disallowed_methods,
    reason = "tests play the invoicing system, which has a clock of its own"
)]
pub fn now() -> String {
    BEIJING.to_datetime(Timestamp::now()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A blue invoice of one line; `net` in fen, 13 % tax.
pub fn invoice(unit: &SimUnit, number: &str, net: i64) -> Value {
    let tax = net * 13 / 100;
    let yuan = |fen: i64| Money::from_fen(fen).to_string();
    json!({
        "fphm": number, "lzfpbz": "0", "fppz": "01", "xsfnsrsbh": unit.tax_no, "xsfmc": unit.name,
        "gmfnsrsbh": "91350100M000100Y43", "gmfmc": "购买方公司",
        "hjje": yuan(net), "hjse": yuan(tax), "jshj": yuan(net + tax), "kprq": now(),
        "ptbh": unit.access_platform_id, "qyDm": unit.province_code, "sgfplxDm": "",
        "fpmxList": [{ "mxxh": "1", "xmmc": "*信息技术服务*技术服务", "je": yuan(net), "slv": "0.13", "se": yuan(tax),
                       "sphfwssflhbbm": "3040201010000000000", "yhzcbs": "" }],
    })
}

/// `count` invoice numbers after the first of a range.
pub fn numbers(first: &str, count: usize) -> Vec<String> {
    let first: u128 = first.parse().unwrap();
    (0..count as u128).map(|n| format!("{:020}", first + n)).collect()
}

/// A serial number (`ywlsh`) of our own: using id, access id and 32 more characters.
pub fn serial(unit: &SimUnit, n: u32) -> String {
    format!("{}{}{n:032}", unit.platform_id, unit.access_platform_id)
}
