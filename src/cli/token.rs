//! `leqi-gateway token`: the bearer tokens of the management API.

use clap::Subcommand;
use serde_json::json;

use super::{ConfigFile, output};
use crate::{
    clock::Clock,
    store::Store,
    unit::token::{TokenRole, Tokens},
};

/// Who did it, in the audit: a person at this machine's command line.
const ACTOR: &str = "cli";

/// Create, list and revoke tokens of the management API
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: TOKEN=$(leqi-gateway token create --role admin --name setup)")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a token and print it alone on standard output; it cannot be shown again
    #[command(after_help = "Example: leqi-gateway token create --role viewer --name grafana")]
    Create {
        /// What its holder may do: viewer, operator or admin
        #[arg(long, value_parser = role)]
        role: TokenRole,
        /// What people call it; the actor in the audit
        #[arg(long)]
        name: String,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// List the tokens, without their secrets
    #[command(after_help = "Example: leqi-gateway token list --output json")]
    List {
        /// How the list is written
        #[arg(long, value_enum, default_value_t)]
        output: output::Form,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Revoke a token; it is refused from now on
    #[command(after_help = "Example: leqi-gateway token revoke --name grafana")]
    Revoke {
        /// The token's name
        #[arg(long)]
        name: String,
        #[command(flatten)]
        config: ConfigFile,
    },
}

fn role(text: &str) -> Result<TokenRole, String> {
    TokenRole::parse(text).map_err(|error| error.to_string())
}

/// Runs against the database directly, so that the first token can be made before anything serves.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Create { role, name, config } => {
            let store = config.open_store().await?;
            let created = tokens(&store).create(&name, role, ACTOR).await;
            store.close().await;
            output::line(&created?);
        }
        Command::List { output, config } => {
            let store = config.open_store().await?;
            let listed = list(&tokens(&store), output).await;
            store.close().await;
            output::line(&listed?);
        }
        Command::Revoke { name, config } => {
            let store = config.open_store().await?;
            let revoked = tokens(&store).revoke(&name, ACTOR).await;
            store.close().await;
            revoked?;
            output::line(&format!("token {name:?} is revoked"));
        }
    }
    Ok(())
}

fn tokens(store: &Store) -> Tokens {
    Tokens::new(std::sync::Arc::clone(&store.tokens), Clock::system())
}

async fn list(tokens: &Tokens, form: output::Form) -> anyhow::Result<String> {
    let tokens = tokens.list().await?;
    Ok(match form {
        output::Form::Json => {
            let items: Vec<_> = tokens
                .iter()
                .map(|token| {
                    json!({
                        "name": token.name,
                        "role": token.role.as_str(),
                        "created_at": token.created_at.to_string(),
                        "revoked_at": token.revoked_at.map(|at| at.to_string()),
                    })
                })
                .collect();
            serde_json::to_string_pretty(&items)?
        }
        output::Form::Table => {
            let row = |token: &crate::unit::token::TokenInfo| {
                let revoked = token.revoked_at.map_or_else(|| "-".to_owned(), |at| at.to_string());
                vec![
                    token.name.clone(),
                    token.role.as_str().to_owned(),
                    token.created_at.to_string(),
                    revoked,
                ]
            };
            output::table(
                &["NAME", "ROLE", "CREATED", "REVOKED"],
                &tokens.iter().map(row).collect::<Vec<_>>(),
            )
        }
    })
}
