//! Tests through the public doors, one module for each kind.

#![cfg(test)]

mod policy;
