#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| countersign::downstream::fuzzing::server_message(bytes));
