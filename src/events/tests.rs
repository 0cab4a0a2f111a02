use super::*;
use crate::outbox;
use crate::principal::PrincipalId;
use crate::store::testing::in_store;
use jiff::SignedDuration;

const SCHEMAS: [&str; 10] = [
    sessions::SCHEMA,
    sessions::SCHEMA_7,
    sessions::SCHEMA_11,
    sessions::SCHEMA_13,
    sessions::SCHEMA_17,
    sessions::SCHEMA_22,
    sessions::SCHEMA_27,
    SCHEMA,
    SCHEMA_15,
    outbox::SCHEMA,
];

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn new(id: &str, kind: &str, body: &str) -> New {
    New::read(id, kind, body).unwrap()
}

/// Does `work` with a new session, and a way to send events to it.
async fn with<T: Send + 'static>(
    work: impl FnOnce(&Tx<'_>, SessionId, &Outbox) -> Result<T, StoreError> + Send + 'static,
) -> T {
    in_store(&SCHEMAS, |tx| {
        let alice = PrincipalId::parse("alice").unwrap();
        let session = sessions::create(tx, &alice, None, at("2026-11-27T00:00:00Z"))?;
        let target = |name: &str, kinds: &[&str]| Target {
            name: name.into(),
            kinds: kinds.iter().map(|&kind| kind.to_owned()).collect(),
        };
        let targets = vec![target("all", &[]), target("some", &["verification"])];
        work(tx, session, &Outbox { targets })
    })
    .await
}

fn send(
    tx: &Tx<'_>,
    session: SessionId,
    new: &New,
    outbox: &Outbox,
) -> Result<Result<Event, Refused>, StoreError> {
    let state = sessions::state(tx, session)?.unwrap();
    let by = (By::Operator, at("2026-11-27T12:00:00.123456789Z"));
    let labels = Labels {
        others: ["outside".parse().unwrap()].into(),
        kinds: BTreeMap::from([("verification".to_owned(), BTreeSet::new())]),
    };
    let follows = Follows {
        outbox,
        labels: &labels,
        stick: SignedDuration::from_hours(1),
    };
    take(tx, &state, new, follows, by)
}

#[tokio::test]
async fn an_event_is_taken_once_and_answered_alike_each_time() {
    let (answers, listed, history, sent) = with(|tx, session, outbox| {
        let send =
            |id: &str, kind: &str, body: &str| send(tx, session, &new(id, kind, body), outbox);
        let answers = [
            send("e1", "verification", r#"{"a":1,"b":2}"#)?,
            send("e1", "verification", r#"{ "b": 2, "a": 1 }"#)?,
            send("e1", "verification", r#"{"a":1,"b":3}"#)?,
            send("e1", "other", r#"{"a":1,"b":2}"#)?,
            send("e2", "other", "\"a text\"")?,
        ];
        let history = sessions::history(tx, session, 10)?;
        let sent = deliveries(tx, Some(session), 10)?;
        Ok((answers, list(tx, session, None, 10)?, history, sent))
    })
    .await;
    let [first, same, changed, renamed, second] = answers;
    let first = first.unwrap();
    assert_eq!(same.as_ref(), Ok(&first));
    assert_eq!(
        (changed, renamed),
        (Err(Refused::Other), Err(Refused::Other))
    );
    let second = second.unwrap();
    assert_eq!((first.number, second.number), (1, 2));
    assert_eq!(second.words(), "a text");
    assert_eq!(listed, [first, second]);
    // The ones that were no second event left nothing behind; the last one has a label.
    assert_eq!(history.len(), 3);
    let sent = sent.iter().map(|one| (one.event.0, one.target.as_str()));
    let mut sent: Vec<_> = sent.collect();
    sent.sort_unstable();
    assert_eq!(sent, [(1, "all"), (1, "some"), (2, "all")]);
}

#[tokio::test]
async fn an_id_is_its_senders_and_hides_nothing_of_another() {
    let numbers = with(|tx, session, outbox| {
        let none = Labels::default();
        let follows = Follows {
            outbox,
            labels: &none,
            stick: SignedDuration::ZERO,
        };
        let [sam, mia] = ["sam", "mia"].map(|name| PrincipalId::parse(name).unwrap());
        let mut numbers = Vec::new();
        for (by, body) in [
            (By::Principal(&sam), "1"),
            (By::Principal(&mia), "2"),
            (By::Operator, "3"),
            (By::Principal(&sam), "1"),
            (By::Principal(&mia), "1"),
        ] {
            let state = sessions::state(tx, session)?.unwrap();
            let by = (by, at("2026-11-27T12:00:00Z"));
            let taken = take(tx, &state, &new("e", "k", body), follows, by)?;
            numbers.push(taken.map(|event| event.number));
        }
        Ok(numbers)
    })
    .await;
    assert_eq!(numbers, [Ok(1), Ok(2), Ok(3), Ok(1), Err(Refused::Other)]);
}

#[tokio::test]
async fn an_event_labels_its_session_as_its_kind_says_once() {
    let (seen, history) = with(|tx, session, outbox| {
        let mut seen = Vec::new();
        for (id, kind) in [("e1", "verification"), ("e2", "note"), ("e2", "note")] {
            send(tx, session, &new(id, kind, "1"), outbox)?.unwrap();
            let labels = sessions::state(tx, session)?.unwrap().facts.labels;
            seen.push(labels.into_iter().collect::<Vec<_>>().join(" "));
        }
        Ok((seen, sessions::history(tx, session, 10)?))
    })
    .await;
    assert_eq!(seen, ["", "outside", "outside"]);
    let told = history
        .iter()
        .filter(|change| change.detail.as_deref() == Some("outside (event e2)"));
    assert_eq!(told.count(), 1);
}

#[tokio::test]
async fn an_event_lets_a_paused_session_go_on_and_never_a_frozen_or_ended_one() {
    let (seen, late) = with(|tx, session, outbox| {
        let by = (By::Operator, at("2026-11-27T11:00:00Z"));
        let send = |id: &str| send(tx, session, &new(id, "go", "null"), outbox);
        let paused = || Ok(sessions::state(tx, session)?.unwrap().facts.paused);
        sessions::pause(tx, session, None, by)?;
        let mut seen = vec![(send("e1")?.unwrap().resumed, paused()?)];
        sessions::pause(tx, session, None, by)?;
        sessions::freeze(tx, session, sessions::Frozen::Yes, by)?;
        seen.push((send("e2")?.unwrap().resumed, paused()?));
        sessions::end(tx, session, sessions::Why::Ended, by)?;
        let late = (send("e3")?, send("e2")?.map(|event| event.number));
        Ok((seen, late))
    })
    .await;
    assert_eq!(seen, [(true, false), (false, true)]);
    // What was taken before is answered as it was.
    assert_eq!(late, (Err(Refused::Over), Ok(2)));
}

#[tokio::test]
async fn what_does_not_fit_or_is_too_much_is_refused() {
    for (id, kind, body, unfit) in [
        ("", "k", "1", Unfit::Id),
        ("a\nb", "k", "1", Unfit::Id),
        ("a\u{200b}", "k", "1", Unfit::Id),
        (&*"x".repeat(MAX_ID + 1), "k", "1", Unfit::Id),
        ("e", "", "1", Unfit::Kind),
        ("e", "two words", "1", Unfit::Kind),
        ("e", "k", "nothing", Unfit::NoJson),
        ("e", "k", r#"{"a":1,"a":2}"#, Unfit::NoJson),
        ("e", "k", &"1".repeat(MAX_BODY + 1), Unfit::Body),
    ] {
        assert_eq!(New::read(id, kind, body), Err(unfit), "{id} {kind}");
    }
    let (full, noted) = with(|tx, session, _outbox| {
        let none = Outbox::default();
        for number in 0..MAX_EVENTS {
            let taken = send(tx, session, &new(&number.to_string(), "k", "1"), &none)?;
            assert!(taken.is_ok());
        }
        let full = send(tx, session, &new("more", "k", "1"), &none)?;
        let by = (By::Operator, at("2026-11-27T12:00:00Z"));
        for _ in 0..2 * MAX_REFUSED {
            note_refused(tx, session, &new("e", "k", "1"), by)?;
        }
        Ok((full, sessions::noted(tx, session, What::EventRefused)?))
    })
    .await;
    assert_eq!((full, noted), (Err(Refused::Full), MAX_REFUSED));
}
