//! What is wrong with a configuration, said so that it can be mended.

use std::{cell::RefCell, fmt, path::PathBuf};

/// Where a setting was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// In the file, at this line counted from 1.
    Line(usize),
    /// In this environment variable.
    Environment(String),
}

/// One thing that is wrong or worth a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written.
    pub origin: Origin,
    /// The key from the root, as `listen[0].allow[1]`; empty when the file as a whole is meant.
    pub key: String,
    /// Why it is wrong and what to do, in one line.
    pub reason: String,
}

/// A configuration that cannot be used: every error that was found, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Errors {
    /// The file that was read.
    pub file: PathBuf,
    /// At least one.
    pub problems: Vec<Problem>,
}

impl Problem {
    /// One line: `file:line: key: reason`.
    #[must_use]
    pub fn describe(&self, file: &std::path::Path) -> String {
        let place = match &self.origin {
            Origin::Line(line) => format!("{}:{line}", file.display()),
            Origin::Environment(variable) => format!("environment {variable}"),
        };
        let key = if self.key.is_empty() { String::new() } else { format!("{}: ", self.key) };
        format!("{place}: {key}{}", self.reason)
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&problem.describe(&self.file))?;
        }
        Ok(())
    }
}

/// Collects while the configuration is read, so that a person sees every error at once.
#[derive(Debug, Default)]
pub(super) struct Problems {
    errors: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl Problems {
    pub(super) fn error(&self, origin: &Origin, key: &str, reason: impl Into<String>) {
        let problem = Problem { origin: origin.clone(), key: key.to_owned(), reason: reason.into() };
        self.errors.borrow_mut().push(problem);
    }

    pub(super) fn warn(&self, origin: &Origin, key: &str, reason: impl Into<String>) {
        let problem = Problem { origin: origin.clone(), key: key.to_owned(), reason: reason.into() };
        self.warnings.borrow_mut().push(problem);
    }

    /// Errors and warnings, each in the order of the file.
    pub(super) fn into_sorted(self) -> (Vec<Problem>, Vec<Problem>) {
        let sorted = |cell: RefCell<Vec<Problem>>| {
            let mut problems = cell.into_inner();
            problems.sort_by(|a, b| a.origin.cmp(&b.origin));
            problems
        };
        (sorted(self.errors), sorted(self.warnings))
    }
}
