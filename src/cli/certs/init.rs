//! `certs init`: a small authority of the gateway's own, and a server certificate that it issues.

use std::{
    fs,
    io::Write,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::Args;
use rustls::pki_types::DnsName;

use super::files::{Files, write_public, write_secret};
use crate::{
    clock::Clock,
    tls::{Authority, IssuedCertificate, certificate, client::read_certificates},
};

/// Make a private authority and a server certificate for the gateway. 生成网关自签 CA 与服务器证书。
///
/// An authority that lies in the directory already is used again, so that clients which trust it go on doing so.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  leqi-gateway certs init --ip 116.116.10.1 --name gateway.corp.example --dir certs"
)]
pub struct InitArgs {
    /// DNS name by which clients reach the gateway; several are possible. 开票系统访问网关用的域名
    #[arg(long = "name", value_name = "NAME", value_parser = dns_name)]
    names: Vec<String>,
    /// IP address by which clients reach the gateway; several are possible. 开票系统访问网关用的 IP
    #[arg(long = "ip", value_name = "ADDRESS", required_unless_present = "names")]
    ips: Vec<IpAddr>,
    /// Directory to write to. 输出目录
    #[arg(long, default_value = "certs")]
    dir: PathBuf,
    /// Replace an existing server certificate and its key. 覆盖已有的服务器证书
    #[arg(long)]
    force: bool,
    /// Replace the authority too; every client must then trust the new one. 同时更换 CA
    #[arg(long, requires = "force")]
    new_authority: bool,
}

pub(super) fn run(args: &InitArgs, clock: &Clock, out: &mut impl Write) -> anyhow::Result<()> {
    let files = Files::under(&args.dir);
    if !args.force {
        refuse_to_overwrite(&files)?;
    }
    let names: Vec<String> =
        args.ips.iter().map(IpAddr::to_string).chain(args.names.iter().cloned()).collect();
    let existing = if args.new_authority { None } else { existing_authority(&files)? };
    let is_new = existing.is_none();
    let authority = match existing {
        Some(authority) => authority,
        None => Authority::generate(&format!("leqi-gateway CA {}", clock.today()), clock.now())?,
    };
    let issued = authority.issue(&names, clock.now())?;
    fs::create_dir_all(&args.dir).with_context(|| format!("cannot create {}", args.dir.display()))?;
    if is_new {
        write_secret(&files.authority_key, &authority.key_pem())?;
        write_public(&files.authority, authority.certificate_pem())?;
    }
    write_server(&files, &issued)?;
    report(&files, &names, is_new, out)
}

fn dns_name(text: &str) -> Result<String, String> {
    if text.parse::<IpAddr>().is_ok() {
        return Err("this is an address; give it with --ip".to_owned());
    }
    DnsName::try_from(text.strip_prefix("*.").unwrap_or(text))
        .map(|_| text.to_owned())
        .map_err(|_| "no DNS name; expected something like gateway.corp.example".to_owned())
}

fn refuse_to_overwrite(files: &Files) -> anyhow::Result<()> {
    for path in [&files.chain, &files.key] {
        if path.exists() {
            bail!(
                "{} exists; nothing was written. Give --force to replace the server certificate, or another --dir",
                path.display()
            );
        }
    }
    Ok(())
}

fn existing_authority(files: &Files) -> anyhow::Result<Option<Authority>> {
    match (files.authority.exists(), files.authority_key.exists()) {
        (false, false) => Ok(None),
        (true, true) => Ok(Some(Authority::load(&files.authority, &files.authority_key)?)),
        (has_certificate, _) => {
            let (has, lacks) = if has_certificate {
                (&files.authority, &files.authority_key)
            } else {
                (&files.authority_key, &files.authority)
            };
            bail!(
                "{} exists without {}; bring it back, or give --force --new-authority to make a new pair",
                has.display(),
                lacks.display()
            )
        }
    }
}

fn write_server(files: &Files, issued: &IssuedCertificate) -> anyhow::Result<()> {
    write_secret(&files.key, &issued.key_pem)?;
    write_public(&files.chain, &issued.chain_pem)
}

fn report(files: &Files, names: &[String], is_new: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let authority = absolute(&files.authority);
    let made = if is_new { "new 新建" } else { "kept 沿用" };
    writeln!(out, "authority   CA 证书      {} ({made})", files.authority.display())?;
    writeln!(out, "certificate 服务器证书   {}  {}", files.chain.display(), names.join(", "))?;
    writeln!(out, "keys        私钥(0600)   {}  {}", files.key.display(), files.authority_key.display())?;
    for der in read_certificates(&files.authority)? {
        writeln!(out, "CA SHA-256               {}", certificate::describe(&der)?.sha256)?;
    }
    let host = names.first().map_or("", String::as_str);
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    writeln!(
        out,
        "
1. config/gateway.toml, in [[listen]] · 写入网关配置:
     certificates = [{{ chain = \"{chain}\", key = \"{key}\" }}]
2. Make the invoicing system trust the authority (only ca.pem leaves this machine, never a .key)
   在开票系统主机上信任该 CA（只分发 ca.pem，切勿分发 .key）:
     Java      keytool -importcert -noprompt -trustcacerts -alias leqi-gateway -file {authority} \\
                 -keystore \"$JAVA_HOME/lib/security/cacerts\" -storepass changeit
               (Java 8: $JAVA_HOME/jre/lib/security/cacerts; restart the program · 导入后重启程序)
               then compare its SHA-256 with the one above · 导入后核对指纹:
               keytool -list -alias leqi-gateway -keystore \"$JAVA_HOME/lib/security/cacerts\" -storepass changeit
               a program that is started with -Djavax.net.ssl.trustStore=FILE reads that FILE instead: import there
               程序启动参数含 -Djavax.net.ssl.trustStore=FILE 时，请导入该 FILE；alias 已存在时先执行 keytool -delete
     RHEL/麒麟 cp {authority} /etc/pki/ca-trust/source/anchors/leqi-gateway.pem && update-ca-trust
     Debian    cp {authority} /usr/local/share/ca-certificates/leqi-gateway.crt && update-ca-certificates
     Windows   certutil -addstore Root ca.pem
3. Base URL in the invoicing system · 开票系统中的乐企地址:
     https://{host}:8443/access/v2/invoke/",
        chain = files.chain.display(),
        key = files.key.display(),
        authority = authority.display(),
    )?;
    Ok(())
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
