//! Policy: who may call which tool with which arguments, answered by Cedar.

mod verdict;

pub use verdict::Allowed;
pub use verdict::Denial;
pub use verdict::Escalation;
pub use verdict::Facts;
pub use verdict::Reason;
pub use verdict::Totals;
pub use verdict::Verdict;
