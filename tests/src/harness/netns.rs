//! Hosts in network namespaces, on one switch, whose cables and firewalls a test breaks.
//!
//! Nothing of it has a name on the machine: each namespace is held by a process that ends
//! when the pipe to it closes, so that also a test that is killed leaves nothing behind.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, Command, Stdio};

/// Port of the daemons.
const PORT: u16 = 7946;

/// Hosts that one network has addresses for.
const HOSTS_MAX: u8 = 250;

/// Address and device of a [`Visit`], which no host has.
const VISITOR: (&str, &str) = ("10.88.0.254/24", "muster-visit");

/// A switch with hosts, `10.88.0.1` and on. Gone with its handle.
#[derive(Debug)]
pub struct Lan {
    hosts: Vec<Host>,
    switch: Namespace,
}

impl Lan {
    /// A network with so many hosts.
    ///
    /// # Panics
    ///
    /// When namespaces cannot be made: it takes root and `ip` of iproute2.
    #[must_use]
    pub fn new(hosts: u8) -> Self {
        assert!(hosts <= HOSTS_MAX, "{hosts} hosts are too many");
        let switch = Namespace::new();
        switch.run("ip link add switch type bridge forward_delay 0 mcast_snooping 0");
        switch.run("ip link set switch up");
        let mut lan = Self {
            hosts: Vec::new(),
            switch,
        };
        for _ in 0..hosts {
            lan.plug();
        }
        lan
    }

    /// Host number n.
    #[must_use]
    pub fn host(&self, n: usize) -> &Host {
        &self.hosts[n]
    }

    /// All hosts.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Pulls the cable of a host out of the switch, or puts it back: nobody on either side
    /// is told, as where a host loses its power.
    pub fn cable(&self, n: usize, plugged: bool) {
        let place = if plugged { "master switch" } else { "nomaster" };
        self.switch.run(&format!("ip link set port{n} {place}"));
    }

    /// Tells every host the hardware address of every other, for good. Nobody asks for them
    /// then, so that one who is gone is missed by nothing but its silence; and the kernel,
    /// which keeps about a thousand that were asked for in all namespaces together, has
    /// room for large networks.
    ///
    /// # Panics
    ///
    /// When a host does not take it.
    pub fn introduce(&self) {
        let line = |host: &Host| {
            let (ip, mac) = (host.ip, hardware(host.ip));
            format!("neigh replace {ip} lladdr {mac} dev eth0 nud permanent\n")
        };
        for host in &self.hosts {
            let others = self.hosts.iter().filter(|other| other.ip != host.ip);
            let batch: String = others.map(line).collect();
            host.inside.feed("ip -batch -", &batch);
        }
    }

    /// Plugs this process' own network into the switch, for those who must talk to hosts
    /// from outside; one at a time.
    ///
    /// # Panics
    ///
    /// When there is one already, or it cannot be made.
    #[must_use]
    pub fn visit(&self) -> Visit {
        let (addr, device) = VISITOR;
        let own = std::process::id();
        self.switch.run(&format!(
            "ip link add visitor type veth peer name {device} netns {own}"
        ));
        // From here on it is taken away again.
        let visit = Visit(());
        self.switch.run("ip link set visitor master switch up");
        run(&mut words(&format!("ip addr add {addr} dev {device}")));
        run(&mut words(&format!("ip link set {device} up")));
        visit
    }

    /// Cuts the switch in two, this many of the first hosts from the others.
    pub fn split(&self, first: usize) {
        for (n, host) in self.hosts.iter().enumerate() {
            for (other, far) in self.hosts.iter().enumerate() {
                if (n < first) != (other < first) {
                    host.firewall(&format!("-A INPUT -s {} -j DROP", far.ip));
                }
            }
        }
    }

    /// Takes all rules of all firewalls away.
    pub fn heal(&self) {
        for host in &self.hosts {
            host.open();
        }
    }

    fn plug(&mut self) {
        let n = self.hosts.len();
        let number = u8::try_from(n + 1).unwrap_or(HOSTS_MAX);
        let ip = Ipv4Addr::new(10, 88, 0, number);
        let inside = Namespace::new();
        let pid = inside.holder.id();
        for step in [
            format!("ip link add port{n} type veth peer name eth0 netns {pid}"),
            format!("ip link set port{n} master switch up"),
        ] {
            self.switch.run(&step);
        }
        inside.run(&format!("ip link set eth0 address {}", hardware(ip)));
        inside.run(&format!("ip addr add {ip}/24 dev eth0"));
        inside.run("ip link set eth0 up");
        self.hosts.push(Host { ip, inside });
    }
}

/// A host with one address.
#[derive(Debug)]
pub struct Host {
    ip: Ipv4Addr,
    inside: Namespace,
}

impl Host {
    /// Its IP address.
    #[must_use]
    pub fn ip(&self) -> Ipv4Addr {
        self.ip
    }

    /// Where a daemon on it is met.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from((self.ip, PORT))
    }

    /// The words before a program that is to run on it, and to die with the test.
    #[must_use]
    pub fn enter(&self) -> Vec<OsString> {
        let mut words = Vec::from(["setpriv", "--pdeathsig", "KILL"].map(OsString::from));
        words.extend(self.inside.enter());
        words
    }

    /// One command of `iptables`, which waits for its lock.
    ///
    /// # Panics
    ///
    /// When it is refused.
    pub fn firewall(&self, rule: &str) {
        self.inside.run(&format!("iptables -w {rule}"));
    }

    /// Loses this share of what arrives, at random.
    pub fn lose(&self, share: f64) {
        self.firewall(&format!(
            "-A INPUT -i eth0 -m statistic --mode random --probability {share} -j DROP"
        ));
    }

    /// Sends this share of the packets to another host twice.
    pub fn double(&self, to: &Self, share: f64) {
        self.firewall(&format!(
            "-t mangle -A POSTROUTING -o eth0 -d {to} -m statistic --mode random \
             --probability {share} -j TEE --gateway {to}",
            to = to.ip
        ));
    }

    /// Packets that rules with this target met so far.
    ///
    /// # Panics
    ///
    /// When `iptables` prints what cannot be read.
    #[must_use]
    pub fn met(&self, table: &str, target: &str) -> u64 {
        let listed = self
            .inside
            .run(&format!("iptables -w -t {table} -L -n -v -x"));
        let mut met = 0;
        for line in listed.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.get(2) == Some(&target) {
                let count = words[0].parse::<u64>();
                met += count.unwrap_or_else(|error| panic!("{line}: {error}"));
            }
        }
        met
    }

    /// Takes all rules of its firewall away.
    pub fn open(&self) {
        self.firewall("-F");
        self.firewall("-t mangle -F");
    }
}

/// A cable from the network of this process to the switch. Gone with its handle.
#[derive(Debug)]
pub struct Visit(());

impl Drop for Visit {
    fn drop(&mut self) {
        let device = VISITOR.1;
        // It may be gone with the switch.
        words(&format!("ip link del {device}")).output().ok();
    }
}

/// A network namespace, which lives as long as its holder.
#[derive(Debug)]
struct Namespace {
    holder: Child,
    /// The holder ends when this closes.
    _leash: ChildStdin,
}

impl Namespace {
    fn new() -> Self {
        let script = "ip link set lo up && echo ready && exec cat";
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("unshare does not start (Debian: util-linux)");
        let mut line = String::new();
        let stdout = holder.stdout.take().expect("the output is piped");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("the holder of a namespace says nothing");
        assert_eq!(
            line.trim(),
            "ready",
            "no network namespace: it takes root, and ip of iproute2"
        );
        Self {
            _leash: holder.stdin.take().expect("the input is piped"),
            holder,
        }
    }

    fn enter(&self) -> [OsString; 2] {
        let place = format!("--net=/proc/{}/ns/net", self.holder.id());
        ["nsenter".into(), place.into()]
    }

    /// Runs a command in it that reads this text.
    fn feed(&self, line: &str, text: &str) {
        let [nsenter, place] = self.enter();
        let mut command = Command::new(nsenter);
        command.arg(place).args(line.split_whitespace());
        let child = command.stdin(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{line}: {error}"));
        let mut stdin = child.stdin.take().expect("the input is piped");
        let written = stdin.write_all(text.as_bytes());
        drop(stdin);
        let status = child.wait();
        let ended = status.is_ok_and(|status| status.success());
        assert!(written.is_ok() && ended, "{line} fails with {text}");
    }

    /// Runs a command in it; what it printed.
    fn run(&self, line: &str) -> String {
        let [nsenter, place] = self.enter();
        let mut command = Command::new(nsenter);
        run(command.arg(place).args(line.split_whitespace()))
    }
}

/// Hardware address of a host.
fn hardware(ip: Ipv4Addr) -> String {
    let [a, b, c, d] = ip.octets();
    format!("02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// A command of a line without quotes.
fn words(line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}

/// Runs a command; what it printed.
fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // It may be gone already.
        self.holder.kill().ok();
        self.holder.wait().ok();
    }
}
