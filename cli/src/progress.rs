//! What the author sees while a change is on its way: which executors already run it.
//!
//! Only for eyes. The truth is the answer to the change itself; a look that fails is left out.

use std::future::Future;
use std::time::Duration;

use contract::api::ExecutorList;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, sleep};

use crate::manager::Manager;
use crate::output::Output;

/// A change that is live before this needs no progress; it would only flicker.
const QUIET: Duration = Duration::from_millis(150);

/// Between two looks at the executors.
const LOOK: Duration = Duration::from_millis(250);

/// Between two lines where nobody watches, for example in the log of a CI job.
const LINE: Duration = Duration::from_secs(5);

/// The result of `change`, with progress on stderr while it takes.
pub(crate) async fn shown<T>(output: Output, manager: &Manager, change: impl Future<Output = T>) -> T {
    tokio::pin!(change);
    tokio::select! {
        result = &mut change => return result,
        () = sleep(QUIET) => {}
    }
    // Dropped at the end, whatever happens: the line it drew is taken away.
    let teller = Teller::new(output);
    let looks = look_on(manager.with_timeout(Duration::from_secs(2)), teller);
    tokio::select! {
        result = &mut change => result,
        never = looks => match never {},
    }
}

async fn look_on(manager: Manager, mut teller: Teller) -> std::convert::Infallible {
    loop {
        if let Ok(executors) = manager.executors().await {
            teller.tell(&text(&executors));
        }
        sleep(LOOK).await;
    }
}

/// `waiting for executors: 4/6 on release 417`
fn text(list: &ExecutorList) -> String {
    let current = list.executors.iter().filter(|executor| executor.release == list.release).count();
    match list.executors.len() {
        all if current < all => format!("waiting for executors: {current}/{all} on release {}", list.release),
        all => format!("waiting for the manager; {all} executors run release {}", list.release),
    }
}

/// Draws one line again and again on a terminal, or writes a line now and then elsewhere.
enum Teller {
    Spinner(ProgressBar),
    Lines { output: Output, last: String, at: Instant },
}

impl Teller {
    fn new(output: Output) -> Self {
        if output.is_watched() {
            let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
            let bar = ProgressBar::new_spinner()
                .with_style(style.expect("the template is constant and valid"))
                .with_message("waiting for the manager");
            bar.enable_steady_tick(Duration::from_millis(80));
            return Self::Spinner(bar);
        }
        Self::Lines { output, last: String::new(), at: Instant::now() }
    }

    fn tell(&mut self, text: &str) {
        match self {
            Self::Spinner(bar) => bar.set_message(text.to_owned()),
            Self::Lines { output, last, at } => {
                if last != text && (last.is_empty() || at.elapsed() >= LINE) {
                    output.note(&format!("{text}\n"));
                    (*last, *at) = (text.to_owned(), Instant::now());
                }
            }
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        if let Self::Spinner(bar) = self {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use contract::api::ExecutorInfo;

    use super::*;

    fn list(releases: &[u64]) -> ExecutorList {
        let executor = |(index, &release): (usize, &u64)| ExecutorInfo {
            id: index.to_string(),
            node: "a".into(),
            program: "0.1.0".into(),
            release,
            connected: true,
            since_ms: 0,
        };
        ExecutorList { release: 417, executors: releases.iter().enumerate().map(executor).collect() }
    }

    #[test]
    fn executors_on_the_current_release_are_counted() {
        assert_eq!(text(&list(&[417, 416, 417])), "waiting for executors: 2/3 on release 417");
        assert_eq!(text(&list(&[417, 417])), "waiting for the manager; 2 executors run release 417");
    }
}
