//! Builds and tests the TypeScript client with its own tools, which npm installs from its lock file.

use std::process::Command;

use crate::setup;
use crate::shell::{Failure, command, root, run, step};

/// Builds `sdk/typescript/dist`, which stories with a durable client load.
pub(crate) fn build() -> Result<(), Failure> {
    setup::sdk()?;
    step("the TypeScript client");
    run(npm().args(["run", "--silent", "build"]))
}

/// Builds it and runs its tests, Chromium's included.
pub(crate) fn test() -> Result<(), Failure> {
    setup::sdk()?;
    step("tests of the TypeScript client");
    run(npm().args(["test", "--silent"]))
}

fn npm() -> Command {
    let mut npm = command("npm");
    npm.current_dir(root().join("sdk/typescript"));
    npm
}
