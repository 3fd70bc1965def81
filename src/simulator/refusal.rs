//! What the platform says when it refuses: the codes and texts of `refusals.csv`, and the shapes they come in.
//!
//! Front-door failures carry their number in `httpStatusCode` and their text as the body; some business refusals are
//! an `Error` in the envelope; most services answer with a `returncode` other than `00` inside the encrypted `Data`
//! (protocol.md §2, §3). Texts that the tables do not know begin with 参数错误 and are ours.

use std::borrow::Cow;

/// The `returncode` of a service's refusal for which the tables name no code.
pub const NO_CODE: &str = "99";

/// How a refusal is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// HTTP 200, `returncode` and `returnmsg` in `Data`.
    Data,
    /// HTTP 200, `httpStatusCode` 200, `Response.Error`.
    Error,
    /// HTTP 200, the number in `httpStatusCode`, the text as the body.
    FrontDoor,
    /// HTTP 403, plain text.
    Forbidden,
    /// HTTP 404, plain text.
    NotFound,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// How it is written.
    pub shape: Shape,
    /// Its code.
    pub code: Cow<'static, str>,
    /// What it says.
    pub text: Cow<'static, str>,
}

/// A code and its text, as `refusals.csv` pairs them.
#[derive(Clone, Copy, Debug)]
pub struct Known(pub &'static str, pub &'static str);

/// 4032: the capability is not granted to the using unit.
pub const NOT_GRANTED: Known = Known("4032", "使用单位无授权服务");
/// 4033: wrong service code, or the two ids do not belong together.
pub const NOT_TOGETHER: Known = Known("4033", "使用单位未授权此服务");
/// 4047: no sandbox test has been started, or it is older than 72 hours.
pub const NO_TEST: Known = Known("4047", "未查询到该单位的测试批次号");
/// 4049: the capability does not have this service, or a sandbox call names a using unit.
pub const NO_SUCH_PAIR: Known = Known("4049", "未查询到该能力与对应服务的相关信息");
/// 4054: unknown access unit.
pub const UNKNOWN_ACCESS: Known = Known("4054", "通过平台序号未查询到此直连单位信息");
/// 4055: unknown using unit.
pub const UNKNOWN_USING: Known = Known("4055", "通过平台序号未查询到此使用单位信息");
/// 4057: the body cannot be decrypted.
pub const UNREADABLE: Known = Known("4057", "报文解密失败");
/// 4061: unknown service.
pub const UNKNOWN_SERVICE: Known = Known("4061", "未查询到服务其他信息");
/// 4063: a sandbox invoice between companies that are not the unit or its virtual partner.
pub const SANDBOX_PARTIES: Known = Known("4063", "沙箱服务请求报文业务校验不通过");
/// BD1004: last month is not confirmed.
pub const LAST_MONTH_OPEN: Known = Known("BD1004", "上月未完成上传汇总确认，请完成上月汇总确认再试");
/// 11: not qualified.
pub const NOT_QUALIFIED: Known = Known("11", "当前企业无资格办理此业务");
/// 403: the address is not registered or banned.
pub const FORBIDDEN: Known = Known("403", "Forbidden");

/// Every numbered refusal that the front door can be told to give (`/_sim/faults`, kind `refuse`).
pub const FRONT_DOOR: [Known; 18] = [
    NOT_GRANTED,
    NOT_TOGETHER,
    NO_TEST,
    NO_SUCH_PAIR,
    UNKNOWN_ACCESS,
    UNKNOWN_USING,
    Known("4056", "云服务APP未找到"),
    UNREADABLE,
    UNKNOWN_SERVICE,
    SANDBOX_PARTIES,
    Known("4067", "当前请求来源IP与企业备案出口IP不一致"),
    Known("40321", "使用单位无资格"),
    Known("40322", "直连单位无资格"),
    Known("500", "请求云服务集成平台异常"),
    Known("5001", "云服务集成平台响应异常"),
    LAST_MONTH_OPEN,
    Known("10", "申请处理中，请稍后再试"),
    NOT_QUALIFIED,
];

/// The month is confirmed and takes no more uploads.
pub const MONTH_CONFIRMED: &str = "当前开票方开具日期所属年月已完成对账，不再允许上传此年月发票";
/// Filing before the month is confirmed.
pub const NOT_CONFIRMED: &str = "纳税人未上传发票汇总确认信息";
/// No province code in a summary.
pub const NO_PROVINCE: &str = "参数错误，销售方省级税务机关代码不能为空";
/// The access unit itself has not granted the capability to itself.
pub const CAPABILITY_NOT_GRANTED: &str = "使用单位未授权此能力";
/// Not enough downloaded credit.
pub const CREDIT_SHORT: &str = "开票预扣授信额度失败，授信额度不足";
/// The day of the invoice is outside the interval of the credit.
pub const CREDIT_NOT_VALID: &str = "授信额度不在有效期内";
/// The number is in no range of this taxpayer and year.
pub const FOREIGN_NUMBER: &str = "上传的发票号码不在该企业可用申请的赋码段内";
/// The acceptance serial is unknown, another seller's, or older than 12 hours.
pub const NO_RESULT: &str = "未查询到发票上传结果，请稍后再试，或联系主管税务机关";
/// A red invoice whose blue invoice the platform does not have.
pub const NO_BLUE_INVOICE: &str = "红字确认单对应蓝字发票不存在，请稍后再试，或联系主管税务机关";
/// The period cannot be changed.
pub const PERIOD_FIXED: &str = "不符合属期变更条件";
/// The path leads nowhere.
pub const RESOURCE_NOT_FOUND: &str = "ResourceNotFound";

/// The text for numbers that are in the books already.
#[must_use]
pub fn already_exists(numbers: &str) -> String {
    format!("发票号码为[{numbers}]在数据库中已存在")
}

/// The text that names the figure of a summary that differs.
#[must_use]
pub fn totals_differ(what: &str, ours: &str, theirs: &str) -> String {
    let noun = what.chars().skip(2).collect::<String>();
    format!(
        "乐企返回错误，错误信息【当前比对结果，{what}与局端不一致，局端{noun} {ours}，上传确认{noun}{theirs}】"
    )
}

impl Refusal {
    /// A failure of the front door.
    #[must_use]
    pub const fn front_door(Known(code, text): Known) -> Self {
        Self { shape: Shape::FrontDoor, code: Cow::Borrowed(code), text: Cow::Borrowed(text) }
    }

    /// An `Error` in the envelope.
    pub fn error(code: impl Into<Cow<'static, str>>, text: impl Into<Cow<'static, str>>) -> Self {
        Self { shape: Shape::Error, code: code.into(), text: text.into() }
    }

    /// A service's refusal inside `Data`.
    pub fn data(text: impl Into<Cow<'static, str>>) -> Self {
        Self { shape: Shape::Data, code: Cow::Borrowed(NO_CODE), text: text.into() }
    }

    /// A service's refusal of a field: 参数错误，…
    #[must_use]
    pub fn field(what: &str) -> Self {
        Self::data(format!("参数错误，{what}"))
    }

    /// The path leads nowhere.
    #[must_use]
    pub const fn not_found() -> Self {
        Self { shape: Shape::NotFound, code: Cow::Borrowed("404"), text: Cow::Borrowed(RESOURCE_NOT_FOUND) }
    }

    /// The refusal of that code, if the tables have it.
    #[must_use]
    pub fn of_code(code: &str) -> Option<Self> {
        if code == FORBIDDEN.0 {
            let Known(code, text) = FORBIDDEN;
            return Some(Self { shape: Shape::Forbidden, code: code.into(), text: text.into() });
        }
        let known = *FRONT_DOOR.iter().find(|known| known.0 == code)?;
        // numbers of four digits and more are the front door's, the others come from the services behind it
        let front = known.0.len() >= 3 && known.0.bytes().all(|b| b.is_ascii_digit());
        Some(if front { Self::front_door(known) } else { Self::error(known.0, known.1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_and_text_is_in_the_table_of_refusals() {
        let table = include_str!("../leqi/data/refusals.csv");
        for Known(code, text) in FRONT_DOOR.into_iter().chain([FORBIDDEN]) {
            assert!(table.contains(&format!("\n{code},{text},")), "{code} {text}");
        }
        let without_code = [
            MONTH_CONFIRMED,
            NOT_CONFIRMED,
            NO_PROVINCE,
            CAPABILITY_NOT_GRANTED,
            CREDIT_SHORT,
            CREDIT_NOT_VALID,
            FOREIGN_NUMBER,
            NO_RESULT,
            NO_BLUE_INVOICE,
            PERIOD_FIXED,
            RESOURCE_NOT_FOUND,
            &already_exists("*****"),
            &totals_differ("蓝字数量", "XXX", "XXX"),
        ];
        for text in without_code {
            assert!(table.contains(&format!("\n,{text},")), "{text}");
        }
    }
}
