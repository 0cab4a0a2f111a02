//! What a legacy server asks on its own stream.

use super::*;
use crate::downstream::Ask;
use crate::downstream::Asks;
use crate::session::SessionId;
use crate::tool::Declared;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

/// A call in a session whose client can be asked something, and what it is asked.
async fn asked_in(
    server: &Downstream,
    session: u8,
    (questions, cancelled): (mpsc::UnboundedSender<Ask>, CancellationToken),
) -> Sent {
    let entry = r#"{"name":"pay","inputSchema":{}}"#;
    let definition = pins::definition(&"there".parse().unwrap(), entry).unwrap();
    let elicits = |name| (name == "elicitation").then_some("{}");
    let declared = Arc::new(Declared::read(elicits, |_| None));
    let call = OutgoingCall {
        asking: Asking::Tool,
        pinned: "pay".into(),
        rest: Vec::new(),
        answers: None,
        task: None,
        caller: crate::principal::PrincipalId::parse("alice").unwrap(),
        session: SessionId::from_bytes([session; 16]),
        task_of: None,
        declared: Arc::clone(&declared),
        log: None,
        name: "pay".into(),
        definition: definition.digest,
        mirrored: Arc::default(),
        arguments: Some(format!(r#"{{"session":{session}}}"#).into()),
        meta: None,
        deadline: Some(PATIENCE),
    };
    let line = CallLine {
        asks: Some(Arc::new(Asks::new(questions, declared))),
        cancelled,
        ..line()
    };
    let permit = countersigned(CallId::from_bytes([session; 16]));
    server.call(permit, call, line).await
}

/// A server of which each opening has a stream of its own, and whose calls hang.
fn asks(asked: &Asked, call: impl Fn(&Asked) -> Reply) -> Reply {
    match (asked.verb.as_str(), asked.method.as_str()) {
        ("GET", _) => Reply::Stream("/none"),
        _ => legacy(asked, call),
    }
}

#[tokio::test]
async fn what_is_asked_about_a_call_that_was_given_up_reaches_nobody_elses_client() {
    let script = Script::start(|asked, _before| asks(asked, |_| Reply::Hang)).await;
    let server = ready(&script).await;
    let opened = || script.asked("initialize").len();
    let taken_back = CancellationToken::new();
    for (session, opens) in [(1, 2), (2, 3), (1, 3)] {
        let (questions, _asked) = mpsc::unbounded_channel();
        let calls = script.asked("tools/call").len();
        let taken_back = taken_back.child_token();
        let given_up = async {
            script
                .until(|all| all.iter().filter(|a| a.method == "tools/call").count() > calls)
                .await;
            taken_back.cancel();
        };
        let called = asked_in(&server, session, (questions, taken_back.clone()));
        let (sent, ()) = tokio::join!(called, given_up);
        assert_eq!(sent, Sent::Cancelled);
        // One transport session for those who can be asked nothing, and one for
        // each session: so its own stream says nothing of anybody else's calls.
        assert_eq!(opened(), opens, "session {session}");
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_that_to_a_question_is_read() {
    let script = Script::start(|asked, _before| {
        legacy(asked, |asked| {
            let question = r#"{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"?"}}"#;
            let answer = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{PAID}}}"#, asked.id);
            Reply::events(&[question, question, &answer])
        })
    })
    .await;
    let server = ready(&script).await;
    let (questions, mut heard) = mpsc::unbounded_channel();
    let call = asked_in(&server, 1, (questions, CancellationToken::new()));
    let sent = timeout(PATIENCE, call).await.unwrap();
    assert!(matches!(sent, Sent::Result { .. }), "{sent:?}");
    // Both were asked, and nobody answered.
    let asked = [heard.recv().await, heard.recv().await];
    assert!(asked.iter().all(Option::is_some));
}

#[tokio::test]
async fn a_server_that_floods_its_own_stream_with_questions_takes_no_more_than_its_share() {
    let question =
        r#"{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"?"}}"#;
    let flood = format!("[{}]", vec![question; 400].join(","));
    let script =
        Script::start(move |asked, _before| asks(asked, |_| Reply::Told(flood.clone()))).await;
    let server = ready(&script).await;
    let (questions, mut heard) = mpsc::unbounded_channel();
    let reads = async {
        let mut open = Vec::new();
        while let Ok(Some(ask)) = timeout(Duration::from_millis(500), heard.recv()).await {
            open.push(ask);
        }
        open.len()
    };
    let call = async {
        let _sent = asked_in(&server, 1, (questions, CancellationToken::new())).await;
        std::future::pending::<usize>().await
    };
    let _ = &script;
    let heard = tokio::select! {
        heard = reads => heard,
        never = call => never,
    };
    assert!((1..=256).contains(&heard), "{heard}");
}
