//! Keys and tokens.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Args)]
pub(in crate::cli) struct Keygen {
    /// Write it to this new file, readable by its owner only
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Token {
    /// Name of the cluster
    #[arg(long, value_name = "NAME", default_value = "muster")]
    pub(in crate::cli) cluster: String,
    /// Address that the new host joins: IP:PORT, NAME or NAME:PORT (repeatable)
    #[arg(long = "seed", value_name = "ADDR")]
    pub(in crate::cli) seeds: Vec<String>,
    /// File with the cluster key [default: a new key]
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) key_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Keys {
    /// Print which member holds which key; never a key itself
    List,
    /// Give a key to every member: it opens, it does not seal yet
    Install(InstallKey),
    /// Seal with an installed key everywhere
    Use(ChangeKey),
    /// Take a key away everywhere
    Remove(ChangeKey),
    /// Install a new key, seal with it, and remove the old one after the overlap
    Rotate(RotateKey),
    /// Go one stage on, or back, between plaintext and encryption, everywhere
    Encryption(Encryption),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct InstallKey {
    /// File with the key, - for standard input [default: a new key]
    #[arg(value_name = "FILE")]
    pub(in crate::cli) key: Option<PathBuf>,
    /// Write the key to this new file first, readable by its owner only
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) out: Option<PathBuf>,
    /// On this daemon only: the way to bring the first key to a plaintext one
    #[arg(long)]
    pub(in crate::cli) local: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ChangeKey {
    /// Id of the key, as `muster keys list` prints it
    pub(in crate::cli) id: String,
    /// Although members that are not ready are cut off
    #[arg(long)]
    pub(in crate::cli) force: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RotateKey {
    /// File with the new key, - for standard input [default: a new key]
    #[arg(value_name = "FILE")]
    pub(in crate::cli) key: Option<PathBuf>,
    /// Write the new key to this new file first, readable by its owner only
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) out: Option<PathBuf>,
    /// How long the old key is still accepted, such as 30m or 24h; 0 removes it at once
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = crate::cli::keys::parse_overlap)]
    pub(in crate::cli) overlap: Option<Duration>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Encryption {
    /// The stage
    #[arg(value_enum)]
    pub(in crate::cli) stage: Stage,
    /// Although members that are not ready are cut off
    #[arg(long)]
    pub(in crate::cli) force: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Stage {
    /// Send in clear, accept both
    Receive,
    /// Send sealed, accept both
    Send,
    /// Send sealed, accept nothing else
    On,
}
