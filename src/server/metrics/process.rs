//! What the system says about this process.

use std::fs;
use std::path::Path;

/// A clock tick of `/proc/<pid>/stat`: 100 a second on every Linux that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// One look at a process. What the system does not tell is zero.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Process {
    pub(crate) cpu_seconds: f64,
    pub(crate) resident_bytes: u64,
    pub(crate) virtual_bytes: u64,
    pub(crate) files_open: u64,
    pub(crate) files_max: u64,
    pub(crate) read_bytes: u64,
    pub(crate) written_bytes: u64,
    pub(crate) read_calls: u64,
    pub(crate) write_calls: u64,
}

impl Process {
    /// Reads a directory such as `/proc/self`.
    pub(crate) fn read(directory: &Path) -> Self {
        let text = |name: &str| fs::read_to_string(directory.join(name)).unwrap_or_default();
        let (stat, status, io, limits) = (text("stat"), text("status"), text("io"), text("limits"));
        // The name of the program, in brackets, may hold blanks: what follows it does not.
        let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks = |place: usize| number(after.split_whitespace().nth(place)) as f64;
        let field = |text: &str, name: &str| {
            number(
                text.lines()
                    .find_map(|line| line.strip_prefix(name)?.split_whitespace().next()),
            )
        };
        Self {
            cpu_seconds: (ticks(11) + ticks(12)) / TICKS_PER_SECOND,
            resident_bytes: field(&status, "VmRSS:") * 1024,
            virtual_bytes: field(&status, "VmSize:") * 1024,
            files_open: fs::read_dir(directory.join("fd"))
                .map_or(0, |entries| entries.count() as u64),
            files_max: field(&limits, "Max open files"),
            read_bytes: field(&io, "rchar:"),
            written_bytes: field(&io, "wchar:"),
            read_calls: field(&io, "syscr:"),
            write_calls: field(&io, "syscw:"),
        }
    }
}

fn number(word: Option<&str>) -> u64 {
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name_is() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write(
            "stat",
            "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 9 0 1\n",
        );
        write(
            "status",
            "Name:\tx\nVmSize:\t    2048 kB\nVmRSS:\t    1024 kB\n",
        );
        write("io", "rchar: 5\nwchar: 6\nsyscr: 7\nsyscw: 8\n");
        write(
            "limits",
            "Limit  Soft Limit  Hard Limit  Units\nMax open files   1024   4096   files\n",
        );
        fs::create_dir(dir.path().join("fd")).unwrap();
        fs::write(dir.path().join("fd/0"), "").unwrap();
        let expected = Process {
            cpu_seconds: 3.0,
            resident_bytes: 1 << 20,
            virtual_bytes: 2 << 20,
            files_open: 1,
            files_max: 1024,
            read_bytes: 5,
            written_bytes: 6,
            read_calls: 7,
            write_calls: 8,
        };
        assert_eq!(Process::read(dir.path()), expected);
        assert_eq!(Process::read(Path::new("/nowhere")), Process::default());
    }
}
