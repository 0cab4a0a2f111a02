//! Who calls: the holder of the key that each request carries.

use super::Edge;
use super::body::Body;
use super::guard;
use super::status;
use crate::cause::Chain;
use crate::keys;
use crate::principal::PrincipalId;
use hyper::HeaderMap;
use hyper::Response;
use hyper::header::AUTHORIZATION;
use std::sync::Arc;

/// Who calls, and what says so.
pub(super) struct Caller {
    pub(super) principal: PrincipalId,
    /// The id of their key, where they showed one.
    pub(super) credential: Option<Arc<str>>,
}

/// The principal of a request, and the key that says so. A key that is not right is
/// never anonymous.
pub(super) fn by_key(edge: &Edge, headers: &HeaderMap) -> Result<Caller, Box<Response<Body>>> {
    let refused = || Box::new(status::unauthorized());
    let (principal, credential) =
        match guard::one(headers, &AUTHORIZATION).map_err(|()| refused())? {
            None => (edge.settings.anonymous.clone().ok_or_else(refused)?, None),
            Some(credential) => {
                let key = credential.to_str().ok().and_then(bearer);
                let held = edge.store.read(|tx| match key {
                    Some(key) => keys::shown(tx, key),
                    None => Ok(None),
                });
                match held {
                    Ok(shown) => {
                        let shown = shown.ok_or_else(refused)?;
                        (shown.principal, Some(shown.id.into()))
                    }
                    Err(error) => {
                        tracing::error!(error = %Chain(&error), "a key could not be looked up");
                        let problem = "keys cannot be looked up at the moment; nothing was done";
                        return Err(Box::new(status::unavailable(problem)));
                    }
                }
            }
        };
    // Whoever the operator took away is nobody, whatever keys are left of them.
    match edge.broker.catalogue().bundle().knows(&principal) {
        true => Ok(Caller {
            principal,
            credential,
        }),
        false => Err(refused()),
    }
}

/// The token of a credential (RFC 6750 §2.1; the scheme has any case, RFC 9110
/// §11.1).
fn bearer(credential: &str) -> Option<&str> {
    let (scheme, token) = credential.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
