//! What is said to a server over HTTP, and what may be said of how it went. The
//! server is a script: each request gets the next answer of its list.
