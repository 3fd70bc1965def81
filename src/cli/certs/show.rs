//! `certs show`: what is in certificate files, or what a server shows.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use rustls::pki_types::CertificateDer;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    cli::presented::presented,
    clock::Clock,
    tls::{
        ClientSettings, Verify,
        certificate::{self, Summary},
        client::read_certificates,
    },
};

/// How long a server may take for each step.
const PATIENCE: Duration = Duration::from_secs(10);

/// Show names, expiry and fingerprints of certificate files, or of what a server shows. 查看证书的名称、有效期与指纹。
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  leqi-gateway certs show\n  leqi-gateway certs show /etc/ssl/ca.pem --output json\n  \
                        leqi-gateway certs show --connect lqpt.chinatax.gov.cn:8443"
)]
pub struct ShowArgs {
    /// Files in PEM form; all *.pem of --dir when none is given. 证书文件
    files: Vec<PathBuf>,
    /// Directory to look in. 证书目录
    #[arg(long, default_value = "certs")]
    dir: PathBuf,
    /// Ask this server instead; its certificate is shown, not verified. 查看服务器出示的证书（不校验）
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "files")]
    connect: Option<String>,
    /// How to print. 输出格式
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Json,
    Table,
}

/// A certificate and where it was found.
#[derive(Debug, serde::Serialize)]
struct Found {
    place: String,
    #[serde(flatten)]
    certificate: Summary,
    days_left: i64,
}

pub(super) fn run(args: &ShowArgs, clock: &Clock, out: &mut impl Write) -> anyhow::Result<()> {
    let mut found = Vec::new();
    let mut add = |place: String, chain: &[CertificateDer<'static>]| -> anyhow::Result<()> {
        for der in chain {
            let certificate = certificate::describe(der).with_context(|| place.clone())?;
            let seconds = certificate.not_after.as_second() - clock.now().as_second();
            found.push(Found { place: place.clone(), certificate, days_left: seconds.div_euclid(86_400) });
        }
        Ok(())
    };
    if let Some(server) = &args.connect {
        add(server.clone(), &shown(server)?)?;
    } else {
        for path in files(args)? {
            add(path.display().to_string(), &read_certificates(&path)?)?;
        }
    }
    if args.output == Output::Json {
        serde_json::to_writer_pretty(&mut *out, &found)?;
        writeln!(out)?;
        return Ok(());
    }
    for found in &found {
        table(found, out)?;
    }
    if let (Some(server), Some(first)) = (&args.connect, found.first()) {
        writeln!(
            out,
            "\n{server} was NOT verified. Compare the public key over another way, then pin it in [[upstream]] (or: probe --trust)\n\
             以上证书未经校验。请通过其他渠道核对公钥指纹后，写入 [[upstream]]:\n  verify = \"pinned\"\n  pins = [\"{}\"]",
            first.certificate.pin
        )?;
    }
    Ok(())
}

fn files(args: &ShowArgs) -> anyhow::Result<Vec<PathBuf>> {
    if !args.files.is_empty() {
        return Ok(args.files.clone());
    }
    let files = pem_files(&args.dir).with_context(|| format!("cannot read {}", args.dir.display()))?;
    if files.is_empty() {
        bail!("no *.pem file in {}; `certs init` makes the gateway's certificate", args.dir.display());
    }
    Ok(files)
}

fn pem_files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "pem") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn table(found: &Found, out: &mut impl Write) -> std::io::Result<()> {
    let Found { place, certificate: of, days_left } = found;
    let names = if of.names.is_empty() { "none 无".to_owned() } else { of.names.join(", ") };
    let left = if *days_left < 0 {
        "EXPIRED 已过期".to_owned()
    } else {
        format!("{days_left} days left 剩余 {days_left} 天")
    };
    writeln!(out, "{place}{}", if of.authority { "  (CA)" } else { "" })?;
    writeln!(out, "  subject 主体      {}", of.subject)?;
    writeln!(out, "  issuer 颁发者     {}", of.issuer)?;
    writeln!(out, "  names 名称        {names}")?;
    writeln!(out, "  valid 有效期      {} .. {}  {left}", of.not_before, of.not_after)?;
    writeln!(out, "  public key 公钥   {}", of.pin)?;
    writeln!(out, "  SHA-256           {}", of.sha256)
}

/// The certificates that a server shows.
fn shown(server: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let (host, _) = server
        .rsplit_once(':')
        .with_context(|| format!("{server}: expected HOST:PORT, for example lqpt.chinatax.gov.cn:8443"))?;
    let work = async {
        let socket = timeout(PATIENCE, TcpStream::connect(server)).await??;
        let handshake = presented(socket, host, ClientSettings::new(Verify::Off).connector()?);
        anyhow::Ok(timeout(PATIENCE, handshake).await??.chain)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let chain = runtime.block_on(work).with_context(|| format!("{server} cannot be looked at"))?;
    if chain.is_empty() {
        bail!("{server} showed no certificate");
    }
    Ok(chain)
}
