//! The peers, each configured as somebody who knows it would: one worker, no access log, timeouts
//! that no run reaches, TCP_NODELAY, buffers at their defaults.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::Tree;
use crate::uring;

/// How long a peer may take to accept its first connection.
const START_MAX: Duration = Duration::from_secs(10);

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Floor,
    Uring,
    Longhaul,
    Nginx,
    Haproxy,
    Caddy,
}

pub(crate) const ALL: [Peer; 6] =
    [Peer::Floor, Peer::Uring, Peer::Longhaul, Peer::Nginx, Peer::Haproxy, Peer::Caddy];

/// Which Longhaul, and with how many workers.
pub(crate) struct Longhaul {
    pub(crate) binary: PathBuf,
    pub(crate) workers: usize,
}

/// A certificate for peers that end TLS.
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// A peer at work; dropping it ends it.
pub(crate) struct Running {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) tree: Tree,
}

impl Peer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Uring => "uring",
            Self::Longhaul => "longhaul",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Caddy => "caddy",
        }
    }

    /// The peer's version, or `None` when it is not installed.
    pub(crate) fn version(self, longhaul: &Longhaul) -> Option<String> {
        let (program, argument) = match self {
            Self::Floor => return Some("of this program".into()),
            Self::Uring => return uring::is_there().then(|| "of this program".into()),
            Self::Longhaul => (longhaul.binary.to_str()?, "--version"),
            Self::Nginx => ("nginx", "-v"),
            Self::Haproxy => ("haproxy", "-v"),
            Self::Caddy => ("caddy", "version"),
        };
        let output = Command::new(program).arg(argument).output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        Some(String::from_utf8_lossy(&text).lines().next()?.trim().to_owned())
    }

    /// Starts the peer in front of `backend`.
    pub(crate) fn start(
        self,
        backend: SocketAddr,
        tls: Option<&Pair>,
        longhaul: &Longhaul,
        directory: &Path,
    ) -> io::Result<Running> {
        let address = free_address()?;
        let mut command = self.command(address, backend, tls, longhaul, directory)?;
        let log = fs::File::create(directory.join(format!("{}.log", self.name())))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn()?;
        let mut running = Running { tree: Tree(child.id()), child, address };
        let until = Instant::now() + START_MAX;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = running.child.try_wait()? {
                let log = fs::read_to_string(directory.join(format!("{}.log", self.name())))?;
                return Err(io::Error::other(format!(
                    "{} ended with {status}:\n{log}",
                    self.name()
                )));
            }
            if Instant::now() > until {
                return Err(io::Error::other(format!("{} did not start in time", self.name())));
            }
            std::thread::yield_now();
        }
        Ok(running)
    }

    fn command(
        self,
        address: SocketAddr,
        backend: SocketAddr,
        tls: Option<&Pair>,
        longhaul: &Longhaul,
        directory: &Path,
    ) -> io::Result<Command> {
        let write = |name: &str, text: String| {
            let path = directory.join(name);
            fs::write(&path, text).map(|()| path)
        };
        Ok(match self {
            Self::Floor => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["floor", &address.to_string(), &backend.to_string()]);
                command
            }
            Self::Uring => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["uring", &address.to_string(), &backend.to_string()]);
                command
            }
            Self::Longhaul => {
                let mut command = Command::new(&longhaul.binary);
                command.args(["run", "--listen", &address.to_string(), "--upstream"]);
                command.args([&backend.to_string(), "--workers"]);
                command.arg(longhaul.workers.to_string());
                if let Some(Pair { certificate, key }) = tls {
                    command.arg("--tls-cert").arg(certificate).arg("--tls-key").arg(key);
                }
                command
            }
            Self::Nginx => {
                let config = write("nginx.conf", nginx(address, backend, tls, directory))?;
                let mut command = Command::new("nginx");
                command.arg("-p").arg(directory).arg("-c").arg(config).args(["-e", "stderr"]);
                command
            }
            Self::Haproxy => {
                let config = write("haproxy.cfg", haproxy(address, backend, tls, directory)?)?;
                let mut command = Command::new("haproxy");
                command.arg("-db").arg("-f").arg(config);
                command
            }
            Self::Caddy => {
                let config = write("Caddyfile", caddy(address, backend, tls))?;
                let mut command = Command::new("caddy");
                command.args(["run", "--adapter", "caddyfile", "--config"]).arg(config);
                command.env("GOMAXPROCS", "1").env("HOME", directory);
                command
            }
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Its workers end with it; a peer that has ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address that is free now; peers cannot say which port they took.
pub(crate) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

fn nginx(address: SocketAddr, backend: SocketAddr, tls: Option<&Pair>, directory: &Path) -> String {
    let directory = directory.display();
    let (suffix, certificate) = match tls {
        None => ("", String::new()),
        Some(Pair { certificate, key }) => (
            " ssl",
            format!(
                "ssl_certificate {}; ssl_certificate_key {};",
                certificate.display(),
                key.display()
            ),
        ),
    };
    // A master process would leave its worker behind when it is killed.
    format!(
        "daemon off; master_process off; pid {directory}/nginx.pid; error_log stderr warn;\n\
         events {{ worker_connections 19000; multi_accept on; }}\n\
         http {{ access_log off; keepalive_timeout 1h;\n\
           client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;\n\
           fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;\n\
           server {{ listen {address}{suffix} backlog=4096; {certificate}\n\
             location / {{ proxy_pass http://{backend}; proxy_http_version 1.1;\n\
               proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;\n\
               proxy_set_header Host $host; proxy_read_timeout 1h; proxy_send_timeout 1h; }} }} }}\n"
    )
}

fn haproxy(
    address: SocketAddr,
    backend: SocketAddr,
    tls: Option<&Pair>,
    directory: &Path,
) -> io::Result<String> {
    let suffix = match tls {
        None => String::new(),
        Some(Pair { certificate, key }) => {
            let both = [fs::read(certificate)?, fs::read(key)?].concat();
            let path = directory.join("haproxy.pem");
            fs::write(&path, both)?;
            format!(" ssl crt {}", path.display())
        }
    };
    Ok(format!(
        "global\n  nbthread 1\n  maxconn 9000\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n\
         \x20 timeout tunnel 1h\n  option http-keep-alive\n\
         frontend f\n  bind {address} backlog 4096{suffix}\n  default_backend b\n\
         backend b\n  server s {backend}\n"
    ))
}

fn caddy(address: SocketAddr, backend: SocketAddr, tls: Option<&Pair>) -> String {
    let (scheme, certificate) = match tls {
        None => ("http", String::new()),
        Some(Pair { certificate, key }) => {
            ("https", format!("tls {} {}", certificate.display(), key.display()))
        }
    };
    let port = address.port();
    format!(
        "{{\n admin off\n auto_https off\n}}\n{scheme}://localhost:{port} {{\n bind 127.0.0.1\n \
         {certificate}\n reverse_proxy {backend}\n}}\n"
    )
}
