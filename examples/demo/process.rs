//! The demo's fleet on disk, and the gateway as a process of its own: shared with the tests, which ask the same gateway.
#![allow(dead_code, unreachable_pub, reason = "the demo and the tests each use their part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub type Failure = Box<dyn std::error::Error>;

const CHUNK_BYTES: usize = 32 * 1_024;
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// Lays out the fleet with firmware files of its own in a folder, and gives the path of the fleet file.
pub fn lay_out(dir: &Path) -> Result<PathBuf, Failure> {
    let firmware = dir.join("firmware");
    std::fs::create_dir_all(&firmware)?;
    // A window that is shut for the next three days.
    let days = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / 86_400;
    let shut = format!("{} 12:00-12:30", DAYS[(days as usize + 3 + 3) % 7]);
    let fleet = include_str!("fleet.toml").replace("Mon 00:00-00:01", &shut);
    std::fs::write(dir.join("fleet.toml"), fleet)?;
    std::fs::write(dir.join("stable.json"), include_str!("stable.json"))?;
    std::fs::write(dir.join("thermostat.csv"), include_str!("thermostat.csv"))?;
    std::fs::write(dir.join("sensor.csv"), include_str!("sensor.csv"))?;
    let files = [
        "thermostat-1.2.0.bin",
        "thermostat-1.4.0.bin",
        "thermostat-1.5.0.bin",
        "thermostat-2.0.0.bin",
        "thermostat-3.0.0.bin",
        "sensor-7.1.0.2-rev-a.bin",
        "sensor-7.2.bin",
        "sensor-7.2-to-7.3.delta",
        "ca.pem",
        "logo.png",
    ];
    for (number, name) in (1u32..).zip(files) {
        // Bytes that look like an image and differ from file to file.
        let mut state = number.wrapping_mul(0x9E37_79B9);
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        })
        .take(100_000)
        .collect();
        std::fs::write(firmware.join(name), bytes)?;
    }
    Ok(dir.join("fleet.toml"))
}

pub fn gateway_command(program: &Path, fleet: &Path, listen: &str) -> Command {
    let mut command = Command::new(program);
    command.arg("--fleet").arg(fleet).args(["--listen", listen]);
    command
}

/// The gateway as a process of its own, its address, and its access log.
pub struct Gateway {
    process: Child,
    pub address: String,
    /// Where its status is told, if it is.
    pub admin: Option<String>,
    log: Receiver<String>,
    errors: Receiver<String>,
}

impl Gateway {
    pub fn start(program: &Path, fleet: &Path) -> Result<Self, Failure> {
        Self::start_with(program, fleet, &[])
    }

    pub fn start_with(program: &Path, fleet: &Path, args: &[&str]) -> Result<Self, Failure> {
        let mut command = gateway_command(program, fleet, "127.0.0.1:0");
        let mut process = command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let log = lines(process.stdout.take().ok_or("the gateway has no output")?);
        let errors = lines(process.stderr.take().ok_or("the gateway has no errors")?);
        let mut gateway = Self { process, address: String::new(), admin: None, log, errors };
        gateway.address = gateway.wait_for("listening on ")?;
        if args.contains(&"--admin") {
            gateway.admin = Some(gateway.wait_for("status on ")?);
        }
        Ok(gateway)
    }

    /// Waits until the gateway says something that starts so, and gives the rest; what it says before goes to standard error.
    pub fn wait_for(&mut self, start: &str) -> Result<String, Failure> {
        loop {
            let line = match self.errors.recv_timeout(Duration::from_secs(20)) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => return Err(format!("the gateway never said `{start}`").into()),
                Err(RecvTimeoutError::Disconnected) => {
                    let ended = self.process.wait()?;
                    return Err(format!("the gateway ended ({ended}) and never said `{start}`").into());
                }
            };
            match line.strip_prefix(start) {
                Some(rest) => return Ok(rest.to_owned()),
                None => eprintln!("{line}"),
            }
        }
    }

    pub fn signal(&self, name: &str) -> Result<(), Failure> {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.process.id().to_string()]).status()?;
        if sent.success() { Ok(()) } else { Err(format!("kill -{name} ended with {sent}").into()) }
    }

    /// Sends these bytes and gives all that comes back.
    pub fn raw(&self, request: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(request)?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    pub fn ask(&self, method: &str, target: &str, headers: &str) -> Result<Told, Failure> {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: gateway\r\n{headers}Connection: close\r\n\r\n");
        let bytes = self.raw(request.as_bytes())?;
        let end =
            bytes.windows(4).position(|window| window == b"\r\n\r\n").ok_or("the answer has no end of headers")?;
        let head = String::from_utf8(bytes[..end].to_vec())?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or("the answer has no status")?;
        Ok(Told { status, head, body: bytes[end + 4..].to_vec() })
    }

    /// The reason of the last answer, from the access log.
    pub fn reason(&mut self) -> Result<String, Failure> {
        let line: serde_json::Value = serde_json::from_str(&self.log_line()?)?;
        if line["answer"]["registers"] == true {
            // The device is registered after the answer, so that no stranger can tell by the time whether it was.
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(line["answer"]["reason"].as_str().or(line["answer"]["call"].as_str()).unwrap_or("malformed").to_owned())
    }

    /// How much memory it holds, in KiB.
    pub fn resident_kib(&self) -> Result<u64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// The next line of the access log.
    pub fn log_line(&mut self) -> Result<String, Failure> {
        Ok(self.log.recv_timeout(Duration::from_secs(10))?)
    }

    /// What an ESP32 does: one HEAD, then steps of 32 KiB until the length is reached.
    pub fn download(&mut self, firmware: &Path) -> Result<String, Failure> {
        let target = "/deviceapi/update?k=thermo-demo-key&s=24:0A:C4:00:00:01&v=1.3.0";
        let size = self.ask("HEAD", target, "")?.header("Content-Length").ok_or("HEAD gives no length")?.parse()?;
        let mut image = Vec::new();
        while image.len() < size {
            let range = format!("Range: bytes={}-{}\r\n", image.len(), image.len() + CHUNK_BYTES - 1);
            let told = self.ask("GET", target, &range)?;
            if told.status != 206 || told.body.is_empty() {
                return Err(format!("expected 206 at byte {}, was told {}", image.len(), told.status).into());
            }
            image.extend(told.body);
        }
        if image != std::fs::read(firmware.join("thermostat-1.4.0.bin"))? {
            return Err("the image that was put together is another".into());
        }
        Ok(format!("{size} bytes put together, equal to the file"))
    }

    /// As a power cut would: nothing is let finish.
    pub fn kill(mut self) -> Result<(), Failure> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    pub fn stop(mut self) -> Result<(), Failure> {
        self.signal("TERM")?;
        let ended = self.process.wait()?;
        if ended.success() { Ok(()) } else { Err(format!("the gateway did not stop well: {ended}").into()) }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // After `stop` there is nothing to kill; after a failure there may be.
        let _ = self.process.kill();
    }
}

/// What a process writes, line by line, read as it comes so that it never waits for us.
fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = channel();
    std::thread::spawn(move || BufReader::new(from).lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
    receive
}

/// An answer as it stood on the wire.
pub struct Told {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Told {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// What a reader of the table wants to see of the headers.
    pub fn shown(&self) -> String {
        let shown = ["X-Version", "Content-Length", "Content-Range", "Retry-After"];
        let parts = shown.iter().filter_map(|name| Some(format!("{name}: {}", self.header(name)?)));
        let parts = parts.filter(|part| part != "Content-Length: 0").collect::<Vec<_>>().join(", ");
        if parts.is_empty() { parts } else { format!("  [{parts}]") }
    }
}
