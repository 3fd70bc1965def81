//! From the services' errors to problems: exhaustive, so that a new error cannot go out as something it is not.

use super::problem::{Kind, Problem};
use crate::{
    confirmation::{CallEnded, ConfirmationError},
    leqi::catalogue,
    quota::{NoCaller, transfers::TransferError},
    request_log::{LogError, ViewError},
    store::StoreError,
    unit::{UnitError, token::TokenError},
};

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Conflict(_) => Self::new(Kind::Conflict, error.to_string()),
            StoreError::Away { .. }
            | StoreError::Busy { .. }
            | StoreError::Closed
            | StoreError::Corrupt { .. }
            | StoreError::Full { .. }
            | StoreError::Migration { .. }
            | StoreError::Permission { .. } => {
                // the path of the file is for the operator's log, not for the network
                tracing::error!(%error, "the database failed");
                Self::new(Kind::Unavailable, "the database is not available; see the gateway's log")
            }
            StoreError::Panicked | StoreError::Sql(_) | StoreError::Url { .. } | StoreError::Value { .. } => {
                Self::internal(&error)
            }
        }
    }
}

impl From<UnitError> for Problem {
    fn from(error: UnitError) -> Self {
        let text = error.to_string();
        match error {
            UnitError::AccessUnitIsUsing(_) | UnitError::AccessUnitUnknown(_) | UnitError::NotUsingUnit => {
                Self::field("access_unit", text)
            }
            UnitError::Exists(_) | UnitError::HasUsingUnits { .. } | UnitError::NoKey { .. } => {
                Self::new(Kind::Conflict, text)
            }
            UnitError::IdsSwapped { .. } | UnitError::PlatformIdTaken { .. } => {
                Self::field("platform_id", text)
            }
            UnitError::KeyMissing | UnitError::KeyOnUsingUnit => Self::field("sm4_key", text),
            UnitError::KeyNotOpened { .. } | UnitError::MasterKey(_) => Self::internal(&text),
            UnitError::Name => Self::field("name", text),
            UnitError::Province(_) => Self::field("province_code", text),
            UnitError::Store(error) => error.into(),
            UnitError::Unknown(_) => Self::new(Kind::NotFound, text),
        }
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        let text = error.to_string();
        match error {
            TokenError::Name => Self::field("name", text),
            TokenError::NameTaken(_) => Self::new(Kind::Conflict, text),
            TokenError::Random => Self::internal(&text),
            TokenError::Store(error) => error.into(),
            TokenError::Unknown(_) => Self::new(Kind::NotFound, text),
        }
    }
}

impl From<LogError> for Problem {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Closed => Self::new(Kind::Unavailable, error.to_string()),
            LogError::Store(error) => error.into(),
        }
    }
}

impl From<ViewError> for Problem {
    fn from(error: ViewError) -> Self {
        let text = error.to_string();
        match error {
            ViewError::Codec(_) | ViewError::KeyMissing { .. } | ViewError::Truncated { .. } => {
                Self::new(Kind::Undecodable, text)
            }
        }
    }
}

impl From<ConfirmationError> for Problem {
    fn from(error: ConfirmationError) -> Self {
        let text = error.to_string();
        match error {
            ConfirmationError::Changed | ConfirmationError::Step(_) => Self::new(Kind::Conflict, text),
            ConfirmationError::NotFound => Self::new(Kind::NotFound, text),
            ConfirmationError::Platform(ended) => ended.into(),
            ConfirmationError::Store(error) => error.into(),
            ConfirmationError::UnknownUnit(_) => Self::field("tax_no", text),
        }
    }
}

impl From<TransferError> for Problem {
    fn from(error: TransferError) -> Self {
        let text = error.to_string();
        match error {
            TransferError::Caller(NoCaller::Key(_)) => {
                Self { field: Some("sm4_key".to_owned()), ..Self::new(Kind::Conflict, text) }
            }
            TransferError::Caller(NoCaller::Unit(_)) => {
                Self { field: Some("tax_no".to_owned()), ..Self::new(Kind::NotFound, text) }
            }
            TransferError::Field { field, reason } => Self::field(field, reason),
            TransferError::Open(_) => Self::new(Kind::PlatformUnclear, text),
            TransferError::Platform(ended) => ended.into(),
            TransferError::Store(error) => error.into(),
        }
    }
}

impl From<CallEnded> for Problem {
    fn from(ended: CallEnded) -> Self {
        let text = ended.to_string();
        match ended {
            CallEnded::NotSent(_) => Self::new(Kind::PlatformUnreachable, text),
            CallEnded::Refused { code, text: words } => {
                let explanation = catalogue::explain(&code, &words).map(|known| known.zh);
                Self { code: Some(code), explanation, ..Self::new(Kind::PlatformRefused, text) }
            }
            CallEnded::Unclear(_) => Self::new(Kind::PlatformUnclear, text),
        }
    }
}
