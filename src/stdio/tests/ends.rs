//! How serving ends: by the client, by us, and with calls in flight.

use super::*;

const SLOW: &str = r#""name":"play__slow""#;

/// Listens to the list of tools: the end of it tells that no further message
/// is read.
async fn listens(client: &mut Client) {
    let listen = modern("\"s\"", "subscriptions/listen", r#""notifications":{}"#);
    let heard = client.ask(&listen).await;
    assert!(heard.contains("subscriptions/acknowledged"), "{heard}");
}

async fn hears_that_we_end(client: &mut Client) {
    for message in [r#""id":"s","result""#, "notifications/cancelled"] {
        let heard = client.hear().await;
        assert!(heard.contains(message), "{heard}");
    }
}

#[tokio::test]
async fn a_call_that_outlasts_the_drain_is_cancelled() {
    let mut world = World::new().await;
    let mut client = Client::with(&world, |settings| settings.drain = Duration::ZERO);
    client.say(&modern("1", "tools/call", SLOW)).await;
    assert_eq!(world.server.hears().await, "slow none");
    assert_eq!(client.end().await, Vec::<String>::new());
    assert_eq!(world.trail(), ["play/slow cancelled"]);
    assert_eq!(world.end().await, ["cancelled"]);
}

#[tokio::test]
async fn a_call_in_flight_ends_after_the_last_message() {
    let mut world = World::new().await;
    let mut client = Client::new(&world);
    listens(&mut client).await;
    client.say(&modern("1", "tools/call", SLOW)).await;
    assert_eq!(world.server.hears().await, "slow none");
    client.write = None;
    hears_that_we_end(&mut client).await;
    world.server.answers();
    let heard = client.end().await;
    assert!(
        heard.len() == 1 && heard[0].contains("\"id\":1"),
        "{heard:?}"
    );
    assert_eq!(world.trail(), ["play/slow completed"]);
}

#[tokio::test]
async fn a_shutdown_lets_calls_end() {
    let mut world = World::new().await;
    let mut client = Client::new(&world);
    listens(&mut client).await;
    client.say(&modern("1", "tools/call", SLOW)).await;
    assert_eq!(world.server.hears().await, "slow none");
    client.shutdown.cancel();
    hears_that_we_end(&mut client).await;
    world.server.answers();
    let answer = client.hear().await;
    assert!(answer.contains("\"id\":1"), "{answer}");
    client.serving.await.unwrap().unwrap();
    assert_eq!(world.trail(), ["play/slow completed"]);
}

#[tokio::test]
async fn calls_go_on_when_the_client_is_gone() {
    let mut world = World::new().await;
    let mut client = Client::new(&world);
    listens(&mut client).await;
    client.say(&modern("1", "tools/call", SLOW)).await;
    assert_eq!(world.server.hears().await, "slow none");
    drop(client.read);
    // Answered, which shows that nobody reads.
    let write = client.write.as_mut().unwrap();
    write.write_all(b"{}\n").await.unwrap();
    world.unfollowed().await;
    world.server.answers();
    client.serving.await.unwrap().unwrap();
    assert_eq!(world.trail(), ["play/slow completed"]);
}

#[tokio::test]
async fn a_client_that_never_reads_does_not_hold_the_process() {
    let world = World::new().await;
    let mut client = Client::new(&world);
    let params = r#""name":"play__steps","_meta":{"progressToken":1,"#.to_owned() + META + "}";
    let filler = format!(r#","arguments":{{"x":"{}"}}"#, "y".repeat(9000));
    for id in 0..30 {
        let line = legacy(&id.to_string(), "tools/call", &format!("{params}{filler}"));
        client.say(&line).await;
    }
    assert_eq!(world.ended(30).await, ["play/steps completed"; 30]);
    // From here on nothing waits for anything but time.
    tokio::time::pause();
    client.write = None;
    client.serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn half_a_message_at_the_end_is_refused_and_what_went_before_is_answered() {
    let world = World::new().await;
    let mut client = Client::new(&world);
    let whole = modern("1", "tools/call", r#""name":"play__echo""#);
    let half = modern("2", "tools/call", r#""name":"play__echo""#);
    let half = half.strip_suffix("}}").unwrap();
    client.say(&whole).await;
    let write = client.write.as_mut().unwrap();
    write.write_all(half.as_bytes()).await.unwrap();
    let mut heard = client.end().await;
    heard.sort();
    assert!(heard[0].contains(r#""error":{"code":-32700"#), "{heard:?}");
    assert!(heard[1].contains(r#""id":1,"result""#), "{heard:?}");
    assert_eq!((heard.len(), world.trail().len()), (2, 1));
}

#[tokio::test]
async fn a_whole_message_at_the_end_needs_no_line_feed() {
    let world = World::new().await;
    let mut client = Client::new(&world);
    let whole = modern("1", "tools/call", r#""name":"play__echo""#);
    let write = client.write.as_mut().unwrap();
    write.write_all(whole.as_bytes()).await.unwrap();
    let heard = client.end().await;
    assert!(heard[0].contains(r#""id":1,"result""#), "{heard:?}");
    assert_eq!(world.trail(), ["play/echo completed"]);
}
