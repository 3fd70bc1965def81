//! `leqi-gateway check`: whether the configuration can be used.

use super::{ConfigFile, output};

/// Check the configuration and print every error with file, line, key and reason
///
/// Certificates and other files that it names are read too. Nothing is bound, opened or changed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: leqi-gateway check --config /etc/leqi-gateway/gateway.toml")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigFile,
}

/// Prints the warnings and the verdict; the errors are the command's error.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let loaded = args.config.load()?;
    for warning in &loaded.warnings {
        output::note(&format!("warning: {warning}"));
    }
    let config = &loaded.config;
    output::line(&format!(
        "{} is valid: {} listener(s), {} upstream(s), {} route(s), {} warning(s)",
        args.config.path.display(),
        config.listen.len(),
        config.upstreams.len(),
        config.routes.len(),
        loaded.warnings.len()
    ));
    Ok(())
}
