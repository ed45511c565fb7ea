//! The grammar of the command line.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};

use crate::config::error::Error;

/// An erasure-coded object store with the API of S3.
#[derive(Debug, Parser)]
#[command(name = "sarsen", version, disable_help_subcommand = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: CommonFlags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve objects from directories, one per drive.
    Server(ServerFlags),
}

/// Flags that may stand before or after the command.
#[derive(Debug, Clone, Args)]
pub(crate) struct CommonFlags {
    /// Directory of TLS certificates: public.crt, private.key, CAs/, and one more pair in each
    /// sub-directory.
    #[arg(short = 'S', long, global = true, value_name = "DIR")]
    pub(crate) certs_dir: Option<String>,
    /// Print no banner and no warnings.
    #[arg(long, global = true)]
    pub(crate) quiet: bool,
    /// Leave names and addresses out of what is printed.
    #[arg(long, global = true)]
    pub(crate) anonymous: bool,
    /// Print logs as lines of JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// Flags of `sarsen server`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServerFlags {
    /// Where to listen: HOST:PORT, or :PORT for every interface. Without it, :9000.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) address: Option<String>,
    /// Where the web console listens. Accepted; the console is not there yet.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) console_address: Option<String>,
    /// "auto" makes a certificate authority and a certificate where there are none.
    #[arg(long, value_name = "MODE")]
    pub(crate) tls: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) config: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) ftp: Vec<String>,
    #[arg(long, hide = true)]
    pub(crate) sftp: Vec<String>,
    /// How long a stopping server waits for requests, such as 30s.
    #[arg(long, hide = true, value_name = "DURATION")]
    pub(crate) shutdown_timeout: Option<String>,
    /// How long an idle connection stays open.
    #[arg(long, hide = true, value_name = "DURATION")]
    pub(crate) idle_timeout: Option<String>,
    /// How long a client may take to send the head of a request.
    #[arg(long, hide = true, value_name = "DURATION")]
    pub(crate) read_header_timeout: Option<String>,
    /// Directories, or patterns such as /mnt/drive{1...4}; each pattern is a pool.
    #[arg(value_name = "DIR")]
    pub(crate) drives: Vec<String>,
}

/// The command line taken apart.
#[derive(Debug)]
pub(crate) struct Flags {
    pub(crate) common: CommonFlags,
    pub(crate) server: ServerFlags,
}

/// Reads the arguments, the program's name first.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Flags, Error> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments.len() < 2 {
        return Err(Error::Usage(
            "no command: try `sarsen server DIR...` or `sarsen --help`".into(),
        ));
    }
    let line = CommandLine::try_parse_from(arguments).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Error::Help(error.to_string()),
        _ => Error::Usage(first_line(&error.to_string())),
    })?;
    let Command::Server(server) = line.command;
    Ok(Flags {
        common: line.common,
        server,
    })
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn read(line: &str) -> Result<Flags, Error> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_grammar_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn what_is_no_command_line_is_refused_in_one_line() {
        let table = [
            (
                "sarsen",
                "no command: try `sarsen server DIR...` or `sarsen --help`",
            ),
            ("sarsen serve /d", "unrecognized subcommand 'serve'"),
            (
                "sarsen server --adress :1 /d",
                "unexpected argument '--adress' found",
            ),
            (
                "sarsen server /d --address",
                "a value is required for '--address <ADDRESS>' but none was supplied",
            ),
            (
                "sarsen server --quiet=yes /d",
                "unexpected value 'yes' for '--quiet' found; no more were expected",
            ),
        ];
        for (line, message) in table {
            let error = read(line).unwrap_err();
            assert_eq!(
                (error.to_string().as_str(), error.exit_code()),
                (message, 2),
                "{line}"
            );
        }
    }

    #[test]
    fn help_is_no_failure() {
        for line in ["sarsen --help", "sarsen server --help", "sarsen --version"] {
            assert_eq!(read(line).unwrap_err().exit_code(), 0, "{line}");
        }
    }

    #[test]
    fn common_flags_stand_anywhere() {
        let table = [
            "sarsen --json -S /c server --address :1 /a /b",
            "sarsen server /a --json --certs-dir /c /b --address :1",
            "sarsen server --address=:1 --certs-dir=/c --json -- /a /b",
        ];
        for line in table {
            let flags = read(line).unwrap();
            assert!(flags.common.json && !flags.common.quiet, "{line}");
            assert_eq!(flags.common.certs_dir.as_deref(), Some("/c"), "{line}");
            assert_eq!(flags.server.address.as_deref(), Some(":1"), "{line}");
            assert_eq!(flags.server.drives, ["/a", "/b"], "{line}");
        }
    }
}
