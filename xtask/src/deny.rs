//! Checks the dependencies with cargo-deny: licences, bans and sources always, advisories when the
//! advisory database can be fetched.

use std::path::PathBuf;

use crate::shell::{Failure, command, is_on_path, root, run, step, succeeds};

const VERSION: &str = "0.20.2";

/// Fails on any finding; a database that cannot be fetched is said, not failed: advisories change
/// without the project, and a machine without network access must still be able to test.
pub(crate) fn check() -> Result<(), Failure> {
    let deny = installed()?;
    step("dependencies: bans, licences, sources");
    run(command(&deny).args(["--all-features", "check", "bans", "licenses", "sources"]))?;
    step("dependencies: advisories");
    if succeeds(command(&deny).args(["fetch", "db"])) {
        run(command(&deny).args(["--all-features", "check", "advisories"]))
    } else {
        println!("NOT RUN: the RustSec database could not be fetched");
        Ok(())
    }
}

/// Where cargo-deny is; builds it once when the machine has none.
fn installed() -> Result<PathBuf, Failure> {
    if is_on_path("cargo-deny") {
        return Ok("cargo-deny".into());
    }
    let tools = root().join("tests/e2e/.cache/tools");
    let own = tools.join("bin/cargo-deny");
    if !own.is_file() {
        step("cargo-deny (built once, a few minutes)");
        let mut install = command("cargo");
        // Unoptimised: it runs for a second and would take much longer to build.
        install.args(["install", "--quiet", "--locked", "--debug", "cargo-deny"]);
        install.args(["--version", VERSION, "--root"]);
        run(install.arg(&tools))?;
    }
    Ok(own)
}
