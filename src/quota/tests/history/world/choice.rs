//! What happens next, at random.

use super::{
    super::{
        platform::{Paper, RED},
        random::Random,
    },
    Fate, Step, World,
};
use crate::store::ledger::Way;

impl World {
    pub(in crate::quota::tests::history) fn choose(&self, random: &mut Random) -> Step {
        match random.below(40) {
            0..=10 => self.upload(random),
            11..=13 => self.reversal(random),
            14..=19 => Step::Decide { bits: random.next(), seen: random.below(4) > 0 },
            20..=21 => Step::Repeat(random.next()),
            22..=24 => Step::Ask { later: random.coin() },
            25..=26 => Step::Answer,
            27..=28 => Step::Compare,
            29..=30 => Step::Transfer(Way::Download, small(random, 80), fate(random), random.coin()),
            31..=32 => Step::Transfer(Way::Return, small(random, 80), fate(random), random.coin()),
            33..=34 => Step::Resume(fate(random), random.coin()),
            35 => Step::Outside(small(random, 40)),
            36 => Step::Validity(random.coin()),
            37 => Step::SlowAnswer,
            38 if self.month == 0 => Step::Month,
            38 => Step::Expire,
            _ => Step::SlowAnswer,
        }
    }

    fn upload(&self, random: &mut Random) -> Step {
        let mut papers: Vec<Paper> = Vec::new();
        for _ in 0..=random.below(3) {
            let n = random.below(6);
            // mostly this month's; last month's too, until it is given up
            let month = if random.below(5) == 0 { 1 - self.month.min(1) } else { self.month };
            let month = month.min(self.month).max(u8::from(self.expired));
            if papers.iter().all(|paper| paper.n != n) {
                papers.push(Paper { n, month, amount: small(random, 60) });
            }
        }
        Step::Upload(papers, fate(random))
    }

    fn reversal(&self, random: &mut Random) -> Step {
        let blue: Vec<_> = self.platform.issued.iter().filter(|(n, _)| **n < RED).collect();
        let Some((n, (_, credit))) = blue.get(usize::try_from(random.next() % 8).unwrap()) else {
            return self.upload(random);
        };
        let paper = Paper { n: *n + RED, month: self.month, amount: -credit };
        Step::Upload(vec![paper], fate(random))
    }
}

fn small(random: &mut Random, end: u64) -> i64 {
    i64::try_from(random.below(end)).unwrap() + 1
}

fn fate(random: &mut Random) -> Fate {
    match random.below(12) {
        0..=4 => Fate::Accepted,
        5 => Fate::Slow,
        6 => Fate::Already,
        7 => Fate::NotSent,
        8..=9 => Fate::Refused,
        _ => Fate::Lost(random.coin()),
    }
}
