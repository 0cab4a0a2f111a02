//! What is said of a call that the person in front of the client did not confirm.

use super::Reader;
use super::Reply;
use super::decided::add;
use super::decided::decision;
use super::decided::messages;
use super::failed;
use super::reference;
use crate::broker::Said;
use crate::broker::Unasked;
use crate::broker::Unconfirmed;
use crate::policy::Denial;
use crate::tool::CallId;

const NO_MORE: &str = "This decision is final for this call. Do not split, rephrase or repeat it.";

/// A no that a yes of the person would have lifted.
pub(super) fn not_confirmed(
    call: &CallId,
    (denial, why): (&Denial, Unconfirmed),
    reader: Reader,
) -> Reply {
    let mut lines = messages(denial);
    let (what, next) = told(why);
    lines.push(format!("{what} Nothing was sent."));
    lines.push(next.to_owned());
    lines.push(reference(call));
    let mut decision = decision(call, denial, &[]);
    add(&mut decision, [("confirmation", why.word().into())]);
    failed(&lines, Some(decision), reader)
}

/// What happened, and what the model should do.
fn told(why: Unconfirmed) -> (&'static str, &'static str) {
    match why {
        Unconfirmed::Unasked(Unasked::Client) => (
            "The person in front of the client must confirm this call, and this client cannot ask them: it did not declare `elicitation`, or no forms in it.",
            "From this client the call is refused whenever it is made: do not repeat it. Tell the person what you wanted to do; they can do it by other means, or with a client that asks them.",
        ),
        Unconfirmed::Unasked(Unasked::Nobody) => (
            "The person in front of the client must confirm this, and nobody can be asked about a request of this kind.",
            NO_MORE,
        ),
        Unconfirmed::Unasked(Unasked::NotAll) => (
            "The person in front of the client must confirm this call, and could not be shown all that it sends: it has more than its arguments, or very large ones, or decides on a call that has.",
            "Call with the arguments alone, and with less in them, if that means the same; as it is, the call is refused whenever it is made.",
        ),
        Unconfirmed::Unasked(Unasked::Midway) => (
            "The person in front of the client must confirm this call, and it goes on from one that they did not confirm.",
            "Do not go on with it. If it is still wanted, make the call anew, from its start: then they are asked.",
        ),
        Unconfirmed::Said(Said::Declined) => (
            "The person in front of the client was asked to confirm exactly this call, and declined.",
            NO_MORE,
        ),
        Unconfirmed::Said(Said::No) => (
            "The person in front of the client was asked to confirm exactly this call, and did not say yes.",
            NO_MORE,
        ),
        Unconfirmed::Said(Said::Cancelled) => (
            "The person in front of the client was asked to confirm exactly this call, and closed the question.",
            "Do not repeat the call by yourself. Ask the person in the conversation what they want; make it again only if they say so.",
        ),
        Unconfirmed::Said(Said::Nothing) => (
            "The person in front of the client was asked to confirm exactly this call, and there was no answer in time.",
            "Do not repeat the call by yourself. Ask the person in the conversation whether they want it; make it again only if they say so.",
        ),
        // A yes is not told of.
        Unconfirmed::Said(Said::Unreadable | Said::Yes) => (
            "The person in front of the client was asked to confirm exactly this call, and what the client answered is no answer to that.",
            "Do not repeat the call by yourself. Tell the person that their client could not confirm it.",
        ),
        Unconfirmed::Less => (
            "The person in front of the client said yes, and more stops this call by now than what they were asked about.",
            "If it is still wanted, make the call anew, from its start: then they are asked about all of it.",
        ),
        Unconfirmed::Over => (
            "The question to the person in front of the client is not open any more: it was answered before, or too long ago.",
            "An answer counts once. Find out whether the call was made before anything else is done about it; if it is still wanted, make the call anew, without `requestState` and `inputResponses`.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_stay_unconfirmed_says_what_to_do_and_has_its_own_word() {
        let asked = [
            Said::Declined,
            Said::No,
            Said::Cancelled,
            Said::Nothing,
            Said::Unreadable,
        ];
        let unasked = [
            Unasked::Client,
            Unasked::Nobody,
            Unasked::NotAll,
            Unasked::Midway,
        ];
        let all = asked.map(Unconfirmed::Said).into_iter();
        let all = all
            .chain(unasked.map(Unconfirmed::Unasked))
            .chain([Unconfirmed::Less, Unconfirmed::Over]);
        let mut words = Vec::new();
        for why in all {
            let (what, next) = told(why);
            assert!(what.contains("the client"), "{what}");
            let says = [
                "not repeat",
                "not go on",
                "refused whenever",
                "or repeat it",
                "counts once",
                "all of it",
            ];
            assert!(says.iter().any(|said| next.contains(said)), "{next}");
            assert!(!words.contains(&why.word()));
            words.push(why.word());
        }
    }
}
