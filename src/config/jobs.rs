//! `[jobs]`: what is done regularly, and when.

use jiff::civil::Time;

use super::{
    kinds,
    section::Section,
    tree::{Node, Spot},
};
use crate::{
    jobs::{Config, Schedule, Setting},
    store::jobs::JobName,
};

/// Reads the section and the section of every job in it.
pub(super) fn jobs(mut section: Section<'_>) -> Config {
    let default = Config::default();
    let settings = JobName::ALL.map(|name| (name, setting(name, section.section(name.as_str()))));
    Config {
        enabled: section.value_or("enabled", default.enabled, kinds::truth),
        jitter: section.value_or("jitter", default.jitter, kinds::duration),
        concurrency: section.value_or("concurrency", default.concurrency, kinds::count),
        confirm: section.value_or("confirm", default.confirm, kinds::truth),
        settings: settings.into_iter().collect(),
    }
}

fn setting(name: JobName, mut section: Section<'_>) -> Setting {
    let enabled = section.value_or("enabled", true, kinds::truth);
    let schedule = match Config::schedule(name) {
        Schedule::Daily(times) => Schedule::Daily(section.value_or("at", times, times_of_day)),
        Schedule::Every(interval) => Schedule::Every(section.value_or("every", interval, kinds::duration)),
        Schedule::Monthly(time) => Schedule::Monthly(section.value_or("at", time, time_of_day)),
    };
    Setting { enabled, schedule }
}

/// A time of the day in Beijing: `"00:05"`.
fn time_of_day(spot: &Spot) -> Result<Time, String> {
    let written = kinds::text(spot)?;
    let well_formed = written.len() == 5 && written.as_bytes()[2] == b':';
    let time = Time::strptime("%H:%M", &written).ok().filter(|_| well_formed);
    time.ok_or_else(|| {
        format!("{written:?} is no time of the day; write for example \"00:05\" (Beijing time)")
    })
}

/// One or several times of the day.
fn times_of_day(spot: &Spot) -> Result<Vec<Time>, String> {
    let mut times = match &spot.node {
        Node::Array(spots) => spots.iter().map(time_of_day).collect::<Result<Vec<_>, _>>()?,
        Node::Raw(raw) => raw
            .split(',')
            .map(|word| {
                time_of_day(&Spot { node: Node::Raw(word.trim().to_owned()), origin: spot.origin.clone() })
            })
            .collect::<Result<Vec<_>, _>>()?,
        Node::Table(_) | Node::Text(_) | Node::Integer(_) | Node::Bool(_) | Node::Other(_) => {
            vec![time_of_day(spot)?]
        }
    };
    if times.is_empty() {
        return Err("is empty; give at least one time, or enabled = false".to_owned());
    }
    times.sort_unstable();
    times.dedup();
    Ok(times)
}
