//! grpc.health.v1, and reflection so that tools need no `.proto` files.

use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tonic_reflection::server::{Builder, Error};

use crate::routes::Routes;

/// Tells callers whether the daemon serves.
#[derive(Debug, Clone)]
pub struct HealthHandle {
    reporter: HealthReporter,
    services: Vec<&'static str>,
}

impl HealthHandle {
    /// Sets the state of every service and of the whole (`""`).
    pub async fn set_serving(&self, serving: bool) {
        let status = if serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        for service in self.services.iter().copied().chain([""]) {
            self.reporter.set_service_status(service, status).await;
        }
    }
}

/// Adds health for the services in `routes`, and reflection v1 and v1alpha (the
/// latter for grpcui, Postman and older grpcurl).
///
/// # Errors
/// A descriptor set that is none; ours are built in.
pub(crate) async fn add(routes: Routes) -> Result<(Routes, HealthHandle), Error> {
    let (reporter, server) = tonic_health::server::health_reporter();
    let services: Vec<_> = routes.names().collect();
    let handle = HealthHandle { reporter, services };
    handle.set_serving(true).await;
    let descriptors = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(muster_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let routes = routes.add(server);
    let routes = routes.add(descriptors().build_v1()?);
    let routes = routes.add(descriptors().build_v1alpha()?);
    Ok((routes, handle))
}
