//! A crontab pattern as an English sentence.

use super::field::{FIELDS, Item};

const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const EVERY_DAY: &str = "every day";

/// A field, as far as sentences tell fields apart.
enum Shape {
    /// Any value.
    Every,
    /// Every so many, from the field's first.
    EveryNth(u32),
    /// These.
    Values(Vec<u32>),
}

/// The sentence for five sound fields; none for patterns too unusual to have one.
pub(super) fn describe_fields(fields: &str) -> Option<String> {
    let shapes: Vec<Shape> = FIELDS
        .iter()
        .zip(fields.split_whitespace())
        .map(|(field, text)| {
            if field.has_signs(text) {
                None
            } else {
                field.items(text).ok().map(|i| shape(&i))
            }
        })
        .collect::<Option<_>>()?;
    let [minute, hour, day, month, weekday] = <[Shape; 5]>::try_from(shapes).ok()?;
    let time = time(&minute, &hour)?;
    let date = date(&day, &month, &weekday)?;
    Some(match time {
        Time::Clock(at) => format!("{date} at {at}"),
        Time::Interval(every) if date == EVERY_DAY => every,
        Time::Interval(every) => format!("{every}, {date}"),
    })
}

fn shape(items: &[Item]) -> Shape {
    match items {
        [
            Item {
                star: true,
                step: 1,
                ..
            },
        ] => Shape::Every,
        [
            Item {
                star: true, step, ..
            },
        ] => Shape::EveryNth(*step),
        several => {
            let mut values: Vec<u32> = several
                .iter()
                .flat_map(|item| (item.from..=item.to).step_by(item.step as usize))
                .collect();
            values.sort_unstable();
            values.dedup();
            Shape::Values(values)
        }
    }
}

/// When on a day.
enum Time {
    /// At these times.
    Clock(String),
    /// Again and again.
    Interval(String),
}

fn time(minute: &Shape, hour: &Shape) -> Option<Time> {
    Some(match (minute, hour) {
        (Shape::Every, Shape::Every) => Time::Interval("every minute".to_owned()),
        (Shape::EveryNth(step), Shape::Every) => Time::Interval(format!("every {step} minutes")),
        (Shape::Values(minutes), hour) => match (minutes.as_slice(), hour) {
            ([minute], Shape::Every) => Time::Interval(format!("every hour at minute {minute}")),
            ([minute], Shape::EveryNth(step)) => {
                Time::Interval(format!("every {step} hours at minute {minute}"))
            }
            ([minute], Shape::Values(hours)) => Time::Clock(listed(
                hours.iter().map(|hour| format!("{hour:02}:{minute:02}")),
            )),
            _ => return None,
        },
        _ => return None,
    })
}

/// On which days.
fn date(day: &Shape, month: &Shape, weekday: &Shape) -> Option<String> {
    let months = match month {
        Shape::Every => None,
        Shape::EveryNth(_) => return None,
        Shape::Values(months) => Some(listed(
            months
                .iter()
                .map(|&month| MONTHS[month as usize - 1].to_owned()),
        )),
    };
    let days = match day {
        Shape::Every => None,
        Shape::EveryNth(_) => return None,
        Shape::Values(days) => {
            let plural = if days.len() > 1 { "s" } else { "" };
            let list = listed(days.iter().map(u32::to_string));
            let of = months.as_deref().unwrap_or("every month");
            Some(format!("on day{plural} {list} of {of}"))
        }
    };
    let weekdays = match weekday {
        Shape::Every => None,
        Shape::EveryNth(_) => return None,
        Shape::Values(weekdays) => {
            let mut weekdays: Vec<u32> = weekdays.iter().map(|day| day % 7).collect();
            weekdays.sort_unstable();
            weekdays.dedup();
            Some(listed(
                weekdays
                    .iter()
                    .map(|&day| WEEKDAYS[day as usize].to_owned()),
            ))
        }
    };
    Some(match (days, weekdays, months) {
        (None, None, None) => EVERY_DAY.to_owned(),
        (None, None, Some(months)) => format!("every day in {months}"),
        (Some(days), None, _) => days,
        (None, Some(weekdays), None) => format!("every {weekdays}"),
        (None, Some(weekdays), Some(months)) => format!("every {weekdays} in {months}"),
        (Some(days), Some(weekdays), None) => format!("{days} and on every {weekdays}"),
        (Some(days), Some(weekdays), Some(months)) => {
            format!("{days} and on every {weekdays} in {months}")
        }
    })
}

/// "a", "a and b", "a, b and c".
fn listed(words: impl Iterator<Item = String>) -> String {
    let words: Vec<String> = words.collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => String::new(),
    }
}
