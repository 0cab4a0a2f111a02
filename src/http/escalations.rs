//! `/api/escalations`: for programs and pages of people who decide on calls.

use super::Core;
use super::body::Body;
use super::caller;
use super::post;
use super::status;
use crate::broker::DecisionRefusal;
use crate::broker::Ruling;
use crate::broker::Way;
use crate::broker::escalation_json;
use crate::broker::escalation_value;
use crate::escalations::Approve;
use crate::escalations::Escalation;
use crate::escalations::EscalationId;
use crate::escalations::Filter;
use crate::json;
use crate::json::Object;
use crate::principal::PrincipalId;
use hyper::Request;
use hyper::Response;
use hyper::body::Incoming;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;
use url::form_urlencoded;

/// How many are listed where nobody says how many, and at most.
const LISTED: u32 = 50;
const LISTED_AT_MOST: u32 = 200;

/// What a path of ours asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    List,
    /// What looks like one, and names none.
    Unknown,
    /// What can be done with none.
    Nothing,
    One(EscalationId),
    Decide(EscalationId, Approve),
    Withdraw(EscalationId),
}

impl Asked {
    /// None where the path is none of ours.
    pub(super) fn of(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/api/escalations")?;
        if rest.is_empty() {
            return Some(Self::List);
        }
        let rest = rest.strip_prefix('/')?;
        let (id, verb) = rest.split_once('/').unwrap_or((rest, ""));
        if !["", "approve", "refuse", "withdraw"].contains(&verb) {
            return Some(Self::Nothing);
        }
        let Ok(id) = id.parse() else {
            return Some(Self::Unknown);
        };
        Some(match verb {
            "approve" => Self::Decide(id, Approve::Yes),
            "refuse" => Self::Decide(id, Approve::No),
            "withdraw" => Self::Withdraw(id),
            _ => Self::One(id),
        })
    }
}

/// Lists, shows, decides.
pub(super) async fn answer(
    core: &Core,
    asked: Asked,
    request: Request<Incoming>,
) -> Response<Body> {
    let caller::Caller {
        principal,
        credential,
    } = match core.caller(request.headers()) {
        Ok(caller) => caller,
        Err(refused) => return *refused,
    };
    let wanted = match asked {
        Asked::List | Asked::One(_) => Some("GET"),
        Asked::Decide(..) | Asked::Withdraw(_) => Some("POST"),
        // What is not there has no methods.
        Asked::Unknown | Asked::Nothing => None,
    };
    if let Some(wanted) = wanted.filter(|wanted| request.method().as_str() != *wanted) {
        return status::not_allowed(wanted);
    }
    let broker = &core.edge.broker;
    let one = match asked {
        Asked::List => return list(core, &principal, request.uri().query()).await,
        Asked::Unknown => Err(DecisionRefusal::Unknown),
        Asked::Nothing => {
            return status::no_path(
                "the path is wrong: after the id of an escalation comes nothing, `/approve`, `/refuse` or `/withdraw`",
            );
        }
        Asked::One(id) => broker.escalation(&principal, id).await,
        Asked::Withdraw(id) => broker.withdraw(&principal, id, Way::Api(credential)).await,
        Asked::Decide(id, approve) => {
            let reason = match reason(core, request).await {
                Ok(reason) => reason,
                Err(refused) => return *refused,
            };
            let ruling = Ruling {
                approve,
                reason,
                way: Way::Api(credential),
            };
            broker.decide(&principal, id, ruling).await
        }
    };
    match one {
        Ok(one) => status::object(escalation_json(&one, Timestamp::now())),
        Err(refusal) => status::decision_refused(&refusal),
    }
}

/// The reason that is sent along: `{"reason": "…"}`, or nothing at all.
async fn reason(
    core: &Core,
    request: Request<Incoming>,
) -> Result<Option<String>, Box<Response<Body>>> {
    let (head, body) = post::whole(core, request).await?;
    if body.is_empty() {
        return Ok(None);
    }
    if !post::is_json(&head) {
        return Err(Box::new(status::unsupported_media()));
    }
    let wrong = |message: &str| Box::new(status::unfit(message));
    let unread = |error: json::JsonError| Box::new(status::unfit(&error.to_string()));
    let text = json::check(&body).map_err(unread)?;
    let members = Object::parse(text).map_err(unread)?;
    if let Some((other, _)) = members.iter().find(|(name, _)| *name != "reason") {
        let other = other.escape_debug();
        return Err(wrong(&format!(
            "a decision has no `{other}`: it has `reason`"
        )));
    }
    match members.get("reason") {
        None | Some("null") => Ok(None),
        Some(text) => match json::text(text) {
            Some(reason) => Ok(Some(reason.into())),
            None => Err(wrong("`reason` is a text")),
        },
    }
}

async fn list(core: &Core, principal: &PrincipalId, query: Option<&str>) -> Response<Body> {
    let mut filter = Filter {
        session: None,
        live: true,
        newest: Some(LISTED),
    };
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match (&*name, &*value, value.parse::<u32>()) {
            ("state", "live", _) => filter.live = true,
            ("state", "all", _) => filter.live = false,
            ("limit", _, Ok(number)) if (1..=LISTED_AT_MOST).contains(&number) => {
                filter.newest = Some(number);
            }
            _ => {
                return status::unfit(
                    "there are `state`, which is `live` or `all`, and `limit`, from 1 to 200",
                );
            }
        }
    }
    match core.edge.broker.escalations(principal, filter).await {
        Ok(found) => status::object(listed(&found)),
        Err(refusal) => status::decision_refused(&refusal),
    }
}

fn listed(found: &[Escalation]) -> String {
    let now = Timestamp::now();
    // Arguments may be large: they are shown with one.
    let found: Vec<Value> = found.iter().map(|one| escalation_value(one, now)).collect();
    json!({ "escalations": found }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_one_and_what_is_done_with_it() {
        let id: EscalationId = "esc-4k7m-2qpx-9d3h".parse().unwrap();
        for (path, asked) in [
            ("/api/escalations", Some(Asked::List)),
            ("/api/escalations/esc-4k7m-2qpx-9d3h", Some(Asked::One(id))),
            (
                "/api/escalations/esc-4k7m-2qpx-9d3h/approve",
                Some(Asked::Decide(id, Approve::Yes)),
            ),
            (
                "/api/escalations/esc-4k7m-2qpx-9d3h/refuse",
                Some(Asked::Decide(id, Approve::No)),
            ),
            (
                "/api/escalations/esc-4k7m-2qpx-9d3h/withdraw",
                Some(Asked::Withdraw(id)),
            ),
            ("/api/escalations/", Some(Asked::Unknown)),
            ("/api/escalations/x/approve", Some(Asked::Unknown)),
            (
                "/api/escalations/esc-4k7m-2qpx-9d3h/aprove",
                Some(Asked::Nothing),
            ),
            ("/api/escalationsx", None),
            ("/api/sessions/x/events", None),
        ] {
            assert_eq!(Asked::of(path), asked, "{path}");
        }
    }
}
