//! Scripted failures: which calls they strike, how often, and what happens.

use super::envelope::Form;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// What goes wrong with a call.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The answer comes late, after `ms` milliseconds.
    Delay,
    /// The answer comes in small pieces, `ms` milliseconds apart.
    Drip,
    /// The call is carried out; the envelope takes another of its forms, `form` (protocol.md §2).
    Envelope,
    /// The upload is accepted, and its result is a failure (`02`) with `text`.
    FailUpload,
    /// The call is carried out; the answer is no envelope.
    Malformed,
    /// The call is refused with `code`, one of `refusals.csv`.
    Refuse,
    /// The connection is reset after the body was read; carried out if `processed`.
    ResetAfterRead,
    /// The connection is reset before the body is read; nothing is carried out.
    ResetBeforeRead,
    /// No answer ever comes; carried out if `processed`.
    Stall,
    /// HTTP status `status` with a page of HTML; carried out if `processed`.
    Status,
    /// The upload is accepted and stays `01` until its serial expires.
    StuckUpload,
    /// The call is carried out; the answer breaks off in the middle.
    Truncate,
    /// The call is carried out; `Data` is encrypted with a key that nobody has.
    WrongKey,
}

/// One scripted failure.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub kind: Kind,
    /// Only calls of this service code.
    #[serde(default)]
    pub service: Option<String>,
    /// Only calls whose path holds this text.
    #[serde(default)]
    pub path: Option<String>,
    /// How many calls are struck; then the fault is spent. 0 strikes every one.
    #[serde(default = "once")]
    pub times: u32,
    /// How many calls that it would strike pass first.
    #[serde(default)]
    pub skip: u32,
    /// Milliseconds, for `delay` and `drip`.
    #[serde(default)]
    pub ms: u64,
    /// The HTTP status, for `status`.
    #[serde(default = "unavailable")]
    pub status: u16,
    /// The code, for `refuse`.
    #[serde(default)]
    pub code: Option<String>,
    /// The words, for `fail_upload`.
    #[serde(default)]
    pub text: Option<String>,
    /// Whether the call is carried out before it fails.
    #[serde(default)]
    pub processed: bool,
    /// The form of the envelope, for `envelope`.
    #[serde(default)]
    pub form: Form,
}

const fn once() -> u32 {
    1
}

const fn unavailable() -> u16 {
    503
}

impl Fault {
    /// A fault of this kind that strikes the next call of the service.
    #[must_use]
    pub fn next(kind: Kind, service: &str) -> Self {
        Self {
            kind,
            service: Some(service.to_owned()),
            path: None,
            times: 1,
            skip: 0,
            ms: 0,
            status: unavailable(),
            code: None,
            text: None,
            processed: false,
            form: Form::Usual,
        }
    }

    /// Its pause.
    #[must_use]
    pub const fn pause(&self) -> Duration {
        Duration::from_millis(self.ms)
    }

    fn fits(&self, service: Option<&str>, path: &str) -> bool {
        let service_fits = self.service.as_deref().is_none_or(|wanted| service == Some(wanted));
        service_fits && self.path.as_deref().is_none_or(|part| path.contains(part))
    }
}

/// The faults that are not spent; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Vec<Fault>>>);

impl Faults {
    /// Replaces the script.
    pub fn set(&self, faults: Vec<Fault>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// Adds to the script.
    pub fn add(&self, fault: Fault) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
    }

    /// What is left of the script.
    #[must_use]
    pub fn left(&self) -> Vec<Fault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The fault that strikes this call: the first that fits.
    #[must_use]
    pub fn strike(&self, service: Option<&str>, path: &str) -> Option<Fault> {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = faults.iter().position(|fault| fault.fits(service, path))?;
        let fault = faults.get_mut(place)?;
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        let struck = fault.clone();
        match struck.times {
            0 => {}
            1 => {
                faults.remove(place);
            }
            _ => fault.times -= 1,
        }
        Some(struck)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_the_calls_that_fit_as_often_as_it_says() {
        let faults = Faults::default();
        faults.set(vec![Fault { times: 2, skip: 1, ..Fault::next(Kind::Stall, "QDFPSC") }]);
        assert!(faults.strike(Some("CXSXED"), "/x").is_none());
        let struck: Vec<bool> = (0..5).map(|_| faults.strike(Some("QDFPSC"), "/x").is_some()).collect();
        assert_eq!(struck, [false, true, true, false, false]);
        assert!(faults.left().is_empty());
    }
}
