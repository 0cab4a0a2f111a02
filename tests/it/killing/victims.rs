//! Whom the killing test kills besides.

use std::path::Path;

/// The processes of a world besides our own: brokers of clients and tool servers.
pub(super) fn victims(world: &Path) -> Vec<rustix::process::Pid> {
    let mut victims = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name();
        let Ok(pid) = name.to_string_lossy().parse::<i32>() else {
            continue;
        };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let is_broker = line.contains(&*world.to_string_lossy()) && line.contains(" stdio");
        let cwd = std::fs::read_link(entry.path().join("cwd"));
        let is_server = line.contains(" claims-server ")
            && !line.contains(" __keep ")
            && cwd.is_ok_and(|cwd| cwd == world);
        if is_broker || is_server {
            victims.extend(rustix::process::Pid::from_raw(pid));
        }
    }
    victims
}
