//! Two gateways on one PostgreSQL, at the wire: each learns what the other one knows, and takes over from it.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod common;

use common::{
    SimUnit,
    client::{Answer, Client},
    eventually,
    message::{invoice, serial},
    postgres::Server,
    process::{Gateway, Simulator},
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Two gateways in front of one simulator, which know no unit yet.
struct Pair {
    simulator: Simulator,
    gateways: [Gateway; 2],
    unit: SimUnit,
    _dir: TempDir,
}

impl Pair {
    fn start() -> Self {
        let simulator = Simulator::start();
        let dir = tempfile::tempdir().unwrap();
        let url = Server::shared().database();
        let gateways = [0, 1].map(|number| Gateway::start_member(dir.path(), number, &simulator, &url, ""));
        let unit = simulator.units.using().clone();
        Self { simulator, gateways, unit, _dir: dir }
    }

    fn client(&self, gateway: usize) -> Client {
        Client::new(self.gateways[gateway].plain, &self.simulator.units, &self.unit)
    }

    /// Waits until a gateway's answer is as wanted.
    fn sees(&self, gateway: usize, path: &str, wanted: impl Fn(&Value) -> bool) {
        eventually(path, || {
            let (status, answer) = self.gateways[gateway].api("GET", path, None);
            (status == 200 && wanted(&answer)).then_some(())
        });
    }

    /// How many of a gateway's uploads are in each of these states.
    fn uploads(&self, gateway: usize, states: [&str; 2]) -> [usize; 2] {
        let (status, list) = self.gateways[gateway].api("GET", "/exchanges?class=issue", None);
        assert_eq!(status, 200, "{list}");
        let rows = list["items"].as_array().unwrap();
        states.map(|state| rows.iter().filter(|row| row["state"] == state).count())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_registered_and_changed_at_one_gateway_holds_at_the_other() {
    let pair = Pair::start();
    let tax_no = &pair.unit.tax_no;
    pair.sees(1, "/units", |list| list["items"] == json!([]));
    pair.gateways[0].register(&pair.simulator.units);
    // at once, without waiting for anything
    let downloaded = pair.client(1).download(tax_no, "100.00", &serial(&pair.unit, 1)).await;
    assert_eq!(downloaded.code(), "00", "{downloaded:?}");
    let number = pair.client(1).number_range(tax_no, 1, &serial(&pair.unit, 2)).await.remove(0);

    let change = json!({ "quota_mode": "off" });
    let (status, _) = pair.gateways[0].api("PATCH", &format!("/units/{tax_no}"), Some(&change));
    assert_eq!(status, 200);
    let (status, _) =
        pair.gateways[1].api("PATCH", &format!("/quotas/{tax_no}"), Some(&json!({ "low_water": "7.00" })));
    assert_eq!(status, 200);
    pair.sees(1, &format!("/units/{tax_no}"), |unit| unit["quota_mode"] == "off");
    pair.sees(0, &format!("/quotas/{tax_no}"), |quota| quota["settings"]["low_water"] == "7.00");
    // without books more is sent on than there is credit for; the platform says no itself
    let sent = pair.client(1).call("QDFPSC", &json!([invoice(&pair.unit, &number, 1_000_000)])).await;
    assert_eq!(sent.code(), "99", "{sent:?}");

    for unit in pair.simulator.units.0.iter().rev() {
        let (status, answer) = pair.gateways[0].api("DELETE", &format!("/units/{}", unit.tax_no), None);
        assert_eq!(status, 204, "{answer}");
    }
    pair.sees(1, "/units", |list| list["items"] == json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_a_killed_gateway_are_marked_by_the_one_that_lives_and_only_those() {
    let mut pair = Pair::start();
    pair.gateways[0].register(&pair.simulator.units);
    let tax_no = pair.unit.tax_no.clone();
    let clients = [pair.client(0), pair.client(1)];
    clients[0].download(&tax_no, "100.00", &serial(&pair.unit, 1)).await.data();
    let numbers = clients[0].number_range(&tax_no, 2, &serial(&pair.unit, 2)).await;
    pair.simulator.faults(&json!([{ "kind": "delay", "service": "QDFPSC", "ms": 12_000, "times": 2 }]));
    let [mine, lost] = [0, 1].map(|n| {
        let (client, upload) = (clients[n].clone(), json!([invoice(&pair.unit, &numbers[n], 100)]));
        tokio::spawn(async move { client.call("QDFPSC", &upload).await })
    });
    eventually("both are under way", || (pair.uploads(0, ["sending"; 2]) == [2, 2]).then_some(()));
    pair.gateways[1].process.kill();
    let (status, answer) = pair.gateways[0].api("POST", "/jobs/reconciliation/run", None);
    assert_eq!(status, 202, "{answer}");
    eventually("the other one's is marked, its own is not", || {
        (pair.uploads(0, ["sending", "interrupted"]) == [1, 1]).then_some(())
    });
    assert!(matches!(lost.await.unwrap(), Answer::None));
    let mine = mine.await.unwrap();
    assert_eq!(mine.code(), "00", "{mine:?}");
    assert_eq!(pair.uploads(0, ["complete", "interrupted"]), [1, 1]);
    let (_, quota) = pair.gateways[0].api("GET", &format!("/quotas/{tax_no}"), None);
    assert_eq!(quota["reserved"], "2.00", "what became of the other one is not known: {quota}");
}
