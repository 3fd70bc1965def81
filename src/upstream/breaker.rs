//! The circuit breaker: after many failures in a row calls are refused at once, so that clients do not wait for a
//! platform that is away; after a pause one call is let through to find out.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Phase, metrics::OfUpstream};

/// What callers are told to wait while another call finds out.
const PROBING: Duration = Duration::from_secs(1);

/// The breaker of one upstream. While it is closed a call reads two atomics and locks nothing.
#[derive(Debug)]
pub(super) struct Breaker {
    /// Failures in a row that open it; 0: it never opens.
    threshold: u32,
    /// How long it stays open.
    pause: Duration,
    failures: AtomicU32,
    tripped: AtomicBool,
    state: Mutex<State>,
    metrics: OfUpstream,
}

/// As the metric shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    /// Refusing until then.
    Open(Instant),
    /// One call finds out.
    HalfOpen,
}

impl Breaker {
    pub(super) fn new(threshold: u32, pause: Duration, metrics: OfUpstream) -> Self {
        metrics.breaker.set(0);
        Self {
            threshold,
            pause,
            failures: AtomicU32::new(0),
            tripped: AtomicBool::new(false),
            state: Mutex::new(State::Closed),
            metrics,
        }
    }

    /// Lets a call through, or says how long to wait.
    pub(super) fn admit(&self) -> Result<Pass<'_>, Duration> {
        if !self.tripped.load(Ordering::Acquire) {
            return Ok(Pass { breaker: self, probe: false });
        }
        let mut state = self.lock();
        match *state {
            State::Closed => Ok(Pass { breaker: self, probe: false }),
            State::Open(until) => match until.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => Err(left),
                Some(_) | None => {
                    self.set(&mut state, State::HalfOpen);
                    Ok(Pass { breaker: self, probe: true })
                }
            },
            State::HalfOpen => Err(PROBING),
        }
    }

    fn open(&self, pause: Duration) {
        self.set(&mut self.lock(), State::Open(Instant::now() + pause));
    }

    fn set(&self, state: &mut State, next: State) {
        *state = next;
        self.tripped.store(next != State::Closed, Ordering::Release);
        self.metrics.breaker.set(match next {
            State::Closed => 0,
            State::HalfOpen => 1,
            State::Open(_) => 2,
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that was let through. Dropped without a word it says nothing about the platform.
#[derive(Debug)]
pub(super) struct Pass<'b> {
    breaker: &'b Breaker,
    probe: bool,
}

impl Pass<'_> {
    /// The platform answered.
    pub(super) fn answered(mut self) {
        let breaker = self.breaker;
        if breaker.failures.load(Ordering::Relaxed) != 0 {
            breaker.failures.store(0, Ordering::Relaxed);
        }
        if std::mem::take(&mut self.probe) {
            breaker.set(&mut breaker.lock(), State::Closed);
            tracing::info!(upstream = breaker.metrics.name(), "the platform answers again; calls go through");
        }
    }

    /// It failed in this phase.
    pub(super) fn failed(mut self, phase: Phase, timed_out: bool) {
        let breaker = self.breaker;
        if breaker.threshold == 0 || !tells_of_the_platform(phase, timed_out) {
            return;
        }
        let failures = breaker.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let was_probe = std::mem::take(&mut self.probe);
        let first = failures == breaker.threshold;
        if was_probe || first {
            breaker.open(breaker.pause);
            breaker.metrics.breaker_opened.inc();
        }
        if first {
            tracing::error!(
                upstream = breaker.metrics.name(),
                failures,
                phase = phase.as_str(),
                pause = ?breaker.pause,
                "the platform failed so often in a row that calls are refused for a while; then one finds out"
            );
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.probe {
            // it ended without evidence, for example because its client left: the next call finds out
            self.breaker.open(Duration::ZERO);
        }
    }
}

/// Whether a failure is evidence against the platform or the way to it, not against one call.
const fn tells_of_the_platform(phase: Phase, timed_out: bool) -> bool {
    match phase {
        Phase::Connect | Phase::Pin | Phase::Proxy | Phase::Resolve | Phase::Response | Phase::Tls => true,
        // without progress in sending, the platform has stopped reading or the client has stopped writing
        Phase::Total => timed_out,
        Phase::Body | Phase::Head | Phase::Idle | Phase::Open | Phase::Pool | Phase::Send => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::UpstreamMetrics, *};
    use crate::telemetry::metrics::Metrics;

    const PAUSE: Duration = Duration::from_millis(40);

    fn breaker(threshold: u32, pause: Duration) -> Breaker {
        let metrics = UpstreamMetrics::register(&Metrics::new().unwrap()).unwrap();
        Breaker::new(threshold, pause, metrics.of_upstream("leqi"))
    }

    fn fail(breaker: &Breaker, times: u32) {
        for _ in 0..times {
            breaker.admit().unwrap().failed(Phase::Connect, false);
        }
    }

    fn until_half_open(breaker: &Breaker) -> Pass<'_> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match breaker.admit() {
                Ok(pass) => return pass,
                Err(left) => std::thread::sleep(left.min(PAUSE)),
            }
            assert!(Instant::now() < deadline, "it never lets a call through again");
        }
    }

    #[test]
    fn it_opens_after_so_many_failures_in_a_row_and_an_answer_in_between_counts() {
        let breaker = breaker(3, Duration::from_secs(60));
        fail(&breaker, 2);
        breaker.admit().unwrap().answered();
        fail(&breaker, 3);
        let left = breaker.admit().unwrap_err();
        assert!(left > Duration::from_secs(50), "{left:?}");
        assert_eq!((breaker.metrics.breaker.get(), breaker.metrics.breaker_opened.get()), (2, 1));
    }

    #[test]
    fn after_the_pause_one_call_finds_out_and_decides() {
        let breaker = breaker(1, PAUSE);
        fail(&breaker, 1);
        let probe = until_half_open(&breaker);
        assert_eq!(breaker.metrics.breaker.get(), 1);
        assert_eq!(breaker.admit().unwrap_err(), PROBING);
        probe.failed(Phase::Tls, true);
        assert_eq!(breaker.metrics.breaker.get(), 2);
        until_half_open(&breaker).answered();
        assert_eq!(breaker.metrics.breaker.get(), 0);
        breaker.admit().unwrap().answered();
    }

    #[test]
    fn a_finding_call_that_is_given_up_leaves_it_to_the_next() {
        let breaker = breaker(1, PAUSE);
        fail(&breaker, 1);
        drop(until_half_open(&breaker));
        assert!(breaker.admit().unwrap().probe);
        // a broken answer says nothing either
        until_half_open(&breaker).failed(Phase::Head, false);
        assert!(breaker.admit().unwrap().probe);
    }

    #[test]
    fn with_0_it_never_opens_and_failures_of_single_calls_do_not_count() {
        let never = breaker(0, PAUSE);
        fail(&never, 1000);
        never.admit().unwrap();
        let one = breaker(1, PAUSE);
        for phase in [Phase::Body, Phase::Head, Phase::Pool, Phase::Send] {
            one.admit().unwrap().failed(phase, true);
        }
        one.admit().unwrap();
    }
}
