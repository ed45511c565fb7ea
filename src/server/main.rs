//! The `sarsen` binary: one configuration, one server, one exit code.

use std::env::args_os;
use std::io::{Write, stderr, stdout};
use std::process::ExitCode;

use server::{ConfigError, ProcessEnvironment, load, run};
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    let config = match load(args_os(), &ProcessEnvironment) {
        Ok(config) => config,
        Err(ConfigError::Help(text)) => {
            // A reader that has seen enough, such as `head`, is no failure.
            let _ = stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(error) => return fail(&error.to_string(), error.exit_code()),
    };
    let served = Runtime::new().map_err(Into::into).and_then(|runtime| {
        let served = runtime.block_on(run(config));
        runtime.shutdown_background();
        served
    });
    served.map_or_else(|error| fail(&error.to_string(), 1), |()| ExitCode::SUCCESS)
}

fn fail(line: &str, code: u8) -> ExitCode {
    // Nobody is left to tell if this fails.
    let _ = writeln!(stderr(), "sarsen: {line}");
    ExitCode::from(code)
}
