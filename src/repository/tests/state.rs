//! What is noted of a backup while others work on it.

use super::*;

#[test]
fn a_pin_is_not_undone_by_a_verification_or_a_sweep_at_the_same_time() {
    const TIMES: u128 = 200;
    let test_directory = TestDirectory::new();
    let stem: Stem = NAME.parse().unwrap();
    test_directory.publish(run(1), NAME, PLAIN);
    let repository = &test_directory.repository;
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..TIMES {
                let checked = Check {
                    at: moment("2025-07-09T02:00:00+03:00"),
                    damage: Some(number.to_string()),
                };
                repository
                    .change_state(run(2), &stem, |state| state.checked = Some(checked))
                    .unwrap();
            }
        });
        scope.spawn(|| {
            for _ in 0..TIMES {
                repository.sweep(&test_directory.lock()).unwrap();
            }
        });
        for number in 0..TIMES {
            let pinned = number % 2 == 0;
            repository
                .change_state(run(3), &stem, |state| state.pinned = pinned.then(pin))
                .unwrap();
            let state = repository.state(&stem);
            assert_eq!(state.pinned.is_some(), pinned);
        }
    });
    let checked = repository.state(&stem).checked.unwrap();
    assert_eq!(checked.damage.unwrap(), (TIMES - 1).to_string());
    assert_eq!(test_directory.names().len(), 5);
}
