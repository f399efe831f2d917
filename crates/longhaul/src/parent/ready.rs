//! Asks a starting application whether it answers.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::Ready;

/// Between two questions. Short, because it delays the first request of a cold start.
const PAUSE: Duration = Duration::from_millis(100);

/// For one answer: frameworks load much at their first request.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// What is read of an answer, at most, and for how long: enough for pages, not for streams.
const REST_BYTES_MAX: u64 = 1 << 20;
const REST_DEADLINE: Duration = Duration::from_millis(500);

/// Returns when the application answers. Never fails: the caller has the deadline and knows
/// whether the process is still there.
pub(super) async fn answers(address: SocketAddr, kind: Ready, path: &str) {
    loop {
        let asked = async {
            let stream = TcpStream::connect(address).await.ok()?;
            match kind {
                Ready::Tcp => Some(()),
                Ready::Http => ask(stream, address, path).await,
            }
        };
        if let Ok(Some(())) = timeout(ANSWER_DEADLINE, asked).await {
            return;
        }
        sleep(PAUSE).await;
    }
}

/// Sends a GET and waits for the first bytes of an answer. GET, because WebSocket libraries close
/// the connection of a HEAD without a word. Any status will do: it is an answer.
async fn ask(mut stream: TcpStream, address: SocketAddr, path: &str) -> Option<()> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: longhaul\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut start = [0; 5];
    stream.read_exact(&mut start).await.ok()?;
    // Some servers complain loudly about a client that leaves in the middle of an answer.
    let mut rest = stream.take(REST_BYTES_MAX);
    let _ = timeout(REST_DEADLINE, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
    (&start == b"HTTP/").then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn any_http_answer_will_do_but_an_open_port_alone_will_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            // The first connection is closed without an answer, the second gets an error.
            drop(listener.accept().await.unwrap());
            let (mut second, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let length = second.read(&mut request).await.unwrap();
            second.write_all(b"HTTP/1.1 500 Oops\r\n\r\n").await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let asked = answers(address, Ready::Http, "/x");
        timeout(Duration::from_secs(10), asked).await.expect("an answer was given");
        assert!(server.await.unwrap().starts_with("GET /x HTTP/1.1\r\n"));
    }
}
