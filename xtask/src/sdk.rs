//! Builds and tests the packages that are not Rust: the TypeScript client with its own tools, which npm installs
//! from its lock file, and the one for backends in Python.

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

/// Runs the tests of the package for backends in Python, with the Python of the stories.
pub(crate) fn test_python() -> Result<(), Failure> {
    step("tests of the Python package");
    let mut python = command(root().join("tests/e2e/.cache/python/bin/python"));
    python.current_dir(root().join("sdk/python"));
    python.env("PYTHONPATH", "src").env("PYTHONDONTWRITEBYTECODE", "1");
    run(python.args(["-m", "unittest", "discover", "--start-directory", "tests"]))
}

fn npm() -> Command {
    let mut npm = command("npm");
    npm.current_dir(root().join("sdk/typescript"));
    npm
}
