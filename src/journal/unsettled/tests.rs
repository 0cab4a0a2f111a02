use super::*;
use crate::journal::SCHEMA;
use crate::journal::SCHEMA_14;
use crate::principal::PrincipalId;
use crate::store::testing::in_store;

/// Two calls that ended unknown, of two callers, as a store of before version 26 has
/// them.
const BEFORE: &str = "
INSERT INTO writer (id, lock, boot, pid, started) VALUES (1, 'a.lock', '', 1, 0);
INSERT INTO journal (writer, seq, kind, call, at, session, principal, tool, digest, detail, hash)
    VALUES (1, 1, 'open', unhex('01010101010101010101010101010101'), 0,
        unhex('07070707070707070707070707070707'), 'alice', 'claims/pay', zeroblob(32), '{}', x''),
    (1, 2, 'open', unhex('02020202020202020202020202020202'), 0,
        unhex('07070707070707070707070707070707'), 'bob', 'claims/look', zeroblob(32), '{}', x'');
INSERT INTO unsettled (session, tool, arguments, call, told)
    SELECT session, tool, digest, call, iif(seq = 2, 1, NULL) FROM journal;
";

#[tokio::test]
async fn what_was_noted_before_each_call_had_a_row_is_told_to_its_caller() {
    let subject = |tool: &str, principal: &str| Subject {
        call: CallId::from_bytes([9; 16]),
        session: SessionId::from_bytes([7; 16]),
        principal: PrincipalId::parse(principal).unwrap(),
        tool: tool.to_owned(),
        arguments: Digest::from_bytes([0; 32]),
        policies: Digest::of(b""),
        found: None,
    };
    let found = in_store(&[SCHEMA, SCHEMA_14, BEFORE, SCHEMA_26], move |tx| {
        let noted = |tool, principal| table::unsettled(tx, &subject(tool, principal));
        Ok([
            noted("claims/pay", "alice")?,
            noted("claims/pay", "bob")?,
            noted("claims/look", "bob")?,
        ])
    })
    .await;
    let call = |number: u8| CallId::from_bytes([number; 16]);
    let teller = WriterId::from_number(1);
    assert_eq!(
        found,
        [Some((call(1), None)), None, Some((call(2), Some(teller)))]
    );
}
