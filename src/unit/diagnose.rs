//! What the two platform ids of a call say about each other.

use std::sync::Arc;

use super::{Role, Unit, snapshot::Snapshot};
use crate::domain::PlatformId;

/// What is known of the pair `jrdwptbh` (access unit) and `sydwptbh` (using unit) of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdCheck {
    /// They belong together.
    Fits {
        /// The access unit.
        access: Arc<Unit>,
        /// The using unit; the access unit itself when a company invoices for itself.
        using: Arc<Unit>,
    },
    /// Both are registered, but the using unit belongs to another access unit.
    NotTogether {
        /// The unit of `jrdwptbh`.
        access: Arc<Unit>,
        /// The unit of `sydwptbh`.
        using: Arc<Unit>,
    },
    /// The wrong way round: `jrdwptbh` is the using unit's and `sydwptbh` the access unit's (the classic mistake).
    Swapped {
        /// The access unit, whose id was sent as `sydwptbh`.
        access: Arc<Unit>,
        /// The using unit, whose id was sent as `jrdwptbh`.
        using: Arc<Unit>,
    },
    /// `jrdwptbh` is of no registered unit.
    UnknownAccess,
    /// `sydwptbh` is of no registered unit.
    UnknownUsing {
        /// The unit of `jrdwptbh`.
        access: Arc<Unit>,
    },
}

impl IdCheck {
    /// What is wrong, for the clerk or administrator who reads the refusal; `None` when nothing is.
    #[must_use]
    pub fn sentence_zh(&self) -> Option<String> {
        match self {
            Self::Fits { .. } => None,
            Self::NotTogether { access, using } => Some(format!(
                "请求头 jrdwptbh 是「{}」（{}），sydwptbh 是「{}」（{}），后者在网关登记的接入单位是 {}，两者不匹配",
                access.name,
                access.tax_no,
                using.name,
                using.tax_no,
                using.access_unit()
            )),
            Self::Swapped { access, using } => Some(format!(
                "请求头 jrdwptbh 与 sydwptbh 填反了：jrdwptbh 应填接入单位「{}」的编号 {}，sydwptbh 应填使用单位「{}」的编号 {}",
                access.name, access.platform_id, using.name, using.platform_id
            )),
            Self::UnknownAccess => {
                Some("请求头 jrdwptbh 的接入单位未在网关登记，请先在网关登记接入单位及其密钥".to_owned())
            }
            Self::UnknownUsing { access } => Some(format!(
                "请求头 sydwptbh 的使用单位未在网关登记（接入单位「{}」），请先在网关登记该使用单位",
                access.name
            )),
        }
    }
}

pub(super) fn diagnose(snapshot: &Snapshot, access_id: &str, using_id: &str) -> IdCheck {
    let find =
        |id: &str| PlatformId::parse(id).ok().and_then(|id| snapshot.by_platform_id(&id)).map(Arc::clone);
    let Some(access) = find(access_id) else { return IdCheck::UnknownAccess };
    let Some(using) = find(using_id) else { return IdCheck::UnknownUsing { access } };
    match (&access.role, &using.role) {
        (Role::Access { .. }, _) if *using.access_unit() == access.tax_no => IdCheck::Fits { access, using },
        (Role::Using { .. }, Role::Access { .. }) => IdCheck::Swapped { access: using, using: access },
        (Role::Access { .. } | Role::Using { .. }, Role::Access { .. } | Role::Using { .. }) => {
            IdCheck::NotTogether { access, using }
        }
    }
}
