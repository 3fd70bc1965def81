//! The figures of a month's confirmation.

use super::Money;

/// The six totals of a month (protocol.md §3): counts, net amounts and tax of blue and of red invoices. Red amounts
/// are negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Totals {
    /// Blue invoices (`lzfpsl`).
    pub blue_count: i64,
    /// Their net amount (`lzfpje`).
    pub blue_net: Money,
    /// Their tax (`lzfpse`).
    pub blue_tax: Money,
    /// Red invoices (`hzfpsl`).
    pub red_count: i64,
    /// Their net amount (`hzfpje`), negative.
    pub red_net: Money,
    /// Their tax (`hzfpse`), negative.
    pub red_tax: Money,
}
