//! The account of a probe: a line per step as soon as it is done, then what to do next; or all of it as JSON.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::{
    cli::output::{self, Form},
    tls::certificate::Summary,
};

/// The steps, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// The name becomes addresses.
    Name,
    /// A TCP connection to each address.
    Tcp,
    /// A TLS handshake that trusts anybody.
    Tls,
    /// The certificates that the server shows.
    Chain,
    /// The names in its own certificate.
    Names,
    /// How long that is good.
    Expiry,
    /// The fingerprint of its key.
    Key,
    /// A TLS handshake that trusts as configured.
    Trust,
    /// One harmless call.
    Call,
}

impl Stage {
    const ALL: [Self; 9] = [
        Self::Name,
        Self::Tcp,
        Self::Tls,
        Self::Chain,
        Self::Names,
        Self::Expiry,
        Self::Key,
        Self::Trust,
        Self::Call,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::Name => "域名解析 name",
            Self::Tcp => "网络连接 tcp",
            Self::Tls => "加密握手 tls",
            Self::Chain => "证书链 chain",
            Self::Names => "证书域名 names",
            Self::Expiry => "有效期 expiry",
            Self::Key => "公钥指纹 key",
            Self::Trust => "证书校验 trust",
            Self::Call => "试调用 call",
        }
    }
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// It does not work.
    Failed,
    /// It works; something about it should be known.
    Note,
    /// It works.
    Ok,
    /// It was not tried.
    Skipped,
}

impl Outcome {
    const fn label(self) -> &'static str {
        match self {
            Self::Failed => "失败 FAILED",
            Self::Note => "注意 note",
            Self::Ok => "正常 ok",
            Self::Skipped => "略过 skipped",
        }
    }
}

/// What to do about something, in both languages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Advice {
    zh: String,
    en: String,
}

/// What a step found.
#[derive(Debug)]
pub(super) struct Finding {
    outcome: Outcome,
    details: Vec<String>,
    advice: Vec<Advice>,
}

impl Finding {
    pub(super) fn ok(detail: impl Into<String>) -> Self {
        Self::new(Outcome::Ok, detail)
    }

    pub(super) fn note(detail: impl Into<String>) -> Self {
        Self::new(Outcome::Note, detail)
    }

    pub(super) fn failed(detail: impl Into<String>) -> Self {
        Self::new(Outcome::Failed, detail)
    }

    fn new(outcome: Outcome, detail: impl Into<String>) -> Self {
        Self { outcome, details: vec![detail.into()], advice: Vec::new() }
    }

    /// A further line.
    pub(super) fn and(mut self, detail: impl Into<String>) -> Self {
        self.details.push(detail.into());
        self
    }

    /// What to do about it.
    pub(super) fn advise(mut self, zh: impl Into<String>, en: impl Into<String>) -> Self {
        self.advice.push(Advice { zh: zh.into(), en: en.into() });
        self
    }
}

/// A step that was made, or skipped.
#[derive(Debug, Serialize)]
struct Step {
    step: Stage,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    ms: Option<u64>,
    details: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    advice: Vec<Advice>,
}

/// Everything that was found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    upstream: String,
    url: String,
    verify: String,
    ok: bool,
    steps: Vec<Step>,
    /// What the server shows, its own certificate first.
    certificates: Vec<Summary>,
    #[serde(skip)]
    form: Form,
}

impl Report {
    /// An empty one; its heading is written at once.
    pub(super) fn open(upstream: &str, url: &str, verify: &str, form: Form) -> Self {
        if form == Form::Table {
            output::line(&format!("{upstream}  {url}  verify = \"{verify}\"\n"));
            output::line(&line(["步骤 STEP", "结果 RESULT", "用时 TIME", "详情 DETAILS"]));
        }
        let (upstream, url, verify) = (upstream.to_owned(), url.to_owned(), verify.to_owned());
        Self { upstream, url, verify, ok: true, steps: Vec::new(), certificates: Vec::new(), form }
    }

    /// Makes a step and notes how long it took; gives what later steps need when it worked.
    pub(super) async fn make<T>(
        &mut self,
        stage: Stage,
        work: impl Future<Output = (Finding, Option<T>)>,
    ) -> Option<T> {
        let began = Instant::now();
        let (finding, value) = work.await;
        self.add(stage, Some(began.elapsed()), finding);
        value
    }

    /// Notes a finding.
    pub(super) fn add(&mut self, stage: Stage, took: Option<Duration>, finding: Finding) {
        let Finding { outcome, details, advice } = finding;
        let ms = took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        self.ok &= outcome != Outcome::Failed;
        let step = Step { step: stage, outcome, ms, details, advice };
        if self.form == Form::Table {
            print(&step);
        }
        self.steps.push(step);
    }

    /// Notes the certificates as a whole.
    pub(super) fn presented(&mut self, certificates: &[Summary]) {
        self.certificates = certificates.to_vec();
    }

    /// Notes every step that was not made as skipped.
    pub(super) fn skip_rest(&mut self) {
        for stage in Stage::ALL {
            if self.steps.iter().all(|step| step.step != stage) {
                let finding = Finding { outcome: Outcome::Skipped, details: Vec::new(), advice: Vec::new() };
                self.add(stage, None, finding);
            }
        }
    }

    /// Writes the end: what to do next, or all of it as JSON.
    ///
    /// # Errors
    /// The step that does not work.
    pub(super) fn close(&self) -> anyhow::Result<()> {
        if self.form == Form::Json {
            output::line(&serde_json::to_string_pretty(self)?);
        } else {
            self.print_advice();
        }
        match self.steps.iter().find(|step| step.outcome == Outcome::Failed) {
            None => Ok(()),
            Some(step) => {
                let what = step.details.first().map_or("", String::as_str);
                anyhow::bail!("{} does not work: {}: {what}", self.upstream, step.step.label())
            }
        }
    }

    fn print_advice(&self) {
        let advised: Vec<_> = self.steps.iter().flat_map(|step| &step.advice).collect();
        if advised.is_empty() {
            return;
        }
        output::line("\n下一步 WHAT TO DO NEXT");
        for Advice { zh, en } in advised {
            output::line(&format!("  - {zh}\n    {en}"));
        }
    }
}

fn print(step: &Step) {
    let time = step.ms.map(|ms| format!("{ms} ms")).unwrap_or_default();
    let mut details = step.details.iter().map(String::as_str);
    let first = details.next().unwrap_or("-");
    output::line(&line([step.step.label(), step.outcome.label(), &time, first]));
    for detail in details {
        output::line(&line(["", "", "", detail]));
    }
}

/// Columns of fixed width, since lines are written one by one.
fn line(cells: [&str; 4]) -> String {
    let widths = [16, 14, 10, 0];
    let padded: Vec<_> = cells.iter().zip(widths).map(|(cell, width)| output::padded(cell, width)).collect();
    padded.concat().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;

    #[test]
    fn every_cell_fits_into_its_column() {
        for stage in Stage::ALL {
            assert!(stage.label().width() < 16, "{}", stage.label());
        }
        for outcome in [Outcome::Failed, Outcome::Note, Outcome::Ok, Outcome::Skipped] {
            assert!(outcome.label().width() < 14, "{}", outcome.label());
        }
    }
}
