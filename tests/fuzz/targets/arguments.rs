#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| countersign::policy::fuzzing::arguments(bytes));
