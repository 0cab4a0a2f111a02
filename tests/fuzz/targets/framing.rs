#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    countersign::stdio::fuzzing::client_lines(bytes);
    countersign::downstream::fuzzing::server_lines(bytes);
    countersign::downstream::fuzzing::server_events(bytes);
});
