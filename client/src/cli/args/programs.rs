//! What is run, and what is written for other programs.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

#[derive(Debug, Args)]
pub(in crate::cli) struct Demo {
    /// The daemon to run [default: musterd beside this program, else in PATH]
    #[arg(long, value_name = "PATH")]
    pub(in crate::cli) musterd: Option<PathBuf>,
    /// Daemons at the start
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub(in crate::cli) nodes: u8,
    /// Print lines instead of a live view, as when not on a terminal
    #[arg(long)]
    pub(in crate::cli) plain: bool,
    /// Stop by itself after so many seconds
    #[arg(long, value_name = "N")]
    pub(in crate::cli) seconds: Option<u64>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Run {
    /// Image of the node, such as muster-shell
    pub(in crate::cli) image: String,
    /// Its children and its role; without one, those of the image
    #[arg(value_name = "YML")]
    pub(in crate::cli) yml: Option<PathBuf>,
    /// Name of the container and of the node
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) name: Option<String>,
    /// Network of the container
    #[arg(long, value_name = "NETWORK")]
    pub(in crate::cli) network: Option<String>,
    /// Publish a port, [[IP:]PORT:]PORT; ports of children are published here (repeatable)
    #[arg(long, short, value_name = "PORTS")]
    pub(in crate::cli) publish: Vec<String>,
    /// Mount a directory or volume, SOURCE:DESTINATION[:MODE] (repeatable)
    #[arg(long, short, value_name = "VOLUME")]
    pub(in crate::cli) volume: Vec<String>,
    /// Set a variable, NAME=VALUE, or pass on one, NAME (repeatable)
    #[arg(long, short, value_name = "VARIABLE")]
    pub(in crate::cli) env: Vec<String>,
    /// File with the token of the cluster; without one, MUSTER_TOKEN is passed on if it is set
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) token_file: Option<PathBuf>,
    /// Also mount the host's root directory at /host, as serfnode did
    #[arg(long)]
    pub(in crate::cli) host_root: bool,
    /// Socket of the Docker engine on its host
    #[arg(long, value_name = "PATH", default_value = "/var/run/docker.sock")]
    pub(in crate::cli) docker_socket: PathBuf,
    /// The docker program
    #[arg(long, value_name = "PROGRAM", default_value = "docker")]
    pub(in crate::cli) docker: PathBuf,
    /// Return once it is started
    #[arg(long, short)]
    pub(in crate::cli) detach: bool,
    /// Print the command line instead of running it
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,
    /// Flags for the daemon
    #[arg(last = true, value_name = "FLAGS")]
    pub(in crate::cli) flags: Vec<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Init {
    /// Where to write them; made if missing
    #[arg(default_value = ".")]
    pub(in crate::cli) directory: PathBuf,
    /// Role of the node
    #[arg(long, default_value = "web")]
    pub(in crate::cli) role: String,
    /// Image to build on
    #[arg(long, default_value = "muster-shell")]
    pub(in crate::cli) image: String,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Proto {
    /// Where to write them; made if missing
    pub(in crate::cli) directory: PathBuf,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Serf {
    /// A command of serf and its arguments, such as members -status alive
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    pub(in crate::cli) args: Vec<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Completions {
    pub(in crate::cli) shell: Shell,
}
