//! Files of clients, changed and changed back.

use super::*;
use crate::config;

fn launch() -> Launch {
    Launch {
        program: "/opt/countersign".to_owned(),
        args: vec![
            "--config".to_owned(),
            "/c.toml".to_owned(),
            "stdio".to_owned(),
        ],
    }
}

#[test]
fn connecting_and_undoing_gives_the_bytes_back() {
    let files = [
        None,
        Some(""),
        Some("{}"),
        Some("{\n  \"mcpServers\": {}\n}\n"),
        Some(
            "{\r\n\t// mine\r\n\t\"mcpServers\": {\r\n\t\t\"a\": {\"command\": \"x\"}, // one\r\n\t},\r\n\t\"other\": [1,2,],\r\n}",
        ),
        Some(
            "{\"theme\":\"dark\",\"mcpServers\":{\"a\":{\"command\":\"x\"},\"countersign\":{\"command\":\"old\"}}}",
        ),
    ];
    for client in Client::ALL {
        for text in files {
            let text = match client {
                Client::Codex => text.map(|text| match text.len() {
                    0..=2 => "",
                    _ => "# mine\r\nmodel = \"x\"\r\n\r\n[mcp_servers.a]\r\ncommand = \"x\" # one",
                }),
                _ => text,
            };
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("deep/er").join(match client {
                Client::Codex => "config.toml",
                _ => "config.json",
            });
            if let Some(text) = text {
                write(&path, text, Some(0o640)).unwrap();
            }
            for others in [Others::Stay, Others::Go] {
                let change = connecting(client, &path, &launch(), others).unwrap();
                change.apply().unwrap();
                let written = read(&change.path).unwrap().unwrap();
                let imported =
                    config::read_client(&change.path, &written).unwrap_or_else(|e| panic!("{e}"));
                let ours = imported
                    .iter()
                    // VS Code reads the last of the two members.
                    .rev()
                    .find(|imported| imported.name == OURS)
                    .unwrap();
                assert_eq!(ours.entry.command.as_deref(), Some("/opt/countersign"));
                assert_eq!(ours.entry.args, launch().args);
                if others == Others::Go {
                    let left = entry::names(client.holder(), &written).unwrap();
                    assert_eq!(left, [OURS], "{written}");
                }
                disconnecting(client, &path).unwrap().apply().unwrap();
                assert_eq!(read(&path).unwrap().as_deref(), text, "{client} {written}");
            }
        }
    }
}

#[test]
fn a_file_that_was_changed_since_only_loses_our_entry() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mcp.json");
    connecting(Client::Cursor, &path, &launch(), Others::Stay)
        .unwrap()
        .apply()
        .unwrap();
    let text = read(&path).unwrap().unwrap();
    let changed = text.replacen('{', "{\n  // new\n  \"theme\": \"dark\",", 1);
    write(&path, &changed, None).unwrap();
    disconnecting(Client::Cursor, &path)
        .unwrap()
        .apply()
        .unwrap();
    let left = read(&path).unwrap().unwrap();
    assert!(
        left.contains("// new") && !left.contains("countersign"),
        "{left}"
    );
    let again = disconnecting(Client::Cursor, &path).unwrap_err();
    assert!(matches!(again, ClientError::NotConnected { .. }));
}

#[test]
fn a_link_stays_a_link_and_the_mode_stays() {
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().join("real.json");
    let link = folder.path().join("link.json");
    write(&real, "{}", Some(0o640)).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    connecting(Client::Cursor, &link, &launch(), Others::Stay)
        .unwrap()
        .apply()
        .unwrap();
    assert!(link.is_symlink());
    let mode = std::fs::metadata(&real).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

#[test]
fn what_the_client_could_not_read_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mcp.json");
    for text in ["{", "[]", "{\"mcpServers\": 1}"] {
        write(&path, text, None).unwrap();
        let refused = connecting(Client::Cursor, &path, &launch(), Others::Stay);
        assert!(matches!(refused, Err(ClientError::Shape { .. })), "{text}");
        assert_eq!(read(&path).unwrap().as_deref(), Some(text));
    }
}
