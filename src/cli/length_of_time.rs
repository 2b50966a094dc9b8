//! Durations on the command line.

use std::time::Duration;

/// Reads a duration as the configuration writes them.
pub(super) fn length_of_time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| {
        "write a number and a unit, such as \"30m\", \"8 hours\" or \"2 days\"".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_duration_is_refused_with_an_example() {
        assert_eq!(length_of_time("90m"), Ok(Duration::from_mins(90)));
        for text in ["soon", "", "8", "8 fortnights", "-1h"] {
            let error = length_of_time(text).unwrap_err();
            assert!(error.contains("such as \"30m\""), "{text}: {error}");
        }
    }
}
