//! In what totals are shown to people.

use super::ServerRules;
use super::Settings;
use crate::meters::Shown;
use crate::meters::Source;
use crate::meters::Total;
use crate::policy;
use crate::tool::Meter;
use crate::tool::ServerName;
use crate::tool::ToolId;
use std::collections::BTreeMap;

/// In what the totals of meters are shown.
#[derive(Clone, Copy, Debug)]
pub struct Units<'a> {
    /// What the operator says of the tools: which arguments are money.
    pub servers: &'a BTreeMap<ServerName, ServerRules>,
    /// How many digits of money are minor units.
    pub scale: u8,
}

impl Settings {
    /// In what totals are shown.
    pub fn units(&self) -> Units<'_> {
        Units {
            servers: &self.servers,
            scale: self.money_scale,
        }
    }
}

impl Units<'_> {
    /// A total as people write it: money with its decimals, everything else as the
    /// whole number that it is.
    pub fn amount(&self, total: &Total) -> String {
        match self.is_money(&total.meter) {
            true => policy::amount(total.total, self.scale),
            false => total.total.to_string(),
        }
    }

    /// In what a meter counts.
    pub fn unit(&self, meter: &Source) -> Unit {
        let is_money = match meter {
            Source::OfTool(key) => self.is_money(key),
            Source::Declared(meter) => match &meter.sum {
                None => return Unit::Calls,
                Some(argument) => self.sums_money(meter, argument),
            },
        };
        match is_money {
            true => Unit::Money,
            false => Unit::Whole,
        }
    }

    /// The same total in words.
    pub fn shown(&self, one: &Shown) -> String {
        match self.unit(&one.meter) {
            Unit::Calls if one.total == 1 => "1 call".to_owned(),
            Unit::Calls => format!("{} calls", one.total),
            Unit::Money => policy::amount(one.total, self.scale),
            Unit::Whole => one.total.to_string(),
        }
    }

    /// An argument that is money in one of the tools is so in all of them, or policy
    /// is not loaded.
    fn sums_money(&self, meter: &Meter, argument: &str) -> bool {
        self.servers.iter().any(|(server, rules)| {
            rules.tools.iter().any(|(name, rules)| {
                let tool = ToolId {
                    server: server.clone(),
                    name: name.as_str().into(),
                };
                meter.counts(&tool) && rules.money.iter().any(|money| money == argument)
            })
        })
    }

    fn is_money(&self, meter: &str) -> bool {
        let named = || {
            let (server, rest) = meter.split_once('/')?;
            let (tool, argument) = rest.split_once('#')?;
            let (_, rules) = self
                .servers
                .iter()
                .find(|(name, _)| name.as_str() == server)?;
            let rules = rules.tools.get(tool)?;
            Some(rules.money.iter().any(|money| money == argument))
        };
        named() == Some(true)
    }
}

/// In what a meter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Calls.
    Calls,
    /// Money, in minor units (cents).
    Money,
    /// Whatever its argument counts.
    Whole,
}
