//! Logs: lines for people or JSON for machines, on standard error.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, fmt};

use crate::config::{LogFormat, Output};

/// Why logs cannot be had as asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A filter that is no list of `target=level`.
    #[error("SARSEN_LOG: {filter:?} is no list such as info,store=debug: {reason}")]
    Filter {
        /// The filter as given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Somebody else has set up logs in this process.
    #[error(transparent)]
    Taken(#[from] TryInitError),
}

/// Sets up logs for the whole process, once.
pub(crate) fn start(output: &Output) -> Result<(), Error> {
    let filter = filter(&output.filter)?;
    let logs = match output.format {
        LogFormat::Human => {
            let colours = stderr().is_terminal();
            fmt::layer().with_ansi(colours).with_writer(stderr).boxed()
        }
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(stderr)
            .boxed(),
    };
    Ok(registry().with(logs.with_filter(filter)).try_init()?)
}

fn filter(text: &str) -> Result<Targets, Error> {
    let wrong = |reason: String| Error::Filter {
        filter: text.to_owned(),
        reason,
    };
    // A bare word that is no level would count as a target, and so hide everything else.
    let mut words = text.split(',').filter(|part| !part.contains('='));
    if let Some(word) = words.find(|word| word.parse::<LevelFilter>().is_err()) {
        return Err(wrong(format!("{word:?} is no level")));
    }
    text.parse()
        .map_err(|reason: ParseError| wrong(reason.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_lists_of_targets_and_levels() {
        for good in ["info", "debug,hyper=warn", "off", "store=trace"] {
            assert!(filter(good).is_ok(), "{good}");
        }
        for bad in ["deubg", "info, debug", "store"] {
            assert!(filter(bad).is_err(), "{bad}");
        }
        let error = filter("store=loud").unwrap_err().to_string();
        assert!(
            error.starts_with("SARSEN_LOG: \"store=loud\" is no list"),
            "{error}"
        );
        assert_eq!(error.lines().count(), 1);
    }
}
