//! `certs`: the gateway's own certificate for its clients, and a look at anybody's.

mod files;
mod init;
mod show;

use std::io::Write;

use clap::{Args, Subcommand};

use crate::clock::Clock;

pub use init::InitArgs;
pub use show::ShowArgs;

/// Certificates: make the gateway's own, or look at files and servers. 证书：生成网关证书，查看证书文件或服务器证书。
#[derive(Debug, Args)]
pub struct CertsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(InitArgs),
    Show(ShowArgs),
}

/// Runs it and writes its account to standard output.
///
/// # Errors
/// What went wrong with which file or server, and what to do.
pub fn run(args: CertsArgs) -> anyhow::Result<()> {
    run_to(args, &Clock::system(), &mut std::io::stdout().lock())
}

/// The same with another clock and place to write to.
///
/// # Errors
/// As [`run`].
pub fn run_to(args: CertsArgs, clock: &Clock, out: &mut impl Write) -> anyhow::Result<()> {
    match args.command {
        Command::Init(args) => init::run(&args, clock, out),
        Command::Show(args) => show::run(&args, clock, out),
    }
}

#[cfg(test)]
mod tests;
