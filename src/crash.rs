//! Named points at which a test kills the process, and switches that break an
//! invariant on purpose, so that a test can show that it would be noticed.
//!
//! Without the feature `crash-points` everything here is empty. With it,
//! `COUNTERSIGN_CRASH=store.admit.after-commit:3` kills the process at the
//! third passage of that point, and `COUNTERSIGN_MUTATE=ack-before-commit`
//! switches that mutation on.

/// Kills the process here if a test asked for it.
#[cfg(feature = "crash-points")]
pub fn point(name: &str) {
    armed::point(name);
}

/// Kills the process here if a test asked for it.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub fn point(_name: &str) {}

/// Kills the process at the point `what.doing.when` if a test asked for it.
#[cfg(feature = "crash-points")]
pub fn step(what: &str, doing: &str, when: &str) {
    armed::point(&format!("{what}.{doing}.{when}"));
}

/// Kills the process at the point `what.doing.when` if a test asked for it.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub fn step(_what: &str, _doing: &str, _when: &str) {}

/// Whether a test asked to be killed at the point `what.doing.when`: there is
/// something to be done by halves first.
#[cfg(feature = "crash-points")]
pub fn strikes(what: &str, doing: &str, when: &str) -> bool {
    armed::strikes(&format!("{what}.{doing}.{when}"))
}

/// Whether a test asked to be killed at the point `what.doing.when`.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub fn strikes(_what: &str, _doing: &str, _when: &str) -> bool {
    false
}

/// Kills the process.
#[cfg(feature = "crash-points")]
pub fn kill() {
    armed::kill();
}

/// Kills the process.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub fn kill() {}

/// Whether a test switched this mutation on.
#[cfg(feature = "crash-points")]
pub fn mutated(name: &str) -> bool {
    armed::mutated(name)
}

/// Whether a test switched this mutation on.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub fn mutated(_name: &str) -> bool {
    false
}

/// Gives a mutation the time to do its harm.
#[cfg(feature = "crash-points")]
pub fn linger() {
    std::thread::sleep(std::time::Duration::from_millis(200));
}

/// Gives a mutation the time to do its harm.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub fn linger() {}

#[cfg(feature = "crash-points")]
mod armed {
    use rustix::process::Signal;
    use rustix::process::getpid;
    use rustix::process::kill_process;
    use std::sync::LazyLock;
    use std::sync::atomic::AtomicU32;
    use std::sync::atomic::Ordering;

    struct Armed {
        point: String,
        left: AtomicU32,
    }

    static ARMED: LazyLock<Option<Armed>> = LazyLock::new(|| {
        let text = std::env::var("COUNTERSIGN_CRASH").ok()?;
        let (point, left) = text.rsplit_once(':')?;
        Some(Armed {
            point: point.to_owned(),
            left: AtomicU32::new(left.parse().ok()?),
        })
    });

    static MUTATION: LazyLock<Option<String>> =
        LazyLock::new(|| std::env::var("COUNTERSIGN_MUTATE").ok());

    pub(super) fn point(name: &str) {
        if strikes(name) {
            kill();
        }
    }

    pub(super) fn strikes(name: &str) -> bool {
        let Some(armed) = &*ARMED else { return false };
        armed.point == name && armed.left.fetch_sub(1, Ordering::SeqCst) == 1
    }

    pub(super) fn kill() {
        let _sent = kill_process(getpid(), Signal::KILL);
        // The signal is on its way: nothing may happen after this point.
        loop {
            std::thread::park();
        }
    }

    pub(super) fn mutated(name: &str) -> bool {
        MUTATION.as_deref() == Some(name)
    }
}
