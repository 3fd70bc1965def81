//! Services that only ask: plausible answers about the calling company.

use std::io::Write;

use base64::{Engine, engine::general_purpose::STANDARD};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use super::{Visit, written};
use crate::simulator::{refusal::Refusal, wire};

/// Megabytes that a request may ask a download for with `simSizeMb`; the real platform decides by itself.
const MOST_MEGABYTES: i64 = 64;

/// Any service of class `read`.
pub(super) fn answer(visit: &mut Visit<'_>) -> Result<Value, Refusal> {
    let unit = visit.call.using;
    Ok(match visit.call.target.service.as_str() {
        "CXNSRJBXX" => json!({
            "nsrsbh": unit.tax_no,
            "nsrmc": unit.name,
            "swjgdm": unit.province_code,
            "nsrzt": "03",
            "ybnsrbz": "Y",
        }),
        "CXKYSL" => json!({ "slList": ["0.13", "0.09", "0.06", "0.03", "0.01", "0.00"] }),
        "CXSSFLBM" => json!({ "ssflbmList": [
            { "sphfwssflhbbm": "3040201010000000000", "mc": "信息技术服务", "slv": "0.06" },
            { "sphfwssflhbbm": "1090511030000000000", "mc": "计算机网络设备", "slv": "0.13" },
        ] }),
        "CXNSRFXXX" => json!({ "fxdj": "低", "fxxxList": [] }),
        service if service.starts_with("PL") || service.contains("XZ") => download(visit)?,
        _ => json!({ "nsrsbh": unit.tax_no, "cxsj": written(visit.now), "list": [] }),
    })
}

/// Files come as base64 of GZIP inside `Data` and can be large (protocol.md §3).
fn download(visit: &Visit<'_>) -> Result<Value, Refusal> {
    let megabytes = match visit.call.json.as_str() {
        "" => 0,
        json => wire::object(json)?.count("simSizeMb").unwrap_or(0),
    };
    let size = usize::try_from(megabytes.clamp(0, MOST_MEGABYTES)).unwrap_or(0) << 20;
    Ok(
        json!({ "sqbh": format!("{:020}", visit.now.as_millisecond()), "zt": "1", "wjnr": packed(size.max(256)) }),
    )
}

/// So many bytes that do not compress, packed and written as text.
fn packed(size: usize) -> String {
    let mut bytes = Vec::with_capacity(size);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    // writing to a Vec cannot fail
    let written = gzip.write_all(&bytes).and_then(|()| gzip.finish());
    STANDARD.encode(written.unwrap_or_default())
}
