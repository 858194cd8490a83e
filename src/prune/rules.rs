//! The path rules of a profile: which files an initrd keeps, drops, keeps only if needed, or lends to the finalizers.
//!
//! A rule is a sign and a pattern of `base::glob`; of the rules that match a path the last one decides, and what no rule matches
//! stays.
//!
//! | rule | what it matches |
//! |---|---|
//! | `+usr/bin/less` | stays |
//! | `-usr/share/man/` | goes; a slash at the end means the directory and everything below it |
//! | `?usr/lib/*/lib*.so.*` | stays only if something that stays needs it |
//! | `~usr/lib/sysusers.d/*` | is there for the finalizers to read, and goes afterwards |

use std::collections::BTreeMap;
use std::fmt;

use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::glob::{BadGlob, Glob};
use crate::config::{Item, Source};
use crate::tree::TreePath;

/// What a rule does with what it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It stays.
    Keep,
    /// It goes, and need not be stored at all.
    Drop,
    /// It stays if something that stays needs it.
    IfNeeded,
    /// It stays until the finalizers have read it.
    Lend,
}

impl Fate {
    /// Returns the fate that a rule's first character stands for.
    fn of_sign(sign: u8) -> Option<Self> {
        match sign {
            b'+' => Some(Fate::Keep),
            b'-' => Some(Fate::Drop),
            b'?' => Some(Fate::IfNeeded),
            b'~' => Some(Fate::Lend),
            _ => None,
        }
    }
}

/// What the rules say of one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// What becomes of it.
    pub fate: Fate,
    /// The number of the rule that decided; none where no rule matches.
    pub rule: Option<usize>,
}

impl Verdict {
    /// Tells whether unpacking must store the file: everything but what a rule drops outright.
    pub fn stores(self) -> bool {
        self.fate != Fate::Drop
    }
}

/// One rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// What it does.
    pub fate: Fate,
    /// Text and place.
    pub item: Item,
    glob: Glob,
}

impl Rule {
    /// Tells whether it matches a path, whether or not a later rule decides.
    pub fn matches(&self, path: &TreePath) -> bool {
        self.glob.matches(path.as_bytes())
    }
}

impl fmt::Display for Rule {
    /// Shows the rule and where it was written: `-usr/bin/less` (`debian.toml:12`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ({})", self.item.text, self.item.source)
    }
}

/// A rule cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// It does not begin with a sign.
    #[error("the prune rule `{text}` does not begin with `+`, `-`, `?` or `~`")]
    NoSign {
        /// The rule.
        text: String,
        /// Where it stands.
        at: Source,
    },
    /// Its pattern cannot be read.
    #[error("the prune rule `{text}` cannot be read")]
    BadPattern {
        /// The rule.
        text: String,
        /// Where it stands.
        at: Source,
        /// What is wrong with the pattern.
        source: BadGlob,
    },
    /// It would drop everything.
    #[error("the prune rule `{text}` would drop the whole image")]
    WholeRoot {
        /// The rule.
        text: String,
        /// Where it stands.
        at: Source,
    },
}

impl Diagnostic for RuleError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Config
    }

    fn place(&self) -> Option<String> {
        match self {
            RuleError::NoSign { at, .. } | RuleError::BadPattern { at, .. } | RuleError::WholeRoot { at, .. } => {
                Some(at.to_string())
            }
        }
    }

    fn hints(&self) -> Vec<String> {
        vec![match self {
            RuleError::NoSign { text, .. } => format!("write `+{text}` to keep or `-{text}` to drop what it matches"),
            RuleError::BadPattern { .. } => {
                "write the path below the root, with `*` for a name and `**` for any depth".to_owned()
            }
            RuleError::WholeRoot { .. } => {
                "drop a directory by `-usr/share/man/`, or name what stays in `+` rules after it".to_owned()
            }
        }]
    }
}

/// All rules in their order, made ready for thousands of paths.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    rules: Vec<Rule>,
    /// For each directory that patterns begin with literally, the rules that can match below it, ascending.
    by_directory: BTreeMap<Vec<u8>, Vec<usize>>,
}

impl Rules {
    /// Reads the rules, the most general first: distribution, features, drop-ins, command line.
    pub fn new(items: impl IntoIterator<Item = Item>) -> Result<Self, RuleError> {
        let rules = items.into_iter().map(read_rule).collect::<Result<Vec<_>, _>>()?;
        refuse_whole_root(&rules)?;
        let mut by_directory: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
        for (number, rule) in rules.iter().enumerate() {
            for prefix in rule.glob.literal_prefixes() {
                let end = prefix.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                let numbers = by_directory.entry(prefix[..end].to_vec()).or_default();
                if numbers.last() != Some(&number) {
                    numbers.push(number);
                }
            }
        }
        Ok(Self { rules, by_directory })
    }

    /// Returns what becomes of a path.
    pub fn verdict(&self, path: &TreePath) -> Verdict {
        let bytes = path.as_bytes();
        let mut best: Option<usize> = None;
        let ends = std::iter::once(0).chain(bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at));
        for end in ends {
            let Some(numbers) = self.by_directory.get(&bytes[..end]) else { continue };
            let later = numbers.iter().rev().take_while(|number| best.is_none_or(|best| **number > best));
            if let Some(number) = later.copied().find(|number| self.rules[*number].glob.matches(bytes)) {
                best = Some(number);
            }
        }
        Verdict { fate: best.map_or(Fate::Keep, |number| self.rules[number].fate), rule: best }
    }

    /// Returns a rule by its number.
    pub fn get(&self, number: usize) -> Option<&Rule> {
        self.rules.get(number)
    }

    /// Returns all rules in order.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }
}

fn read_rule(item: Item) -> Result<Rule, RuleError> {
    let fate = item.text.bytes().next().and_then(Fate::of_sign);
    let Some(fate) = fate else {
        return Err(RuleError::NoSign { text: item.text, at: item.source });
    };
    let pattern = &item.text[1..];
    if fate == Fate::Drop && !pattern.is_empty() && pattern.bytes().all(|byte| byte == b'/') {
        return Err(RuleError::WholeRoot { text: item.text, at: item.source });
    }
    let glob = match pattern.strip_suffix('/') {
        Some(directory) => Glob::new(&format!("{directory}{{,/**}}")),
        None => Glob::new(pattern),
    };
    match glob {
        Ok(glob) => Ok(Rule { fate, item, glob }),
        Err(source) => Err(RuleError::BadPattern { text: item.text, at: item.source, source }),
    }
}

/// Refuses a `-**` after which no rule keeps anything.
fn refuse_whole_root(rules: &[Rule]) -> Result<(), RuleError> {
    let everything = |rule: &Rule| rule.glob.matches(b"usr/bin/x") && rule.glob.literal_prefixes().any(<[u8]>::is_empty);
    let wild = |rule: &Rule| rule.item.text[1..].bytes().all(|byte| b"*/".contains(&byte));
    match rules.iter().rposition(|rule| rule.fate == Fate::Drop && everything(rule) && wild(rule)) {
        Some(at) if !rules[at..].iter().any(|rule| rule.fate == Fate::Keep) => {
            Err(RuleError::WholeRoot { text: rules[at].item.text.clone(), at: rules[at].item.source.clone() })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(texts: &[&str]) -> Result<Rules, RuleError> {
        Rules::new(texts.iter().copied().map(Item::from_command_line))
    }

    #[test]
    fn the_last_match_decides() {
        let rules = rules(&[
            "-usr/bin/*",
            "+usr/bin/{less,more}",
            "-usr/share/doc/",
            "?usr/lib/*/lib*.so*",
            "-**/*.a",
            "~usr/lib/sysusers.d/*",
        ])
        .expect("rules");
        for (path, fate, rule) in [
            ("usr/bin/ls", Fate::Drop, Some(0)),
            ("usr/bin/less", Fate::Keep, Some(1)),
            ("usr/share/doc", Fate::Drop, Some(2)),
            ("usr/share/doc/a/b", Fate::Drop, Some(2)),
            ("usr/share/doc-base", Fate::Keep, None),
            ("usr/lib/x86_64-linux-gnu/libc.so.6", Fate::IfNeeded, Some(3)),
            ("usr/lib/x86_64-linux-gnu/libc.a", Fate::Drop, Some(4)),
            ("x.a", Fate::Drop, Some(4)),
            ("usr/lib/sysusers.d/x.conf", Fate::Lend, Some(5)),
            ("etc/passwd", Fate::Keep, None),
        ] {
            assert_eq!(rules.verdict(&TreePath::literal(path)), Verdict { fate, rule }, "{path}");
        }
    }

    #[test]
    fn the_index_finds_what_asking_every_rule_finds() {
        let texts = [
            "-**",
            "+usr/**",
            "-usr/lib/**/x*",
            "+usr/{bin,lib/a}/*",
            "-{etc,usr/bin}/x?",
            "+usr/lib/a/",
            "?usr*/b[a-c]n/*",
            "+etc",
        ];
        let rules = rules(&texts).expect("rules");
        for path in [
            "usr",
            "usr/bin",
            "usr/bin/x1",
            "usr/bin/xy",
            "usr/lib/a",
            "usr/lib/a/x1",
            "usr/lib/b/x1",
            "etc",
            "etc/x1",
            "etc/y",
            "usr2/bbn/q",
        ] {
            let every = rules.rules.iter().rposition(|rule| rule.glob.matches(path.as_bytes()));
            assert_eq!(rules.verdict(&TreePath::literal(path)).rule, every, "{path}");
        }
    }

    #[test]
    fn e18_the_whole_root_is_refused() {
        for texts in [&["-/"][..], &["-**"], &["-//"], &["+usr/bin/x", "-**"], &["-**/*"]] {
            assert!(matches!(rules(texts), Err(RuleError::WholeRoot { .. })), "{texts:?}");
        }
        assert!(rules(&["-**", "+usr/bin/x"]).is_ok());
        assert!(rules(&["-usr/**"]).is_ok());
    }

    #[test]
    fn bad_rules_say_where_they_stand() {
        let source = Source { file: "a.toml".into(), line: 3 };
        let error = Rules::new([Item { text: "usr/bin/x".into(), source: source.clone() }]).expect_err("no sign");
        assert_eq!(error.place().as_deref(), Some("a.toml:3"));
        assert_eq!(error.hints(), ["write `+usr/bin/x` to keep or `-usr/bin/x` to drop what it matches"]);
        let error = Rules::new([Item { text: "-usr/{a".into(), source }]).expect_err("open brace");
        assert!(matches!(error, RuleError::BadPattern { .. }));
        assert!(matches!(rules(&[""]), Err(RuleError::NoSign { .. })));
    }
}
