//! Stopping in two steps: a first signal drains, a second one ends at once.

use tokio::sync::watch;

/// How far a stop has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Serving.
    Running,
    /// No new work is taken; calls in flight are finished.
    Draining,
    /// Whatever is left is dropped.
    Forced,
}

/// The side that orders the stop.
#[derive(Debug)]
pub struct Trigger(watch::Sender<Phase>);

/// The side that waits for it; cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<Phase>);

/// A new pair.
#[must_use]
pub fn channel() -> (Trigger, Shutdown) {
    let (send, receive) = watch::channel(Phase::Running);
    (Trigger(send), Shutdown(receive))
}

impl Trigger {
    /// Starts the drain; the second call forces the end.
    pub fn escalate(&self) {
        self.0.send_modify(|phase| {
            *phase = if *phase == Phase::Running { Phase::Draining } else { Phase::Forced };
        });
    }

    /// Ends at once.
    pub fn force(&self) {
        self.0.send_replace(Phase::Forced);
    }
}

impl Shutdown {
    /// How far the stop has gone.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Waits until the drain has begun; a dropped [`Trigger`] counts as begun.
    pub async fn draining(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Waits until the end is forced; a dropped [`Trigger`] counts as forced.
    pub async fn forced(&self) {
        self.reached(Phase::Forced).await;
    }

    async fn reached(&self, phase: Phase) {
        let mut receiver = self.0.clone();
        // an error means that the trigger is gone, so nobody will ever order the stop: treat it as ordered
        let _ = receiver.wait_for(|now| *now >= phase).await;
    }
}
