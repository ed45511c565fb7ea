//! From drive arguments to pools of directories with their parity.

use std::path::{Component, Path, PathBuf};

use placement::{Classes, Parity, pools};

use crate::config::error::Error;
use crate::config::settings::{Setting, Settings};

/// Drives that were added together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// The sets in order; each names its directories, absolute, in order.
    pub sets: Vec<Vec<PathBuf>>,
    /// The parity of each storage class on sets of this size.
    pub classes: Classes,
}

/// Reads the drives of the environment, or else of the command line; nothing is touched on disk.
pub(crate) fn read(
    settings: &Settings<'_>,
    arguments: &[String],
    warnings: &mut Vec<String>,
) -> Result<Vec<Pool>, Error> {
    let named = ["ARGS", "VOLUMES", "ENDPOINTS"]
        .into_iter()
        .find_map(|name| settings.value(name));
    let arguments = match &named {
        Some(setting) => {
            if !arguments.is_empty() {
                warnings.push(format!(
                    "{} replaces the drives of the command line",
                    setting.name
                ));
            }
            setting
                .value
                .split_whitespace()
                .map(str::to_owned)
                .collect()
        }
        None => arguments.to_vec(),
    };
    if let Some(url) = arguments.iter().find(|argument| argument.contains("://")) {
        let problem = "drives of other nodes are not there yet: name directories";
        return Err(Error::setting(url, problem));
    }
    let set_drives = settings.value("ERASURE_SET_DRIVE_COUNT");
    let number = |setting: Setting| setting.read(|text| text.parse().ok(), "a number of drives");
    let pools = pools(&arguments, set_drives.map(number).transpose()?)?;
    let parity = |name| match settings.value(name) {
        Some(setting) => setting
            .value
            .parse()
            .map(Some)
            .map_err(|error: placement::Error| setting.wrong(error.to_string())),
        None => Ok(None::<Parity>),
    };
    let (standard, reduced) = (
        parity("STORAGE_CLASS_STANDARD")?,
        parity("STORAGE_CLASS_RRS")?,
    );
    let pools = pools.into_iter().map(|pool| {
        let classes = Classes::new(pool.set_drives(), standard, reduced)?;
        let set = |set: Vec<String>| set.iter().map(|drive| directory(drive)).collect();
        let sets = pool.sets.into_iter().map(set).collect::<Result<_, _>>()?;
        Ok(Pool { sets, classes })
    });
    let pools: Vec<Pool> = pools.collect::<Result<_, Error>>()?;
    check_apart(&pools)?;
    Ok(pools)
}

/// An absolute path without `.` and `..`, so that one directory has one name.
fn directory(argument: &str) -> Result<PathBuf, Error> {
    let wrong = |problem: &str| Error::setting(argument, problem);
    if argument.contains('\0') {
        return Err(wrong("a path holds no NUL byte"));
    }
    let path = std::path::absolute(argument).map_err(|error| wrong(&error.to_string()))?;
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(wrong("a drive's path has no `..`"));
    }
    let path: PathBuf = path.components().collect();
    if path == Path::new("/") {
        return Err(wrong("the root of the file system cannot be a drive"));
    }
    Ok(path)
}

/// No drive lies in another one: they would share a disk, and one would hold foreign files.
fn check_apart(pools: &[Pool]) -> Result<(), Error> {
    let mut paths: Vec<&PathBuf> = pools
        .iter()
        .flat_map(|pool| pool.sets.iter().flatten())
        .collect();
    // Paths compare by components, so what lies in a directory follows it directly.
    paths.sort_unstable();
    for pair in paths.windows(2) {
        if let [outer, inner] = pair
            && inner.starts_with(outer)
        {
            let problem = if inner == outer {
                "named twice".to_owned()
            } else {
                format!("lies in another drive, {}", outer.display())
            };
            return Err(Error::setting(inner.display().to_string(), problem));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn read_line(line: &str, pairs: &[(&str, &str)]) -> Result<(Vec<Pool>, Vec<String>), String> {
        let variables: BTreeMap<String, String> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let settings = Settings::new(&variables, Path::new("/nowhere")).unwrap();
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let mut warnings = Vec::new();
        let pools =
            read(&settings, &arguments, &mut warnings).map_err(|error| error.to_string())?;
        Ok((pools, warnings))
    }

    #[test]
    fn drives_that_cannot_be_are_refused_in_one_line() {
        let table = [
            ("", "no drives: name at least one directory"),
            (
                "http://a/d{1...4}",
                "http://a/d{1...4}: drives of other nodes are not there yet: name directories",
            ),
            (
                "/d{1..4}",
                "invalid ellipsis in \"/d{1..4}\": write {first...last}, decimal or hexadecimal",
            ),
            ("/a /a/", "/a: named twice"),
            ("/a /b /a/./c", "/a/c: lies in another drive, /a"),
            ("/a /a-b /a/b", "/a/b: lies in another drive, /a"),
            ("/", "/: the root of the file system cannot be a drive"),
            ("/a/../b", "/a/../b: a drive's path has no `..`"),
        ];
        for (line, message) in table {
            assert_eq!(read_line(line, &[]), Err(message.to_owned()), "{line}");
        }
        let table = [
            (
                ("SARSEN_STORAGE_CLASS_STANDARD", "EC4"),
                "SARSEN_STORAGE_CLASS_STANDARD: invalid storage class \"EC4\": write EC:n, where n is the number of parity drives",
            ),
            (
                ("MINIO_STORAGE_CLASS_STANDARD", "EC:3"),
                "storage class EC:3: a set of 4 drives takes at most EC:2",
            ),
            (
                ("MINIO_ERASURE_SET_DRIVE_COUNT", "x"),
                "MINIO_ERASURE_SET_DRIVE_COUNT: \"x\" is not a number of drives",
            ),
            (
                ("MINIO_ERASURE_SET_DRIVE_COUNT", "3"),
                "4 drives of \"/d{1...4}\" cannot form sets of 3 drives",
            ),
        ];
        for (variable, message) in table {
            assert_eq!(
                read_line("/d{1...4}", &[variable]),
                Err(message.to_owned()),
                "{variable:?}"
            );
        }
    }

    #[test]
    fn variables_replace_the_drives_of_the_command_line() {
        let (pools, warnings) =
            read_line("/x", &[("MINIO_VOLUMES", "/d{1...4} /e{1...8}")]).unwrap();
        assert_eq!(
            warnings,
            ["MINIO_VOLUMES replaces the drives of the command line"]
        );
        assert_eq!(pools.len(), 2);
        assert_eq!(
            pools[0].sets,
            [["/d1", "/d2", "/d3", "/d4"].map(PathBuf::from)]
        );
        assert_eq!(
            (
                pools[0].classes.standard.parity(),
                pools[1].classes.standard.parity()
            ),
            (2, 4)
        );
        let (pools, _) = read_line("", &[("MINIO_ARGS", "/a"), ("MINIO_VOLUMES", "/b")]).unwrap();
        assert_eq!(pools[0].sets, [[PathBuf::from("/a")]]);
    }

    #[test]
    fn relative_directories_become_absolute() {
        let (pools, _) = read_line("./d1 d2", &[]).unwrap();
        let here = std::env::current_dir().unwrap();
        assert_eq!(pools[0].sets, [[here.join("d1"), here.join("d2")]]);
    }
}
