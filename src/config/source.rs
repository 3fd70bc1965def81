//! Where the configuration is read from, to read it again.

use std::path::{Path, PathBuf};

use super::{Config, Errors, Loaded};

/// A file and the environment that is laid over it.
#[derive(Clone, Debug)]
pub struct Source {
    file: PathBuf,
    environment: Vec<(String, String)>,
}

impl Source {
    /// This file with this environment.
    pub fn new(file: &Path, environment: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { file: file.to_owned(), environment: environment.into_iter().collect() }
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Reads it as it is now.
    ///
    /// # Errors
    /// Every error at once, in the order of the file.
    pub fn load(&self) -> Result<Loaded, Errors> {
        Config::load(&self.file, self.environment.iter().cloned())
    }
}
