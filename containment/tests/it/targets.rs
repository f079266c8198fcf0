//! The fuzz targets under a random driver, for machines without a fuzzer. A failure names its seed and its input.

use std::panic::{AssertUnwindSafe, catch_unwind};

use containment::mutate::{Random, mutate};
use containment::targets::{TARGETS, Target};

/// Inputs for each target: some seconds.
const INPUTS: usize = 1500;

/// Runs target `name` with inputs that follow from a new seed. To see a failure again, start from the seed it names.
fn drive(name: &str) {
    let &(_, target, seeds): &Target = TARGETS.iter().find(|(known, ..)| *known == name).unwrap();
    let body = move || {
        let mut random = Random::from_system();
        for round in 0..INPUTS {
            let input = mutate(&mut random, seeds);
            if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
                panic!("seed {}, round {round}: {}", random.seed(), input.escape_ascii());
            }
        }
    };
    // The stack that executions need.
    std::thread::Builder::new().stack_size(8 << 20).spawn(body).unwrap().join().unwrap();
}

#[test]
fn any_script_is_refused_or_runs_and_ends() {
    drive("script");
}

#[test]
fn any_input_is_refused_or_read_as_it_is() {
    drive("input");
}

#[test]
fn any_result_is_refused_or_written() {
    drive("result");
}

#[test]
fn any_release_is_refused_or_read() {
    drive("release");
}

#[test]
fn the_inputs_to_start_from_are_good_for_something() {
    for (_, target, seeds) in TARGETS {
        for seed in *seeds {
            let body = || target(seed);
            std::thread::scope(|scope| {
                std::thread::Builder::new().stack_size(8 << 20).spawn_scoped(scope, body).unwrap().join().unwrap();
            });
        }
    }
}
