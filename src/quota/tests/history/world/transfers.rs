//! Downloads and returns.

use super::{Fate, World, names::key};
use crate::{
    leqi::messages::{Direction, QuotaTransfer, QuotaTransferAnswer},
    quota::{
        rules::{self, Begun},
        tests::{issuer, yuan},
    },
    store::ledger::{Transfer, Way},
};

impl World {
    pub(super) fn transfer(&mut self, way: Way, amount: i64, fate: Fate, asked: bool) {
        self.exchange += 1;
        let request = QuotaTransfer {
            tax_no: issuer(),
            platform_id: "a".repeat(20).parse().unwrap(),
            direction: if way == Way::Download { Direction::Download } else { Direction::Return },
            amount: yuan(amount),
            serial: format!("T{}", self.exchange),
        };
        let now = self.now();
        let begun = (self.rules.begin)(&mut self.books, &request, &key(self.month), None, "test", now);
        if let Begun::Fresh(transfer) = begun {
            self.carry_out(&transfer, fate, asked);
        }
    }

    pub(super) fn resume(&mut self, fate: Fate, asked: bool) {
        let now = self.now();
        if let Some(open) = (self.rules.resume)(&mut self.books, &issuer(), &key(self.month), now) {
            self.carry_out(&open, fate, asked);
        }
    }

    pub(super) fn carry_out(&mut self, transfer: &Transfer, fate: Fate, asked: bool) {
        let request = QuotaTransfer {
            tax_no: issuer(),
            platform_id: transfer.platform_id.parse().unwrap(),
            direction: if transfer.way == Way::Download { Direction::Download } else { Direction::Return },
            amount: transfer.amount,
            serial: transfer.serial.clone(),
        };
        if asked {
            self.balance();
        }
        let arrives = matches!(fate, Fate::Accepted | Fate::Already | Fate::Slow | Fate::Lost(true));
        let done =
            arrives && self.platform.transfer(&transfer.serial, transfer.way, transfer.amount, self.month);
        let (mark, now) = (self.mark(), self.now());
        match fate {
            Fate::Accepted | Fate::Already | Fate::Slow if done => {
                let answer = QuotaTransferAnswer::default();
                // the answer is seen once more, as a repetition would show it
                for _ in 0..=u8::from(matches!(fate, Fate::Slow)) {
                    (self.rules.transfer)(&mut self.books, &request, &answer, &mark, now);
                }
            }
            Fate::Lost(_) => rules::transfer_unclear(&mut self.books, &request, &mark, "lost", now),
            _ => (self.rules.transfer_refused)(&mut self.books, &request, "1", "", now),
        }
    }
}
