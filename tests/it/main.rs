//! Tests of the whole program and of what needs its binary.

mod downstream;
