//! One company: its invoicing system, and what the platform's books and the ledger say of it.

use leqi_gateway::{
    domain::{BEIJING, Money, Period, TaxNo},
    leqi::Sm4Key,
    simulator::{
        books::{Account, ConfirmationState, Direction, Transfer},
        world::Unit,
    },
    store::ledger,
};
use serde_json::{Value, json};

use crate::{
    common::{
        SimUnit,
        client::{Answer, Client},
        message::{invoice, numbers},
    },
    stage::Stage,
};

/// A company of the simulated world.
pub(crate) struct Company {
    pub(crate) unit: Unit,
    serials: std::cell::Cell<u32>,
}

impl Company {
    /// All companies of the world.
    pub(crate) fn all(stage: &Stage) -> Vec<Self> {
        stage
            .simulator
            .world
            .units
            .iter()
            .map(|unit| Self { unit: unit.clone(), serials: 0.into() })
            .collect()
    }

    pub(crate) fn tax_no(&self) -> &TaxNo {
        &self.unit.tax_no
    }

    pub(crate) fn client(&self, stage: &Stage) -> Client {
        let units = &stage.simulator.world.units;
        let access = units.iter().find(|one| one.platform_id == self.unit.access_platform_id).unwrap();
        Client {
            address: stage.data(),
            prefix: "/access/v2/invoke/202007/".to_owned(),
            access_id: self.unit.access_platform_id.to_string(),
            using_id: self.unit.platform_id.to_string(),
            key: Sm4Key::from_hex(access.sm4_key.as_ref().unwrap()).unwrap(),
        }
    }

    fn sim_unit(&self) -> SimUnit {
        SimUnit {
            tax_no: self.unit.tax_no.to_string(),
            name: self.unit.name.clone(),
            role: String::new(),
            platform_id: self.unit.platform_id.to_string(),
            access_platform_id: self.unit.access_platform_id.to_string(),
            province_code: self.unit.province_code.to_string(),
            sm4_key: None,
            sandbox_sm4_key: None,
        }
    }

    /// Uploads an invoice of this net amount dated now.
    pub(crate) async fn upload(&self, stage: &Stage, net: Money) -> Answer {
        self.serials.set(self.serials.get() + 1);
        let serial = format!(
            "{}{}{:032}",
            self.unit.platform_id,
            self.unit.access_platform_id,
            stage.clock.now().as_microsecond() + i64::from(self.serials.get())
        );
        let client = self.client(stage);
        let range = client.number_range(self.unit.tax_no.as_str(), 1, &serial).await;
        let number = numbers(&range[0], 1).remove(0);
        let mut invoice = invoice(&self.sim_unit(), &number, net.fen());
        let dated = BEIJING.to_datetime(stage.clock.now());
        invoice["kprq"] = json!(dated.strftime("%Y-%m-%d %H:%M:%S").to_string());
        client.call("QDFPSC", &json!([invoice])).await
    }

    /// Uploads an invoice and sees its result: it is issued.
    pub(crate) async fn issue(&self, stage: &Stage, net: Money) {
        let accepted = self.upload(stage, net).await;
        assert_eq!(accepted.code(), "00", "{accepted:?}");
        // the platform decides after two seconds of its clock
        let later = stage.clock.now().checked_add(jiff::SignedDuration::from_secs(5)).unwrap();
        stage.clock.set(later);
        let results = self.client(stage).result(accepted.data()["sllsh"].as_str().unwrap()).await;
        assert_eq!(results[0]["status"], "00", "{results}");
    }

    /// The platform's account of the month, if it was ever looked at.
    pub(crate) fn at_platform(&self, stage: &Stage, month: Period) -> Option<Account> {
        let books = stage.simulator.books.lock();
        books.production.accounts.get(&(self.unit.tax_no.clone(), month)).cloned()
    }

    /// The ledger's account of the month.
    pub(crate) async fn in_ledger(&self, stage: &Stage, month: Period) -> Option<ledger::Account> {
        stage.parts().ledger.balance(&self.unit.tax_no, month).await.unwrap()
    }

    /// What was moved for the month, as the platform carried it out.
    pub(crate) fn moved(&self, stage: &Stage, month: Period, direction: Direction) -> Vec<Transfer> {
        let books = stage.simulator.books.lock();
        let all = books.production.transfers.values();
        let mine =
            all.filter(|t| t.tax_no == self.unit.tax_no && t.period == month && t.direction == direction);
        mine.cloned().collect()
    }

    /// The state of the month's confirmation at the platform.
    pub(crate) fn confirmed(&self, stage: &Stage, month: Period) -> Option<ConfirmationState> {
        let key = (self.unit.tax_no.clone(), self.unit.access_platform_id.folded(), month);
        stage.simulator.books.lock().production.confirmations.get(&key).map(|row| row.state)
    }

    /// The month's confirmation as the management API shows it.
    pub(crate) async fn confirmation(&self, stage: &Stage, month: Period) -> Option<Value> {
        let path = format!("/confirmations?tax_no={}&period={month}", self.unit.tax_no);
        stage.api("GET", &path).await["items"].as_array().unwrap().first().cloned()
    }
}
