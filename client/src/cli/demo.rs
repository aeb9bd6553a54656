//! `muster demo`: live daemons on loopback to look at and to break.
//!
//! Everything lies in one temporary directory; daemons and directory are gone when
//! the demo ends, however it ends (kill -9 of the demo itself excepted).

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use crate::cli::args::Demo;
use crate::cli::failure::Failure;
use crate::cli::screen::Screen;
use crate::cli::text::escape;
use crate::cli::watch_events::{describe, describe_gap};
use crate::cli::watch_view::Shown as _;
use crate::cli::{Context, stop_signal, table};
use crate::event_watch::{EventUpdate, EventWatch, EventWatchOptions};
use crate::{Client, Error, MemberWatch, MemberWatchOptions, Members, SocketPath, Update, pb};

mod cluster;
mod keys;
mod view;

use cluster::Cluster;
use keys::Keys;

/// How often the view is drawn and the processes are looked after.
const TICK: Duration = Duration::from_millis(250);

/// How long one event may take; a paused daemon answers nothing.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);

/// Lines of news that the live view keeps; older ones are forgotten.
const NEWS_LINES: usize = 8;

/// How long a demo without an end runs: ten years.
const FOREVER: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

struct Show<'a> {
    context: &'a mut Context,
    cluster: Cluster,
    members: MemberWatch,
    events: EventWatch,
    news: VecDeque<String>,
    face: Face,
    selected: u8,
    sent: u64,
    /// All daemons were seen, and that was told.
    complete: bool,
}

enum Face {
    Live { screen: Screen, keys: Keys },
    Plain,
}

enum Next {
    Go,
    Quit,
}

pub(super) async fn run(context: &mut Context, args: Demo) -> Result<(), Failure> {
    let musterd = find_musterd(args.musterd.as_deref())?;
    // From here on a signal ends the demo in order instead of leaving daemons behind.
    let mut stop = stop_signal()?;
    let end = Instant::now() + args.seconds.map_or(FOREVER, Duration::from_secs);
    let mut cluster = Cluster::new(musterd)?;
    let started = tokio::select! {
        started = start_all(context, &mut cluster, args.nodes) => started,
        () = stop.recv() => Ok(()),
        () = sleep_until(end) => Ok(()),
    };
    if let Err(failure) = started {
        cluster.stop().await;
        return Err(failure);
    }
    let Some(first) = cluster.nodes().first() else {
        return Ok(());
    };
    let client = client(first.socket())?;
    let live = context.out.is_live() && io::stdin().is_terminal() && !args.plain;
    let face = match live.then(Keys::start) {
        Some(keys) => Face::Live {
            screen: Screen::default(),
            keys: keys?,
        },
        None => Face::Plain,
    };
    let mut show = Show {
        context,
        cluster,
        members: client.watch_members(MemberWatchOptions::default()),
        events: client.watch_events(EventWatchOptions::default()),
        news: VecDeque::new(),
        face,
        selected: args.nodes,
        sent: 0,
        complete: false,
    };
    let result = tokio::select! {
        result = show.play() => result,
        () = stop.recv() => Ok(()),
        () = sleep_until(end) => Ok(()),
    };
    let Show {
        face, mut cluster, ..
    } = show;
    // The terminal first: what follows is printed in its usual state.
    drop(face);
    cluster.stop().await;
    drop(cluster);
    context
        .out
        .line("the demo is over: all daemons and files are gone")?;
    result
}

async fn start_all(context: &mut Context, cluster: &mut Cluster, nodes: u8) -> Result<(), Failure> {
    for _ in 0..nodes {
        let node = cluster.add().await?;
        let line = format!("{} listens on 127.0.0.1:{}", node.name(), node.port());
        context.out.line(&line)?;
    }
    if let Some(first) = cluster.nodes().first() {
        let socket = first.socket().display();
        let line = format!("for commands of your own: export MUSTER_SOCKET={socket}");
        context.out.line(&line)?;
    }
    Ok(())
}

impl Show<'_> {
    async fn play(&mut self) -> Result<(), Failure> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let key = async {
                match &mut self.face {
                    Face::Live { keys, .. } => keys.next().await,
                    Face::Plain => std::future::pending().await,
                }
            };
            tokio::select! {
                update = self.members.next() => self.on_members(update?).await?,
                update = self.events.next() => self.on_event(update?)?,
                key = key => match key {
                    Some(key) => {
                        if let Next::Quit = self.on_key(key).await? {
                            return Ok(());
                        }
                    }
                    None => return Ok(()),
                },
                _ = tick.tick() => {
                    for line in self.cluster.reap() {
                        self.tell(line)?;
                    }
                }
            }
            self.draw()?;
        }
    }

    async fn on_members(&mut self, update: Update<pb::Member>) -> Result<(), Failure> {
        match update {
            Update::Snapshot { .. } => self.complete = false,
            Update::Changes(changes) => {
                for change in &changes {
                    self.tell(Members::change_line(change))?;
                }
            }
            Update::Disconnected(lost) if lost.failures == 1 => {
                self.tell("n1 is gone, and with it this view".into())?;
            }
            Update::Disconnected(_) => {}
            Update::Reconnected { .. } => self.tell("n1 is back".into())?,
        }
        self.on_complete().await
    }

    /// Says once who is there, when all daemons are.
    async fn on_complete(&mut self) -> Result<(), Failure> {
        let names: Vec<_> = self.members.items().map(|m| escape(&m.name)).collect();
        if self.complete || names.len() != self.cluster.nodes().len() {
            return Ok(());
        }
        self.complete = true;
        self.tell(format!("n1 sees {}", names.join(" ")))?;
        // Nobody is there to press e: one event shows that events arrive.
        if matches!(self.face, Face::Plain) && self.sent == 0 {
            self.send().await?;
        }
        Ok(())
    }

    fn on_event(&mut self, update: EventUpdate) -> Result<(), Failure> {
        match update {
            EventUpdate::Event(event) => self.tell(format!("{} (event)", describe(&event))),
            EventUpdate::Gap(gap) => self.tell(describe_gap(&gap)),
            EventUpdate::Subscribed | EventUpdate::Disconnected(_) | EventUpdate::Reconnected => {
                Ok(())
            }
        }
    }

    async fn on_key(&mut self, key: KeyEvent) -> Result<Next, Failure> {
        let KeyCode::Char(c) = key.code else {
            return Ok(Next::Go);
        };
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return Ok(if c == 'c' { Next::Quit } else { Next::Go });
        }
        let line = match c {
            'q' => return Ok(Next::Quit),
            '1'..='9' => {
                let number = u8::try_from(c).unwrap_or(b'0') - b'0';
                if usize::from(number) <= self.cluster.nodes().len() {
                    self.selected = number;
                }
                return Ok(Next::Go);
            }
            'k' => self.cluster.kill(self.selected).await,
            'p' => self.cluster.pause(self.selected),
            'r' => self.cluster.restart(self.selected).await,
            'e' => return self.send().await.map(|()| Next::Go),
            'a' => self.add().await,
            _ => return Ok(Next::Go),
        };
        // What a key cannot do is news, not the end.
        self.tell(line.unwrap_or_else(|failure| failure.text))?;
        Ok(Next::Go)
    }

    async fn add(&mut self) -> Result<String, Failure> {
        let node = self.cluster.add().await?;
        let line = format!("started {}", node.name());
        self.selected = node.number();
        Ok(line)
    }

    async fn send(&mut self) -> Result<(), Failure> {
        self.sent += 1;
        let Some(node) = self.cluster.speaker(self.selected) else {
            return self.tell("nobody runs who could send an event".into());
        };
        let payload = format!("{{\"from\":\"{}\",\"n\":{}}}", node.name(), self.sent);
        let client = client(node.socket())?;
        let accepted = pb::ReceiptLevel::Accepted;
        let sending = client.send_event("hello", payload, accepted);
        match timeout(SEND_TIMEOUT, sending).await {
            Ok(Ok(_fate)) => Ok(()),
            Ok(Err(error)) => self.tell(format!("no event was sent: {error}")),
            Err(_elapsed) => self.tell("no event was sent: no answer".into()),
        }
    }

    fn tell(&mut self, line: String) -> Result<(), Failure> {
        match self.face {
            Face::Plain => self.context.out.line(&line),
            Face::Live { .. } => {
                if self.news.len() == NEWS_LINES {
                    self.news.pop_front();
                }
                self.news.push_back(line);
                Ok(())
            }
        }
    }

    fn draw(&mut self) -> Result<(), Failure> {
        let Face::Live { screen, .. } = &mut self.face else {
            return Ok(());
        };
        let colour = self.context.out.colour();
        let members = table::members(self.members.items(), Timestamp::now(), colour);
        let lines = view::frame(members, self.cluster.nodes(), self.selected, &self.news);
        Ok(screen.draw(&lines)?)
    }
}

fn client(socket: &Path) -> Result<Client, Failure> {
    let path = SocketPath::parse(&socket.to_string_lossy()).map_err(Error::from)?;
    Ok(Client::connect(&path))
}

/// The daemon to run: the named one, the one beside this program, or one in `PATH`.
fn find_musterd(named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = named {
        return if path.is_file() {
            Ok(path.to_path_buf())
        } else {
            Err(Failure::usage(format!("{} is no program", path.display())))
        };
    }
    let beside = std::env::current_exe()
        .ok()
        .and_then(|path| Some(path.parent()?.join("musterd")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|directory| directory.join("musterd"));
    beside
        .into_iter()
        .chain(in_path)
        .find(|path| path.is_file())
        .ok_or_else(|| {
            Failure::refused(
                "there is no musterd beside this program nor in PATH: build it with \
                 `cargo build`, or name it with --musterd",
            )
        })
}
