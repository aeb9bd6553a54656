//! `muster health`: 0 when the daemon serves, 1 when it says that it does not.

use serde::Serialize;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::cli::failure::Failure;
use crate::cli::text::escape;
use crate::cli::{CALL_TIMEOUT, Context};
use crate::error::Error;

#[derive(Serialize)]
struct Answer<'a> {
    status: &'static str,
    warnings: &'a [String],
}

pub(super) async fn run(context: &mut Context) -> Result<(), Failure> {
    let client = context.client()?;
    let mut health = HealthClient::new(client.channel());
    let call = async {
        let answer = health.check(HealthCheckRequest::default()).await;
        let answer = answer.map_err(|status| Error::of_call("Check", status))?;
        let info = client.info().await?;
        Ok((answer.into_inner().status(), info.warnings))
    };
    let (status, warnings) = context.deadline(CALL_TIMEOUT, call).await?;
    let status = match status {
        ServingStatus::Serving => "serving",
        ServingStatus::NotServing => "not_serving",
        ServingStatus::Unknown | ServingStatus::ServiceUnknown => "unknown",
    };
    let object = Answer {
        status,
        warnings: &warnings,
    };
    context.out.answer(&object, || {
        let mut lines = vec![status.replace('_', " ")];
        lines.extend(
            warnings
                .iter()
                .map(|text| format!("warning: {}", escape(text))),
        );
        lines.join("\n")
    })?;
    if status == "serving" {
        Ok(())
    } else {
        Err(Failure::refused(String::new()))
    }
}
