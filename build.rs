//! Tells the linker what no manifest can.

#![allow(
    clippy::print_stdout,
    reason = "that is how a build script speaks to cargo"
)]

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = |what: &str| std::env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    if target("OS") == "linux" && target("ENV") == "gnu" {
        // The program moves a megabyte of tables of time zones when it is loaded. Packed (RELR,
        // since glibc 2.36), the list of what to move takes kilobytes of memory and not another
        // megabyte. A linker that does not know the word says so and goes on.
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
