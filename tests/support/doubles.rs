//! Small servers of tests: one that answers by a function, and a proxy that passes everything on.

use std::io::{self, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::stores::message;

/// A server of HTTP that answers by a function, or a proxy. Its threads end with the test's process.
pub(crate) struct Double {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Double {
    /// Answers each request, by its head and its body, with a status and a body.
    pub(crate) fn answering(
        answer: impl Fn(&str, &str) -> (u16, String) + Send + Sync + 'static,
    ) -> Self {
        Self::serving(move |mut client, head, body| {
            let (status, body) = answer(head, &String::from_utf8_lossy(body));
            let head = format!(
                "HTTP/1.1 {status} -\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            client.write_all(&[head.as_bytes(), body.as_bytes()].concat())
        })
    }

    /// Passes requests on, and tunnels to where it is asked to.
    pub(crate) fn proxy() -> Self {
        Self::serving(pass_on)
    }

    fn serving(
        serve: impl Fn(TcpStream, &str, &[u8]) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let (serve, seen) = (Arc::new(serve), Arc::new(Mutex::new(Vec::new())));
        let shared = Arc::clone(&seen);
        thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let (serve, seen) = (Arc::clone(&serve), Arc::clone(&shared));
                thread::spawn(move || {
                    if let Ok((head, body)) = message(&mut client, true) {
                        let line = head.lines().next().unwrap_or_default().to_owned();
                        seen.lock().expect("the requests").push(line);
                        // Who asked may be gone.
                        let _ = serve(client, &head, &body);
                    }
                });
            }
        });
        Self { port, seen }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The first lines of the requests so far.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("the requests").clone()
    }
}

fn pass_on(mut client: TcpStream, head: &str, body: &[u8]) -> io::Result<()> {
    let (line, rest) = head.split_once("\r\n").unwrap_or((head, ""));
    let words: Vec<&str> = line.split(' ').collect();
    let [method, target, version] = words[..] else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let mut upstream;
    if method == "CONNECT" {
        upstream = TcpStream::connect(target)?;
        client.write_all(b"HTTP/1.1 200 -\r\n\r\n")?;
    } else {
        let target = target.strip_prefix("http://").unwrap_or(target);
        let (host, path) = target.split_once('/').unwrap_or((target, ""));
        upstream = TcpStream::connect(host)?;
        // The next request of the connection would be for another host.
        let head = format!("{method} /{path} {version}\r\nConnection: close\r\n{rest}");
        upstream.write_all(&[head.as_bytes(), body].concat())?;
    }
    let (mut there, mut back) = (upstream.try_clone()?, client.try_clone()?);
    let forth = thread::spawn(move || {
        let _ = io::copy(&mut client, &mut there);
        let _ = there.shutdown(Shutdown::Write);
    });
    io::copy(&mut upstream, &mut back)?;
    back.shutdown(Shutdown::Write)?;
    let _ = forth.join();
    Ok(())
}
