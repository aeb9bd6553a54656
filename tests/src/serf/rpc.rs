//! One connection to the RPC of an agent. Blocking: a thread each is cheap here.

use std::io::{BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::bail;

use super::msgpack::{self, Value, Writer};

/// How long an agent may take over an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// A connection after its handshake.
#[derive(Debug)]
pub struct Rpc {
    stream: BufReader<TcpStream>,
    sequence: u32,
}

impl Rpc {
    /// Connects and shakes hands.
    ///
    /// # Errors
    /// If nobody answers, or not as serf does.
    pub fn connect(addr: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        let mut rpc = Self {
            stream: BufReader::new(stream),
            sequence: 0,
        };
        let version = Writer::default().map(1).text("Version").int(1);
        rpc.call("handshake", Some(version))?;
        Ok(rpc)
    }

    /// Name and status of every member.
    ///
    /// # Errors
    /// If the connection breaks or the agent refuses.
    pub fn members(&mut self) -> anyhow::Result<Vec<(String, String)>> {
        self.call("members", None)?;
        let body = msgpack::read(&mut self.stream)?;
        let members = body.get("Members").map(Value::items).unwrap_or_default();
        let text = |member: &Value, key| {
            let bytes = member.get(key).map(Value::bytes).unwrap_or_default();
            String::from_utf8_lossy(bytes).into_owned()
        };
        let both = |member| (text(member, "Name"), text(member, "Status"));
        Ok(members.iter().map(both).collect())
    }

    /// Sends a user event that is not to be merged with others, and waits for the answer.
    ///
    /// # Errors
    /// If the connection breaks or the agent refuses.
    pub fn event(&mut self, name: &str, payload: &[u8]) -> anyhow::Result<()> {
        let body = Writer::default().map(3);
        let body = body.text("Name").text(name);
        let body = body.text("Payload").bytes(payload);
        self.call("event", Some(body.text("Coalesce").bool(false)))
    }

    /// Turns the connection into a stream of user events.
    ///
    /// # Errors
    /// If the connection breaks or the agent refuses.
    pub fn follow(mut self) -> anyhow::Result<Followed> {
        let body = Writer::default().map(1).text("Type").text("user");
        self.call("stream", Some(body))?;
        self.stream.get_ref().set_read_timeout(None)?;
        Ok(Followed(self.stream))
    }

    fn call(&mut self, command: &str, body: Option<Writer>) -> anyhow::Result<()> {
        self.sequence += 1;
        let header = Writer::default().map(2).text("Command").text(command);
        let mut request = header.text("Seq").int(self.sequence).0;
        request.extend(body.map(|body| body.0).unwrap_or_default());
        self.stream.get_mut().write_all(&request)?;
        let answer = msgpack::read(&mut self.stream)?;
        match answer.get("Error").map(Value::bytes) {
            Some([]) => Ok(()),
            error => bail!(
                "{command}: {}",
                String::from_utf8_lossy(error.unwrap_or_default())
            ),
        }
    }
}

/// A stream of user events.
#[derive(Debug)]
pub struct Followed(BufReader<TcpStream>);

impl Followed {
    /// Lets [`Followed::next`] fail after this long without an event.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn give_up_after(&mut self, silence: Duration) -> anyhow::Result<()> {
        Ok(self.0.get_ref().set_read_timeout(Some(silence))?)
    }

    /// The payload of the next event.
    ///
    /// # Errors
    /// If the connection breaks.
    #[expect(
        clippy::should_implement_trait,
        reason = "it never ends, and it may fail"
    )]
    pub fn next(&mut self) -> anyhow::Result<Vec<u8>> {
        msgpack::read(&mut self.0)?;
        let record = msgpack::read(&mut self.0)?;
        Ok(record
            .get("Payload")
            .map(Value::bytes)
            .unwrap_or_default()
            .to_vec())
    }
}
