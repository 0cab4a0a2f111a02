//! Whose connections are open: one principal has its share of them, so that others are
//! served, whatever those connections are busy with.

use crate::principal::PrincipalId;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

/// Whose a connection is, as the last request on it said.
#[derive(Debug, Default)]
pub(super) struct Seat(Mutex<Option<PrincipalId>>);

/// How many connections each principal has.
#[derive(Debug, Default)]
pub(super) struct Seats(Mutex<HashMap<PrincipalId, usize>>);

impl Seats {
    /// Takes the connection for whoever calls on it. False where they have so many
    /// others.
    pub(super) fn take(&self, seat: &Seat, who: &PrincipalId, most: usize) -> bool {
        let mut whose = locked(&seat.0);
        if whose.as_ref() == Some(who) {
            return true;
        }
        let mut taken = locked(&self.0);
        let own = taken.entry(who.clone()).or_default();
        if *own >= most {
            return false;
        }
        *own += 1;
        if let Some(before) = whose.replace(who.clone()) {
            free(&mut taken, &before);
        }
        true
    }

    /// The connection has ended.
    pub(super) fn leave(&self, seat: &Seat) {
        if let Some(before) = locked(&seat.0).take() {
            free(&mut locked(&self.0), &before);
        }
    }
}

fn free(taken: &mut HashMap<PrincipalId, usize>, who: &PrincipalId) {
    let left = taken.get_mut(who).map(|own| {
        *own = own.saturating_sub(1);
        *own
    });
    if left == Some(0) {
        taken.remove(who);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only single operations happen under the lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_has_its_share_and_what_ended_or_is_another_counts_no_more() {
        let [alice, bob] = ["alice", "bob"].map(|name| PrincipalId::parse(name).unwrap());
        let seats = Seats::default();
        let [one, two, three] = [(); 3].map(|()| Seat::default());
        assert!(seats.take(&one, &alice, 2) && seats.take(&two, &alice, 2));
        assert!(!seats.take(&three, &alice, 2));
        // Who has a connection goes on with it, and others have their own.
        assert!(seats.take(&one, &alice, 2));
        assert!(seats.take(&three, &bob, 2));
        assert!(seats.take(&two, &bob, 2));
        assert!(seats.take(&three, &alice, 2));
        seats.leave(&one);
        seats.leave(&one);
        seats.leave(&three);
        seats.leave(&two);
        assert!(locked(&seats.0).is_empty());
    }
}
