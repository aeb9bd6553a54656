//! Where the linker puts what: see `deploy/layout.sh`.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=layout.ld");
    // The linkers of this target (lld, and GNU's) know such scripts.
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    let known = is("CARGO_CFG_TARGET_ARCH", "x86_64") && is("CARGO_CFG_TARGET_ENV", "gnu");
    if known && is("CARGO_CFG_TARGET_OS", "linux") && is("PROFILE", "release") {
        let here = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo::rustc-link-arg-bin=musterd=-Wl,-T,{here}/layout.ld");
    }
}
