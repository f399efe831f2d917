//! Installs what tests need, once: Debian packages, a Python environment, Node modules, lint tools.
//!
//! What was installed is remembered as a copy of the list it came from, beside it; a changed list
//! installs again, an unchanged one costs nothing.

use std::fs;
use std::path::{Path, PathBuf};

use crate::shell::{Failure, command, is_on_path, root, run, step, succeeds};

/// A program that the stories start, or a file that it needs, and the Debian package it comes from.
const PROGRAMS: [(&str, &str); 14] = [
    ("chromium", "chromium"),
    ("curl", "curl"),
    ("dnsmasq", "dnsmasq-base"),
    ("h2load", "nghttp2-client"),
    ("haproxy", "haproxy"),
    ("nginx", "nginx"),
    ("/usr/lib/nginx/modules/ngx_stream_module.so", "libnginx-mod-stream"),
    ("/usr/share/perl5/Crypt/JWT.pm", "libcrypt-jwt-perl"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("openssl", "openssl"),
    ("promtool", "prometheus"),
    ("python3", "python3"),
    ("redis-server", "redis-server"),
];

/// Installs everything that `crates/longhaul/tests/it` starts.
pub(crate) fn stories() -> Result<(), Failure> {
    step("what the stories need");
    debian()?;
    python()?;
    node("tests/e2e")
}

/// Installs what building and testing the TypeScript client takes beside Node and Chromium.
pub(crate) fn sdk() -> Result<(), Failure> {
    node("sdk/typescript")
}

/// Makes `cargo fmt` and `cargo clippy` work where rustup installed the minimal profile.
pub(crate) fn lints() -> Result<(), Failure> {
    for (verb, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if succeeds(command("cargo").args([verb, "--version"])) {
            continue;
        }
        if !is_on_path("rustup") {
            return Err(Failure::new(format!(
                "`cargo {verb}` is missing; install the component `{component}` of your Rust"
            )));
        }
        run(command("rustup").args(["component", "add", component]))?;
    }
    Ok(())
}

fn debian() -> Result<(), Failure> {
    let mut missing: Vec<&str> = PROGRAMS
        .iter()
        // Daemons live in sbin, which is not on everyone's path.
        .filter(|(program, _)| {
            !is_on_path(program) && !Path::new("/usr/sbin").join(program).exists()
        })
        .map(|(_, package)| *package)
        .collect();
    if python_with_venv().is_none() {
        missing.push("python3-venv");
    }
    if missing.is_empty() {
        println!("Debian packages: there");
        return Ok(());
    }
    let by_hand = format!("apt-get install --no-install-recommends {}", missing.join(" "));
    if !is_on_path("apt-get") {
        return Err(Failure::new(format!(
            "not a Debian machine; install what provides {missing:?} by hand (there: `{by_hand}`)"
        )));
    }
    println!("Debian packages: installing {}", missing.join(" "));
    if Path::new("/run/systemd/system").exists() {
        println!(
            "haproxy, nginx and redis-server come with services; `systemctl disable --now` keeps them off"
        );
    }
    apt_get(&["update"])
        .and_then(|()| {
            apt_get(
                &[&["install", "--yes", "--no-install-recommends"], missing.as_slice()].concat(),
            )
        })
        .map_err(|failure| {
            Failure::new(format!("{failure}; as root, run `{by_hand}` and try again"))
        })
}

fn apt_get(arguments: &[&str]) -> Result<(), Failure> {
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| {
        use std::os::unix::fs::MetadataExt;
        own.uid() == 0
    });
    let mut apt = command(if is_root { "env" } else { "sudo" });
    if !is_root {
        // Never asks for a password in the middle of a run.
        apt.args(["--non-interactive", "env"]);
    }
    apt.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet"]);
    apt.args(["-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0"]);
    run(apt.args(arguments))
}

/// A Python that can make environments; Debian's own before whatever else is on the path.
fn python_with_venv() -> Option<&'static str> {
    ["/usr/bin/python3", "python3"]
        .into_iter()
        .find(|python| succeeds(command(python).args(["-c", "import venv, ensurepip"])))
}

fn python() -> Result<(), Failure> {
    let list = root().join("tests/e2e/requirements.txt");
    let environment = root().join("tests/e2e/.cache/python");
    let stamp = environment.join("requirements.txt");
    if is_same(&list, &stamp) {
        println!("Python packages: there");
        return Ok(());
    }
    println!("Python packages: installing into {}", environment.display());
    let python = python_with_venv().ok_or_else(|| {
        Failure::new("no python3 with venv and ensurepip; install python3-venv (Debian)")
    })?;
    run(command(python).args(["-m", "venv", "--clear"]).arg(&environment))?;
    let pip = environment.join("bin/pip");
    run(command(pip).args(["install", "--quiet", "--requirement"]).arg(&list))?;
    remember(&list, &stamp)
}

/// The packages of a directory with a `package-lock.json`, into its `node_modules`.
fn node(place: &str) -> Result<(), Failure> {
    let directory = root().join(place);
    let list = directory.join("package-lock.json");
    let stamp = directory.join("node_modules/.longhaul-lock.json");
    if is_same(&list, &stamp) {
        println!("Node packages of {place}: there");
        return Ok(());
    }
    println!("Node packages: installing into {}/node_modules", directory.display());
    let mut npm = command("npm");
    npm.current_dir(&directory);
    run(npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]))?;
    remember(&list, &stamp)
}

fn is_same(list: &Path, stamp: &Path) -> bool {
    matches!((fs::read(list), fs::read(stamp)), (Ok(wanted), Ok(installed)) if wanted == installed)
}

fn remember(list: &Path, stamp: &PathBuf) -> Result<(), Failure> {
    fs::copy(list, stamp)
        .map(|_| ())
        .map_err(|error| Failure::new(format!("writing {}: {error}", stamp.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_list_is_installed_again_and_an_unchanged_one_is_not() {
        let directory = std::env::temp_dir().join(format!("xtask-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (list, stamp) = (directory.join("list"), directory.join("stamp"));
        fs::write(&list, "one==1").unwrap();
        assert!(!is_same(&list, &stamp), "nothing was installed yet");
        remember(&list, &stamp).unwrap();
        assert!(is_same(&list, &stamp));
        fs::write(&list, "one==2").unwrap();
        assert!(!is_same(&list, &stamp));
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn the_lists_that_setup_reads_are_there() {
        for list in [
            "tests/e2e/requirements.txt",
            "tests/e2e/package-lock.json",
            "sdk/typescript/package-lock.json",
        ] {
            assert!(root().join(list).is_file(), "{list}");
        }
    }
}
