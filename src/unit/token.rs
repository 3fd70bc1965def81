//! Bearer tokens of the management API. Only their SHA-256 is stored; a token is shown once, when it is created.

use std::sync::Arc;

use aws_lc_rs::{constant_time, digest, rand};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;

use crate::clock::Clock;
use crate::domain::Invalid;
use crate::store::{
    StoreError,
    audit::AuditRow,
    tokens::{TokenRow, TokenTable},
};

/// What every token begins with, so that scanners for leaked secrets can recognise one.
const PREFIX: &str = "lgw_";
/// Random bytes in a token.
const RANDOM_LEN: usize = 32;

/// What a token's holder may do; each role may do what the lesser ones may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TokenRole {
    /// Reads everything but payloads in clear.
    Viewer,
    /// Also reads payloads in clear and acts at the platform.
    Operator,
    /// Also changes units, keys and tokens.
    Admin,
}

impl TokenRole {
    /// Every role, the least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// The name in the store, on the command line and in the management API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|r| r.as_str() == text)
            .ok_or(Invalid::new("role must be viewer, operator or admin"))
    }
}

impl std::str::FromStr for TokenRole {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenInfo {
    /// Its number.
    pub id: i64,
    /// What people call it; the actor in audit rows.
    pub name: String,
    /// What its holder may do.
    pub role: TokenRole,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was revoked, if it was.
    pub revoked_at: Option<Timestamp>,
}

/// Why a token was not created or revoked.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The name is empty, longer than 100 characters or holds control characters.
    #[error("a token's name must have 1 to 100 printable characters")]
    Name,
    /// A valid token has that name.
    #[error("a valid token has the name {0:?} already; revoke it first or choose another name")]
    NameTaken(String),
    /// No random bytes could be had.
    #[error("the cryptographic library failed to make random bytes")]
    Random,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No valid token has that name.
    #[error("no valid token has the name {0:?}")]
    Unknown(String),
}

/// All tokens. Read from the store at each check, so that a token revoked by another process is refused at once.
pub struct Tokens {
    table: Arc<dyn TokenTable>,
    clock: Clock,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens")
    }
}

impl Tokens {
    /// The tokens of the store.
    #[must_use]
    pub fn new(table: Arc<dyn TokenTable>, clock: Clock) -> Self {
        Self { table, clock }
    }

    /// Creates a token and gives its text, which nothing can give again.
    ///
    /// # Errors
    /// When the name is unfit or taken, or the store fails.
    pub async fn create(&self, name: &str, role: TokenRole, actor: &str) -> Result<String, TokenError> {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > 100 || name.chars().any(char::is_control) {
            return Err(TokenError::Name);
        }
        let mut random = [0; RANDOM_LEN];
        rand::fill(&mut random).map_err(|_| TokenError::Random)?;
        let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
        let row = TokenRow {
            id: 0,
            name: name.to_owned(),
            role: role.as_str().to_owned(),
            hash: hash(&token),
            created_at: self.clock.now(),
            revoked_at: None,
        };
        let audit = self.audit(actor, "token.create", name, role.as_str());
        match self.table.insert(row, audit).await? {
            Some(_) => Ok(token),
            None => Err(TokenError::NameTaken(name.to_owned())),
        }
    }

    /// Whose token this is; `None` when it is nobody's or was revoked. `bearer` is what follows `Bearer `.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn check(&self, bearer: &str) -> Result<Option<TokenInfo>, StoreError> {
        if !bearer.starts_with(PREFIX) || bearer.len() > 128 {
            return Ok(None);
        }
        let hash = hash(bearer);
        let row = self.table.by_hash(hash).await?;
        let valid = row.filter(|row| {
            row.revoked_at.is_none() && constant_time::verify_slices_are_equal(&row.hash, &hash).is_ok()
        });
        Ok(valid.and_then(info))
    }

    /// All tokens, newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self) -> Result<Vec<TokenInfo>, StoreError> {
        Ok(self.table.all().await?.into_iter().filter_map(info).collect())
    }

    /// Revokes the valid token of that name.
    ///
    /// # Errors
    /// When there is none, or the store fails.
    pub async fn revoke(&self, name: &str, actor: &str) -> Result<(), TokenError> {
        let audit = self.audit(actor, "token.revoke", name, "");
        if self.table.revoke(name.to_owned(), self.clock.now(), audit).await? {
            Ok(())
        } else {
            Err(TokenError::Unknown(name.to_owned()))
        }
    }

    fn audit(&self, actor: &str, action: &str, name: &str, role: &str) -> AuditRow {
        AuditRow {
            at: self.clock.now(),
            actor: actor.to_owned(),
            action: action.to_owned(),
            subject: name.to_owned(),
            detail: serde_json::json!({ "role": role }).to_string(),
        }
    }
}

fn hash(token: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    out
}

/// A row with a role that this version does not know gives nobody anything.
fn info(row: TokenRow) -> Option<TokenInfo> {
    let role = TokenRole::parse(&row.role).ok()?;
    Some(TokenInfo {
        id: row.id,
        name: row.name,
        role,
        created_at: row.created_at,
        revoked_at: row.revoked_at,
    })
}
