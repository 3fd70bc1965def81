//! Every sentence that the gate says no with: the code for machines, Chinese for the clerk, English for the log.

use crate::{
    domain::{Day, InvoiceNo, Money, Period, TaxNo},
    leqi::messages::InvoiceError,
    store::ledger::AccountKey,
};

/// Why an upload is not forwarded. Nothing of it was reserved or sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// An amount is beyond what can be booked.
    Amount {
        /// Which invoice.
        invoice_no: InvoiceNo,
    },
    /// The date lies in a month that has not begun, or one before the last (protocol.md §4).
    Date {
        /// Which invoice.
        invoice_no: InvoiceNo,
        /// Its date.
        date: Day,
        /// Today.
        today: Day,
    },
    /// The same number twice in one upload.
    Duplicate {
        /// Which number.
        invoice_no: InvoiceNo,
    },
    /// No invoice in the upload.
    Empty,
    /// A field that the gate must read cannot be read.
    Field {
        /// The number, as written.
        invoice_no: String,
        /// The field's name on the wire.
        field: &'static str,
        /// What is wrong with it, in English.
        reason: String,
    },
    /// Invoices of different issuing parties in one upload.
    Issuers {
        /// The first invoice of another issuing party.
        invoice_no: InvoiceNo,
        /// Its issuing party.
        issuer: TaxNo,
        /// That of the first invoice.
        first: TaxNo,
        /// Where the issuing party is named: `xsfnsrsbh`, or `gmfnsrsbh` on purchase invoices.
        field: &'static str,
    },
    /// The month is confirmed.
    MonthClosed {
        /// The first invoice of that month.
        invoice_no: InvoiceNo,
        /// The month.
        period: Period,
    },
    /// Sent before with another month's date, and what became of that is not known.
    Moved {
        /// Which invoice.
        invoice_no: InvoiceNo,
        /// The date it was sent with.
        before: Day,
    },
    /// The balance is not known and could not be asked for.
    NoBalance {
        /// Whose.
        issuer: TaxNo,
        /// Of which month.
        period: Period,
        /// Why not, as the platform or the gateway says.
        reason: String,
    },
    /// The number belongs to another year than the date.
    NumberYear {
        /// Which invoice.
        invoice_no: InvoiceNo,
        /// Its date.
        date: Day,
    },
    /// A month that is over and whose balance the gateway never saw; the platform tells only the current one's.
    PastMonth {
        /// Whose.
        issuer: TaxNo,
        /// Of which month.
        period: Period,
    },
    /// More is needed than is left.
    Short {
        /// Whose.
        issuer: TaxNo,
        /// Of which month.
        period: Period,
        /// Credit left.
        available: Money,
        /// Credit needed for what is new in the upload.
        needed: Money,
        /// What the bureau would still give, if it is known; [`Money::ON_DEMAND`] when there is no limit.
        at_bureau: Option<Money>,
        /// Why the download that was started because of it did not help, in Chinese.
        top_up: Option<String>,
    },
    /// Too many invoices in one upload.
    TooMany {
        /// How many.
        count: usize,
    },
    /// A field of a download or return of credit.
    Transfer {
        /// The field's name on the wire.
        field: &'static str,
        /// What is wrong with it, in Chinese.
        reason: String,
    },
    /// The date lies outside the days that the credit is good for.
    Validity {
        /// Which invoice.
        invoice_no: InvoiceNo,
        /// Its date.
        date: Day,
        /// First good day, if it is known.
        from: Option<Day>,
        /// Last good day, if it is known.
        to: Option<Day>,
    },
}

impl Refusal {
    /// The code in the envelope, the log and metrics.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Amount { .. } => "GW-INVOICE-AMOUNT",
            Self::Date { .. } => "GW-INVOICE-DATE",
            Self::Duplicate { .. } => "GW-INVOICE-DUPLICATE",
            Self::Empty => "GW-INVOICE-NONE",
            Self::Field { .. } => "GW-INVOICE-FIELD",
            Self::Issuers { .. } => "GW-INVOICE-ISSUERS",
            Self::MonthClosed { .. } => "GW-MONTH-CONFIRMED",
            Self::Moved { .. } => "GW-INVOICE-UNRESOLVED",
            Self::NoBalance { .. } => "GW-QUOTA-UNKNOWN",
            Self::NumberYear { .. } => "GW-INVOICE-YEAR",
            Self::PastMonth { .. } => "GW-QUOTA-PAST-MONTH",
            Self::Short { .. } => "GW-QUOTA-SHORT",
            Self::TooMany { .. } => "GW-INVOICE-COUNT",
            Self::Transfer { .. } => "GW-TRANSFER-FIELD",
            Self::Validity { .. } => "GW-QUOTA-VALIDITY",
        }
    }

    /// What to tell the clerk, in Chinese: what is wrong, with figures, and what to do.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Amount { invoice_no } => {
                format!("发票{invoice_no}的金额超出可记账范围，请核对金额(hjje)后重新上传")
            }
            Self::Date { invoice_no, date, today } if date > today => format!(
                "发票{invoice_no}的开票日期(kprq){date}属于尚未开始的月份（今天{today}），请更正后重新上传"
            ),
            Self::Date { invoice_no, date, .. } => format!(
                "发票{invoice_no}的开票日期(kprq){date}所属月份已截止上传（次月13日0时前），请以当月日期重新开具"
            ),
            Self::Duplicate { invoice_no } => {
                format!("同一批次中发票号码{invoice_no}(fphm)重复，请去掉重复的发票后重新上传")
            }
            Self::Empty => "报文中没有发票，请核对上传内容".to_owned(),
            Self::Field { invoice_no, field, reason } => {
                let reason = chinese(reason);
                format!("发票{invoice_no}的字段{field}有误（{reason}），请更正后重新上传")
            }
            Self::Issuers { invoice_no, issuer, first, field } => format!(
                "同一批次只能有一个开票方：发票{invoice_no}的开票方({field})为{issuer}，而本批第一张为{first}，请按开票方分批上传"
            ),
            Self::MonthClosed { invoice_no, period } => format!(
                "{period}已完成汇总确认，不能再上传开票日期(kprq)在该月的发票（发票{invoice_no}）；13日前可取消确认，补传后重新确认"
            ),
            Self::Moved { invoice_no, before } => format!(
                "发票{invoice_no}曾以开票日期(kprq){before}上传，结果尚未明确；请先查询该次上传结果，或用原开票日期重传"
            ),
            Self::NoBalance { issuer, period, reason } => format!(
                "尚不知道{issuer}在{period}的授信额度，向平台查询也未成功（{reason}）；请稍后重试，或先在开票系统中查询一次授信额度"
            ),
            Self::NumberYear { invoice_no, date } => format!(
                "发票号码(fphm){invoice_no}属于20{:02}年，开票日期(kprq)为{date}，号码不能跨年使用，请改用本年度号码",
                invoice_no.year()
            ),
            Self::PastMonth { issuer, period } => format!(
                "网关未记录{issuer}在{period}的授信额度，而平台只能查询当月额度；如确需补传开票日期(kprq)在该月的发票，请管理员将该单位的额度模式暂改为observe后重传"
            ),
            Self::Short { issuer, period, available, needed, at_bureau, top_up } => format!(
                "{issuer}在{period}的授信额度不足：剩余可用{available}元，本批需要{needed}元，差{}元；{}{}，下载额度后重新上传",
                needed.saturating_sub(*available),
                bureau_zh(*at_bureau),
                top_up.as_ref().map_or_else(String::new, |why| format!("，自动下载未成功（{why}）"))
            ),
            Self::TooMany { count } => {
                format!("一次最多上传{}张发票，本批有{count}张，请分批上传", super::MAX_INVOICES)
            }
            Self::Transfer { field, reason } => format!("额度申请的字段{field}有误：{reason}"),
            Self::Validity { invoice_no, date, from, to } => format!(
                "发票{invoice_no}的开票日期(kprq){date}不在授信额度有效期内（{}至{}）；申报后请调整额度有效期，或重新下载额度",
                day(*from),
                day(*to)
            ),
        }
    }

    /// The account that is short, if that is the reason.
    pub(super) fn short_of(&self) -> Option<AccountKey> {
        let Self::Short { issuer, period, .. } = self else { return None };
        Some(AccountKey { issuer: issuer.clone(), period: *period })
    }

    /// The shortage, with why a download did not help.
    pub(super) fn after_top_up(mut self, why: String) -> Self {
        if let Self::Short { top_up, .. } = &mut self {
            *top_up = Some(why);
        }
        self
    }

    /// The same in short, in English.
    #[must_use]
    pub fn english(&self) -> String {
        match self {
            Self::Amount { invoice_no } => format!("invoice {invoice_no}: amount beyond what can be booked"),
            Self::Date { invoice_no, date, today } => {
                format!("invoice {invoice_no}: the month of its date {date} takes no uploads on {today}")
            }
            Self::Duplicate { invoice_no } => format!("number {invoice_no} appears twice in one upload"),
            Self::Empty => "no invoice in the upload".to_owned(),
            Self::Field { invoice_no, field, reason } => format!("invoice {invoice_no}: {field}: {reason}"),
            Self::Issuers { invoice_no, issuer, first, field } => {
                format!("invoice {invoice_no} is issued by {issuer} ({field}), the first one by {first}")
            }
            Self::MonthClosed { invoice_no, period } => {
                format!("invoice {invoice_no}: month {period} is confirmed")
            }
            Self::Moved { invoice_no, before } => {
                format!("invoice {invoice_no} was sent dated {before} and what became of that is not known")
            }
            Self::NoBalance { issuer, period, reason } => {
                format!("credit of {issuer} for {period} is unknown and could not be asked for: {reason}")
            }
            Self::NumberYear { invoice_no, date } => {
                format!(
                    "number {invoice_no} is of year 20{:02}, the invoice is dated {date}",
                    invoice_no.year()
                )
            }
            Self::PastMonth { issuer, period } => {
                format!("credit of {issuer} for past month {period} was never seen")
            }
            Self::Short { issuer, period, available, needed, .. } => {
                format!("credit of {issuer} for {period} is short: {available} left, {needed} needed")
            }
            Self::TooMany { count } => {
                format!("{count} invoices in one upload, {} at most", super::MAX_INVOICES)
            }
            Self::Transfer { field, reason } => format!("transfer of credit: {field}: {reason}"),
            Self::Validity { invoice_no, date, from, to } => {
                format!(
                    "invoice {invoice_no} dated {date}: credit is good from {} to {}",
                    day(*from),
                    day(*to)
                )
            }
        }
    }
}

/// A refusal is shown as `code: English sentence`; the Chinese one is [`Refusal::message`].
impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code(), self.english())
    }
}

impl std::error::Error for Refusal {}

impl From<InvoiceError> for Refusal {
    fn from(error: InvoiceError) -> Self {
        Self::Field {
            invoice_no: error.invoice_no.unwrap_or_else(|| format!("(第{}张)", error.index + 1)),
            field: error.field,
            reason: error.reason,
        }
    }
}

/// The known rules of fields in Chinese; others stay as they are.
pub(super) fn chinese(reason: &str) -> String {
    const KNOWN: [(&str, &str); 8] = [
        ("missing", "缺失"),
        ("amount has more than two decimals", "金额最多两位小数"),
        ("amount is not a decimal number", "不是金额"),
        ("amount is out of range", "金额超出18位"),
        ("time must be written", "时间格式应为yyyy-MM-dd HH:mm:ss"),
        ("neither 0 (blue) nor 1 (red)", "应为0（蓝字）或1（红字）"),
        ("negative on a blue invoice", "蓝字发票金额不能为负"),
        ("positive on a red invoice", "红字发票金额不能为正"),
    ];
    let known = KNOWN.iter().find(|(english, _)| reason.contains(english));
    known.map_or_else(|| reason.to_owned(), |(_, chinese)| (*chinese).to_owned())
}

fn bureau_zh(at_bureau: Option<Money>) -> String {
    match at_bureau {
        Some(amount) if amount.is_on_demand() => "该单位为按需开具，局端不限额".to_owned(),
        Some(amount) => format!("局端尚可下载{amount}元"),
        None => "局端余额未知".to_owned(),
    }
}

fn day(day: Option<Day>) -> String {
    day.map_or_else(|| "?".to_owned(), |day| day.to_string())
}
