//! Lists: `{"items": […], "next_cursor": …}`, and times as the API shows them.

use std::{fmt::Display, str::FromStr};

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::{fields::Fields, problem::Problem};
use crate::domain::BEIJING;

/// Items of a page when the request does not say.
const DEFAULT_LIMIT: usize = 50;
/// Items that a page may have.
const MAX_LIMIT: usize = 500;

/// Which page is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest<C> {
    /// What the page before gave as `next_cursor`.
    pub cursor: Option<C>,
    /// Items, 1 to 500.
    pub limit: usize,
}

impl<C: FromStr<Err: Display>> PageRequest<C> {
    /// Takes `cursor` and `limit` from the query.
    ///
    /// # Errors
    /// When one of them has no usable value.
    pub fn take(query: &mut Fields) -> Result<Self, Problem> {
        let limit = query.optional("limit")?.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(query.wrong("limit", format!("must be 1 to {MAX_LIMIT}")));
        }
        Ok(Self { cursor: query.optional("cursor")?, limit })
    }
}

/// One page of a list.
#[derive(Debug, Serialize)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins; null when this is the last.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A page of at most `limit` of the items; one more than that was asked for, to know whether there is a next page,
    /// which begins after the last one shown.
    pub fn cut<R>(
        mut rows: Vec<R>,
        limit: usize,
        cursor: impl Fn(&R) -> String,
        show: impl Fn(R) -> T,
    ) -> Self {
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows.last().filter(|_| more).map(cursor);
        Self { items: rows.into_iter().map(show).collect(), next_cursor }
    }
}

/// A time as RFC 3339 with Beijing's offset, to the millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Timestamp);

impl Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}+08:00", BEIJING.to_datetime(self.0).strftime("%Y-%m-%dT%H:%M:%S%.3f"))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_beijing_times_with_offset_and_parse_back() {
        let at: Timestamp = "2026-11-30T16:00:00.0125Z".parse().unwrap();
        assert_eq!(Time(at).to_string(), "2026-12-01T00:00:00.012+08:00");
        assert_eq!(Time(at).to_string().parse::<Timestamp>().unwrap().as_millisecond(), at.as_millisecond());
    }

    #[test]
    fn a_page_points_to_the_next_only_when_there_is_one() {
        let page = Page::cut(vec![5, 4, 3], 2, i32::to_string, |n| n);
        assert_eq!((page.items, page.next_cursor.as_deref()), (vec![5, 4], Some("4")));
        let page = Page::cut(vec![5, 4], 2, i32::to_string, |n| n);
        assert_eq!(page.next_cursor, None);
        let mut query = Fields::from_query("limit=0").unwrap();
        assert!(PageRequest::<i64>::take(&mut query).is_err());
    }
}
