//! One process hands over to the next, and nobody notices.

use std::time::{Duration, Instant};

use crate::{ALONE, common::eventually, load::Load, stand::Stand, times};

#[tokio::test(flavor = "multi_thread")]
async fn processes_hand_over_under_load_and_no_call_fails() {
    let _alone = ALONE.lock().await;
    let mut stand = Stand::start("");
    let load = Load::start(&stand).await;
    let (times, began) = (times("LIFECYCLE_HANDOVERS", 4), Instant::now());
    let mut longest = Duration::ZERO;
    for n in 0..times {
        let calls = load.calls();
        eventually("the load goes on", || (load.calls() >= calls + 20).then_some(()));
        let took =
            tokio::task::block_in_place(|| if n % 2 == 0 { stand.hand_over() } else { stand.restart() });
        longest = longest.max(took);
    }
    let calls = load.calls();
    eventually("the load goes on", || (load.calls() >= calls + 20).then_some(()));
    let outcome = load.stop().await;
    eprintln!(
        "{times} hand-overs in {:.1?}: {} calls, {} failed, {} connections, {:?}; longest hand-over {longest:.1?}, slowest call {:.1?}",
        began.elapsed(),
        outcome.answered.len(),
        outcome.failed.len(),
        outcome.connections,
        outcome.by_kind,
        outcome.slowest,
    );
    outcome.assert_every_call_counts_once(&stand);
}
