//! The story: three companies issue, one runs out of credit, one upload fails, one invoice is reversed, the month ends.

use std::sync::Mutex;

use anyhow::Context;
use serde_json::json;

use super::{
    claims::Claims,
    invoicing::{Draft, Invoicing, Made},
    month, proof,
    stage::Stage,
};
use crate::{
    domain::{InvoiceNo, Money},
    simulator::faults::{Fault, Kind},
};

/// What each company downloads.
pub(super) const DOWNLOADED: Money = Money::from_fen(10_000_000);
/// Net amount of each ordinary invoice.
const NET: Money = Money::from_fen(100_000);
const UPLOADS: usize = 8;
const INVOICES_PER_UPLOAD: usize = 2;

/// Tells it, checking each sentence.
pub(super) async fn tell(stage: &Stage, claims: &mut Claims) -> anyhow::Result<()> {
    claims.part(&format!(
        "An invoicing system calls https://{}/access/v2/invoke/ instead of 乐企; the gateway forwards to a simulated \
         platform at {}.\n开票系统只改接入地址；每一句都与平台账簿、网关台账和请求日志核对（✓ 属实 / ✗ 不属实）。",
        stage.addresses.data.first().map(|(address, _)| address.to_string()).unwrap_or_default(),
        stage.simulator.address,
    ));
    let made = Mutex::new(Vec::<Made>::new());
    let access = stage.world.access_units().next().context("the world has no access unit")?;
    let mut systems = Vec::new();
    for unit in stage.companies() {
        systems.push(Invoicing::new(unit, access, &stage.gateway, &made)?);
    }
    prepare(stage, &mut systems, claims).await?;
    let blue = issue(stage, &mut systems, claims).await?;
    let [first, second, third] = systems.as_mut_slice() else { anyhow::bail!("three companies are needed") };
    refuse(stage, second, claims).await?;
    release(stage, third, claims).await?;
    reverse(stage, first, second, &blue, claims).await?;
    proof::books_agree(stage, claims).await?;
    month::end(stage, &systems, claims).await?;
    proof::log_in_clear(stage, &blue, claims).await?;
    let made = made.into_inner().unwrap_or_default();
    proof::calls_arrived(stage, &made, claims).await
}

async fn prepare(stage: &Stage, systems: &mut [Invoicing<'_>], claims: &mut Claims) -> anyhow::Result<()> {
    claims.part(&format!("1. Before issuing, {} 开票前准备", stage.month));
    for (serial, system) in (1..).zip(systems) {
        let tax_no = json!({"nsrsbh": system.unit.tax_no});
        let basics = system.ask("CXNSRJBXX", &tax_no).await?;
        system.ask("CXKYSL", &tax_no).await?;
        system.ask("CXSSFLBM", &tax_no).await?;
        system.ask("CXSXED", &tax_no).await?;
        system.download(DOWNLOADED, serial).await?;
        system.fetch_numbers(60, serial).await?;
        let ledger = proof::ledger(stage, system.unit).await?;
        let books = proof::books(stage, system.unit);
        let name = basics["nsrmc"].as_str().unwrap_or_default();
        claims.claim(
            name,
            &format!("downloaded credit 已下载额度 {}", ledger.downloaded),
            ledger.downloaded == DOWNLOADED && books.downloaded == DOWNLOADED && name == system.unit.name,
        );
    }
    Ok(())
}

/// Every company issues; gives the first company's first invoice, whose buyer is the second.
async fn issue(
    stage: &Stage,
    systems: &mut [Invoicing<'_>],
    claims: &mut Claims,
) -> anyhow::Result<InvoiceNo> {
    claims.part("2. Forwarded and issued 转发与开具");
    let buyer = systems.get(1).map(|system| system.unit.tax_no.to_string()).unwrap_or_default();
    let mut first = None;
    for system in systems {
        let mut accepted = Vec::new();
        for _ in 0..UPLOADS {
            let mut drafts = Vec::new();
            for _ in 0..INVOICES_PER_UPLOAD {
                let number = system.number()?;
                first.get_or_insert_with(|| number.clone());
                drafts.push(Draft { number, buyer: &buyer, net: NET, reverses: None });
            }
            accepted.push(system.upload(&drafts, stage.clock.now()).await?.accepted()?);
        }
        let held = proof::ledger(stage, system.unit).await?.reserved;
        stage.pass(10);
        let mut issued = 0;
        for serial in &accepted {
            issued += system.results(serial).await?.iter().filter(|(_, status)| status == "00").count();
        }
        let count = UPLOADS * INVOICES_PER_UPLOAD;
        let amount = Money::from_fen(NET.fen() * i64::try_from(count)?);
        let (ledger, books) = (proof::ledger(stage, system.unit).await?, proof::books(stage, system.unit));
        claims.claim(
            &system.unit.name,
            &format!("{issued} invoices issued 已开具, credit used 已用额度 {}", ledger.issued),
            issued == count
                && (held, ledger.reserved, ledger.issued, books.used)
                    == (amount, Money::ZERO, amount, amount)
                && proof::issued_by(stage, system.unit) == count,
        );
    }
    first.context("nothing was issued")
}

/// An invoice for more than what is left: it must not leave the gateway.
async fn refuse(stage: &Stage, system: &mut Invoicing<'_>, claims: &mut Claims) -> anyhow::Result<()> {
    claims.part("3. Refused for lack of credit 额度不足，网关拦截");
    let before = proof::ledger(stage, system.unit).await?;
    let arrived = proof::arrived(stage, "QDFPSC");
    let draft = Draft { number: system.number()?, buyer: "", net: DOWNLOADED, reverses: None };
    let said = system.upload(&[draft], stage.clock.now()).await?;
    let (code, text) = said.refusal().unwrap_or_default();
    let after = proof::ledger(stage, system.unit).await?;
    let stayed = proof::arrived(stage, "QDFPSC") == arrived;
    claims.claim(&code, &text, code == "GW-QUOTA-SHORT" && text.contains(&before.available().to_string()));
    claims.claim(
        "never sent 未发往平台",
        &format!("credit left 剩余额度 {} as before 不变", after.available()),
        stayed && after.available() == before.available() && after.reserved == Money::ZERO,
    );
    Ok(())
}

/// Credit comes back when the platform refuses an upload, and when it accepts it and fails it later.
async fn release(stage: &Stage, system: &mut Invoicing<'_>, claims: &mut Claims) -> anyhow::Result<()> {
    claims.part("4. Released when the platform says no 平台拒绝后释放额度");
    let before = proof::ledger(stage, system.unit).await?;
    let foreign =
        InvoiceNo::parse(&format!("{:02}990000000000000001", stage.month.first_day().year() % 100))?;
    let draft = Draft { number: foreign, buyer: "", net: NET, reverses: None };
    let said = system.upload(&[draft], stage.clock.now()).await?;
    let (_, text) = said.refusal().unwrap_or_default();
    let after = proof::ledger(stage, system.unit).await?;
    claims.claim(
        "refused at once 当场拒绝",
        &text,
        text.contains("赋码段") && after.available() == before.available() && after.reserved == Money::ZERO,
    );

    let fault = Fault {
        text: Some("购买方信息校验不通过".to_owned()),
        ..Fault::next(Kind::FailUpload, "QDFPSC")
    };
    stage.simulator.faults.add(fault);
    let draft = Draft { number: system.number()?, buyer: "", net: NET, reverses: None };
    let accepted = system.upload(&[draft], stage.clock.now()).await?.accepted()?;
    let held = proof::ledger(stage, system.unit).await?.reserved;
    stage.pass(10);
    let results = system.results(&accepted).await?;
    let failed = results.iter().all(|(_, status)| status == "02");
    let after = proof::ledger(stage, system.unit).await?;
    claims.claim(
        "accepted, failed later 受理后失败",
        &format!("held 预占 {held}, then released 已释放, left 剩余 {}", after.available()),
        failed && held == NET && after.reserved == Money::ZERO && after.available() == before.available(),
    );
    Ok(())
}

/// A red invoice of the same month gives its credit back.
async fn reverse(
    stage: &Stage,
    seller: &mut Invoicing<'_>,
    buyer: &Invoicing<'_>,
    blue: &InvoiceNo,
    claims: &mut Claims,
) -> anyhow::Result<()> {
    claims.part("5. Reversed in the same month 当月红冲，额度恢复");
    let before = proof::ledger(stage, seller.unit).await?;
    let net = Money::from_fen(-NET.fen());
    let tax = Money::from_fen(-NET.fen() * 13 / 100);
    let message = json!({"xsfnsrsbh": seller.unit.tax_no, "lzfphm": blue, "hzcxje": net, "hzcxse": tax});
    let letter = seller.ask("QDHZQRDSQ", &message).await?;
    let uuid = letter["uuid"].as_str().context("the answer has no uuid")?.to_owned();
    buyer.ask("QDHZQRDQR", &json!({"uuid": uuid, "qrlx": "Y"})).await?;
    let listed = seller.ask("CXQDHZQRDLB", &json!({"xsfnsrsbh": seller.unit.tax_no})).await?;
    let number = seller.number()?;
    let party = buyer.unit.tax_no.to_string();
    let draft = Draft { number, buyer: &party, net, reverses: Some((blue, &uuid)) };
    let accepted = seller.upload(&[draft], stage.clock.now()).await?.accepted()?;
    stage.pass(10);
    let results = seller.results(&accepted).await?;
    let after = proof::ledger(stage, seller.unit).await?;
    claims.claim(
        "red invoice issued 红票已开具",
        &format!("credit left 剩余额度 {} → {}", before.available(), after.available()),
        results.iter().all(|(_, status)| status == "00")
            && listed.to_string().contains(&uuid)
            && after.available() == before.available().saturating_add(NET),
    );
    Ok(())
}
