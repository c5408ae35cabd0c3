//! The OCI runtime: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    davit_runtime::run()
}
