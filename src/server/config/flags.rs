//! The grammar of the command line.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

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
    /// Print no banner. Warnings and errors are logged all the same.
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
    #[arg(short = 'C', long, hide = true)]
    pub(crate) config_dir: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) interface: Option<String>,
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

/// Flags of `minio server` that tune what Sarsen has no knob for: taken, and warned about.
const TUNING: [&str; 11] = [
    "conn-user-timeout",
    "crossdomain-xml",
    "dns-cache-ttl",
    "listeners",
    "log-dir",
    "log-prefix",
    "log-size",
    "max-idle-conns-per-host",
    "memlimit",
    "recv-buf-size",
    "send-buf-size",
];
/// The same, without a value.
const TUNING_SWITCHES: [&str; 3] = ["compat", "log-compress", "no-compat"];

/// The command line taken apart.
#[derive(Debug)]
pub(crate) struct Flags {
    pub(crate) common: CommonFlags,
    pub(crate) server: ServerFlags,
    /// Flags that change nothing.
    pub(crate) ignored: Vec<&'static str>,
}

/// Reads the arguments, the program's name first.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Flags, Error> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments.len() < 2 {
        return Err(Error::Usage(
            "no command: try `sarsen server DIR...` or `sarsen --help`".into(),
        ));
    }
    let wrong = |error: clap::Error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Error::Help(error.to_string()),
        _ => Error::Usage(first_line(&error.to_string())),
    };
    let grammar = CommandLine::command().mut_subcommand("server", with_tuning);
    let matches = grammar.try_get_matches_from(arguments).map_err(wrong)?;
    let given = |name: &&str| {
        let server = matches.subcommand().map(|(_, server)| server);
        server.and_then(|server| server.value_source(name)) == Some(ValueSource::CommandLine)
    };
    let tuning = TUNING.into_iter().chain(TUNING_SWITCHES);
    let ignored = tuning.filter(given).collect();
    let line = CommandLine::from_arg_matches(&matches).map_err(wrong)?;
    let Command::Server(server) = line.command;
    Ok(Flags {
        common: line.common,
        server,
        ignored,
    })
}

fn with_tuning(server: clap::Command) -> clap::Command {
    let hidden = |name: &'static str| Arg::new(name).long(name).hide(true);
    let switch = |name| hidden(name).action(ArgAction::SetTrue);
    server
        .args(TUNING.map(hidden))
        .args(TUNING_SWITCHES.map(switch))
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Flags, Error> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_grammar_is_sound() {
        let grammar = CommandLine::command().mut_subcommand("server", with_tuning);
        grammar.debug_assert();
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
    fn flags_that_tune_what_is_not_tuned_are_taken_and_told() {
        let flags = read("sarsen server --memlimit 8GB /d --no-compat --log-dir=/x").unwrap();
        assert_eq!(flags.ignored, ["log-dir", "memlimit", "no-compat"]);
        assert_eq!(flags.server.drives, ["/d"]);
        assert_eq!(read("sarsen server /d").unwrap().ignored, [""; 0]);
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
