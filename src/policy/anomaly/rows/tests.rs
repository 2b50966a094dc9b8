use chrono::{DateTime, Utc};
use proptest::prelude::*;

use super::*;
use crate::policy::anomaly::WINDOW;

const SENSITIVITY: Sensitivity = Sensitivity {
    factor: 200,
    share: 50,
};

fn at(day: u64) -> DateTime<Utc> {
    let seconds = i64::try_from(1_752_000_000 + day * 86_400).unwrap();
    DateTime::from_timestamp(seconds, 0).unwrap()
}

/// Tables with so many rows; the content follows from the number, but for those that have their own.
fn tables(rows: &[(&str, u64)]) -> Tables {
    let rows = rows.iter().map(|(name, count)| {
        let content = u128::from(*count);
        (
            (*name).to_owned(),
            Rows {
                count: *count,
                content,
            },
        )
    });
    rows.collect()
}

/// What the last of these backups shows to have fallen.
fn fallen(backups: &[&[(&str, u64)]]) -> Vec<String> {
    let mut history = RowHistory::default();
    let (new, before) = backups.split_last().unwrap();
    for (day, rows) in (0..).zip(before) {
        history.push(&format!("b{day}"), at(day), &tables(rows));
    }
    let check = RowCheck {
        history: &history,
        new: &tables(new),
        sensitivity: SENSITIVITY,
        ignores: &|table| table.starts_with("ignored."),
    };
    let fallen = check.fallen();
    for loss in &fallen {
        assert!(!check.is_back(loss), "{loss:?}");
    }
    fallen
        .iter()
        .map(|loss| {
            let now = loss
                .now
                .map_or_else(|| "gone".to_owned(), |now| now.to_string());
            format!("{} {} {now}", loss.table, loss.before)
        })
        .collect()
}

/// What the last of these numbers of rows of one table shows; none where there is no such table.
fn fallen_one(counts: &[Option<u64>]) -> bool {
    let backups: Vec<Vec<(&str, u64)>> = counts
        .iter()
        .map(|count| {
            let other = ("public.other", 1_000_003);
            [Some(other), count.map(|count| ("public.t", count))]
                .into_iter()
                .flatten()
                .collect()
        })
        .collect();
    let backups: Vec<&[(&str, u64)]> = backups.iter().map(Vec::as_slice).collect();
    !fallen(&backups).is_empty()
}

#[test]
fn a_table_that_is_emptied_vanishes_or_loses_more_than_a_share_has_fallen() {
    for (counts, expected) in [
        (&[Some(0)][..], false),
        (&[Some(5), Some(5)], false),
        (&[Some(5), Some(0)], true),
        (&[Some(1), Some(0)], true),
        (&[Some(5), None], true),
        // An empty one has nothing to lose.
        (&[Some(0), None], false),
        (&[None, Some(0)], false),
        (&[Some(100), Some(50)], false),
        (&[Some(100), Some(49)], true),
        // Of a few rows, one more or less says nothing.
        (&[Some(9), Some(1)], false),
        (&[Some(u64::MAX), Some(1)], true),
        // It is empty already.
        (&[Some(5), Some(0), Some(0)], false),
        // Twice is a habit.
        (&[Some(5), Some(0), Some(5), Some(0)], true),
        (
            &[Some(5), Some(0), Some(5), Some(0), Some(5), Some(0)],
            false,
        ),
        // What has shrunk twice is not emptied by habit; the other way round it is.
        (
            &[Some(50), Some(20), Some(50), Some(20), Some(50), Some(0)],
            true,
        ),
        (
            &[Some(50), Some(0), Some(50), Some(0), Some(50), Some(20)],
            false,
        ),
        // After a peak it is back to what is usual.
        (
            &[Some(50), Some(51), Some(52), Some(53), Some(5000), Some(54)],
            false,
        ),
        (
            &[Some(0), Some(0), Some(0), Some(0), Some(500), Some(0)],
            false,
        ),
        (
            &[Some(50), Some(51), Some(52), Some(53), Some(5000), Some(9)],
            true,
        ),
        // The nights for which it was empty were reported, and are not what is usual.
        (
            &[Some(1204), Some(0), Some(0), Some(0), Some(1300), Some(100)],
            true,
        ),
    ] {
        assert_eq!(fallen_one(counts), expected, "{counts:?}");
    }
}

#[test]
fn those_with_the_most_rows_come_first() {
    let before = [("public.a", 10), ("public.b", 1000), ("public.c", 100)];
    let expected = ["public.b 1000 11", "public.c 100 gone", "public.a 10 0"];
    let after = [("public.a", 0), ("public.b", 11)];
    assert_eq!(fallen(&[&before, &after]), expected);
}

#[test]
fn a_partition_among_others_a_new_name_and_what_nobody_watches_are_quiet() {
    let quiet = |before: &[(&str, u64)], after: &[(&str, u64)]| {
        assert_eq!(fallen(&[before, after]), [""; 0], "{before:?}, {after:?}");
    };
    // The oldest partition goes, the next one comes.
    quiet(
        &[
            ("log.e_2025_06", 900),
            ("log.e_2025_07", 1000),
            ("log.e_2025_08", 950),
        ],
        &[
            ("log.e_2025_07", 1000),
            ("log.e_2025_08", 980),
            ("log.e_2025_09", 4),
        ],
    );
    quiet(
        &[("log.e1", 10), ("log.e2", 1000), ("log.e10", 950)],
        &[("log.e1", 0), ("log.e2", 1000), ("log.e10", 950)],
    );
    // Renamed, and a new one in its place.
    quiet(&[("public.a", 900)], &[("public.a_old", 900)]);
    quiet(
        &[("public.a", 900)],
        &[("public.a_old", 900), ("public.a", 0)],
    );
    // In another schema, and busy since.
    quiet(&[("public.a", 900)], &[("shop.a", 903)]);
    quiet(&[("ignored.a", 900)], &[("ignored.a", 0)]);

    let odd = |before: &[(&str, u64)], after: &[(&str, u64)]| {
        assert_ne!(fallen(&[before, after]), [""; 0], "{before:?}, {after:?}");
    };
    // Nothing of them remains, or hardly anything.
    odd(
        &[("log.e_1", 900), ("log.e_2", 1000)],
        &[("log.e_1", 0), ("log.e_2", 0)],
    );
    odd(
        &[("log.e_1", 900), ("log.e_2", 1000), ("log.e_3", 20)],
        &[("log.e_3", 20)],
    );
    // One alone has no others.
    odd(&[("log.e_1", 900)], &[("log.f_1", 3)]);
    // The copy was there before.
    odd(
        &[("public.a", 900), ("public.copy", 900)],
        &[("public.a", 0), ("public.copy", 900)],
    );
    odd(&[("public.a", 900)], &[("shop.a", 3)]);
}

#[test]
fn rows_are_back_when_less_than_the_share_is_missing() {
    let loss = |now| TableLoss {
        table: "public.a".to_owned(),
        before: 1000,
        now,
    };
    for (now, expected) in [
        (None, false),
        (Some(0), false),
        (Some(499), false),
        (Some(500), true),
        (Some(2000), true),
    ] {
        let new: Vec<(&str, u64)> = now.map(|now| ("public.a", now)).into_iter().collect();
        let check = RowCheck {
            history: &RowHistory::default(),
            new: &tables(&new),
            sensitivity: SENSITIVITY,
            ignores: &|_| false,
        };
        assert_eq!(check.is_back(&loss(Some(0))), expected, "{now:?}");
        assert_eq!(check.count("public.a"), now);
    }
    assert_eq!(loss(None).lost(), 1000);
    assert_eq!(loss(Some(1100)).lost(), 0);
}

/// The day on which somebody empties a table, and the one on which its rows are back.
const DISASTER: u64 = 200;
const BACK: u64 = 204;

/// A day of an invented shop: `orders` grows; `sessions` are few at the end of the week; `load` is
/// filled every second night; `invoices` pile up at the end of the month; `events` are partitioned by
/// month, of which three are kept; `products` are replaced every month.
fn shop(day: u64) -> Vec<(String, u64)> {
    let orders = 100_000 + day * 700;
    let is_lost = (DISASTER..BACK).contains(&day);
    let (month, of_month) = (day / 30, day % 30);
    let mut rows = vec![
        ("public.orders".to_owned(), if is_lost { 0 } else { orders }),
        ("public.customers".to_owned(), 5000 + day * 11),
        (
            "public.sessions".to_owned(),
            if day % 7 >= 5 { 31 } else { 480 + day % 13 },
        ),
        (
            "staging.load".to_owned(),
            if day.is_multiple_of(2) { 0 } else { 9000 + day },
        ),
        (
            "public.invoices".to_owned(),
            if of_month >= 28 { 4000 } else { 120 + day % 9 },
        ),
        (
            if of_month == 3 {
                "public.products_old".to_owned()
            } else {
                "public.products".to_owned()
            },
            7000 + month,
        ),
    ];
    for month in month.saturating_sub(2)..=month {
        let days = (day - month * 30).min(29);
        rows.push((format!("log.events_{month:03}"), 50 + days * 1500));
    }
    rows
}

#[test]
fn a_year_with_weekends_growth_partitions_and_staging_tables_falls_once_for_the_disaster() {
    let mut history = RowHistory::default();
    let mut found = Vec::new();
    for day in 0..380 {
        let rows = shop(day);
        let rows: Vec<(&str, u64)> = rows
            .iter()
            .map(|(name, rows)| (name.as_str(), *rows))
            .collect();
        let new = tables(&rows);
        let check = RowCheck {
            history: &history,
            new: &new,
            sensitivity: SENSITIVITY,
            ignores: &|_| false,
        };
        let fallen = check.fallen().into_iter();
        // What is usual, the first two weeks show.
        found.extend(fallen.filter(|_| day > 15).map(|loss| (day, loss.table)));
        history.push(&format!("b{day}"), at(day), &new);
    }
    assert_eq!(found, [(DISASTER, "public.orders".to_owned())]);
}

proptest! {
    #[test]
    fn what_only_grows_never_falls(
        mut counts in prop::collection::vec(any::<u64>(), 1..20),
    ) {
        counts.sort_unstable();
        let counts: Vec<_> = counts.into_iter().map(Some).collect();
        prop_assert!(!fallen_one(&counts));
    }

    #[test]
    fn a_table_with_rows_that_never_fell_before_has_fallen_when_it_is_empty(
        mut counts in prop::collection::vec(1..u64::MAX, 1..20), is_gone in any::<bool>(),
    ) {
        counts.sort_unstable();
        let last = (!is_gone).then_some(0);
        let counts: Vec<_> = counts.into_iter().map(Some).chain([last]).collect();
        prop_assert!(fallen_one(&counts));
    }

    #[test]
    fn only_what_fell_in_the_last_backups_is_a_habit(filled in 1_usize..30) {
        let mut counts = vec![Some(5), Some(0), Some(5), Some(0)];
        counts.resize(4 + filled, Some(5));
        counts.push(Some(0));
        let is_forgotten = filled + 4 > WINDOW + 1;
        prop_assert_eq!(fallen_one(&counts), is_forgotten);
    }
}

#[test]
fn a_table_has_grown_when_it_has_many_times_its_usual_rows_and_those_of_the_backup_before() {
    for (counts, now, expected) in [
        (&[2000, 2000, 2000, 2000, 2000][..], 4001, true),
        (&[2000, 2000, 2000, 2000, 2000], 4000, false),
        // It has grown already.
        (&[2000, 2000, 2000, 2000, 2000, 9000], 9100, false),
        (&[2000, 2000, 2000, 2000, 2000, 9000], 19_000, true),
        // It comes back from a trough.
        (&[2000, 2000, 2000, 2000, 2000, 10], 2000, false),
        // Small, or not known for long.
        (&[20, 20, 20, 20, 20], 900, false),
        (&[2000, 2000, 2000, 2000], 90_000, false),
    ] {
        let mut history = RowHistory::default();
        for (day, count) in (0..).zip(counts) {
            history.push(
                &format!("b{day}"),
                at(day),
                &tables(&[("public.t", *count)]),
            );
        }
        let check = |ignored: bool| {
            RowCheck {
                history: &history,
                new: &tables(&[("public.t", now)]),
                sensitivity: SENSITIVITY,
                ignores: &move |_| ignored,
            }
            .grown()
        };
        let grown = check(false);
        assert_eq!(grown.len(), usize::from(expected), "{counts:?} {now}");
        assert!(grown.iter().all(|one| one.now == now && one.usual == 2000));
        assert_eq!(check(true), []);
    }
}
