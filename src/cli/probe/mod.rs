//! `leqi-gateway probe`: what works on the way to the platform, step by step, and what to ask for where it does not.

mod call;
mod network;
mod pins;
mod report;
mod security;
mod target;
mod trust;

use self::{
    network::Way,
    report::{Finding, Report, Stage},
    security::Shown,
    target::Target,
};
use super::{ConfigFile, output::Form};
use crate::{clock::Clock, tls::Pin};

/// Try the way to the platform step by step, and say what to ask for where it fails
///
/// Name, TCP, TLS, certificates, trust as configured, and one harmless call, each with its time. Exit code 0 only when
/// every step works. 逐步检查到乐企平台的网络、证书与应答，并给出处理办法。
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  leqi-gateway probe
  leqi-gateway probe --upstream leqi --output json
  leqi-gateway probe --trust                                   # shows the platform's key, asks, and pins it
  leqi-gateway probe --trust --yes --fingerprint sha256/…      # in scripts: only if it is this key")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// Name of the upstream; the one of the gateway's own calls when not given
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// Show the platform's key, ask, and store it as the one to trust (verify = "pinned"). 核对后固定平台公钥
    #[arg(long)]
    trust: bool,
    /// The fingerprint that the key must have, known over another way. 预期的公钥指纹
    #[arg(long, value_name = "PIN", requires = "trust")]
    fingerprint: Option<Pin>,
    /// Do not ask; needs --fingerprint
    #[arg(long, requires = "trust", requires = "fingerprint")]
    yes: bool,
    /// How the account is written
    #[arg(long, value_enum, default_value_t)]
    output: Form,
}

/// Makes the steps and writes the account.
pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    let target = Target::find(&args.config, args.upstream.as_deref())?;
    let url = target.upstream.base_url.to_string();
    let mut report =
        Report::open(&target.upstream.name, url.trim_end_matches('/'), target.verify(), args.output);
    let Some(reached) = reach(&target, &mut report).await else {
        report.skip_rest();
        return report.close();
    };
    if args.trust {
        let Some((_, shown)) = &reached else {
            anyhow::bail!("base_url is http://: there is no key to trust")
        };
        return trust::store(&target, shown, args.fingerprint, args.yes);
    }
    let trusted = match &reached {
        Some((way, shown)) => {
            let now = Clock::system().now();
            report.make(Stage::Trust, security::trust(&target, way, shown, now)).await
        }
        None => Some(()),
    };
    if trusted.is_some() {
        report.make(Stage::Call, call::make(&target)).await;
    }
    report.skip_rest();
    report.close()
}

/// Where TLS was spoken, and what was shown.
type Secured = Option<(Way, Shown)>;

/// The steps up to the platform's certificate; `None` when one failed.
async fn reach(target: &Target, report: &mut Report) -> Option<Secured> {
    let addresses = report.make(Stage::Name, network::resolve(target)).await?;
    let way = report.make(Stage::Tcp, network::connect(target, &addresses)).await?;
    if !target.is_tls() {
        let finding =
            Finding::note("base_url is http://: readable and changeable on the way 明文传输，可被窃听与篡改");
        report.add(Stage::Tls, None, finding);
        return Some(None);
    }
    let shown = report.make(Stage::Tls, security::shake(target, &way)).await?;
    security::describe(target, &shown, Clock::system().now(), report);
    Some(Some((way, shown)))
}
