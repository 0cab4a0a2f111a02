//! What is kept of a client's file, and what becomes of it where somebody else changed
//! the file meanwhile.

use super::*;
use crate::clients::backup::Backup;
use std::os::unix::fs::PermissionsExt;

const BEFORE: &str = "{\"mcpServers\": {\"a\": {\"command\": \"x\", \"env\": {\"K\": \"v\"}}, \"b\": {\"command\": \"y\"}}}";

fn names(text: &str) -> Vec<String> {
    let entries = entry::entries(entry::Holder::McpServers, &Section::Top, text).unwrap();
    entries.into_iter().map(|(name, _)| name).collect()
}

#[test]
fn a_backup_is_for_its_owner_only() {
    let alone = Alone::new(Client::Cursor).holds(BEFORE);
    alone.connect(Others::Go).unwrap();
    let [kept] = &alone.kept()[..] else {
        panic!("{:?}", alone.kept());
    };
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(kept), 0o600);
    assert_eq!(mode(kept.parent().unwrap()), 0o700);
}

#[test]
fn what_an_earlier_version_kept_beside_the_file_is_undone_and_moved() {
    let alone = Alone::new(Client::Cursor).holds(BEFORE);
    alone.connect(Others::Go).unwrap();
    let [kept] = &alone.kept()[..] else {
        panic!("{:?}", alone.kept());
    };
    // As it was written then: a list, and nothing around it.
    let whole: Value = serde_json::from_str(&read(kept).unwrap().unwrap()).unwrap();
    let earlier = whole["records"].to_string();
    std::fs::remove_file(kept).unwrap();
    let beside = Backup::beside(&alone.path);
    write(&beside, &earlier, Some(0o600)).unwrap();
    assert_eq!(super::super::beside(&alone.path), Some(beside.clone()));
    alone.undo(Over::Left).unwrap();
    assert_eq!(alone.text(), BEFORE);
    assert!(!beside.exists() && alone.kept().is_empty());

    alone.connect(Others::Go).unwrap();
    std::fs::remove_file(kept).unwrap();
    write(&beside, &earlier, Some(0o600)).unwrap();
    alone.connect(Others::Go).unwrap();
    assert!(!beside.exists() && alone.kept().len() == 1);
    alone.undo(Over::Left).unwrap();
    assert_eq!(alone.text(), BEFORE);
}

/// Somebody put another version of the file in its place, from which `b` went on purpose.
#[test]
fn a_backup_whose_entry_went_otherwise_is_not_used_unless_somebody_says_so() {
    let alone = Alone::new(Client::Cursor).holds(BEFORE);
    alone.connect(Others::Go).unwrap();
    let other = "{\"mcpServers\": {\"a\": {\"command\": \"new\"}}}";
    write(&alone.path, other, None).unwrap();
    let refused = alone.undo(Over::Left).unwrap_err();
    assert!(
        matches!(&refused, ClientError::Over { names, .. } if names == &["b"]),
        "{refused}"
    );
    assert_eq!((alone.text().as_str(), alone.kept().len()), (other, 1));
    alone.undo(Over::Undone).unwrap();
    assert_eq!(names(&alone.text()), ["a", "b"]);
    assert!(alone.text().contains("\"new\"") && alone.kept().is_empty());
}

#[test]
fn a_backup_whose_entry_went_otherwise_makes_room_for_the_next() {
    let alone = Alone::new(Client::Cursor).holds(BEFORE);
    alone.connect(Others::Go).unwrap();
    let other = "{\"mcpServers\": {\"a\": {\"command\": \"new\"}}}";
    write(&alone.path, other, None).unwrap();
    let changes = alone.connect(Others::Go).unwrap();
    let aside = changes.files[0].set_aside().unwrap();
    assert!(read(&aside).unwrap().unwrap().contains("\\\"b\\\""));
    alone.undo(Over::Left).unwrap();
    assert_eq!(alone.text(), other, "and nothing of before that");
    assert_eq!(alone.kept(), [aside]);
}

/// The file was removed, or our entry taken out, where nothing else had been done.
#[test]
fn a_backup_that_brings_nothing_back_is_only_forgotten() {
    for after in [None, Some("{}")] {
        let alone = Alone::new(Client::Cursor);
        alone.connect(Others::Go).unwrap();
        match after {
            None => std::fs::remove_file(&alone.path).unwrap(),
            Some(text) => write(&alone.path, text, None).unwrap(),
        }
        alone.undo(Over::Left).unwrap();
        assert_eq!(read(&alone.path).unwrap().as_deref(), after);
        assert_eq!(alone.kept(), [] as [PathBuf; 0]);
    }
}

/// A file that our entry is not in lost its servers to an entry elsewhere.
#[test]
fn what_came_back_into_the_file_of_a_project_is_left_as_it_is() {
    let code = Code::new();
    code.connect(None, Others::Go);
    let file = code.around.here.join(".mcp.json");
    let other = "{\"mcpServers\": {\"pro\": {\"command\": \"new\"}}}";
    write(&file, other, None).unwrap();
    let changes = disconnecting(Client::ClaudeCode, &code.around, (None, Over::Left)).unwrap();
    let left = changes.files.iter().find_map(|change| change.left.clone());
    assert_eq!(left.unwrap().names, ["same", "off", "out"]);
    apply(&changes);
    assert_eq!(code.files(), (code.own.clone(), other.to_owned()));
}

#[test]
fn an_entry_without_a_backup_goes_and_that_is_all() {
    let ours =
        "{\"mcpServers\": {\"countersign\": {\"command\": \"x\"}, \"b\": {\"command\": \"y\"}}}";
    let alone = Alone::new(Client::Cursor).holds(ours);
    let changes = alone.undo(Over::Left).unwrap();
    assert!(changes.files[0].is_bare);
    assert_eq!(names(&alone.text()), ["b"]);
}
