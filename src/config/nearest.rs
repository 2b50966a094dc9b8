//! The right word that a wrong one was probably meant to be.

/// The candidate most like this word, if any is like it at all. Case does not count.
pub(crate) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let word = word.to_lowercase();
    // One mistake, and two in a long word: more letters make another word.
    let tolerance = match word.chars().count() {
        0..=2 => 0,
        3..=7 => 1,
        _ => 2,
    };
    candidates
        .into_iter()
        .map(|candidate| {
            let lower = candidate.to_lowercase();
            (strsim::damerau_levenshtein(&word, &lower), candidate)
        })
        .filter(|(distance, _)| *distance <= tolerance)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_finds_its_word_and_another_word_finds_nothing() {
        let words = ["schedule", "series", "enabled", "timezone"];
        assert_eq!(nearest("shedule", words), Some("schedule"));
        assert_eq!(nearest("Schedule", words), Some("schedule"));
        assert_eq!(nearest("serise", words), Some("series"));
        assert_eq!(nearest("shedul", words), None, "two letters of six");
        assert_eq!(nearest("time_zome", words), Some("timezone"));
        assert_eq!(nearest("x", ["y"]), None);
        assert_eq!(nearest("test", ["cost", "best"]), Some("best"));
        assert_eq!(nearest("cron", words), None);
        assert_eq!(nearest("", words), None);
    }
}
