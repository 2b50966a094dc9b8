//! Blackout windows as they are written.

use std::str::FromStr;

use super::{Blackout, BlackoutError, DAY_MINUTES, DAYS};

impl FromStr for Blackout {
    type Err = BlackoutError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (days, times) = match words[..] {
            [times] => (None, times),
            [days, times] => (Some(days), times),
            _ => return Err(BlackoutError::Shape),
        };
        let (from, to) = times
            .split_once('-')
            .filter(|_| times.contains(':'))
            .ok_or(BlackoutError::Shape)?;
        let (begins, ends) = (minutes(from)?, minutes(to)?);
        if begins == DAY_MINUTES {
            return Err(BlackoutError::Time(from.to_owned()));
        }
        if begins == ends {
            return Err(BlackoutError::Nothing(to.to_owned()));
        }
        Ok(Self {
            days: days.map_or(Ok([true; 7]), days_of_week)?,
            from: begins,
            to: if ends > begins {
                ends
            } else {
                ends + DAY_MINUTES
            },
        })
    }
}

/// The days of a list of days and ranges, such as `Mon-Wed,Sat`. A range may pass the week's end.
fn days_of_week(text: &str) -> Result<[bool; 7], BlackoutError> {
    let mut days = [false; 7];
    for item in text.split(',') {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let (first, last) = (day(first)?, day(last)?);
        let count = (last + 7 - first) % 7 + 1;
        for index in first..first + count {
            days[index % 7] = true;
        }
    }
    Ok(days)
}

/// A day's place in the week, Monday's being 0.
fn day(text: &str) -> Result<usize, BlackoutError> {
    DAYS.iter()
        .position(|day| day.eq_ignore_ascii_case(text))
        .ok_or_else(|| BlackoutError::Day(text.to_owned()))
}

/// The minutes from midnight to a time of the day, written with two digits for the minutes and one
/// or two for the hour.
fn minutes(text: &str) -> Result<u32, BlackoutError> {
    let number = |digits: &str, most: usize| {
        let sound =
            (1..=most).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        sound.then(|| digits.parse::<u32>().ok()).flatten()
    };
    text.split_once(':')
        .filter(|(_, minute)| minute.len() == 2)
        .and_then(|(hour, minute)| Some((number(hour, 2)?, number(minute, 2)?)))
        .filter(|&(hour, minute)| (hour < 24 && minute < 60) || (hour, minute) == (24, 0))
        .map(|(hour, minute)| hour * 60 + minute)
        .ok_or_else(|| BlackoutError::Time(text.to_owned()))
}
