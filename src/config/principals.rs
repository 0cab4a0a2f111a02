//! `principals.toml`: who there is, in which roles, with which limits.

use super::ConfigError;
use crate::policy;
use crate::principal::Agent;
use crate::principal::Attribute;
use crate::principal::Limits;
use crate::principal::Principal;
use crate::principal::PrincipalId;
use crate::principal::Principals;
use crate::visible;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::Visitor;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

/// The example, shipped and read by a test.
pub const EXAMPLE: &str = include_str!("../../fixtures/config/principals.toml");

/// The longest name of a role or a team, in bytes.
const MAX_NAME: usize = 255;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    roles: BTreeMap<String, BTreeSet<String>>,
    #[serde(default)]
    agents: BTreeMap<String, AgentSection>,
    principals: Vec<PrincipalSection>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AgentSection {
    client: String,
    trusted: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PrincipalSection {
    subject: String,
    #[serde(default = "local")]
    issuer: String,
    role: String,
    #[serde(default)]
    teams: BTreeSet<String>,
    limits: LimitsSection,
    #[serde(default)]
    named_limits: BTreeMap<String, AmountText>,
    #[serde(default)]
    attributes: BTreeMap<String, AttributeValue>,
    agent: Option<String>,
}

fn local() -> String {
    PrincipalId::LOCAL.to_owned()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsSection {
    call: AmountText,
    session: AmountText,
    day: AmountText,
}

/// An amount as it is written: a text, because a number of TOML is not exact.
#[derive(Debug)]
struct AmountText(String);

impl<'de> Deserialize<'de> for AmountText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(ReadAmount)
    }
}

struct ReadAmount;

impl Visitor<'_> for ReadAmount {
    type Value = AmountText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an amount in quotes, like \"10000.00\"")
    }

    fn visit_str<E>(self, text: &str) -> Result<AmountText, E> {
        Ok(AmountText(text.to_owned()))
    }
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a text, a whole number, true or false, or a list of texts"
)]
enum AttributeValue {
    Flag(bool),
    Number(i64),
    Text(String),
    Texts(BTreeSet<String>),
}

/// Reads the file. Amounts are texts in major units, `"10000.00"`, and exact.
pub(super) fn parse(path: &Path, text: &str, money_scale: u8) -> Result<Principals, ConfigError> {
    let file: File = toml::from_str(text).map_err(|error| ConfigError::toml(path, text, &error))?;
    let value = |key: String, problem: String| ConfigError::Value {
        path: path.to_owned(),
        key,
        problem,
    };
    check_roles(&file.roles).map_err(|(role, problem)| value(format!("roles.{role}"), problem))?;
    let mut principals = Principals {
        roles: file.roles,
        by_id: BTreeMap::new(),
    };
    for section in file.principals {
        let at = format!("principals (subject = {:?})", section.subject);
        let principal = section
            .read(&principals.roles, &file.agents, money_scale)
            .map_err(|(key, problem)| value(format!("{at}.{key}"), problem))?;
        let id = principal.id.clone();
        if principals.by_id.insert(id, principal).is_some() {
            return Err(value(
                at,
                "there are two principals of this name".to_owned(),
            ));
        }
    }
    Ok(principals)
}

impl PrincipalSection {
    fn read(
        self,
        roles: &BTreeMap<String, BTreeSet<String>>,
        agents: &BTreeMap<String, AgentSection>,
        money_scale: u8,
    ) -> Result<Principal, (String, String)> {
        let id = PrincipalId::new(&self.issuer, &self.subject)
            .map_err(|error| ("subject".to_owned(), error.to_string()))?;
        for team in &self.teams {
            can_name(team).map_err(|problem| ("teams".to_owned(), problem))?;
        }
        if !roles.contains_key(&self.role) {
            let problem = format!("there is no role `{}`: {}", self.role, known(roles.keys()));
            return Err(("role".to_owned(), problem));
        }
        let money = |key: String, AmountText(text): &AmountText| {
            let units = policy::minor_units(text, money_scale).filter(|units| *units >= 0);
            units.ok_or_else(|| {
                let problem = format!(
                    "`{text}` is no amount: write a text with at most {money_scale} decimals, \
                     like \"10000.00\""
                );
                (key, problem)
            })
        };
        let limits = Limits {
            call: money("limits.call".to_owned(), &self.limits.call)?,
            session: money("limits.session".to_owned(), &self.limits.session)?,
            day: money("limits.day".to_owned(), &self.limits.day)?,
        };
        let mut named_limits = BTreeMap::new();
        for (name, text) in self.named_limits {
            let units = money(format!("named_limits.{name}"), &text)?;
            named_limits.insert(name, units);
        }
        let agent = match self.agent {
            None => None,
            Some(name) => Some(read_agent(name, agents)?),
        };
        let attributes = self.attributes.into_iter();
        Ok(Principal {
            id,
            role: self.role,
            teams: self.teams,
            limits,
            named_limits,
            attributes: attributes
                .map(|(name, value)| (name, value.into()))
                .collect(),
            agent,
        })
    }
}

impl From<AttributeValue> for Attribute {
    fn from(value: AttributeValue) -> Self {
        match value {
            AttributeValue::Flag(flag) => Self::Flag(flag),
            AttributeValue::Number(number) => Self::Number(number),
            AttributeValue::Text(text) => Self::Text(text),
            AttributeValue::Texts(texts) => Self::Texts(texts),
        }
    }
}

fn read_agent(
    name: String,
    agents: &BTreeMap<String, AgentSection>,
) -> Result<Agent, (String, String)> {
    let Some(agent) = agents.get(&name) else {
        let problem = format!("there is no agent `{name}`: {}", known(agents.keys()));
        return Err(("agent".to_owned(), problem));
    };
    Ok(Agent {
        name,
        client: agent.client.clone(),
        trusted: agent.trusted,
    })
}

/// Refuses a name that looks like another.
fn can_name(text: &str) -> Result<(), String> {
    match visible::is_name(text, MAX_NAME) {
        true => Ok(()),
        false => Err(format!(
            "`{}` is no name: write 1 to {MAX_NAME} bytes without characters that cannot be seen",
            text.escape_debug()
        )),
    }
}

fn known<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    if names.is_empty() {
        "none is declared".to_owned()
    } else {
        format!("there is {}", names.join(", "))
    }
}

/// Refuses roles that include an undeclared one, or themselves.
fn check_roles(roles: &BTreeMap<String, BTreeSet<String>>) -> Result<(), (String, String)> {
    for (role, included) in roles {
        can_name(role).map_err(|problem| (role.escape_debug().to_string(), problem))?;
        if let Some(stranger) = included.iter().find(|name| !roles.contains_key(*name)) {
            let problem = format!(
                "it includes `{stranger}`, which is not declared: {}",
                known(roles.keys())
            );
            return Err((role.clone(), problem));
        }
        let mut reached = BTreeSet::new();
        let mut open: Vec<_> = included.iter().collect();
        while let Some(next) = open.pop() {
            if next == role {
                return Err((
                    role.clone(),
                    "it includes itself, directly or through others".to_owned(),
                ));
            }
            if reached.insert(next) {
                open.extend(roles.get(next).into_iter().flatten());
            }
        }
    }
    Ok(())
}
