//! The settings of handlers.

use std::time::Duration;

use super::layers::Layers;
use super::machine::Machine;
use super::{units, values};
use crate::handlers::spec::Spec;
use crate::handlers::{CONCURRENCY_MAX, Config, HANDLERS_MAX, QUEUE_MAX};
use crate::process::User;

const DAY: Duration = Duration::from_secs(86_400);

/// Reads them. Mistakes are noted in `layers`.
pub(super) fn build(layers: &mut Layers, machine: &dyn Machine) -> Config {
    let spec = |text: &str| Spec::parse(text, units::duration).map_err(|error| error.to_string());
    let specs = layers.list("event-handler", spec);
    if specs.len() > HANDLERS_MAX {
        layers.refuse(
            "event-handler",
            &format!("{} handlers were given", specs.len()),
        );
    }
    let timeout =
        |text: &str| units::within(units::duration(text)?, Duration::from_millis(10)..=DAY);
    let coalesce = |text: &str| {
        let minute = Duration::from_secs(60);
        units::within(units::duration(text)?, Duration::ZERO..=minute)
    };
    let config = Config {
        specs,
        dir: layers.optional("handler-dir", values::path),
        timeout: layers.value("handler-timeout", timeout),
        concurrency: layers.value("handler-concurrency", |text| count(text, CONCURRENCY_MAX)),
        queue: layers.value("handler-queue", |text| count(text, QUEUE_MAX)),
        user: user(layers, machine),
        json: layers.value("handler-json", units::boolean),
        redeliver: layers.value("handler-redeliver", units::boolean),
        coalesce: layers.value("handler-coalesce", coalesce),
    };
    let redelivers = config.redeliver || config.specs.iter().any(|spec| spec.options.redeliver);
    if redelivers && layers.entry("data-dir").is_none() {
        layers.refuse("handler-redeliver", "it needs data-dir");
    }
    config
}

fn user(layers: &mut Layers, machine: &dyn Machine) -> Option<User> {
    let find = |text: &str| User::find(&machine.users(), text).map_err(|error| error.to_string());
    let user = layers.optional("handler-user", find)?;
    if !machine.is_root() {
        layers.refuse(
            "handler-user",
            "only a daemon that runs as root can change the user",
        );
    }
    Some(user)
}

fn count(text: &str, most: usize) -> Result<usize, String> {
    let number = usize::try_from(units::number(text)?).unwrap_or(usize::MAX);
    units::within(number, 1..=most)
}
