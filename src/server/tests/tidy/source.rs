//! The tree's files, and as much of the grammar of Rust as the laws need.

use std::fs;
use std::path::Path;

/// A file of the tree.
#[derive(Debug)]
pub(crate) struct Source {
    /// Its path below the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// All text files that belong to the project.
pub(crate) fn tree() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap();
    let mut files = Vec::new();
    walk(root, root, &mut files);
    files
}

fn walk(root: &Path, directory: &Path, files: &mut Vec<Source>) {
    let foreign = [
        ".git",
        "target",
        ".venv",
        ".tools",
        "__pycache__",
        "node_modules",
    ];
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !foreign.contains(&name.as_str()) {
            walk(root, &path, files);
        } else if path.is_file() && name != "Cargo.lock" {
            // What is no text has no lines to judge.
            let Ok(text) = fs::read_to_string(&path) else {
                continue;
            };
            let path = path
                .strip_prefix(root)
                .unwrap()
                .to_string_lossy()
                .replace('\\', "/");
            files.push(Source { path, text });
        }
    }
}

/// The code without comments and without what stands in quotes.
pub(crate) fn bare(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => comment(rest),
            '"' => quoted(rest),
            'r' if !out.ends_with(|c: char| c.is_alphanumeric() || c == '_') => raw(rest),
            '\'' => character(rest),
            _ => 0,
        };
        if skipped == 0 {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            out.push(' ');
            let (gone, next) = rest.split_at(skipped);
            out.extend(gone.chars().filter(|c| *c == '\n'));
            rest = next;
        }
    }
    out
}

fn comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        match text.get(at..at + 2) {
            Some("/*") => (depth, at) = (depth + 1, at + 2),
            Some("*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            _ => escaped = c == '\\' && !escaped,
        }
    }
    text.len()
}

fn raw(text: &str) -> usize {
    let hashes = text[1..].chars().take_while(|c| *c == '#').count();
    let open = 1 + hashes;
    if !text[open..].starts_with('"') {
        return 0;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    text[open + 1..]
        .find(&close)
        .map_or(text.len(), |at| open + 1 + at + close.len())
}

/// A character in quotes; nothing for a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => text[3.min(text.len())..].find('\'').map_or(0, |at| at + 4),
        Some(_) => match chars.next() {
            Some((at, '\'')) => at + 1,
            _ => 0,
        },
        None => 0,
    }
}

/// The bare code before the tests of the file, with nested imports of the standard library spelt
/// out, so that `use std::{fmt, fs}` reads as `std::fs` too.
pub(crate) fn production(text: &str) -> String {
    let mut code = bare(text);
    if let Some(at) = code.find("#[cfg(test)]\nmod tests") {
        code.truncate(at);
    }
    let nested = code.match_indices("use std::{").map(|(at, _)| &code[at..]);
    let inside: Vec<String> = nested
        .map(|rest| rest.split(';').next().unwrap_or_default())
        .flat_map(|list| {
            list.split(['{', ',', '}'])
                .skip(1)
                .map(|name| format!("std::{}\n", name.trim()))
        })
        .collect();
    code.extend(inside);
    code
}

/// How often a word, or a path of words, stands in the code by itself.
pub(crate) fn words(code: &str, word: &str) -> usize {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let alone = |(at, _): &(usize, &str)| {
        !code[..*at].ends_with(part) && !code[at + word.len()..].starts_with(part)
    };
    code.match_indices(word).filter(alone).count()
}

/// The text from an opening brace to its closing one.
pub(crate) fn block(code: &str) -> String {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return code[..at].to_owned();
        }
    }
    code.to_owned()
}

/// The paths, without their `.rs`, of modules that are compiled for tests only.
pub(crate) fn test_modules(files: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
        let own = name.trim_end_matches(".rs");
        let folder = match own {
            "lib" | "main" | "mod" => folder.to_owned(),
            _ => format!("{folder}/{own}"),
        };
        let code = bare(&file.text);
        for (at, mark) in code.match_indices("#[cfg(test)]") {
            let line = code[at + mark.len()..]
                .trim_start()
                .lines()
                .next()
                .unwrap_or_default();
            let module = line
                .split_once("mod ")
                .and_then(|(_, rest)| rest.strip_suffix(';'));
            found.extend(module.map(|module| format!("{folder}/{module}")));
        }
    }
    found
}

#[test]
fn comments_and_quotes_are_left_out() {
    let table = [
        ("a // b\nc", "a  \nc"),
        ("a /* b /* c */ d */ e", "a   e"),
        ("a \"b \\\" c\" d", "a   d"),
        ("a r#\"b \" c\"# d", "a   d"),
        ("a '\\'' b '\"' c", "a   b   c"),
        ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)"),
        ("var\"x\"", "var "),
        ("'\\u{41}' b", "  b"),
    ];
    for (text, expected) in table {
        assert_eq!(bare(text), expected, "{text}");
    }
}
