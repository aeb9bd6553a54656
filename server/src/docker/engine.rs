//! What can be done with containers.
//!
//! bollard makes the requests, over our own transport. Every operation has a time limit
//! of its own and ends with an error at it; what the engine had begun goes on there.

mod body;
mod exec;

use std::sync::Arc;
use std::time::Duration;

use bollard::models::{CreateImageInfo, VolumeCreateRequest};
use bollard::query_parameters as query;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use serde_json::Value;

pub use self::exec::Executed;
use super::Inspected;
use super::client::{ANSWER_BYTES_MAX, Client};
use super::error::DockerError;
use super::names;
use super::transport::{Bounds, named, unversioned};

/// How long an operation may take that the engine does by itself.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(60);

/// How much longer than its grace a stop may take: the kill, and tidying up.
const STOP_SLACK: Duration = Duration::from_secs(30);

/// Longest pull of an image.
const PULL_TIMEOUT: Duration = Duration::from_secs(1_800);

/// Longest silence within a pull.
const PULL_SILENCE: Duration = Duration::from_secs(120);

/// Most bytes of progress that are read of one pull.
const PULL_BYTES_MAX: usize = 64 << 20;

/// Largest archive that is put into a container, bytes.
const ARCHIVE_BYTES_MAX: usize = 16 << 20;

/// What can be done. Cheap to clone. Without an engine, everything is
/// [`DockerError::Off`].
#[derive(Debug, Clone, Default)]
pub struct Engine {
    on: Option<Arc<On>>,
}

#[derive(Debug)]
struct On {
    client: Client,
    bollard: bollard::Docker,
    /// For pulls: with room for their progress.
    pulling: bollard::Docker,
}

impl Engine {
    /// # Errors
    /// bollard's, which there are none of.
    pub(super) fn new(client: Client) -> Result<Self, DockerError> {
        let on = On {
            bollard: over(&client, ANSWER_BYTES_MAX)?,
            pulling: over(&client, PULL_BYTES_MAX)?,
            client,
        };
        Ok(Self {
            on: Some(Arc::new(on)),
        })
    }

    fn on(&self) -> Result<&On, DockerError> {
        self.on.as_deref().ok_or(DockerError::Off)
    }

    /// One container as the engine shows it now, by full id, unique beginning of one, or
    /// name.
    ///
    /// # Errors
    /// [`DockerError::is_missing`] where there is none.
    pub async fn inspect(&self, which: &str) -> Result<Inspected, DockerError> {
        self.on()?.client.inspect(which).await
    }

    /// Creates a container from the JSON of the engine's API; its id. Warnings of the
    /// engine are logged.
    ///
    /// # Errors
    /// [`DockerError::is_missing`]: there is no such image. [`DockerError::is_conflict`]:
    /// the name is taken. [`DockerError::Invalid`]: a field that would be lost on the way.
    pub async fn create(&self, name: &str, body: &Value) -> Result<String, DockerError> {
        let on = self.on()?;
        let body = body::of_create(body)?;
        let name = names::encoded(name)?;
        let options = query::CreateContainerOptions {
            name: Some(name.to_owned()),
            platform: String::new(),
        };
        let create = on.bollard.create_container(Some(options), body);
        let created = within("POST /containers/create", OPERATION_TIMEOUT, create).await?;
        for warning in created.warnings {
            tracing::warn!(container = name, warning, "the engine warns");
        }
        Ok(created.id)
    }

    /// Starts it. One that runs is left alone.
    ///
    /// # Errors
    /// The engine's, such as a port that is taken.
    pub async fn start(&self, which: &str) -> Result<(), DockerError> {
        let (on, which) = (self.on()?, names::encoded(which)?);
        let start = on.bollard.start_container(which, None);
        within(&post(which, "start"), OPERATION_TIMEOUT, start).await
    }

    /// Sends its stop signal, and kills it after `grace`; whole seconds, rounded up. One
    /// that does not run is left alone.
    ///
    /// # Errors
    /// The engine's.
    pub async fn stop(&self, which: &str, grace: Duration) -> Result<(), DockerError> {
        let (on, which) = (self.on()?, names::encoded(which)?);
        let options = query::StopContainerOptions {
            t: Some(seconds(grace)),
            ..Default::default()
        };
        let limit = grace + STOP_SLACK;
        let docker = on.bollard.clone().with_timeout(limit);
        let stop = docker.stop_container(which, Some(options));
        within(&post(which, "stop"), limit, stop).await
    }

    /// Stops it as [`Engine::stop`] does, and starts it.
    ///
    /// # Errors
    /// The engine's.
    pub async fn restart(&self, which: &str, grace: Duration) -> Result<(), DockerError> {
        let (on, which) = (self.on()?, names::encoded(which)?);
        let options = query::RestartContainerOptions {
            t: Some(seconds(grace)),
            ..Default::default()
        };
        let limit = grace + STOP_SLACK;
        let docker = on.bollard.clone().with_timeout(limit);
        let restart = docker.restart_container(which, Some(options));
        within(&post(which, "restart"), limit, restart).await
    }

    /// Sends a signal: `KILL`, `SIGTERM`, `9`.
    ///
    /// # Errors
    /// [`DockerError::is_conflict`] where it does not run.
    pub async fn kill(&self, which: &str, signal: &str) -> Result<(), DockerError> {
        let (on, which) = (self.on()?, names::encoded(which)?);
        let options = query::KillContainerOptions {
            signal: signal.to_owned(),
        };
        let kill = on.bollard.kill_container(which, Some(options));
        within(&post(which, "kill"), OPERATION_TIMEOUT, kill).await
    }

    /// Removes it; with `force` also one that runs. Its anonymous volumes stay unless
    /// `volumes`.
    ///
    /// # Errors
    /// [`DockerError::is_conflict`] where it runs, or is being removed already.
    pub async fn remove(&self, which: &str, force: bool, volumes: bool) -> Result<(), DockerError> {
        let (on, which) = (self.on()?, names::encoded(which)?);
        let options = query::RemoveContainerOptions {
            v: volumes,
            force,
            link: false,
        };
        let remove = on.bollard.remove_container(which, Some(options));
        let what = format!("DELETE /containers/{which}");
        within(&what, OPERATION_TIMEOUT, remove).await
    }

    /// Gives it another name.
    ///
    /// # Errors
    /// [`DockerError::is_conflict`] where the name is taken.
    pub async fn rename(&self, which: &str, name: &str) -> Result<(), DockerError> {
        let (on, which) = (self.on()?, names::encoded(which)?);
        let options = query::RenameContainerOptions {
            name: names::encoded(name)?.to_owned(),
        };
        let rename = on.bollard.rename_container(which, options);
        within(&post(which, "rename"), OPERATION_TIMEOUT, rename).await
    }

    /// Unpacks a tar archive below `path` of the container, which need not run; at most
    /// 16 MiB. Not atomic.
    ///
    /// # Errors
    /// The engine's, such as a root file system that is read-only.
    pub async fn put_archive(
        &self,
        which: &str,
        path: &str,
        tar: Bytes,
    ) -> Result<(), DockerError> {
        let (on, which) = (self.on()?, names::encoded(which)?);
        if tar.len() > ARCHIVE_BYTES_MAX {
            let what = format!("an archive of {} bytes is too large", tar.len());
            return Err(DockerError::invalid(what));
        }
        let options = query::UploadToContainerOptions {
            path: path.to_owned(),
            no_overwrite_dir_non_dir: Some("true".to_owned()),
            ..Default::default()
        };
        let put = on
            .bollard
            .upload_to_container(which, Some(options), bollard::body_full(tar));
        let what = format!("PUT /containers/{which}/archive");
        within(&what, OPERATION_TIMEOUT, put).await
    }

    /// Whether the engine has this image.
    ///
    /// # Errors
    /// The engine's.
    pub async fn image_exists(&self, reference: &str) -> Result<bool, DockerError> {
        let (on, reference) = (self.on()?, names::image(reference)?);
        let inspect = on.bollard.inspect_image(reference);
        let what = format!("GET /images/{reference}/json");
        match within(&what, OPERATION_TIMEOUT, inspect).await {
            Ok(_image) => Ok(true),
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Pulls an image, without credentials; without tag and digest it is `latest`.
    ///
    /// # Errors
    /// The engine's, also those of the registry.
    pub async fn pull(&self, reference: &str) -> Result<(), DockerError> {
        let (on, reference) = (self.on()?, names::image(reference)?);
        let last = reference.rsplit('/').next().unwrap_or(reference);
        let tag = (!last.contains([':', '@'])).then(|| "latest".to_owned());
        let options = query::CreateImageOptions {
            from_image: Some(reference.to_owned()),
            tag,
            ..Default::default()
        };
        let what = "POST /images/create";
        let mut progress = on.pulling.create_image(Some(options), None, None);
        let pull = async {
            loop {
                let next = tokio::time::timeout(PULL_SILENCE, progress.next());
                match next.await {
                    Ok(None) => return Ok(()),
                    Ok(Some(Ok(CreateImageInfo { .. }))) => {}
                    Ok(Some(Err(error))) => return Err(of_bollard(what, error)),
                    Err(_elapsed) => return Err(timeout(what, PULL_SILENCE)),
                }
            }
        };
        let pulled = tokio::time::timeout(PULL_TIMEOUT, pull).await;
        pulled.unwrap_or_else(|_elapsed| Err(timeout(what, PULL_TIMEOUT)))
    }

    /// Creates a local volume with labels, or finds the one of that name; where it is on
    /// the host.
    ///
    /// # Errors
    /// The engine's.
    pub async fn create_volume(
        &self,
        name: &str,
        labels: &[(&str, &str)],
    ) -> Result<std::path::PathBuf, DockerError> {
        let (on, name) = (self.on()?, names::encoded(name)?);
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            labels: Some(labels.iter().map(owned).collect()),
            ..Default::default()
        };
        let create = on.bollard.create_volume(request);
        let volume = within("POST /volumes/create", OPERATION_TIMEOUT, create).await?;
        Ok(volume.mountpoint.into())
    }

    /// Removes a volume that nobody uses.
    ///
    /// # Errors
    /// [`DockerError::is_conflict`] where somebody does.
    pub async fn remove_volume(&self, name: &str) -> Result<(), DockerError> {
        let (on, name) = (self.on()?, names::encoded(name)?);
        let remove = on
            .bollard
            .remove_volume(name, None::<query::RemoveVolumeOptions>);
        let what = format!("DELETE /volumes/{name}");
        within(&what, OPERATION_TIMEOUT, remove).await
    }

    /// Runs a program in a running container and waits for its end, at most `limit`. The
    /// first bytes of its output are kept; after `limit` the program goes on.
    ///
    /// # Errors
    /// The engine's; a program that does not exist is exit code 126 or 127.
    pub async fn exec(
        &self,
        which: &str,
        argv: &[&str],
        limit: Duration,
    ) -> Result<Executed, DockerError> {
        let (on, which) = (self.on()?, names::encoded(which)?);
        let what = post(which, "exec");
        let run = exec::run(&on.bollard, &on.client, which, argv);
        let ran = tokio::time::timeout(limit, run).await;
        ran.unwrap_or_else(|_elapsed| Err(timeout(&what, limit)))
    }
}

/// bollard over our transport.
fn over(client: &Client, bytes_max: usize) -> Result<bollard::Docker, DockerError> {
    let client = client.clone();
    let transport = move |request: bollard::BollardRequest| {
        let client = client.clone();
        async move {
            let sent = relay(&client, request, bytes_max).await;
            // It comes out of bollard's error again.
            sent.map_err(|error| bollard::errors::Error::from(std::io::Error::other(error)))
        }
    };
    let built = bollard::Docker::connect_with_custom_transport(
        transport,
        Some("http://docker"),
        OPERATION_TIMEOUT.as_secs(),
        bollard::API_DEFAULT_VERSION,
    );
    built.map_err(|error| DockerError::invalid(format!("cannot use the engine: {error}")))
}

/// Gives a request of bollard the version that it leaves out.
async fn relay<B>(
    client: &Client,
    mut request: Request<B>,
    bytes_max: usize,
) -> Result<Response<Incoming>, DockerError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let transport = client.transport();
    let api = match transport.api() {
        Some(api) => api,
        None => client.negotiate().await?,
    };
    let asked = request.uri().path_and_query();
    let asked = asked.map_or("/", |asked| unversioned(asked.as_str()));
    let path = format!("/v{}{asked}", api.version);
    *request.uri_mut() = path.parse().map_err(|_error| {
        let what = named(request.method(), request.uri());
        DockerError::invalid(format!("{what}: it is no path"))
    })?;
    let bounds = Bounds {
        // bollard's own limit, or that of the whole operation, ends it sooner.
        head: PULL_TIMEOUT,
        bytes_max: Some(bytes_max),
    };
    let answer = transport.send(request, bounds).await?;
    // bollard reads it, and drops it when it is too late.
    answer.open.disarm();
    Ok(answer.response)
}

/// An operation of bollard with its time limit and our errors.
async fn within<T>(
    what: &str,
    limit: Duration,
    operation: impl Future<Output = Result<T, bollard::errors::Error>>,
) -> Result<T, DockerError> {
    match tokio::time::timeout(limit, operation).await {
        Ok(Err(bollard::errors::Error::RequestTimeoutError)) => Err(timeout(what, limit)),
        Ok(done) => done.map_err(|error| of_bollard(what, error)),
        Err(_elapsed) => Err(timeout(what, limit)),
    }
}

fn timeout(what: &str, after: Duration) -> DockerError {
    DockerError::Timeout {
        request: what.to_owned(),
        after,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "bollard has two dozen kinds of broken answers"
)]
fn of_bollard(what: &str, error: bollard::errors::Error) -> DockerError {
    use bollard::errors::Error;
    match error {
        Error::DockerResponseServerError {
            status_code,
            message,
        } => DockerError::refused(what, status_code, &message),
        // A pull that fails has begun with 200.
        Error::DockerStreamError { error } => DockerError::refused(what, 500, &error),
        Error::IOError { err } => match err.downcast::<DockerError>() {
            Ok(ours) => ours,
            Err(io) => DockerError::broken(what, io),
        },
        Error::JsonDataError { message, .. } => DockerError::malformed(what, message),
        Error::JsonSerdeError { err } => DockerError::malformed(what, err),
        Error::HyperResponseError { err } => {
            super::transport::broken(what, err, Some(ANSWER_BYTES_MAX))
        }
        other => DockerError::broken(what, other),
    }
}

fn post(which: &str, verb: &str) -> String {
    format!("POST /containers/{which}/{verb}")
}

fn seconds(grace: Duration) -> i32 {
    i32::try_from(grace.as_secs_f64().ceil() as i64).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
