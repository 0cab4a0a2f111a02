//! Every integration test, one module per kind, in one binary: it links once.
// Always true here. It tells clippy that helpers are test code as well, so that
// the permissions for tests in `.clippy.toml` hold for them.
#![cfg(test)]

mod absent;
mod attack;
mod confirming;
mod conformance;
mod crash;
mod denials;
mod described;
mod downstream;
mod ends;
mod escalations;
mod events;
mod expiring;
mod explaining;
mod fake;
mod full;
mod golden;
mod hostile;
mod house;
mod http;
mod instances;
mod journal;
mod kept;
mod killing;
mod kinds;
mod labels;
mod matrix;
mod meters;
mod methods;
mod operator;
mod pages;
mod pins;
mod policy;
mod preload;
mod race;
mod readme;
mod real;
mod receiver;
mod relay;
mod replicas;
mod restoring;
mod resume;
mod retries;
mod rmcp_client;
mod rounds;
mod scenario;
mod serving;
mod sessions;
mod setup;
mod store;
mod story;
mod subscriptions;
mod tasks;
mod world;
