//! The calls that the gateway answers itself, and what is needed to bring them about.

use std::{any::Any, net::SocketAddr};

use serde_json::{Value, json};

use crate::{
    common::{
        SimUnit, eventually,
        message::{invoice, now, serial},
        process::Simulator,
    },
    scripts::Seen,
    site::{Call, Done, Site},
    tools::{encrypt, raw},
};

pub(crate) const READ: &str = "/access/v2/invoke/202007/CXNSRJBXX";
pub(crate) const UPLOAD: &str = "/access/v2/invoke/202007/QDFPSC";
/// The transaction id of calls that no client of HTTP makes.
const RAW: &str = "wire-raw";
const CONFIRM: &str = "/access/v2/invoke/202007/SCFPHZQRXX";

pub(crate) fn fault(site: &Site, fault: Value) -> Option<Box<dyn Any>> {
    site.simulator.faults(&json!([fault]));
    None
}

/// A site with an upstream `up` at the simulator, with these settings.
pub(crate) fn plain(settings: &str) -> Site {
    Site::start_with(&[], |simulator| {
        let named = settings.contains("addresses");
        let address =
            if named { String::new() } else { format!("addresses = [\"{}\"]\n", simulator.address) };
        upstream(simulator, "lqpt.chinatax.gov.cn", &(address + settings))
    })
}

/// `/up/access/…` leads to this host, which the simulator's authority vouches for unless the settings name another.
pub(crate) fn upstream(simulator: &Simulator, host: &str, settings: &str) -> String {
    let (port, ca) = (simulator.address.port(), simulator.dir.path().join("ca.pem"));
    let ca = if settings.contains("ca_file") { String::new() } else { format!("ca_file = {ca:?}\n") };
    format!(
        "[[upstream]]\nname = \"up\"\nbase_url = \"https://{host}:{port}\"\n{ca}{settings}\n\
         [[route]]\nprefix = \"/up/\"\nreplace = \"/\"\nupstream = \"up\"\n"
    )
}

pub(crate) fn confirm(site: &Site) -> Seen {
    let body = encrypt(&site.key(), &json!({ "nsrsbh": site.unit().tax_no }).to_string());
    seen(site.post(&site.https(&format!("/up{CONFIRM}")), body).args(&["--http1.1"]))
}

pub(crate) fn upload(site: &Site, list: Vec<Value>) -> Seen {
    seen(site.post(&site.http(UPLOAD), encrypt(&site.key(), &Value::from(list).to_string())))
}

/// An upload with these two ids.
pub(crate) fn as_units(site: &Site, access: &str, using: &str) -> Seen {
    let body = encrypt(&site.key(), &Value::from(invoices(site, 1)).to_string());
    seen(site.post_as(access, using, &site.http(UPLOAD), body))
}

/// What comes back for an upload whose head ends like this, or whose body does, before the client ends its side.
pub(crate) fn answer(site: &Site, address: SocketAddr, tail: &str) -> Seen {
    let got = raw(address, &format!("POST {UPLOAD} HTTP/1.1\r\nhost: gateway\r\nclienttid: {RAW}\r\n{tail}"));
    let (number, response) = got.envelope();
    let arrived = usize::from(site.arrived(RAW).is_some());
    Seen { status: got.status(), number, response, record: Value::Null, arrived }
}

/// The same with its record.
pub(crate) fn recorded(site: &Site, seen: Seen) -> Seen {
    Seen { record: site.record(RAW), ..seen }
}

/// Asks for the balance until that was too often.
pub(crate) fn too_often(site: &Site) -> Seen {
    let url = format!("http://{}/access/v2/invoke/202007/CXSXED", site.gateway.listeners[2]);
    eventually("it is too often", || {
        Some(unrecorded(site.post(&url, Vec::new()))).filter(|seen| seen.status == 429)
    })
}

/// A site with a third listener, plain and with these settings.
pub(crate) fn listening(settings: &str) -> Site {
    Site::start_with(&[], |_| {
        format!("[[listen]]\naddress = \"127.0.0.1:0\"\nplaintext = true\n{settings}\n")
    })
}

pub(crate) fn seen(call: Call<'_>) -> Seen {
    let done = call.send();
    let record = done.record();
    Seen { record, ..without_record(&done) }
}

pub(crate) fn unrecorded(call: Call<'_>) -> Seen {
    without_record(&call.send())
}

fn without_record(done: &Done<'_>) -> Seen {
    let (number, response) = done.got.envelope();
    let arrived = usize::from(done.arrived().is_some());
    Seen { status: done.got.status(), number, response, record: Value::Null, arrived }
}

/// Credit for everything that a row may want to upload.
pub(crate) fn download(site: &Site) {
    let unit = site.unit();
    let asked = json!({ "nsrsbh": unit.tax_no, "ptbh": unit.access_platform_id, "sqlx": "0", "sqed": "1000.00",
        "ywlsh": serial(unit, 1) });
    assert_eq!(site.ask("XZTHSXED", &asked)["returncode"], "00");
}

/// So many invoices of one yuan, dated now.
pub(crate) fn invoices(site: &Site, count: usize) -> Vec<Value> {
    (1..=count).map(|n| invoice(site.unit(), &number(n), 100)).collect()
}

/// A number of this year that nobody was given.
pub(crate) fn number(n: usize) -> String {
    format!("{}{n:018}", &now()[2..4])
}

/// A unit of the same access unit.
pub(crate) fn other(site: &Site) -> &SimUnit {
    let unit = site.unit();
    let siblings = site.simulator.units.0.iter();
    siblings.filter(|other| other.tax_no != unit.tax_no).find(|other| other.role == "using").unwrap()
}

pub(crate) fn month() -> i32 {
    now()[5..7].parse().unwrap()
}

/// The 10th of a month so many months from now.
pub(crate) fn dated(months: i32) -> String {
    let year: i32 = now()[..4].parse().unwrap();
    let index = year * 12 + month() - 1 + months;
    format!("{:04}-{:02}-10 10:00:00", index.div_euclid(12), index.rem_euclid(12) + 1)
}
