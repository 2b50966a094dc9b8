//! What is odd in a backup, in sentences with a way out.

use crate::display::{database_option, size};
use crate::policy::anomaly::OddSize;
use crate::policy::series::Series;

/// That a backup has an odd size, and the way out, in a sentence.
pub fn describe_odd_size(series: &Series, odd: &OddSize, database: &str) -> String {
    let than = if odd.has_shrunk() {
        "smaller"
    } else {
        "larger"
    };
    format!(
        "the {series} backup {} is {than} than usual: {}, and the median of the {} before it is {}; if \
         this is intended, run `pgbackupd accept contents {}`",
        odd.backup,
        size(odd.bytes),
        odd.usual.of,
        size(odd.usual.median),
        database_option(database)
    )
}
