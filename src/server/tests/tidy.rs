//! The laws of the house, read from manifests and sources. Each law is a function from the tree's
//! files to complaints, and is shown to catch a planted trespass.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "tidy/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};

use source::{Source, production, test_modules, tree, words};

/// The rooms by rank. A room may import rooms of lower ranks only.
const RANKS: [&[&str]; 8] = [
    &["types"],
    &["erasure", "placement", "quorum", "auth", "s3wire", "seal"],
    &["drive", "members", "kms"],
    &["peer"],
    &["ledger", "store"],
    &["upkeep"],
    &["s3", "admin", "console", "cli"],
    &["server"],
];
/// Up to this rank a room is pure.
const PURE_RANK_MAX: usize = 1;
const FILE_LINES_MAX: usize = 600;
const TRAIT_METHODS_MAX: usize = 12;
/// The files that may hold `unsafe`, each with its reasons inside.
const UNSAFE_FILES: [&str; 2] = ["src/erasure/kernel/x86.rs", "src/erasure/md5/x86.rs"];
/// Crates that no pure room may depend on.
const IMPURE_CRATES: [&str; 9] = [
    "tokio",
    "tonic",
    "hyper",
    "hyper-util",
    "rand",
    "getrandom",
    "rustix",
    "libc",
    "openraft",
];
/// What no pure room may name.
const IMPURE_NAMES: [&str; 16] = [
    "tokio",
    "tonic",
    "hyper",
    "getrandom",
    "rand",
    "std::fs",
    "std::thread",
    "std::process",
    "std::env",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "ToSocketAddrs",
    "Instant::now",
    "SystemTime::now",
];

/// The room that a path below `src/` lies in, and its rank.
fn room(path: &str) -> Option<(&str, usize)> {
    let name = path.strip_prefix("src/")?.split('/').next()?;
    let rank = RANKS.iter().position(|rooms| rooms.contains(&name))?;
    Some((name, rank))
}

/// The names in one table of a manifest, such as `dependencies`.
fn table<'a>(manifest: &'a str, table: &str) -> Vec<&'a str> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == format!("[{table}]");
        } else if inside && let Some((name, _)) = line.split_once('=') {
            names.push(name.trim().split('.').next().unwrap_or_default());
        }
    }
    names
}

fn rank_trespasses(files: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files
        .iter()
        .filter(|file| file.path.ends_with("/Cargo.toml"))
    {
        if !file.path.starts_with("src/") {
            continue;
        }
        let Some((name, rank)) = room(&file.path) else {
            found.push(format!("{}: a room without a rank", file.path));
            continue;
        };
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for other in table(&file.text, kind) {
                let above = RANKS.iter().skip(rank).flat_map(|rooms| rooms.iter());
                if above.into_iter().any(|room| *room == other) {
                    found.push(format!(
                        "{name} (rank {rank}) imports {other}, which is not lower"
                    ));
                }
            }
        }
        for other in table(&file.text, "dependencies") {
            if rank <= PURE_RANK_MAX && IMPURE_CRATES.contains(&other) {
                found.push(format!("{name} is pure and depends on {other}"));
            }
        }
    }
    found
}

fn impure_names(files: &[Source]) -> Vec<String> {
    let tests = test_modules(files);
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        let Some((_, rank)) = room(&file.path) else {
            continue;
        };
        let outside = ["/tests/", "/benches/", "/examples/"];
        let tested = tests.iter().any(|module| file.path.starts_with(module));
        if rank > PURE_RANK_MAX || tested || outside.iter().any(|part| file.path.contains(part)) {
            continue;
        }
        let code = production(&file.text);
        for name in IMPURE_NAMES.iter().filter(|name| words(&code, name) > 0) {
            found.push(format!("{}: a pure room names {name}", file.path));
        }
    }
    found
}

fn long_files(files: &[Source]) -> Vec<String> {
    let code = |file: &&Source| file.path.ends_with(".rs") || file.path.ends_with(".py");
    let long = |file: &&Source| file.text.lines().count() > FILE_LINES_MAX;
    let say = |file: &Source| format!("{}: more than {FILE_LINES_MAX} lines", file.path);
    files.iter().filter(code).filter(long).map(say).collect()
}

/// Traits with more methods than a reader keeps in mind.
fn wide_traits(files: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        let code = source::bare(&file.text);
        let mut rest = code.as_str();
        while let Some(at) = rest.find("trait ") {
            let begins = rest[..at]
                .chars()
                .next_back()
                .is_none_or(|c| !c.is_alphanumeric() && c != '_');
            rest = &rest[at + "trait ".len()..];
            let name: String = rest
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            let (Some(open), true) = (rest.find(['{', ';']), begins) else {
                continue;
            };
            let body = source::block(&rest[open..]);
            let methods = words(&body, "fn");
            if methods > TRAIT_METHODS_MAX {
                found.push(format!("{}: trait {name} has {methods} methods", file.path));
            }
        }
    }
    found
}

fn statics(files: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        for line in production(&file.text).lines() {
            let mut line = line.trim();
            if line.starts_with("pub") {
                line = line.split_once(' ').map_or("", |(_, rest)| rest);
            }
            if line.starts_with("static ") || line.starts_with("thread_local!") {
                found.push(format!("{}: global state: {line}", file.path));
            }
        }
    }
    found
}

fn unsafe_code(files: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        let holds = words(&source::bare(&file.text), "unsafe") > 0;
        let named = UNSAFE_FILES.contains(&file.path.as_str());
        if holds && !named {
            found.push(format!(
                "{}: holds unsafe and is not named for it",
                file.path
            ));
        }
        if named && !(holds && file.text.contains("SAFETY")) {
            found.push(format!(
                "{}: is named for unsafe and holds none, or no reason",
                file.path
            ));
        }
    }
    found
}

/// Words for work that was put off, and places that exist on one machine only. Written in parts,
/// so that this file passes.
fn loose_ends(files: &[Source]) -> Vec<String> {
    let banned = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("#[ig", "nore"),
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
    ];
    let mut found = Vec::new();
    for file in files {
        for (number, line) in (1..).zip(file.text.lines()) {
            for word in banned.iter().filter(|word| line.contains(**word)) {
                found.push(format!("{}:{number}: {word}", file.path));
            }
        }
    }
    found
}

/// Every crate is a member of the workspace, or a workspace of its own.
fn strays(files: &[Source]) -> Vec<String> {
    let manifest = |file: &&Source| file.path.ends_with("/Cargo.toml");
    let root = files.iter().find(|file| file.path == "Cargo.toml");
    let line = root.and_then(|root| root.text.lines().find(|line| line.starts_with("members")));
    let members: BTreeSet<&str> = line
        .unwrap_or_default()
        .split('"')
        .skip(1)
        .step_by(2)
        .collect();
    let stray = |file: &&Source| {
        let home = file.path.trim_end_matches("/Cargo.toml");
        let below = home
            .rsplit_once('/')
            .map(|(parent, _)| format!("{parent}/*"));
        let member =
            members.contains(home) || below.is_some_and(|all| members.contains(all.as_str()));
        !member && !file.text.lines().any(|line| line.trim() == "[workspace]")
    };
    files
        .iter()
        .filter(manifest)
        .filter(stray)
        .map(|file| format!("{}: no member", file.path))
        .collect()
}

#[test]
fn the_tree_keeps_the_laws() {
    let files = tree();
    assert!(
        files
            .iter()
            .any(|file| file.path == "src/server/tests/tidy.rs"),
        "{}",
        files.len()
    );
    let laws = [
        rank_trespasses,
        impure_names,
        long_files,
        wide_traits,
        statics,
        unsafe_code,
        loose_ends,
        strays,
    ];
    let found: Vec<String> = laws.into_iter().flat_map(|law| law(&files)).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_file_that_is_named_for_unsafe_exists() {
    let paths: BTreeMap<String, String> = tree().into_iter().map(|f| (f.path, f.text)).collect();
    assert!(UNSAFE_FILES.iter().all(|path| paths.contains_key(*path)));
}

fn planted(law: Law, path: &str, text: &str) -> Vec<String> {
    law(&[Source {
        path: path.to_owned(),
        text: text.to_owned(),
    }])
}

type Law = fn(&[Source]) -> Vec<String>;
type Case = (Law, &'static str, &'static str);

/// A law, and a file that breaks it once.
const TRESPASSES: [Case; 17] = [
    (
        rank_trespasses,
        "src/auth/Cargo.toml",
        "[dependencies]\nquorum.workspace = true\n",
    ),
    (
        rank_trespasses,
        "src/store/Cargo.toml",
        "[dependencies]\ns3 = { path = \"../s3\" }\n",
    ),
    (
        rank_trespasses,
        "src/s3/Cargo.toml",
        "[dev-dependencies]\nserver.workspace = true\n",
    ),
    (rank_trespasses, "src/attic/Cargo.toml", "[dependencies]\n"),
    (
        rank_trespasses,
        "src/quorum/Cargo.toml",
        "[dependencies]\ntokio.workspace = true\n",
    ),
    (impure_names, "src/quorum/lib.rs", "use std::fs::File;\n"),
    (impure_names, "src/quorum/lib.rs", "use std::{fmt, fs};\n"),
    (
        impure_names,
        "src/types/lib.rs",
        "fn f() { let t = std::time::Instant::now(); }\n",
    ),
    (
        impure_names,
        "src/auth/a/b.rs",
        "async fn f() { tokio::spawn(async {}); }\n",
    ),
    (
        statics,
        "src/store/lib.rs",
        "pub(crate) static COUNT: AtomicU64 = AtomicU64::new(0);\n",
    ),
    (statics, "src/store/lib.rs", "    thread_local! { }\n"),
    (
        unsafe_code,
        "src/store/lib.rs",
        "fn f() { unsafe { g() } }\n",
    ),
    (unsafe_code, UNSAFE_FILES[0], "fn f() { unsafe { g() } }\n"),
    (loose_ends, "docs/a.md", concat!("a\nTO", "DO: b\n")),
    (
        loose_ends,
        "src/store/lib.rs",
        concat!("#[ig", "nore = \"slow\"]\n"),
    ),
    (loose_ends, "scripts/bench", concat!("cd /wo", "rk/main\n")),
    (strays, "src/deep/er/Cargo.toml", "[package]\n"),
];

#[test]
fn planted_trespasses_are_caught() {
    for (law, path, text) in TRESPASSES {
        assert_eq!(planted(law, path, text).len(), 1, "{path}: {text}");
    }
    assert_eq!(
        planted(
            long_files,
            "src/store/lib.rs",
            &"\n".repeat(FILE_LINES_MAX + 1)
        )
        .len(),
        1
    );
    let wide = |methods: usize| {
        format!(
            "pub trait Wide: Send {{ {} }}",
            "fn f() {}\n".repeat(methods)
        )
    };
    assert_eq!(
        planted(
            wide_traits,
            "src/store/lib.rs",
            &wide(TRAIT_METHODS_MAX + 1)
        )
        .len(),
        1
    );
}

#[test]
fn what_is_legal_is_left_alone() {
    let cases: [Case; 8] = [
        (
            rank_trespasses,
            "src/store/Cargo.toml",
            "[dependencies]\ndrive.workspace = true\ntokio = \"1\"\n",
        ),
        (
            rank_trespasses,
            "src/quorum/Cargo.toml",
            "[dev-dependencies]\ntokio.workspace = true\n",
        ),
        (
            impure_names,
            "src/quorum/lib.rs",
            "// std::fs\nconst A: &str = \"tokio\";\nlet operand = 1;\n",
        ),
        (
            impure_names,
            "src/quorum/lib.rs",
            "fn f() {}\n#[cfg(test)]\nmod tests { use std::fs; }\n",
        ),
        (impure_names, "src/drive/lib.rs", "use std::fs::File;\n"),
        (
            statics,
            "src/store/lib.rs",
            "const A: &'static str = \"static A\";\nfn f(a: &'static str) {}\n",
        ),
        (
            unsafe_code,
            "src/store/lib.rs",
            "// unsafe\n#![deny(unsafe_code)]\nlet a = \"unsafe\";\n",
        ),
        (
            strays,
            "scripts/engines/Cargo.toml",
            "[workspace]\n[package]\n",
        ),
    ];
    for (law, path, text) in cases {
        assert_eq!(
            planted(law, path, text),
            Vec::<String>::new(),
            "{path}: {text}"
        );
    }
    let narrow = format!(
        "trait Narrow {{ {} }}\nfn g() {{}}\n",
        "fn f() {}\n".repeat(TRAIT_METHODS_MAX)
    );
    assert_eq!(
        planted(wide_traits, "src/store/lib.rs", &narrow),
        Vec::<String>::new()
    );
}
