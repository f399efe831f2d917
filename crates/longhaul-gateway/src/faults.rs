//! Lets stories make background tasks fail: `LONGHAUL_FAULTS=probe:panic@3,sweep:error@1`.
//!
//! In a release build there are no faults to ask for. A task calls [`point`] once a round, by the
//! first word of its name; in the round that was named it fails or panics, once.

use crate::supervise::TaskError;

/// Fails in the round that was asked for.
///
/// # Errors
/// When an error was asked for.
///
/// # Panics
/// When a panic was asked for.
#[cfg(debug_assertions)]
pub(crate) fn point(task: &str) -> Result<(), TaskError> {
    use std::sync::OnceLock;
    use std::sync::atomic::Ordering;

    static ASKED: OnceLock<Vec<Fault>> = OnceLock::new();
    let asked = ASKED.get_or_init(|| {
        let text = std::env::var("LONGHAUL_FAULTS").unwrap_or_default();
        text.split(',').filter_map(Fault::parse).collect()
    });
    for fault in asked.iter().filter(|fault| fault.task == task) {
        if fault.rounds.fetch_add(1, Ordering::Relaxed) + 1 == fault.at {
            assert!(!fault.is_panic, "a panic was asked for by LONGHAUL_FAULTS");
            return Err("an error was asked for by LONGHAUL_FAULTS".into());
        }
    }
    Ok(())
}

/// There are none.
///
/// # Errors
/// Never.
#[cfg(not(debug_assertions))]
pub(crate) fn point(_: &str) -> Result<(), TaskError> {
    Ok(())
}

#[cfg(debug_assertions)]
#[derive(Debug)]
struct Fault {
    task: String,
    is_panic: bool,
    at: u64,
    rounds: std::sync::atomic::AtomicU64,
}

#[cfg(debug_assertions)]
impl Fault {
    /// `TASK:error@ROUND` or `TASK:panic@ROUND`.
    fn parse(text: &str) -> Option<Self> {
        let (task, rest) = text.trim().split_once(':')?;
        let (kind, at) = rest.split_once('@')?;
        let is_panic = match kind {
            "panic" => true,
            "error" => false,
            _ => return None,
        };
        let rounds = Default::default();
        Some(Self { task: task.to_owned(), is_panic, at: at.parse().ok()?, rounds })
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_task_kind_and_round() {
        let fault = Fault::parse("probe:panic@3").unwrap();
        assert_eq!((fault.task.as_str(), fault.is_panic, fault.at), ("probe", true, 3));
        for text in ["", "probe", "probe:panic", "probe:burn@1", "probe:error@x"] {
            assert!(Fault::parse(text).is_none(), "{text}");
        }
    }
}
