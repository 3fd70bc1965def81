//! What the demonstration says happened, each claim with its proof.

use unicode_width::UnicodeWidthStr;

use crate::cli::output;

/// The claims so far.
#[derive(Default)]
pub(super) struct Claims {
    made: usize,
    untrue: Vec<String>,
}

impl Claims {
    /// Begins a part of the account.
    pub(super) fn part(&self, title: &str) {
        output::line("");
        output::line(title);
    }

    /// Says something, and whether it is true.
    pub(super) fn claim(&mut self, what: &str, detail: &str, holds: bool) {
        self.made += 1;
        let mark = if holds { "✓" } else { "✗" };
        output::line(&format!("  {mark} {} {detail}", padded(what, WIDTH)));
        if !holds {
            self.untrue.push(format!("{what}: {detail}"));
        }
    }

    /// A line of the account that claims nothing by itself.
    pub(super) fn say(&self, what: &str, detail: &str) {
        output::line(&format!("    {} {detail}", padded(what, WIDTH)));
    }

    /// How many claims were made.
    pub(super) const fn made(&self) -> usize {
        self.made
    }

    /// Fails if anything was untrue.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        if self.untrue.is_empty() {
            return Ok(());
        }
        anyhow::bail!("{} of {} claims are untrue: {}", self.untrue.len(), self.made, self.untrue.join("; "))
    }
}

/// Places on a terminal before the detail.
const WIDTH: usize = 34;

/// The text with blanks after it up to that many places, where a Chinese character takes two.
fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_untrue_claim_fails_the_whole_account_and_is_named() {
        let mut claims = Claims::default();
        claims.claim("a", "true", true);
        claims.claim("b", "not so", false);
        let error = claims.finish().unwrap_err().to_string();
        assert_eq!(error, "1 of 2 claims are untrue: b: not so");
        assert!(Claims::default().finish().is_ok());
    }

    #[test]
    fn chinese_text_takes_two_places_a_character() {
        assert_eq!(padded("额度", 6), "额度  ");
        assert_eq!(padded("credit", 6).width(), padded("额度x", 6).width());
    }
}
