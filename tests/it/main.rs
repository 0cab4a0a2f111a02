//! Every integration test, one module per kind, in one binary: it links once.
// Always true here. It tells clippy that helpers are test code as well, so that
// the permissions for tests in `.clippy.toml` hold for them.
#![cfg(test)]

mod attack;
mod crash;
mod downstream;
mod house;
mod matrix;
mod operator;
mod policy;
mod race;
mod scenario;
mod world;
