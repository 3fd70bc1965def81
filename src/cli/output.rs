//! Standard output for results, standard error for what went wrong; tables for people, JSON for scripts.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::ValueEnum;
use unicode_width::UnicodeWidthStr;

/// How a list is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// One JSON array.
    Json,
    /// Aligned columns with a heading.
    #[default]
    Table,
}

/// Writes a line to standard output. A reader that has gone away (`| head`) is no error.
pub fn line(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Writes a line to standard error.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes each line of an error to standard error under the program's name, and gives exit code 1.
#[must_use]
pub fn failed(error: &str) -> ExitCode {
    for line in error.lines().filter(|line| !line.trim().is_empty()) {
        note(&format!("leqi-gateway: {line}"));
    }
    ExitCode::FAILURE
}

/// An error with its causes, each said once: the project's errors name their cause in their own sentence already.
#[must_use]
pub fn sentence(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |said, cause| {
        let cause = cause.to_string();
        match (said.is_empty(), said.contains(&cause)) {
            (true, _) => cause,
            (false, true) => said,
            (false, false) => format!("{said}: {cause}"),
        }
    })
}

/// A cell with blanks behind it up to this width on a terminal.
#[must_use]
pub fn padded(cell: &str, width: usize) -> String {
    format!("{cell}{}", " ".repeat(width.saturating_sub(cell.width())))
}

/// Columns as wide as their widest cell on a terminal, where a Chinese character takes two places.
#[must_use]
pub fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width());
        cells.chain(heading.get(column).map(|cell| cell.width())).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let write = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| padded(cell, *width));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines = vec![write(heading.to_vec())];
    lines.extend(rows.iter().map(|row| write(row.iter().map(String::as_str).collect())));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::{sentence, table};

    #[test]
    fn a_cause_is_said_once() {
        let cause = anyhow::anyhow!("no such file").context("a.pem: no such file").context("cannot start");
        assert_eq!(sentence(&cause), "cannot start: a.pem: no such file");
    }

    #[test]
    fn columns_are_aligned_by_what_a_terminal_shows() {
        let rows =
            vec![vec!["财务".to_owned(), "viewer".to_owned()], vec!["ops".to_owned(), "admin".to_owned()]];
        assert_eq!(table(&["NAME", "ROLE"], &rows), "NAME  ROLE\n财务  viewer\nops   admin");
    }
}
