//! How each row of the error table is provoked, and what it must look like.

use std::{any::Any, io::Write, net::TcpStream};

use leqi_gateway::upstream::Phase;
use serde_json::{Value, json};

use crate::{
    common::{
        eventually,
        message::{invoice, now, serial},
    },
    provoke::{
        READ, UPLOAD, answer, as_units, dated, download, invoices, listening, month, number, other, recorded,
        seen, too_often, unrecorded, upload,
    },
    scripts_upstream,
    site::Site,
    table::Row,
    tools::encrypt,
};

/// How a call that the gateway answers itself ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It could not be sent or got no answer, in this phase.
    Failed(Phase),
    /// It must not be sent.
    Refused,
    /// The client must not call; nothing is recorded.
    TurnedAway,
    /// It could not be stored, so it was not sent; nor can its record be stored.
    Unstored,
}

impl Ending {
    /// The name in the log and in metrics.
    pub(crate) const fn outcome(self) -> &'static str {
        match self {
            Self::Failed(_) | Self::Unstored => "failed",
            Self::Refused | Self::TurnedAway => "refused",
        }
    }
}

/// What a call left behind.
pub(crate) struct Seen {
    pub(crate) status: u16,
    /// `httpStatusCode`.
    pub(crate) number: String,
    pub(crate) response: Value,
    /// The record in the log, `null` when there is none.
    pub(crate) record: Value,
    /// How often it reached the platform.
    pub(crate) arrived: usize,
}

/// A row: how it comes about, and what is to be seen.
pub(crate) struct Script {
    pub(crate) start: fn() -> Site,
    /// What must have happened before; what it gives is kept until the end.
    pub(crate) prepare: fn(&Site) -> Option<Box<dyn Any>>,
    pub(crate) call: fn(&Site) -> Seen,
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    /// A part of the sentence.
    pub(crate) words: &'static str,
    pub(crate) ending: Ending,
    /// How often the call must have reached the platform.
    pub(crate) arrives: usize,
}

/// The script of a row.
pub(crate) fn script(row: Row) -> Script {
    use Row as R;
    match row {
        R::Body => {
            refused("GW-BODY", "无法读取", |site| seen(site.post(&site.http(UPLOAD), b"noise!".to_vec())))
        }
        R::Client => Script {
            status: 403,
            ..turned_away(
                "GW-CLIENT",
                "allow",
                || listening("allow = [\"10.0.0.0/8\"]"),
                |site| {
                    unrecorded(site.post(&format!("http://{}{READ}", site.gateway.listeners[2]), Vec::new()))
                },
            )
        },
        R::Busy => Script {
            prepare: |site| {
                site.simulator.faults(&json!([{ "kind": "stall", "service": "CXNSRJBXX" }]));
                let mut held = TcpStream::connect(site.gateway.listeners[2]).unwrap();
                write!(held, "POST {READ} HTTP/1.1\r\nhost: gateway\r\ncontent-length: 0\r\n\r\n").unwrap();
                eventually("the only call is in flight", || site.simulator.calls().pop());
                Some(Box::new(held))
            },
            status: 503,
            ..turned_away(
                "GW-BUSY",
                "client_in_flight",
                || listening("client_in_flight = 1"),
                |site| {
                    unrecorded(site.post(&format!("http://{}{READ}", site.gateway.listeners[2]), Vec::new()))
                },
            )
        },
        R::Framing => Script {
            status: 400,
            ..turned_away("GW-FRAMING", "有歧义", Site::start, |site| {
                answer(
                    site,
                    site.gateway.plain,
                    "content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
                )
            })
        },
        R::HeadLarge => Script {
            status: 431,
            ..turned_away("GW-HEAD", "max_head", Site::start, |site| {
                answer(site, site.gateway.plain, &format!("x-large: {}\r\n\r\n", "a".repeat(70_000)))
            })
        },
        R::HeadSlow => Script {
            status: 408,
            ..turned_away(
                "GW-SLOW",
                "请求头未在规定时间内发完",
                || listening("header_timeout = \"300ms\""),
                |site| answer(site, site.gateway.listeners[2], "x-slow: "),
            )
        },
        R::InvoiceAmount => refused("GW-INVOICE-AMOUNT", "hjje", |site| {
            let mut list = invoices(site, 50);
            list.iter_mut().for_each(|invoice| invoice["hjje"] = json!("999999999999999.99"));
            upload(site, list)
        }),
        R::InvoiceCount => refused("GW-INVOICE-COUNT", "101", |site| upload(site, invoices(site, 101))),
        R::InvoiceDate => refused("GW-INVOICE-DATE", "kprq", |site| {
            let mut list = invoices(site, 1);
            let date = dated(1);
            list[0]["fphm"] = json!(format!("{}000000000000000001", &date[2..4]));
            list[0]["kprq"] = json!(date);
            upload(site, list)
        }),
        R::InvoiceDuplicate => refused("GW-INVOICE-DUPLICATE", "fphm", |site| {
            let mut list = invoices(site, 2);
            list[1]["fphm"] = list[0]["fphm"].clone();
            upload(site, list)
        }),
        R::InvoiceField => refused("GW-INVOICE-FIELD", "hjje", |site| {
            let mut list = invoices(site, 1);
            list[0]["hjje"] = json!("1.234");
            upload(site, list)
        }),
        R::InvoiceIssuers => refused("GW-INVOICE-ISSUERS", "xsfnsrsbh", |site| {
            let mut list = invoices(site, 2);
            list[1]["xsfnsrsbh"] = json!(other(site).tax_no);
            upload(site, list)
        }),
        R::InvoiceUnresolved => Script {
            prepare: |site| {
                download(site);
                site.simulator.faults(&json!([{ "kind": "reset_after_read", "service": "QDFPSC" }]));
                assert_eq!(upload(site, invoices(site, 1)).status, 502);
                None
            },
            ..refused("GW-INVOICE-UNRESOLVED", "结果尚未明确", |site| {
                let mut list = invoices(site, 1);
                list[0]["kprq"] = json!(if month() == 1 { dated(1) } else { dated(-1) });
                upload(site, list)
            })
        },
        R::InvoiceYear => refused("GW-INVOICE-YEAR", "号码不能跨年使用", |site| {
            let mut list = invoices(site, 1);
            list[0]["fphm"] = json!("20000000000000000001");
            upload(site, list)
        }),
        R::Issuer => refused("GW-ISSUER", "sydwptbh", |site| {
            let mut list = invoices(site, 1);
            list[0]["xsfnsrsbh"] = json!(other(site).tax_no);
            upload(site, list)
        }),
        R::Key => Script {
            prepare: |site| {
                let unit = json!({ "tax_no": "91350100M000100Y43", "name": "无密钥", "role": "access",
                    "platform_id": "00000000000000000abc", "province_code": site.unit().province_code,
                    "sandbox_sm4_key": "0123456789abcdeffedcba9876543210" });
                assert_eq!(site.gateway.api("POST", "/units", Some(&unit)).0, 201);
                None
            },
            ..refused("GW-KEY", "登记密钥", |site| {
                as_units(site, "00000000000000000abc", "00000000000000000abc")
            })
        },
        R::MonthConfirmed => Script {
            prepare: |site| {
                download(site);
                // the platform's clock runs ahead into the next month, where this one is confirmed
                let ahead = format!("{}T09:00:00+08:00", dated(1).split(' ').next().unwrap());
                site.simulator.clock(&json!({ "now": ahead }));
                let unit = site.unit();
                let zero = json!({ "xsfnsrsbh": unit.tax_no, "xsfsjswjgdm": unit.province_code, "ptbh": unit.access_platform_id,
                    "yf": &now()[..7], "ywlx": "0", "lzfpsl": "0", "lzfpje": "0.00", "lzfpse": "0.00", "hzfpsl": "0",
                    "hzfpje": "0.00", "hzfpse": "0.00" });
                assert_eq!(site.ask("SCFPHZQRXX", &zero)["returncode"], "00");
                None
            },
            ..refused("GW-MONTH-CONFIRMED", "已完成汇总确认", |site| upload(site, invoices(site, 1)))
        },
        R::Path => Script {
            status: 400,
            ..refused("GW-PATH", "另一条路由", |site| {
                seen(site.post(&site.https("/access//sandbox/v2/invoke/202007/QDFPSC"), Vec::new()))
            })
        },
        R::QuotaPastMonth => refused("GW-QUOTA-PAST-MONTH", "只能查询当月额度", |site| {
            let mut list = invoices(site, 1);
            let date = dated(-1);
            list[0]["fphm"] = json!(format!("{}000000000000000001", &date[2..4]));
            list[0]["kprq"] = json!(date);
            upload(site, list)
        }),
        R::QuotaShort => refused("GW-QUOTA-SHORT", "授信额度不足", |site| {
            let list = vec![invoice(site.unit(), &number(1), 900_000_000_000)];
            upload(site, list)
        }),
        R::QuotaUnknown => Script {
            prepare: |site| {
                site.simulator.faults(&json!([{ "kind": "status", "service": "CXSXED", "times": 0 }]));
                None
            },
            ..refused("GW-QUOTA-UNKNOWN", "向平台查询也未成功", |site| {
                upload(site, invoices(site, 1))
            })
        },
        R::QuotaValidity => Script {
            prepare: |site| {
                let third = format!("{}-03T09:00:00+08:00", &now()[..7]);
                site.simulator.clock(&json!({ "now": third }));
                download(site);
                None
            },
            ..refused("GW-QUOTA-VALIDITY", "不在授信额度有效期内", |site| {
                let mut list = invoices(site, 1);
                list[0]["kprq"] = json!(format!("{}-28 10:00:00", &now()[..7]));
                upload(site, list)
            })
        },
        R::Rate => Script {
            status: 429,
            ..turned_away("GW-RATE", "client_rate", || listening("client_rate = 1"), too_often)
        },
        R::Request => Script {
            status: 400,
            ..refused("GW-REQUEST", "未收到完整的请求报文", |site| {
                recorded(
                    site,
                    answer(site, site.gateway.plain, "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n"),
                )
            })
        },
        R::Route => Script {
            status: 404,
            ..refused("GW-ROUTE", "/access/v2/invoke/", |site| {
                seen(site.post(&site.https("/nowhere"), Vec::new()))
            })
        },
        R::Size => Script {
            start: || Site::start_with(&[], |_| "[limits]\nrequest_body = \"1KiB\"\n".into()),
            status: 413,
            ..refused("GW-SIZE", "request_body", |site| {
                seen(site.post(&site.https(UPLOAD), vec![b'A'; 4096]))
            })
        },
        R::Slow => Script {
            start: || listening("body_timeout = \"300ms\""),
            status: 408,
            ..refused("GW-SLOW", "请求报文过慢", |site| {
                recorded(site, answer(site, site.gateway.listeners[2], "content-length: 100\r\n\r\nabc"))
            })
        },
        R::Store => Script {
            start: Site::start_with_failing_limits,
            prepare: |site| {
                download(site);
                site.no_room();
                None
            },
            status: 503,
            ending: Ending::Unstored,
            ..refused("GW-STORE", "额度未占用", |site| {
                let body = encrypt(&site.key(), &Value::from(invoices(site, 1)).to_string());
                unrecorded(site.post(&site.http(UPLOAD), body))
            })
        },
        R::Sxcsbz => refused("GW-SXCSBZ", "sxcsbz", |site| {
            seen(site.post(&site.https(UPLOAD), encrypt(&site.key(), "[]")).header("sxcsbz", "1"))
        }),
        R::TransferField => refused("GW-TRANSFER-FIELD", "sqed", |site| {
            let unit = site.unit();
            let asked = json!({ "nsrsbh": unit.tax_no, "ptbh": unit.access_platform_id, "sqlx": "0", "sqed": "0",
                "ywlsh": serial(unit, 9) });
            let url = site.http("/access/v2/invoke/202007/XZTHSXED");
            seen(site.post(&url, encrypt(&site.key(), &asked.to_string())))
        }),
        R::UnitAccess => refused("GW-UNIT", "jrdwptbh", |site| {
            as_units(site, "ffffffffffffffffffff", &site.unit().platform_id)
        }),
        R::UnitPair => refused("GW-UNIT-PAIR", "jrdwptbh", |site| {
            let units = &site.simulator.units.0;
            let access = &site.unit().access_platform_id;
            let stranger =
                units.iter().find(|unit| unit.role == "using" && unit.access_platform_id != *access);
            as_units(site, access, &stranger.unwrap().platform_id)
        }),
        R::UnitSwapped => refused("GW-UNIT-SWAPPED", "jrdwptbh", |site| {
            as_units(site, &site.unit().platform_id, &site.unit().access_platform_id)
        }),
        R::UnitUsing => refused("GW-UNIT", "sydwptbh", |site| {
            as_units(site, &site.unit().access_platform_id, "ffffffffffffffffffff")
        }),
        R::UpBody => scripts_upstream::body(),
        R::UpConnect => scripts_upstream::connect(),
        R::UpDns => scripts_upstream::resolve(),
        R::UpHead => scripts_upstream::head(),
        R::UpIdle => scripts_upstream::idle(),
        R::UpOpen => scripts_upstream::open(),
        R::UpPin => scripts_upstream::pin(),
        R::UpPool => scripts_upstream::pool(),
        R::UpProxy => scripts_upstream::proxy(),
        R::UpSend => scripts_upstream::send(),
        R::UpTimeout => scripts_upstream::response(),
        R::UpTls => scripts_upstream::tls(),
        R::UpTotal => scripts_upstream::total(),
    }
}

/// A row of what is refused before it is looked at, at a site of its own.
fn turned_away(
    code: &'static str,
    words: &'static str,
    start: fn() -> Site,
    call: fn(&Site) -> Seen,
) -> Script {
    Script { start, ending: Ending::TurnedAway, ..refused(code, words, call) }
}

/// A row of what must not be sent: HTTP 200, since invoicing systems show the sentence then.
pub(crate) fn refused(code: &'static str, words: &'static str, call: fn(&Site) -> Seen) -> Script {
    Script {
        start: Site::start,
        prepare: |_| None,
        call,
        status: 200,
        code,
        words,
        ending: Ending::Refused,
        arrives: 0,
    }
}
