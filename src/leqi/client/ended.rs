//! How a call that was not accepted ended, for those who need no more than what is proven.

use super::CallError;

/// How a call that was not accepted ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallEnded {
    /// Proven that nothing left the gateway.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The platform refused.
    #[error("refused by the platform: {code} {text}")]
    Refused {
        /// Its code; may be empty.
        code: String,
        /// Its words.
        text: String,
    },
    /// Nobody knows.
    #[error("outcome unknown: {0}")]
    Unclear(String),
}

impl CallEnded {
    /// The same as a clerk may read it.
    #[must_use]
    pub fn chinese(&self) -> String {
        match self {
            Self::NotSent(reason) => format!("未能发送：{reason}"),
            Self::Refused { code, text } => format!("平台返回 {code} {text}"),
            Self::Unclear(reason) => format!("平台应答不明：{reason}"),
        }
    }
}

impl From<CallError> for CallEnded {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Journal { sent: false, source, .. } => Self::NotSent(source.to_string()),
            CallError::Journal { sent: true, source, .. } => Self::Unclear(source.to_string()),
            CallError::NotSent { source, .. } => Self::NotSent(source.to_string()),
            CallError::Refused { code, text, .. } => Self::Refused { code, text },
            CallError::Unclear { reason, .. } => Self::Unclear(reason),
        }
    }
}
