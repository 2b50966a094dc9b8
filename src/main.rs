//! Parses the command line, builds the runtime, and turns the outcome into an exit code.

fn main() {}
