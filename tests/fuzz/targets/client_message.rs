#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| countersign::mcp::fuzzing::client_message(bytes));
