//! One request to somebody who is no MCP server.

use super::Remote;
use super::pool::NoResponse;
use super::pool::Pool;
use crate::cause::Chain;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Method;
use hyper::Request;
use hyper::header::CONTENT_TYPE;
use hyper::header::HeaderName;
use hyper::header::HeaderValue;
use hyper::header::USER_AGENT;

/// Posts JSON with these headers, and returns the status of the answer. A redirect
/// is an answer: what is signed for one place is not sent to another.
///
/// # Errors
///
/// In words, where there is no answer.
pub(in crate::downstream) async fn tell(
    remote: &Remote,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
) -> Result<u16, String> {
    let pool = Pool::new(remote)?;
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = remote.uri.clone();
    let sent = request.headers_mut();
    sent.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let agent = concat!("countersign/", env!("CARGO_PKG_VERSION"));
    sent.insert(USER_AGENT, HeaderValue::from_static(agent));
    for (name, value) in headers {
        let value = HeaderValue::try_from(value).map_err(|error| error.to_string())?;
        sent.insert(HeaderName::from_static(name), value);
    }
    // What it says besides its status is not read: the connection ends with us.
    match pool.send(request).await {
        Ok(response) => Ok(response.status().as_u16()),
        Err(NoResponse::Unconnected(error)) => Err(format!("no connection: {}", Chain(&*error))),
        Err(NoResponse::Broken(error)) => Err(format!("the connection broke: {}", Chain(&error))),
    }
}
