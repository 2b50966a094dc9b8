//! Sizes as drawings: a line in a row of a table, and a chart of one series with what is usual. Pure.

use std::fmt::Write as _;

use chrono::{DateTime, FixedOffset};
use maud::{Markup, html};

use crate::display::{counted, size};
use crate::policy::Usual;

/// The size of a line in a table, in CSS pixels.
const LINE: (f64, f64) = (96.0, 22.0);

/// The size of a chart, in the units of its own.
const CHART: (f64, f64) = (640.0, 170.0);

/// What stays free around the curve: left, top, right, bottom.
const MARGINS: (f64, f64, f64, f64) = (8.0, 10.0, 8.0, 8.0);

/// Sizes of the newest backups as a line, each as high as its share of the largest.
pub(super) fn line(sizes: &[u64]) -> Markup {
    let (Some(first), Some(last)) = (sizes.first(), sizes.last()) else {
        return html! {};
    };
    let largest = sizes.iter().copied().max().unwrap_or_default().max(1);
    let (width, height) = LINE;
    let step = if sizes.len() > 1 {
        (width - 4.0) / number(sizes.len() as u64 - 1)
    } else {
        0.0
    };
    let mut path = String::new();
    let mut end = (2.0, height / 2.0);
    for (index, size) in sizes.iter().enumerate() {
        let x = 2.0 + step * number(index as u64);
        let y = height - 2.0 - (height - 4.0) * number(*size) / number(largest);
        let command = if index == 0 { 'M' } else { 'L' };
        // Writing to a string cannot fail.
        let _ = write!(path, "{command}{x:.1} {y:.1}");
        end = (x, y);
    }
    let title = format!(
        "{}, oldest {}, newest {}",
        counted(sizes.len() as u64, "backup", "backups"),
        size(*first),
        size(*last)
    );
    let view = format!("0 0 {width} {height}");
    html! {
        svg.line viewBox=(view) width=(width) height=(height) role="img" aria-label=(title) {
            title { (title) }
            path d=(path) {}
            circle cx=(format!("{:.1}", end.0)) cy=(format!("{:.1}", end.1)) r="2" {}
        }
    }
}

/// "+12 %": the newest size against the oldest of the trend; none where there is nothing to compare.
pub(super) fn change(sizes: &[u64]) -> Option<String> {
    let (first, last) = (*sizes.first()?, *sizes.last()?);
    if sizes.len() < 2 || first == 0 {
        return None;
    }
    let (first, last) = (i128::from(first), i128::from(last));
    let percent = (last - first) * 100 / first;
    Some(format!("{percent:+} %"))
}

/// Where the points of a chart lie.
struct Scale {
    first: i64,
    seconds: i64,
    top: u64,
}

impl Scale {
    fn x(&self, at: DateTime<FixedOffset>) -> f64 {
        let (left, _, right, _) = MARGINS;
        let width = CHART.0 - left - right;
        let passed = u64::try_from(at.timestamp() - self.first).unwrap_or_default();
        let all = u64::try_from(self.seconds).unwrap_or_default().max(1);
        left + width * number(passed) / number(all)
    }

    fn y(&self, bytes: u64) -> f64 {
        let (_, top, _, bottom) = MARGINS;
        let height = CHART.1 - top - bottom;
        let share = number(bytes.min(self.top)) / number(self.top.max(1));
        top + height * (1.0 - share)
    }
}

/// Sizes over time, with the band of what is usual; nothing for fewer than two backups.
pub(super) fn sizes(
    series: &str,
    history: &[(DateTime<FixedOffset>, u64)],
    usual: Option<Usual>,
) -> Markup {
    let (Some((first, _)), Some((last, newest)), true) =
        (history.first(), history.last(), history.len() > 1)
    else {
        return html! {};
    };
    let band = usual.map(|usual| {
        (
            usual.median.saturating_sub(usual.spread),
            usual.median.saturating_add(usual.spread),
        )
    });
    let largest = history.iter().map(|(_, bytes)| *bytes).max();
    let largest = largest.unwrap_or_default();
    let scale = Scale {
        first: first.timestamp(),
        seconds: last.timestamp() - first.timestamp(),
        top: largest.max(band.map_or(0, |(_, high)| high)).max(1),
    };
    let mut path = String::new();
    for (index, (at, bytes)) in history.iter().enumerate() {
        let command = if index == 0 { 'M' } else { 'L' };
        // Writing to a string cannot fail.
        let _ = write!(path, "{command}{:.1} {:.1}", scale.x(*at), scale.y(*bytes));
    }
    let usually = band.map(|(low, high)| format!(", usually {} to {}", size(low), size(high)));
    let title = format!(
        "Sizes of {} of series {series}: newest {}, largest {}{}",
        counted(history.len() as u64, "backup", "backups"),
        size(*newest),
        size(largest),
        usually.unwrap_or_default()
    );
    let day = |at: &DateTime<FixedOffset>| at.format("%Y-%m-%d").to_string();
    html! {
        figure {
            figcaption { (title) }
            svg.chart viewBox=(format!("0 0 {} {}", CHART.0, CHART.1)) role="img" aria-label=(title) {
                @if let Some((low, high)) = band {
                    (usual_band(&scale, low, high))
                }
                (axis(&scale))
                path.curve d=(path) {}
                @for (at, bytes) in history {
                    (point(&scale, *at, *bytes))
                }
            }
            p.axis { span { (day(first)) } span { (day(last)) } }
        }
    }
}

fn usual_band(scale: &Scale, low: u64, high: u64) -> Markup {
    let (left, _, right, _) = MARGINS;
    let (top, bottom) = (scale.y(high), scale.y(low));
    html! {
        rect.usual x=(left) y=(format!("{top:.1}")) width=(CHART.0 - left - right)
            height=(format!("{:.1}", bottom - top)) {}
    }
}

fn axis(scale: &Scale) -> Markup {
    let (left, _, right, _) = MARGINS;
    let y = format!("{:.1}", scale.y(0));
    html! { line.axis x1=(left) y1=(y) x2=(CHART.0 - right) y2=(y) {} }
}

fn point(scale: &Scale, at: DateTime<FixedOffset>, bytes: u64) -> Markup {
    let (x, y) = (scale.x(at), scale.y(bytes));
    html! {
        circle cx=(format!("{x:.1}")) cy=(format!("{y:.1}")) r="2.5" {
            title { (at.format("%Y-%m-%d %H:%M").to_string()) ": " (size(bytes)) }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a place in a drawing")]
fn number(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_change_is_that_from_the_oldest_to_the_newest() {
        for (sizes, expected) in [
            (&[][..], None),
            (&[1], None),
            (&[0, 5], None),
            (&[100, 300, 112], Some("+12 %")),
            (&[100, 50], Some("-50 %")),
            (&[u64::MAX, 0], Some("-100 %")),
        ] {
            assert_eq!(change(sizes).as_deref(), expected, "{sizes:?}");
        }
    }

    #[test]
    fn a_drawing_stays_within_its_frame_whatever_the_sizes_are() {
        for sizes in [
            &[0_u64][..],
            &[0, 0, 0],
            &[u64::MAX, 0, 1],
            &[5; 20],
            &[1, 2, 3, u64::MAX],
        ] {
            let text = line(sizes).into_string();
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
            let start = DateTime::parse_from_rfc3339("2025-07-09T02:00:00+03:00").unwrap();
            // Two of the same second, and a clock that went back.
            let history: Vec<_> = sizes
                .iter()
                .enumerate()
                .map(|(index, size)| {
                    let hours = i64::try_from(index / 2).unwrap();
                    (start + chrono::TimeDelta::hours(hours), *size)
                })
                .collect();
            let usual = Usual::of(sizes);
            let text = super::sizes("daily", &history, usual).into_string();
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
            assert_eq!(text.is_empty(), sizes.len() < 2);
            for y in text.split(" cy=\"").skip(1) {
                let y: f64 = y.split('"').next().unwrap().parse().unwrap();
                assert!((0.0..=CHART.1).contains(&y), "{y}");
            }
        }
        assert_eq!(line(&[]).into_string(), "");
    }
}
