//! Writes of headers what createrepo writes of package files: `primary.xml` and `filelists.xml`, which the catalog reads.

use super::Installed;
use crate::base::digest::Sha256;
use crate::family::rpm::header::{Header, tag};
use crate::family::rpm::index::is_in_primary;
use crate::family::rpm::read;

/// What `RPMSENSE_MISSINGOK` says: it is no requirement.
const MISSING_OK: u64 = 1 << 19;
/// A requirement of rpm itself.
const RPMLIB: &[u8] = b"rpmlib(";
/// Operators by their bits: less 2, greater 4, equal 8.
const OPERATORS: [(u64, &str); 5] = [(2, "LT"), (4, "GT"), (8, "EQ"), (10, "LE"), (12, "GE")];
/// The bits of operators.
const OPERATOR_BITS: u64 = 14;

/// A list of what packages have to do with each other: its name in the XML, and the tags of names, flags and versions.
const RELATIONS: [(&str, u32, u32, u32); 8] = [
    ("provides", tag::PROVIDE_NAMES, tag::PROVIDE_FLAGS, tag::PROVIDE_VERSIONS),
    ("requires", tag::REQUIRE_NAMES, tag::REQUIRE_FLAGS, tag::REQUIRE_VERSIONS),
    ("conflicts", tag::CONFLICT_NAMES, tag::CONFLICT_FLAGS, tag::CONFLICT_VERSIONS),
    ("obsoletes", tag::OBSOLETE_NAMES, tag::OBSOLETE_FLAGS, tag::OBSOLETE_VERSIONS),
    ("suggests", tag::SUGGEST_NAMES, tag::SUGGEST_FLAGS, tag::SUGGEST_VERSIONS),
    ("enhances", tag::ENHANCE_NAMES, tag::ENHANCE_FLAGS, tag::ENHANCE_VERSIONS),
    ("recommends", tag::RECOMMEND_NAMES, tag::RECOMMEND_FLAGS, tag::RECOMMEND_VERSIONS),
    ("supplements", tag::SUPPLEMENT_NAMES, tag::SUPPLEMENT_FLAGS, tag::SUPPLEMENT_VERSIONS),
];

/// The two texts.
#[derive(Debug, Default)]
pub struct Text {
    primary: Vec<u8>,
    files: Vec<u8>,
}

impl Text {
    /// Adds a package that `digest` identifies.
    pub fn add(&mut self, package: &Installed, digest: &Sha256) {
        let Installed { name, version, arch, header, .. } = package;
        let Self { primary: out, files } = self;
        out.extend_from_slice(b"<package type=\"rpm\"><name>");
        escape(out, name.as_bytes());
        out.extend_from_slice(b"</name><arch>");
        escape(out, arch.as_bytes());
        // The parts of a version are put together again by whoever reads them.
        out.extend_from_slice(b"</arch><version ver=\"");
        escape(out, version.as_bytes());
        let installed_bytes = header.number(tag::LONG_SIZE).or_else(|| header.number(tag::SIZE)).unwrap_or(0);
        out.extend_from_slice(
            format!(
                "\"/><checksum type=\"sha256\" pkgid=\"YES\">{digest}</checksum><size package=\"1\" installed=\"{installed_bytes}\"/>\
                 <location href=\"installed.rpm\"/><format><rpm:sourcerpm>"
            )
            .as_bytes(),
        );
        escape(out, header.strings(tag::SOURCE_RPM).first().copied().unwrap_or_default());
        out.extend_from_slice(b"</rpm:sourcerpm>");
        for list in RELATIONS {
            relations(out, header, list);
        }
        files.extend_from_slice(format!("<package pkgid=\"{digest}\" name=\"\">").as_bytes());
        // A header whose names cannot be read is refused where its files are asked for.
        for path in read::names(header).unwrap_or_default() {
            if is_in_primary(&path) {
                file(out, &path);
            }
            file(files, &path);
        }
        out.extend_from_slice(b"</format></package>\n");
        files.extend_from_slice(b"</package>\n");
    }

    /// Returns `primary.xml` and `filelists.xml`.
    pub fn finish(self) -> [Vec<u8>; 2] {
        [
            [b"<metadata>\n", &self.primary[..], b"</metadata>\n"].concat(),
            [b"<filelists>\n", &self.files[..], b"</filelists>\n"].concat(),
        ]
    }
}

fn relations(out: &mut Vec<u8>, header: &Header, (list, names, flags, versions): (&str, u32, u32, u32)) {
    let names = header.strings(names);
    if names.is_empty() {
        return;
    }
    let (flags, versions) = (header.numbers(flags), header.strings(versions));
    out.extend_from_slice(format!("<rpm:{list}>").as_bytes());
    for (place, name) in names.into_iter().enumerate() {
        let bits = flags.get(place).copied().unwrap_or(0);
        if name.starts_with(RPMLIB) || (list == "requires" && bits & MISSING_OK != 0) {
            continue;
        }
        out.extend_from_slice(b"<rpm:entry name=\"");
        escape(out, name);
        let version = versions.get(place).copied().filter(|version| !version.is_empty());
        let operator = OPERATORS.iter().find(|(operator, _)| *operator == bits & OPERATOR_BITS);
        if let Some((version, (_, operator))) = version.zip(operator) {
            out.extend_from_slice(format!("\" flags=\"{operator}\" ver=\"").as_bytes());
            escape(out, version);
        }
        out.extend_from_slice(b"\"/>");
    }
    out.extend_from_slice(format!("</rpm:{list}>").as_bytes());
}

fn file(out: &mut Vec<u8>, path: &[u8]) {
    out.extend_from_slice(b"<file>");
    escape(out, path);
    out.extend_from_slice(b"</file>");
}

/// Writes text as XML does.
fn escape(out: &mut Vec<u8>, text: &[u8]) {
    for byte in text {
        match byte {
            b'&' => out.extend_from_slice(b"&amp;"),
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            b'"' => out.extend_from_slice(b"&quot;"),
            byte => out.push(*byte),
        }
    }
}
