//! JSON read strictly and written by splicing.
//!
//! A message that one reader takes this way and another that way is a hole in
//! policy. So an object with the same key twice, at any depth, is refused (RFC
//! 8259 §4 leaves its meaning open), as is a key that some reader might take for a
//! known one. What was checked goes on as the bytes it was.

mod canonical;
mod quick;
mod quoted;
mod redact;
mod scan;
mod splice;

pub use canonical::canonical;
pub use canonical::write_string;
pub use quoted::named;
pub use quoted::quoted;
pub use redact::redacted;
pub use scan::JsonError;
pub use scan::Object;
pub use scan::check;
pub use scan::fold;
pub use scan::text;
pub use splice::Splice;
