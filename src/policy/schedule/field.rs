//! The fields of a crontab pattern and what may stand in each.

use super::ScheduleError;

/// One field of a pattern.
pub(super) struct Field {
    /// In words.
    name: &'static str,
    /// The smallest value.
    pub(super) first: u32,
    /// The largest value.
    pub(super) last: u32,
    /// Names of the values, from the first on.
    names: &'static [&'static str],
    /// Signs of croner's own that may stand here; what has one is left to croner to judge.
    signs: &'static [char],
}

/// The five fields in their order.
pub(super) const FIELDS: [Field; 5] = [
    Field {
        name: "minute",
        first: 0,
        last: 59,
        names: &[],
        signs: &[],
    },
    Field {
        name: "hour",
        first: 0,
        last: 23,
        names: &[],
        signs: &[],
    },
    Field {
        name: "day of the month",
        first: 1,
        last: 31,
        names: &[],
        signs: &['L', 'W', '?'],
    },
    Field {
        name: "month",
        first: 1,
        last: 12,
        names: &[
            "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
        ],
        signs: &[],
    },
    Field {
        name: "day of the week",
        first: 0,
        last: 7,
        names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
        signs: &['#', 'L', '?', '+'],
    },
];

/// What an item of a field's list stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// Whether it is written `*`.
    pub(super) star: bool,
    /// The first value.
    pub(super) from: u32,
    /// The last value, inclusive.
    pub(super) to: u32,
    /// From one value to the next.
    pub(super) step: u32,
}

impl Field {
    /// Refuses what cannot stand in this field.
    pub(super) fn check(&self, text: &str) -> Result<(), ScheduleError> {
        if self.has_signs(text) {
            return Ok(());
        }
        self.items(text).map(|_| ())
    }

    /// Whether this text uses signs of croner's own. None of their letters occurs in the name of a
    /// weekday, and days of the month have no names, so the signs are never part of one.
    pub(super) fn has_signs(&self, text: &str) -> bool {
        let upper = text.to_ascii_uppercase();
        upper.contains(self.signs)
    }

    /// The items of a list.
    pub(super) fn items(&self, text: &str) -> Result<Vec<Item>, ScheduleError> {
        text.split(',').map(|item| self.item(item)).collect()
    }

    fn item(&self, text: &str) -> Result<Item, ScheduleError> {
        let wrong = |reason: String| {
            let text = text.to_owned();
            Err(ScheduleError::Field {
                field: self.name,
                text,
                reason,
            })
        };
        if text.is_empty() {
            return wrong("there is nothing before or after a comma".to_owned());
        }
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (text, None),
        };
        let (star, from, to) = if range == "*" {
            (true, self.first, self.last)
        } else if let Some((from, to)) = range.split_once('-') {
            (false, self.value(from, text)?, self.upper_value(to, text)?)
        } else {
            let value = self.value(range, text)?;
            if let Some(step) = step {
                let last = self.last;
                return wrong(format!("a step needs a range: write {value}-{last}/{step}"));
            }
            (false, value, value)
        };
        if from > to {
            let (first, last) = (self.first, self.last);
            return wrong(format!(
                "the range runs backwards; around the end, write {from}-{last},{first}-{to}"
            ));
        }
        let step = match step.map(str::parse::<u32>) {
            None => 1,
            Some(Ok(0)) => return wrong("a step of zero never moves on".to_owned()),
            Some(Ok(step)) if step > to - from => {
                return wrong(format!(
                    "a step of {step} is longer than its range from {from} to {to}, so only \
                     {from} would ever match"
                ));
            }
            Some(Ok(step)) => step,
            Some(Err(_)) => return wrong("a step is an integer".to_owned()),
        };
        Ok(Item {
            star,
            from,
            to,
            step,
        })
    }

    /// The value at a range's upper end, where Sunday is the seventh day after Saturday.
    fn upper_value(&self, text: &str, item: &str) -> Result<u32, ScheduleError> {
        let value = self.value(text, item)?;
        let sunday_by_name = self.last == 7 && value == 0 && text != "0";
        Ok(if sunday_by_name { 7 } else { value })
    }

    fn value(&self, text: &str, item: &str) -> Result<u32, ScheduleError> {
        let by_name = self
            .names
            .iter()
            .position(|name| name.eq_ignore_ascii_case(text));
        if let Some(index) = by_name.and_then(|index| u32::try_from(index).ok()) {
            return Ok(self.first + index);
        }
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse::<u32>() {
            Ok(value) if digits && (self.first..=self.last).contains(&value) => Ok(value),
            _ => {
                let mut reason = format!("expected a number from {} to {}", self.first, self.last);
                if !self.names.is_empty() {
                    reason.push_str(" or one of ");
                    reason.push_str(&self.names.join(" "));
                }
                Err(ScheduleError::Field {
                    field: self.name,
                    text: item.to_owned(),
                    reason,
                })
            }
        }
    }
}
