//! Random histories of the ledger's rules against a platform that keeps its own books and a ledger that is computed
//! naively. Pure: no database, no clock. 100,000 histories, half of them new in every run with `LEDGER_HISTORIES=new`;
//! `LEDGER_HISTORY=SEED` repeats one with all its steps. Seeded bugs prove that the histories find what they are for.

#![expect(clippy::wildcard_enum_match_arm, reason = "a seeded bug changes one case and leaves all others")]

mod mutants;
mod platform;
mod random;
mod reference;
mod world;

use std::{
    hash::{BuildHasher, Hasher},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use self::{
    mutants::{MUTANTS, REAL, Rules},
    random::Random,
    world::World,
};

/// The months of a history: November, and December once it has begun.
type Month = u8;

/// Histories of each test; those of the second are new in every run with `LEDGER_HISTORIES=new`.
const HISTORIES: u64 = 50_000;
/// A seeded bug must show within so many of the fixed ones.
const ENOUGH: u64 = 10_000;

/// One history of 4 to 17 steps; tells every step when `aloud`.
fn live(rules: Rules, seed: u64, aloud: bool) -> Result<(), String> {
    let mut random = Random::new(seed);
    let mut world = World::new(rules);
    for place in 0..4 + random.below(14) {
        let step = world.choose(&mut random);
        if aloud {
            println!("{place}: {step:?}");
        }
        world.step(&step, &mut random).map_err(|what| format!("after {step:?}: {what}"))?;
        if aloud {
            println!("   {}", world.described());
        }
    }
    Ok(())
}

/// Lives the histories on two threads; gives the first failure that was met.
fn live_all(rules: Rules, first: u64, count: u64) -> Option<(u64, String)> {
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let place = next.fetch_add(1, Ordering::Relaxed);
            if place >= count {
                return None;
            }
            let seed = first.wrapping_add(place);
            if let Err(what) = live(rules, seed, false) {
                stop.store(true, Ordering::Relaxed);
                return Some((seed, what));
            }
        }
        None
    };
    std::thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        threads.map(|thread| thread.join().unwrap()).into_iter().flatten().next()
    })
}

fn must_hold(first: u64, count: u64) {
    if let Some((seed, what)) = live_all(REAL, first, count) {
        let _ = live(REAL, seed, true);
        panic!("LEDGER_HISTORY={seed} (first seed {first}): {what}");
    }
}

#[test]
fn fifty_thousand_known_histories_hold() {
    match std::env::var("LEDGER_HISTORY") {
        Ok(seed) => must_hold(seed.parse().unwrap(), 1),
        Err(_) => must_hold(0, HISTORIES),
    }
}

#[test]
fn fifty_thousand_more_histories_hold() {
    let first = match std::env::var("LEDGER_HISTORIES") {
        // the standard library's hash keys are random
        Ok(new) if new == "new" => std::collections::hash_map::RandomState::new().build_hasher().finish(),
        Ok(_) | Err(_) => HISTORIES,
    };
    println!("first seed {first}");
    must_hold(first, HISTORIES);
}

#[test]
fn every_seeded_bug_is_found() {
    let missed: Vec<_> = MUTANTS
        .iter()
        .filter(|(name, rules)| {
            let found = live_all(*rules, 0, ENOUGH);
            match &found {
                Some((seed, what)) => println!("{name}: found by {seed}: {what}"),
                None => println!("{name}: NOT FOUND"),
            }
            found.is_none()
        })
        .map(|(name, _)| name)
        .collect();
    assert!(missed.is_empty(), "not found by {ENOUGH} histories: {missed:?}");
}
