//! `[[meters]]`: what is counted beside the totals of single arguments.

use crate::nearest;
use crate::tool::Asking;
use crate::tool::Counted;
use crate::tool::Meter;
use crate::tool::Per;
use crate::tool::ServerName;
use crate::tool::ToolId;
use crate::tool::Window;
use jiff::SignedDuration;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The longest name, in characters.
const LONGEST: usize = 64;

/// The shortest and the longest sliding window.
const SHORTEST_WINDOW: SignedDuration = SignedDuration::from_secs(1);
const LONGEST_WINDOW: SignedDuration = SignedDuration::from_hours(366 * 24);

/// Words of Cedar, which could not stand after `context.meters.`.
const RESERVED: [&str; 10] = [
    "__cedar", "else", "false", "has", "if", "in", "is", "like", "then", "true",
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MeterSection {
    name: String,
    tools: Vec<String>,
    sum: Option<String>,
    per: PerWord,
    window: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PerWord {
    Session,
    Principal,
    Role,
    Tool,
}

/// All of them, or the key with what is wrong and what would be right.
pub(super) fn meters<'a>(
    sections: &[MeterSection],
    servers: impl Iterator<Item = &'a ServerName>,
) -> Result<Vec<Arc<Meter>>, (String, String)> {
    let servers: Vec<&ServerName> = servers.collect();
    let mut names = BTreeSet::new();
    let mut meters = Vec::new();
    for (place, section) in sections.iter().enumerate() {
        let name = &section.name;
        let wrong = |problem: String| (format!("meters[{place}].name"), problem);
        is_name(name).map_err(wrong)?;
        if !names.insert(name) {
            let problem =
                format!("there are two meters `{name}`: policies know a meter by its name");
            return Err(wrong(problem));
        }
        let meter = section
            .meter(&servers)
            .map_err(|(key, problem)| (format!("meters.{name}.{key}"), problem))?;
        meters.push(Arc::new(meter));
    }
    Ok(meters)
}

fn is_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts || name.len() > LONGEST || !name.chars().all(fits) {
        return Err(format!(
            "`{name}` cannot name a meter: policies read it as `context.meters.NAME`, so write 1 to {LONGEST} of A-Z a-z 0-9 _, and no digit first"
        ));
    }
    if RESERVED.contains(&name) {
        return Err(format!(
            "`{name}` is a word of Cedar and cannot name a meter: choose another"
        ));
    }
    Ok(())
}

impl MeterSection {
    fn meter(&self, servers: &[&ServerName]) -> Result<Meter, (&'static str, String)> {
        let tools = self.tools.iter().map(|tool| counted(tool, servers));
        let tools: Vec<Counted> = tools
            .collect::<Result<_, _>>()
            .map_err(|problem| ("tools", problem))?;
        if tools.is_empty() {
            let problem = "a meter counts the calls of tools: write `[\"server/tool\"]`, or `[\"server/*\"]` for all of a server";
            return Err(("tools", problem.to_owned()));
        }
        if self.sum.as_deref() == Some("") {
            let problem = "write the argument that is summed, or leave it out to count calls";
            return Err(("sum", problem.to_owned()));
        }
        Ok(Meter {
            name: self.name.as_str().into(),
            tools,
            sum: self.sum.as_deref().map(Into::into),
            per: match self.per {
                PerWord::Session => Per::Session,
                PerWord::Principal => Per::Principal,
                PerWord::Role => Per::Role,
                PerWord::Tool => Per::Tool,
            },
            window: window(self.window.as_deref()).map_err(|problem| ("window", problem))?,
        })
    }
}

fn counted(tool: &str, servers: &[&ServerName]) -> Result<Counted, String> {
    let Some((server, name)) = tool.split_once('/').filter(|(_, name)| !name.is_empty()) else {
        return Err(format!(
            "`{tool}` names no tool: write `server/tool`, or `server/*` for all of a server"
        ));
    };
    let Some(server) = servers.iter().find(|known| known.as_str() == server) else {
        let known: Vec<String> = servers.iter().map(|known| format!("`{known}`")).collect();
        return Err(format!(
            "`{tool}` is of the server `{server}`, which is not configured{}: the servers are {}",
            nearest::meant(server, servers.iter().map(|known| known.as_str())),
            known.join(", ")
        ));
    };
    let id = ToolId {
        server: (*server).clone(),
        name: name.into(),
    };
    if id.asking() != Asking::Tool {
        return Err(format!(
            "`{tool}` is no tool: only calls of tools are counted"
        ));
    }
    Ok(Counted {
        server: id.server,
        tool: (name != "*").then_some(id.name),
    })
}

fn window(written: Option<&str>) -> Result<Window, String> {
    let right = "write a time like `1h` for the last so much time at any instant, `day` for the calendar day of `store.time_zone`, or leave it out to count for good";
    match written {
        None => Ok(Window::Always),
        Some("day") => Ok(Window::Day),
        Some(text) => match text.parse::<SignedDuration>() {
            Ok(time) if (SHORTEST_WINDOW..=LONGEST_WINDOW).contains(&time) => {
                Ok(Window::Sliding(time))
            }
            Ok(_) => Err(format!(
                "`{text}` is out of range: a window is at least `1s` and at most `8784h` (366 days) long"
            )),
            Err(_) => Err(format!("`{text}` is no window: {right}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Arc<Meter>>, (String, String)> {
        #[derive(Debug, Deserialize)]
        struct File {
            meters: Vec<MeterSection>,
        }
        let file: File =
            toml::from_str(text).map_err(|error| ("shape".to_owned(), error.to_string()))?;
        let servers: [ServerName; 2] = ["claims", "files"].map(|name| name.parse().unwrap());
        meters(&file.meters, servers.iter())
    }

    /// One section that is right but for these lines.
    fn with(lines: &str) -> String {
        let mut text = "[[meters]]\n".to_owned();
        for (key, value) in [
            ("name", "\"m\""),
            ("tools", "[\"claims/pay\"]"),
            ("per", "\"role\""),
        ] {
            if !lines.contains(&format!("{key} =")) {
                text.push_str(&format!("{key} = {value}\n"));
            }
        }
        text + lines
    }

    #[test]
    fn a_meter_is_read_as_it_is_written() {
        let read = read(&with(
            "tools = [\"claims/pay\", \"files/*\"]\nsum = \"amount\"\nwindow = \"90m\"",
        ));
        let meter = Arc::clone(&read.unwrap()[0]);
        assert_eq!(meter.key(), "m per=role window=PT1H30M sum=amount");
        let tools: Vec<String> = meter.tools.iter().map(ToString::to_string).collect();
        assert_eq!(tools, ["claims/pay", "files/*"]);
        for (written, window) in [
            ("", Window::Always),
            ("window = \"day\"", Window::Day),
            (
                "window = \"PT24H\"",
                Window::Sliding(SignedDuration::from_hours(24)),
            ),
        ] {
            assert_eq!(
                super::tests::read(&with(written)).unwrap()[0].window,
                window
            );
        }
    }

    #[test]
    fn a_meter_that_cannot_be_says_which_key_and_what_would_be_right() {
        for (lines, key, says) in [
            ("name = \"a-b\"", "meters[0].name", "A-Z a-z 0-9 _"),
            ("name = \"1st\"", "meters[0].name", "no digit first"),
            ("name = \"\"", "meters[0].name", "1 to 64"),
            ("name = \"in\"", "meters[0].name", "a word of Cedar"),
            ("tools = []", "meters.m.tools", "[\"server/*\"]"),
            ("tools = [\"pay\"]", "meters.m.tools", "`server/tool`"),
            ("tools = [\"claims/\"]", "meters.m.tools", "`server/tool`"),
            (
                "tools = [\"clams/pay\"]",
                "meters.m.tools",
                "the servers are `claims`, `files`",
            ),
            (
                "tools = [\"countersign/memory_put\"]",
                "meters.m.tools",
                "not configured",
            ),
            (
                "tools = [\"files/resources/read\"]",
                "meters.m.tools",
                "only calls of tools",
            ),
            ("sum = \"\"", "meters.m.sum", "leave it out to count calls"),
            ("per = \"user\"", "shape", "`principal`"),
            ("window = \"month\"", "meters.m.window", "`day`"),
            ("window = \"0s\"", "meters.m.window", "at least `1s`"),
            ("window = \"-1h\"", "meters.m.window", "at least `1s`"),
            ("window = \"9000h\"", "meters.m.window", "366 days"),
            ("windw = \"1h\"", "shape", "`window`"),
            (
                "[[meters]]\nname = \"m\"\ntools = [\"files/*\"]\nper = \"tool\"",
                "meters[1].name",
                "two meters `m`",
            ),
        ] {
            let text = match lines.strip_prefix("[[meters]]") {
                Some(_) => with("") + lines,
                None => with(lines),
            };
            let (found, problem) = read(&text).unwrap_err();
            assert_eq!(found, key, "{lines}: {problem}");
            assert!(problem.contains(says), "{lines}: {problem}");
        }
    }
}
