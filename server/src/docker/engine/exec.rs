//! Programs run in containers of others.
//!
//! Not by bollard: its decoder of output panics at a kind of stream that it does not
//! know, and has no bound.

use bollard::exec::CreateExecOptions;
use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;

use super::super::client::Client;
use super::super::error::DockerError;
use super::super::names;
use super::{OPERATION_TIMEOUT, post, within};

/// Bytes of output that are kept; the rest is read and thrown away.
const OUTPUT_BYTES_MAX: usize = 64 << 10;

/// Bytes before each piece of output: kind of stream, three zeros, length.
const HEAD: usize = 8;

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// Its exit code.
    pub code: i64,
    /// The first 64 KiB of standard output and standard error, as they came.
    pub output: Vec<u8>,
    /// There was more.
    pub cut: bool,
}

pub(super) async fn run(
    bollard: &bollard::Docker,
    client: &Client,
    which: &str,
    argv: &[&str],
) -> Result<Executed, DockerError> {
    let options = CreateExecOptions {
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(argv.to_vec()),
        ..Default::default()
    };
    let create = bollard.create_exec(which, options);
    let exec = within(&post(which, "exec"), OPERATION_TIMEOUT, create)
        .await?
        .id;
    let exec = names::encoded(&exec)?;
    let path = format!("/exec/{exec}/start");
    let body = Bytes::from_static(br#"{"Detach":false,"Tty":false}"#);
    let answer = client.post(&path, body).await?;
    let mut stream = answer.response.into_body();
    let what = format!("POST {path}");
    let mut output = Output::default();
    while let Some(frame) = stream.frame().await {
        let frame = frame.map_err(|error| DockerError::broken(&what, error))?;
        if let Ok(data) = frame.into_data() {
            output.put(data);
        }
    }
    drop(answer.open);
    let what = format!("GET /exec/{exec}/json");
    let seen = within(&what, OPERATION_TIMEOUT, bollard.inspect_exec(exec)).await?;
    let code = seen.exit_code.filter(|_| seen.running != Some(true));
    let code = code.ok_or_else(|| DockerError::malformed(&what, "the program has not ended"))?;
    Ok(Executed {
        code,
        output: output.kept,
        cut: output.cut,
    })
}

/// Takes the heads out of multiplexed output.
#[derive(Debug, Default)]
struct Output {
    kept: Vec<u8>,
    cut: bool,
    /// Of a head that is not whole.
    head: BytesMut,
    /// Bytes of the piece that are still to come.
    left: usize,
}

impl Output {
    fn put(&mut self, mut data: Bytes) {
        while !data.is_empty() {
            if self.left == 0 {
                let missing = HEAD - self.head.len();
                self.head
                    .extend_from_slice(&data.split_to(missing.min(data.len())));
                if self.head.len() == HEAD {
                    self.head.advance(HEAD - 4);
                    self.left = usize::try_from(self.head.get_u32()).unwrap_or(usize::MAX);
                }
                continue;
            }
            let piece = data.split_to(self.left.min(data.len()));
            self.left -= piece.len();
            let room = OUTPUT_BYTES_MAX - self.kept.len();
            self.cut |= piece.len() > room;
            self.kept.extend_from_slice(&piece[..room.min(piece.len())]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(kind: u8, text: &[u8]) -> Vec<u8> {
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        [&[kind, 0, 0, 0][..], &length, text].concat()
    }

    #[test]
    fn output_comes_in_any_pieces() {
        let whole = [
            piece(1, b"out\n"),
            piece(2, b""),
            piece(2, b"err"),
            piece(9, b"?"),
        ]
        .concat();
        for size in 1..whole.len() {
            let mut output = Output::default();
            for part in whole.chunks(size) {
                output.put(Bytes::copy_from_slice(part));
            }
            assert_eq!(output.kept, b"out\nerr?", "{size}");
            assert!(!output.cut);
        }
    }

    #[test]
    fn much_output_is_cut() {
        let mut output = Output::default();
        output.put(piece(1, &vec![b'x'; OUTPUT_BYTES_MAX]).into());
        assert!(!output.cut);
        output.put(piece(1, b"y").into());
        assert!(output.cut);
        assert_eq!(output.kept.len(), OUTPUT_BYTES_MAX);
    }
}
