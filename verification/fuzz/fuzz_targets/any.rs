//! Feeds the target that the environment variable `TARGET` names.

#![no_main]

use std::sync::LazyLock;

use trellis_verification::fuzz::Target;

static CHOSEN: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("TARGET").expect("TARGET names one of `trellis-fuzz --list`");
    Target::find(&name).expect("TARGET names one of `trellis-fuzz --list`")
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| (CHOSEN.feed)(data));
