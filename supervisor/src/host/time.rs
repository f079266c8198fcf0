//! Waiting: for a time, for each other, for a service of someone else.

use std::rc::Rc;
use std::str::FromStr;
use std::time::{Duration, Instant};

use croner::Cron;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use mlua::{Lua, Result, Table, UserData, UserDataMethods};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::told;
use crate::probe::{self, Probe};
use crate::supervisor::Supervisor;
use crate::wait::Wait;

/// Longer than any container lives; more seconds than that overflow.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A time in seconds, as scripts give it; checked by the Luau part.
pub(super) fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(FOR_EVER).min(FOR_EVER)
}

/// A coroutine beside the main one.
pub(super) struct Task(pub(super) AbortHandle);

impl UserData for Task {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("cancel", |_, task, ()| {
            task.0.abort();
            Ok(())
        });
    }
}

/// Something that coroutines tell each other.
struct Event(Rc<Notify>);

impl UserData for Event {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("wait", |lua, event, ()| {
            let event = Rc::clone(&event.0);
            // Events tell of children and services, and all of these come to an end.
            Ok(Wait::of_child(lua, async move { event.notified().await }))
        });
        methods.add_method("fire", |_, event, ()| {
            event.0.notify_waiters();
            Ok(())
        });
    }
}

pub(super) fn add(lua: &Lua, native: &Table, supervisor: &Rc<Supervisor>) -> Result<()> {
    let begin = Instant::now();
    native.set("clock", lua.create_function(move |_, ()| Ok(begin.elapsed().as_secs_f64()))?)?;
    let sleep = |lua: &Lua, time: f64| Ok(Wait::new(lua, tokio::time::sleep(seconds(time))));
    native.set("sleep", lua.create_function(sleep)?)?;
    native.set("never", lua.create_function(|lua, ()| Ok(Wait::new(lua, std::future::pending::<()>())))?)?;
    native.set("event", lua.create_function(|_, ()| Ok(Event(Rc::default())))?)?;
    native.set(
        "is_wait",
        lua.create_function(|_, value: mlua::Value| {
            Ok(value.as_userdata().is_some_and(mlua::AnyUserData::is::<Wait>))
        })?,
    )?;

    let it = Rc::clone(supervisor);
    let until_stop = move |lua: &Lua, ()| {
        let it = Rc::clone(&it);
        Ok(Wait::new(lua, async move {
            it.told_to_stop().await;
        }))
    };
    native.set("until_stop", lua.create_function(until_stop)?)?;

    let cron = |lua: &Lua, pattern: String| told(lua, until_next(&pattern, &Timestamp::now().to_zoned(TimeZone::UTC)));
    native.set("cron", lua.create_function(cron)?)?;

    let ask = |lua: &Lua, (kind, target, patience): (String, String, f64)| {
        let probe = match Probe::parse(&kind, &target) {
            Ok(probe) => probe,
            Err(err) => return told::<Wait>(lua, Err(err)),
        };
        let asked = async move {
            probe::ask(&probe, seconds(patience)).await.map_or_else(|why| Some(why.to_string()), |()| None)
        };
        told::<Wait>(lua, Ok::<_, String>(Wait::new(lua, asked)))
    };
    native.set("probe", lua.create_function(ask)?)
}

/// Seconds until a pattern's next time, in UTC.
fn until_next(pattern: &str, now: &Zoned) -> std::result::Result<f64, String> {
    let cron = Cron::from_str(pattern).map_err(|err| {
        format!(
            "read the cron pattern `{pattern}`: {err}: expected minute, hour, day, month, weekday, as in `*/5 * * * *`"
        )
    })?;
    let next = cron.find_next_occurrence(now, false).map_err(|err| format!("`{pattern}` has no next time: {err}"))?;
    Ok(now.duration_until(&next).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until(pattern: &str) -> std::result::Result<f64, String> {
        let now: Timestamp = "2026-03-01T10:02:30Z".parse().unwrap();
        until_next(pattern, &now.to_zoned(TimeZone::UTC))
    }

    #[test]
    fn the_next_time_of_a_pattern_is_found() {
        assert_eq!(until("*/5 * * * *"), Ok(150.0));
        assert_eq!(until("0 0 * * *"), Ok(50_250.0));
        assert_eq!(until("*/10 * * * * *"), Ok(10.0), "a sixth field in front is seconds");
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        assert!(until("every day").unwrap_err().contains("read the cron pattern `every day`"));
        assert!(until("0 0 30 2 *").unwrap_err().contains("has no next time"), "{:?}", until("0 0 30 2 *"));
    }

    #[test]
    fn times_have_a_bound() {
        assert_eq!(seconds(0.25), Duration::from_millis(250));
        assert_eq!(seconds(f64::INFINITY), FOR_EVER);
    }
}
