//! `probe --trust`: shows the platform's key to a person and stores its fingerprint in the configuration file.

use std::{
    io::{self, BufRead},
    path::Path,
};

use anyhow::{Context, bail};
use toml_edit::DocumentMut;

use super::{pins, security::Shown, target::Target};
use crate::{
    cli::{environment, output, replace},
    config::Config,
    tls::{Pin, Verify, certificate::Summary},
};

/// What a person answers with.
const YES: [&str; 3] = ["y", "yes", "是"];

/// Asks, then stores. `expected` is the fingerprint that came over another way; with `sure` nobody is asked.
///
/// # Errors
/// When the key is another one, nobody says yes, or the file cannot be changed; it is then as it was.
pub(super) fn store(target: &Target, shown: &Shown, expected: Option<Pin>, sure: bool) -> anyhow::Result<()> {
    let own = shown.own().context("the server shows no certificate that can be read")?;
    if let Some(expected) = expected.filter(|expected| *expected != own.pin) {
        bail!(
            "the platform's key is {}, expected was {expected}; nothing is stored. Somebody may stand in between 公钥与预期不符，未保存",
            own.pin
        );
    }
    show(target, own);
    if !sure && !agreed()? {
        bail!("not trusted; nothing is stored 未确认，未保存");
    }
    write(&target.file, target.index, own.pin)?;
    output::note(&format!(
        "{}: upstream {:?} now has verify = \"pinned\" with {}\n已保存。运行 leqi-gateway probe 查看全部步骤；已在运行的网关须重新加载配置或重启\n\
         stored. Run leqi-gateway probe to see every step; a gateway that runs must reload or restart",
        target.file.display(),
        target.upstream.name,
        own.pin
    ));
    for name in target.overruling() {
        output::note(&format!(
            "warning: the environment variable {name} overrules the file; change or delete it 环境变量优先于配置文件"
        ));
    }
    Ok(())
}

fn show(target: &Target, own: &Summary) {
    let until = own.not_after.strftime("%Y-%m-%d");
    let names = if own.names.is_empty() { "none 无".to_owned() } else { own.names.join(", ") };
    output::note(&format!(
        "\n  subject 主体      {}\n  issuer 颁发者     {}\n  names 名称        {names}\n  until 有效至      {until}\n  \
         SHA-256           {}\n  public key 公钥   {}",
        own.subject, own.issuer, own.sha256, own.pin
    ));
    if let Verify::Pinned(pins) = &target.upstream.tls.verify {
        for pin in pins.iter().filter(|pin| **pin != own.pin) {
            output::note(&format!("  replaces 将替换   {pin}"));
        }
    }
    output::note(
        "\nCompare the public key's fingerprint over another way (a second person, the tax authority, another network).\n\
         请经其他渠道核对公钥指纹（第二人、税务机关或另一网络）。",
    );
}

fn agreed() -> anyhow::Result<bool> {
    output::note("Trust this key? 信任此公钥？[y/N]");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("the answer cannot be read")?;
    Ok(YES.contains(&answer.trim().to_lowercase().as_str()))
}

/// Changes the file if the outcome is a valid configuration.
fn write(file: &Path, index: usize, pin: Pin) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut document: DocumentMut = text.parse().with_context(|| file.display().to_string())?;
    pins::pin(&mut document, index, pin)?;
    let text = document.to_string();
    Config::parse(file, &text, environment())
        .context("the configuration would not be valid with this pin; nothing is stored")?;
    replace::rewrite(file, &text)
}
