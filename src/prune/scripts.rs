//! What scripts and `modprobe.d` files run.

use super::want::{PATH, Want, What, first_word, logical_lines};

/// How much of a script's first line the kernel reads (`BINPRM_BUF_SIZE`).
const SHEBANG_BYTES_MAX: usize = 256;

/// Returns what a script's `#!` line names; nothing if it is no script.
pub(super) fn wants_of_script(bytes: &[u8]) -> Vec<Want> {
    let Some(rest) = bytes.strip_prefix(b"#!") else { return Vec::new() };
    let line = rest[..rest.len().min(SHEBANG_BYTES_MAX)].split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let Some(interpreter) = words.next() else { return Vec::new() };
    let mut wants = vec![Want { what: What::Path(interpreter.to_vec()), verb: "is interpreted by", must: true }];
    if interpreter.ends_with(b"/env") {
        // `env -S`, `env -i` and `env A=b` come before the program.
        let program = words.find(|word| !word.starts_with(b"-") && !word.contains(&b'='));
        wants.extend(program.map(|name| Want::program(name, PATH, "is interpreted by", true)));
    }
    wants
}

/// Returns the programs of the `install` and `remove` commands in a `modprobe.d` file.
pub(super) fn wants_of_modprobe(text: &[u8]) -> Vec<Want> {
    logical_lines(text, b"#")
        .iter()
        .filter_map(|line| {
            let mut words = line.splitn(3, u8::is_ascii_whitespace);
            let (keyword, _module, command) = (words.next()?, words.next()?, words.next()?);
            let program = first_word(command)?;
            // kmod gives the line to a shell: what is no plain name is the shell's business.
            let plain = program.iter().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+".contains(byte));
            (plain && matches!(keyword, b"install" | b"remove")).then(|| Want::program(&program, PATH, "runs", true))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(wants: &[Want]) -> Vec<String> {
        wants.iter().map(|want| want.what.name()).collect()
    }

    #[test]
    fn interpreters_are_found() {
        for (script, expected) in [
            (&b"#!/bin/sh\necho"[..], &["/bin/sh"][..]),
            (b"#! /usr/bin/perl -w\n", &["/usr/bin/perl"]),
            (b"#!/usr/bin/env python3", &["/usr/bin/env", "python3"]),
            (b"#!/usr/bin/env -S A=b awk -f\n", &["/usr/bin/env", "awk"]),
            (b"#!\n", &[]),
            (b"#!", &[]),
            (b"# comment", &[]),
        ] {
            assert_eq!(names(&wants_of_script(script)), expected, "{}", script.escape_ascii());
        }
    }

    #[test]
    fn modprobe_commands_are_found() {
        let text =
            b"# x\ninstall a /bin/true\nremove b /sbin/modprobe -r c\noptions d e=f\ninstall g { x; }\nalias h i\ninstall j\n";
        assert_eq!(names(&wants_of_modprobe(text)), ["/bin/true", "/sbin/modprobe"]);
    }
}
