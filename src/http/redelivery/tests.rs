//! What is found again, for how long, and by whom.

use super::streams::BYTES;
use super::streams::EVENTS;
use super::*;
use crate::http::unflushed::Unflushed;
use std::task::Waker;

fn said(text: &str) -> Outbound {
    Outbound::Request(text.into())
}

/// What a reader finds now and reads, and whether the stream is over.
fn rest(reader: &mut Reader) -> (Vec<String>, bool) {
    let (mut found, unflushed) = (Vec::new(), Unflushed::default());
    loop {
        match reader.poll_next(&Context::from_waker(Waker::noop()), None) {
            Poll::Ready(Some(mut event)) => {
                let pieces = std::iter::from_fn(|| event.next(&unflushed));
                let whole: Vec<u8> = pieces.flatten().collect();
                unflushed.all_read();
                found.push(String::from_utf8(whole).unwrap());
            }
            Poll::Ready(None) => return (found, true),
            Poll::Pending => return (found, false),
        }
    }
}

fn data(events: &[String]) -> Vec<&str> {
    let lines = events.iter().flat_map(|event| event.lines());
    lines
        .filter_map(|line| line.strip_prefix("data: "))
        .collect()
}

fn id(event: &str) -> &str {
    let line = event.lines().find_map(|line| line.strip_prefix("id: "));
    line.unwrap()
}

fn found(kept: &Arc<Redelivery>, id: &str) -> Option<Reader> {
    match kept.find(id.as_bytes()) {
        Found::Stream(reader) => Some(reader),
        Found::End | Found::Standing | Found::Nothing => None,
    }
}

#[tokio::test]
async fn a_stream_goes_on_after_the_event_that_was_read_last() {
    let kept = Redelivery::new(Resuming::Primed);
    let mut reader = kept.open();
    let other = kept.open();
    for text in ["1", "2", "3"] {
        kept.say(reader.stream(), said(text));
        kept.say(other.stream(), said("other"));
    }
    let (events, over) = rest(&mut reader);
    assert_eq!((data(&events), over), (vec!["", "1", "2", "3"], false));
    assert!(events[0].contains("\nretry: 1000\n"), "{events:?}");
    drop(reader);
    for (place, left) in [(0, vec!["1", "2", "3"]), (2, vec!["3"]), (3, vec![])] {
        let mut again = found(&kept, id(&events[place])).unwrap();
        let (rest, over) = rest(&mut again);
        assert_eq!((data(&rest), over), (left, false));
    }
    // What is said meanwhile comes once, and then what is said from then on.
    let number = 0;
    kept.say(number, said("4"));
    let mut again = found(&kept, id(&events[3])).unwrap();
    assert_eq!(data(&rest(&mut again).0), ["4"]);
    kept.say(number, said("5"));
    kept.end(number);
    let (last, over) = rest(&mut again);
    assert_eq!((data(&last), over), (vec!["5"], true));
    // All was said: there is no use in coming back.
    assert!(matches!(kept.find(id(&last[0]).as_bytes()), Found::End));
    let mut again = found(&kept, id(&events[3])).unwrap();
    assert_eq!(rest(&mut again).0.len(), 2);
}

#[tokio::test]
async fn who_comes_back_takes_the_place_of_the_former_reader() {
    let kept = Redelivery::new(Resuming::ById);
    let mut first = kept.open();
    kept.say(first.stream(), said("1"));
    let (events, _) = rest(&mut first);
    // No event without a message for clients that cannot read one.
    assert_eq!(data(&events), ["1"]);
    let mut second = found(&kept, id(&events[0])).unwrap();
    kept.say(first.stream(), said("2"));
    assert_eq!(rest(&mut first), (vec![], true));
    assert_eq!(data(&rest(&mut second).0), ["2"]);
}

#[tokio::test]
async fn an_id_of_anybody_else_leads_nowhere() {
    let [mine, theirs] = [Resuming::Primed, Resuming::Primed].map(Redelivery::new);
    let mut reader = theirs.open();
    let _same_number = mine.open();
    let events = rest(&mut reader).0;
    let own = id(&events[0]);
    assert!(matches!(mine.find(own.as_bytes()), Found::Nothing));
    for wrong in [
        "",
        "1",
        own.trim_start_matches(|_| true),
        &format!("0{own}"),
        &format!("{own}-1"),
        &own.replace("-a-", "-x-"),
        &format!("{own}9"),
        &own.replace("-0-0", "-0-18446744073709551615"),
        &own.replace("-0-0", "-7-0"),
    ] {
        assert!(
            matches!(theirs.find(wrong.as_bytes()), Found::Nothing),
            "{wrong}"
        );
    }
    let standing = own.replace("-a-", "-s-");
    assert!(matches!(theirs.find(standing.as_bytes()), Found::Standing));
    assert!(found(&theirs, own).is_some());
}

fn standing(kept: &Arc<Redelivery>) -> Option<Reader> {
    kept.stand().map(|standing| match standing {
        Standing::New(reader) | Standing::GoesOn(reader) => reader,
    })
}

#[tokio::test]
async fn one_stream_of_what_nobody_asked_for_is_read_at_a_time() {
    let kept = Redelivery::new(Resuming::Primed);
    let mut reader = standing(&kept).unwrap();
    assert!(kept.stand().is_none());
    let events = rest(&mut reader).0;
    drop(reader);
    let again = found(&kept, id(&events[0])).unwrap();
    assert!(kept.stand().is_none());
    drop(again);
    assert!(matches!(kept.stand(), Some(Standing::GoesOn(_))));
}

#[tokio::test]
async fn who_comes_back_without_an_id_gets_what_nobody_was_handed() {
    let kept = Redelivery::new(Resuming::Primed);
    let mut reader = standing(&kept).unwrap();
    let stream = reader.stream();
    kept.say(stream, said("1"));
    assert_eq!(data(&rest(&mut reader).0), ["", "1"]);
    drop(reader);
    kept.say(stream, said("2"));
    let mut again = standing(&kept).unwrap();
    let events = rest(&mut again).0;
    assert_eq!(data(&events), ["", "2"]);
    drop(again);
    // And by its first id that again.
    let mut again = found(&kept, id(&events[0])).unwrap();
    assert_eq!(data(&rest(&mut again).0), ["2"]);
    drop(again);
    // Where some of it is not kept any more, another stream begins.
    for _ in 0..=EVENTS {
        kept.say(stream, said("x"));
    }
    assert!(matches!(kept.stand(), Some(Standing::New(_))));
    let lost = kept.find(id(&events[0]).as_bytes());
    assert!(matches!(lost, Found::Standing));
}

#[tokio::test]
async fn a_revision_without_ids_gets_none() {
    let kept = Redelivery::new(Resuming::Never);
    let mut reader = kept.open();
    kept.say(reader.stream(), said("1"));
    assert_eq!(rest(&mut reader).0, ["event: message\ndata: 1\n\n"]);
}

#[tokio::test]
async fn what_is_kept_is_bounded_and_what_is_lost_leaves_no_gap() {
    let kept = Redelivery::new(Resuming::Primed);
    let mut reader = kept.open();
    let number = reader.stream();
    let first = rest(&mut reader).0;
    for _ in 0..=EVENTS {
        kept.say(number, said("x"));
    }
    // Who is connected misses nothing.
    assert_eq!(rest(&mut reader).0.len(), EVENTS + 1);
    assert!(matches!(
        kept.find(id(&first[0]).as_bytes()),
        Found::Nothing
    ));
    drop(reader);

    let mut reader = kept.open();
    let first = rest(&mut reader).0;
    drop(reader);
    let large = "x".repeat(BYTES / 2);
    kept.say(1, said(&large));
    assert!(found(&kept, id(&first[0])).is_some());
    kept.say(1, said(&large));
    assert!(matches!(
        kept.find(id(&first[0]).as_bytes()),
        Found::Nothing
    ));
}

#[tokio::test]
async fn progress_is_dropped_where_nobody_reads_it_and_the_answer_is_not() {
    let kept = Redelivery::new(Resuming::Primed);
    let mut reader = kept.open();
    let events = rest(&mut reader).0;
    drop(reader);
    for _ in 0..1_000 {
        kept.say(0, Outbound::Notification("p".into()));
    }
    kept.say(0, Outbound::Answer("a".into(), Default::default()));
    let mut again = found(&kept, id(&events[0])).unwrap();
    let rest = rest(&mut again).0;
    assert_eq!(rest.len(), QUEUE + 2);
    assert_eq!(data(&rest).last(), Some(&"a"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_kept_for_minutes_and_then_forgotten() {
    let kept = Redelivery::new(Resuming::Primed);
    let mut reader = kept.open();
    let events = rest(&mut reader).0;
    drop(reader);
    let (out, messages) = mpsc::channel(1);
    let closing = CancellationToken::new();
    let filling = tokio::spawn(Arc::clone(&kept).fill(0, messages, closing));
    out.send(Outbound::Answer("a".into(), Default::default()))
        .await
        .unwrap();
    drop(out);
    tokio::time::sleep(KEPT - Duration::from_secs(1)).await;
    let id = id(&events[0]);
    // The priming event is as old as the stream, and its answer newer: who read
    // the one still gets the other.
    assert!(matches!(kept.find(id.as_bytes()), Found::Stream(_)));
    tokio::time::sleep(SWEEP * 2).await;
    assert!(matches!(kept.find(id.as_bytes()), Found::Nothing));
    // Whoever sweeps ends with what there is to sweep.
    filling.await.unwrap();
    assert!(kept.streams().of(0).is_none());
}

#[tokio::test]
async fn nothing_is_kept_beyond_the_end_of_the_transport_session() {
    let kept = Redelivery::new(Resuming::Primed);
    let mut reader = kept.open();
    let (out, messages) = mpsc::channel(1);
    let closing = CancellationToken::new();
    let filling = tokio::spawn(Arc::clone(&kept).fill(0, messages, closing.clone()));
    closing.cancel();
    // A call in flight is seen to its end first.
    out.send(Outbound::Answer("a".into(), Default::default()))
        .await
        .unwrap();
    drop(out);
    filling.await.unwrap();
    assert_eq!(data(&rest(&mut reader).0), ["", "a"]);
}

#[tokio::test(start_paused = true)]
async fn what_follows_for_a_stream_stops_as_soon_as_it_is_forgotten() {
    let kept = Redelivery::new(Resuming::ById);
    let Some(Standing::New(reader)) = kept.stand() else {
        panic!("a new stream");
    };
    let stream = reader.stream();
    let (_out, messages) = mpsc::channel(1);
    let forever = (std::future::pending(), messages);
    let following = tokio::spawn(Arc::clone(&kept).follow_from(stream, forever));
    drop(reader);
    tokio::task::yield_now().await;
    let begun = Instant::now();
    kept.streams().forget(stream);
    following.await.unwrap();
    // Until then it would have taken what the next stream is to say.
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn an_answer_is_read_when_it_is_handed_to_somebody_who_is_there() {
    let kept = Redelivery::new(Resuming::Primed);
    let mut reader = kept.open();
    let primed = rest(&mut reader).0;
    let stream = reader.stream();
    let answers = || {
        let (receipt, awaited) = Receipt::new();
        awaited.begin();
        kept.say(stream, Outbound::Answer("a".into(), receipt));
        awaited
    };
    let handed = answers();
    assert_eq!(rest(&mut reader).0.len(), 1);
    assert!(handed.is_read().await);
    // Said to who is there, who goes before it was handed on; and said to nobody.
    let left = answers();
    drop(reader);
    let alone = answers();
    assert!(!left.is_read().await && !alone.is_read().await);
    let mut again = found(&kept, id(&primed[0])).unwrap();
    assert_eq!(rest(&mut again).0.len(), 3);
    assert!(left.is_read_later().await && alone.is_read_later().await);
    // Nobody can come for what is not kept any more.
    drop(again);
    let forgotten = answers();
    kept.streams().forget(stream);
    assert!(!forgotten.is_read_later().await);
}

#[tokio::test]
async fn what_is_said_after_the_right_to_it_went_stays_for_whoever_has_it() {
    let kept = Redelivery::new(Resuming::Primed);
    let Some(Standing::New(mut reader)) = kept.stand() else {
        panic!("there was one before the first");
    };
    assert_eq!(data(&rest(&mut reader).0), [""]);
    let over = CancellationToken::new();
    over.cancel();
    kept.say(reader.stream(), said("1"));
    let next = reader.poll_next(&Context::from_waker(Waker::noop()), Some(&over));
    assert!(matches!(next, Poll::Ready(None)));
    drop(reader);
    let Some(Standing::GoesOn(mut reader)) = kept.stand() else {
        panic!("what was said is gone");
    };
    assert_eq!(data(&rest(&mut reader).0), ["", "1"]);
}
