//! The services behind the front door: each takes the request in clear and gives the `Data` of its answer.

mod credit;
mod invoices;
mod reads;
mod red_letters;
mod sandbox;
mod summaries;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{books::Book, faults::Fault, front_door::Admitted, refusal::Refusal};
use crate::domain::{BEIJING, Day, Environment, ServiceClass};

/// What a service works with.
pub(super) struct Visit<'a> {
    /// The call.
    pub(super) call: &'a Admitted<'a>,
    /// The books of its environment.
    pub(super) book: &'a mut Book,
    /// The platform's time.
    pub(super) now: Timestamp,
    /// The scripted failure that strikes the call, if any.
    pub(super) fault: Option<&'a Fault>,
}

impl Visit<'_> {
    /// `ywlsh` is the using unit's id, the access unit's id and 32 characters (protocol.md §3).
    fn check_serial(&self, serial: &str) -> Result<(), Refusal> {
        let ids =
            format!("{}{}", self.call.using.platform_id.folded(), self.call.access.platform_id.folded());
        let random = serial.to_ascii_lowercase().strip_prefix(&ids).map(str::len);
        if random == Some(32) {
            Ok(())
        } else {
            Err(Refusal::field("ywlsh应为使用单位编号、接入单位编号与32位随机码"))
        }
    }
}

/// Carries the call out and gives `Data`, with `returncode` `00`.
pub(super) fn serve(visit: &mut Visit<'_>) -> Result<Value, Refusal> {
    if visit.call.target.environment == Environment::Sandbox {
        sandbox::check_parties(visit)?;
    }
    let service = visit.call.target.service.as_str();
    let carried = match visit.call.class {
        ServiceClass::Issue => invoices::upload(visit),
        ServiceClass::IssueResult => invoices::results(visit),
        ServiceClass::Precode => invoices::numbers(visit),
        ServiceClass::QuotaQuery => credit::query(visit),
        ServiceClass::QuotaTransfer => credit::transfer(visit),
        ServiceClass::QuotaValidity => credit::extend(visit),
        ServiceClass::SummaryQuery => summaries::query(visit),
        ServiceClass::SummaryUpload => summaries::upload(visit),
        ServiceClass::Write if service.starts_with("LQSX_") => sandbox::control(visit),
        ServiceClass::Write if service.starts_with("QDHZQRDSQ") => red_letters::apply(visit),
        ServiceClass::Write if service.starts_with("QDHZQRDQR") => red_letters::answer(visit),
        ServiceClass::Read if service.starts_with("CXQDHZQRD") => red_letters::query(visit),
        ServiceClass::Read if service.starts_with("LQSX_") => sandbox::control(visit),
        ServiceClass::Read => reads::answer(visit),
        ServiceClass::Write => Ok(json!({ "sllsh": format!("{:032x}", visit.now.as_microsecond()) })),
    }?;
    Ok(success(carried))
}

/// `returncode` and `returnmsg` before what the service says.
fn success(carried: Value) -> Value {
    let mut data = json!({ "returncode": "00", "returnmsg": "成功" });
    if let (Some(fields), Value::Object(carried)) = (data.as_object_mut(), carried) {
        fields.extend(carried);
    }
    data
}

/// A day as the wire writes it: `yyyyMMdd`.
fn compact(day: Day) -> String {
    day.strftime("%Y%m%d").to_string()
}

/// A time as the wire writes it.
fn written(at: Timestamp) -> String {
    BEIJING.to_datetime(at).strftime("%Y-%m-%d %H:%M:%S").to_string()
}
