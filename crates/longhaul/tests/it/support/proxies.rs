//! Other people's proxies, to stand in front of the gateway or behind it.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use super::apps::free_address;
use super::process::Process;
use super::{s, wait_until};

/// A proxy that runs and accepts.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    process: Process,
    _directory: tempfile::TempDir,
}

/// HAProxy with one frontend in this mode; `{bind}` in `rest` is its address.
#[track_caller]
pub(crate) fn haproxy(mode: &str, rest: &str) -> Proxy {
    Proxy::start("haproxy", rest, |directory, rest| {
        let text = format!(
            "defaults\n mode {mode}\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
             {rest}\n"
        );
        let file = directory.join("haproxy.cfg");
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("/usr/sbin/haproxy");
        command.arg("-db").arg("-f").arg(file);
        command
    })
}

/// nginx with these blocks at the top level; `{bind}` in them is its address.
#[track_caller]
pub(crate) fn nginx(blocks: &str) -> Proxy {
    Proxy::start("nginx", blocks, |directory, blocks| {
        let at = directory.display();
        let text = format!(
            "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n\
             daemon off;\nmaster_process off;\npid {at}/pid;\nerror_log stderr warn;\n\
             events {{}}\n{}\n",
            blocks.replace(
                "http {",
                &format!(
                    "http {{ access_log off; client_body_temp_path {at}/body; \
                     proxy_temp_path {at}/proxy; fastcgi_temp_path {at}/fastcgi; \
                     uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;"
                )
            )
        );
        let file = directory.join("nginx.conf");
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("/usr/sbin/nginx");
        command.arg("-p").arg(directory).arg("-e").arg("stderr").arg("-c").arg(file);
        command
    })
}

impl Proxy {
    #[track_caller]
    fn start(name: &str, text: &str, prepare: impl FnOnce(&Path, &str) -> Command) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = free_address();
        let text = text.replace("{bind}", &address.to_string());
        let mut process = Process::start(name, &mut prepare(directory.path(), &text));
        wait_until("the proxy accepts", s(20), || {
            assert!(process.is_running(), "{name} ended: {:#?}", process.lines());
            TcpStream::connect(address).is_ok()
        });
        Self { address, process, _directory: directory }
    }

    /// Everything it has printed so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.process.lines()
    }
}

/// What curl gets from `http://address/` when it comes from this loopback address.
#[track_caller]
pub(crate) fn curl_from(client: &str, address: SocketAddr) -> String {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "20", "--interface", client]);
    let output = command.arg(format!("http://{address}/")).output().expect("curl is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
