//! depmod: the indexes of a set of modules, byte for byte what kmod 34 writes for the same files.
//!
//! kmod 30 differs only in the layout of the `.bin` files (children before parents) and has no `modules.weakdep`.
//! The orders that the output shows are kmod's: of modules, `modules.order` and for the rest its hash table; of dependencies, a
//! topological sort that takes the last module that nobody (any more) uses.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use crate::format::modindex::{Index, IndexError};
use crate::format::module::{self, ModuleInfo};

/// Which index files are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shipped {
    /// What libkmod reads in an initrd: the `.bin` files, softdeps, weakdeps and device names.
    #[default]
    Needed,
    /// Everything that depmod writes, for other readers (busybox reads the text).
    All,
}

/// A module and where it lies.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Path below `usr/lib/modules/$KVER`: `kernel/fs/ext4/ext4.ko.xz`.
    pub path: &'a str,
    /// What it says of itself.
    pub info: &'a ModuleInfo,
}

/// The files that the kernel's own build made, empty or absent if it made none.
#[derive(Debug, Clone, Copy, Default)]
pub struct KernelFiles<'a> {
    /// `modules.order`; without it the order is that of kmod's hash table.
    pub order: Option<&'a str>,
    /// `modules.builtin`.
    pub builtin: Option<&'a str>,
    /// `modules.builtin.modinfo`.
    pub builtin_modinfo: Option<&'a [u8]>,
}

/// The indexes cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DepmodError {
    /// Modules that use each other's symbols: none could be loaded first.
    #[error("modules depend on each other in a circle: {}", .0.join(" → "))]
    Circle(Vec<String>),
    /// An index cannot be written.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// The indexes of some modules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Indexes {
    /// File name and content, in the order of names.
    pub files: BTreeMap<&'static str, Vec<u8>>,
    /// Aliases that a binary index cannot hold (unbalanced brackets, other than ASCII), with their module.
    pub left_out: Vec<(String, String)>,
}

/// Makes the indexes of modules with distinct names.
pub fn indexes(modules: &[Input<'_>], kernel: &KernelFiles<'_>, shipped: Shipped) -> Result<Indexes, DepmodError> {
    let graph = Graph::new(modules, kernel.order)?;
    let mut made = Indexes::default();
    graph.dependencies(shipped, &mut made)?;
    graph.aliases(shipped, &mut made)?;
    graph.symbols(shipped, &mut made)?;
    graph.texts(&mut made);
    builtin(kernel, &mut made)?;
    Ok(made)
}

/// A module in the order of the output.
struct Node<'a> {
    name: String,
    input: Input<'a>,
    /// Modules whose symbols it uses, in the order in which it first uses them.
    uses: Vec<usize>,
    /// Its place in the topological sort: users before what they use.
    rank: usize,
}

struct Graph<'a> {
    nodes: Vec<Node<'a>>,
    /// The module that exports a symbol.
    owners: HashMap<&'a str, usize>,
}

impl<'a> Graph<'a> {
    fn new(modules: &[Input<'a>], order: Option<&str>) -> Result<Self, DepmodError> {
        let mut nodes: Vec<Node<'_>> = modules
            .iter()
            .map(|input| Node { name: module::name_of(input.path.as_bytes()), input: *input, uses: Vec::new(), rank: 0 })
            .collect();
        nodes.sort_by(|a, b| bucket_order(&a.name, MODULE_BUCKETS).cmp(&bucket_order(&b.name, MODULE_BUCKETS)));
        if let Some(order) = order {
            let mut places = HashMap::new();
            for (place, line) in order.lines().enumerate() {
                places.entry(line).or_insert(place);
            }
            nodes.sort_by_key(|node| places.get(uncompressed(node.input.path)).copied().unwrap_or(usize::MAX));
        }
        let mut owners = HashMap::new();
        for (number, node) in nodes.iter().enumerate() {
            // Of two modules with the same symbol the later one has it.
            owners.extend(node.input.info.exports.iter().map(|symbol| (symbol.as_str(), number)));
        }
        let mut graph = Self { nodes, owners };
        graph.resolve();
        graph.rank()?;
        Ok(graph)
    }

    fn resolve(&mut self) {
        let mut used_by = vec![usize::MAX; self.nodes.len()];
        for number in 0..self.nodes.len() {
            let mut uses = Vec::new();
            for symbol in &self.nodes[number].input.info.needs {
                // ppc64: `.foo` is the code of `foo`.
                let symbol = symbol.strip_prefix('.').unwrap_or(symbol);
                if let Some(&owner) = self.owners.get(symbol)
                    && used_by[owner] != number
                {
                    used_by[owner] = number;
                    uses.push(owner);
                }
            }
            self.nodes[number].uses = uses;
        }
    }

    fn rank(&mut self) -> Result<(), DepmodError> {
        let mut users = vec![0_usize; self.nodes.len()];
        for used in self.nodes.iter().flat_map(|node| &node.uses) {
            users[*used] += 1;
        }
        let mut free: Vec<usize> = (0..self.nodes.len()).filter(|number| users[*number] == 0).collect();
        let mut rank = 0;
        while let Some(number) = free.pop() {
            self.nodes[number].rank = rank;
            rank += 1;
            for &used in &self.nodes[number].uses {
                users[used] -= 1;
                if users[used] == 0 {
                    free.push(used);
                }
            }
        }
        match users.iter().position(|count| *count > 0) {
            None => Ok(()),
            Some(start) => Err(self.circle(start, &users)),
        }
    }

    /// Returns a circle among the modules that still have users. Each of them has a user among them: going up must repeat one.
    fn circle(&self, start: usize, users: &[usize]) -> DepmodError {
        let mut way = vec![start];
        loop {
            let at = way[way.len() - 1];
            let left = |number: &usize| users[*number] > 0 && self.nodes[*number].uses.contains(&at);
            let Some(user) = (0..self.nodes.len()).find(left) else { break };
            if let Some(first) = way.iter().position(|seen| *seen == user) {
                way.drain(..first);
                way.push(user);
                break;
            }
            way.push(user);
        }
        DepmodError::Circle(way.into_iter().rev().map(|number| self.nodes[number].name.clone()).collect())
    }

    fn dependencies(&self, shipped: Shipped, made: &mut Indexes) -> Result<(), DepmodError> {
        let (mut text, mut index) = (String::new(), Index::new());
        for (number, node) in self.nodes.iter().enumerate() {
            let mut line = format!("{}:", node.input.path);
            for used in self.all_uses(number) {
                let _ = write!(line, " {}", self.nodes[used].input.path); // Writing to a string cannot fail.
            }
            index.insert(&node.name, &line, number as u32)?;
            text += &line;
            text.push('\n');
        }
        made.files.insert("modules.dep.bin", index.write()?);
        if shipped == Shipped::All {
            made.files.insert("modules.dep", text.into_bytes());
        }
        Ok(())
    }

    /// Returns everything that a module needs, in the order of the topological sort.
    fn all_uses(&self, number: usize) -> Vec<usize> {
        let mut seen = std::collections::BTreeSet::new();
        let mut todo = self.nodes[number].uses.clone();
        while let Some(used) = todo.pop() {
            if seen.insert((self.nodes[used].rank, used)) {
                todo.extend(&self.nodes[used].uses);
            }
        }
        seen.into_iter().map(|(_, used)| used).collect()
    }

    fn aliases(&self, shipped: Shipped, made: &mut Indexes) -> Result<(), DepmodError> {
        let mut text = String::from("# Aliases extracted from modules themselves.\n");
        let mut index = Index::new();
        for (number, node) in self.nodes.iter().enumerate() {
            for alias in &node.input.info.aliases {
                let _ = writeln!(text, "alias {alias} {}", node.name); // Writing to a string cannot fail.
                match normalized_alias(alias) {
                    Some(key) if key.is_ascii() => index.insert(&key, &node.name, number as u32)?,
                    _ => made.left_out.push((alias.clone(), node.name.clone())),
                }
            }
        }
        made.files.insert("modules.alias.bin", index.write()?);
        if shipped == Shipped::All {
            made.files.insert("modules.alias", text.into_bytes());
        }
        Ok(())
    }

    fn symbols(&self, shipped: Shipped, made: &mut Indexes) -> Result<(), DepmodError> {
        let mut symbols: Vec<(&str, usize)> = self.owners.iter().map(|(symbol, owner)| (*symbol, *owner)).collect();
        symbols.sort_by_cached_key(|(symbol, _)| bucket_order(symbol, SYMBOL_BUCKETS));
        let mut text = String::from("# Aliases for symbols, used by symbol_request().\n");
        let mut index = Index::new();
        for (symbol, owner) in symbols {
            let name = &self.nodes[owner].name;
            let _ = writeln!(text, "alias symbol:{symbol} {name}"); // Writing to a string cannot fail.
            index.insert(&format!("symbol:{symbol}"), name, owner as u32)?;
        }
        made.files.insert("modules.symbols.bin", index.write()?);
        if shipped == Shipped::All {
            made.files.insert("modules.symbols", text.into_bytes());
        }
        Ok(())
    }

    /// The indexes that are text only.
    fn texts(&self, made: &mut Indexes) {
        let mut softdep = String::from("# Soft dependencies extracted from modules themselves.\n");
        let mut weakdep = String::from("# Weak dependencies extracted from modules themselves.\n");
        let mut devname = String::new();
        for node in &self.nodes {
            for line in &node.input.info.softdeps {
                let _ = writeln!(softdep, "softdep {} {line}", node.name); // Writing to a string cannot fail.
            }
            for line in &node.input.info.weakdeps {
                let _ = writeln!(weakdep, "weakdep {} {line}", node.name); // Writing to a string cannot fail.
            }
            if let Some(device) = device_node(&node.input.info.aliases) {
                if devname.is_empty() {
                    devname.push_str("# Device nodes to trigger on-demand module loading.\n");
                }
                let _ = writeln!(devname, "{} {device}", node.name); // Writing to a string cannot fail.
            }
        }
        made.files.insert("modules.softdep", softdep.into_bytes());
        made.files.insert("modules.weakdep", weakdep.into_bytes());
        made.files.insert("modules.devname", devname.into_bytes());
    }
}

/// Returns `name typeMAJOR:MINOR` of the device node whose use loads the module: from aliases `devname:` and `char-major-1-2`.
fn device_node(aliases: &[String]) -> Option<String> {
    let (mut name, mut numbers) = (None, None);
    for alias in aliases {
        if let Some(device) = alias.strip_prefix("devname:") {
            name = Some(device);
        } else if let Some(found) = alias.strip_prefix("char-major-").and_then(major_minor) {
            numbers = Some(('c', found));
        } else if let Some(found) = alias.strip_prefix("block-major-").and_then(major_minor) {
            numbers = Some(('b', found));
        }
        if let (Some(name), Some((letter, (major, minor)))) = (name, numbers) {
            return Some(format!("{name} {letter}{major}:{minor}"));
        }
    }
    None
}

/// Reads `1-2`, whatever follows.
fn major_minor(text: &str) -> Option<(u32, u32)> {
    let (major, rest) = text.split_once('-')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Some((major.parse().ok()?, rest[..end].parse().ok()?))
}

/// The indexes of what is in the kernel image. kmod leaves an empty file where the kernel has no list.
fn builtin(kernel: &KernelFiles<'_>, made: &mut Indexes) -> Result<(), DepmodError> {
    let names = match kernel.builtin {
        None => Vec::new(),
        Some(lines) => {
            let mut index = Index::new();
            for line in lines.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_alphabetic())) {
                index.insert(&module::name_of(line.as_bytes()), "", 0)?;
            }
            index.write()?
        }
    };
    made.files.insert("modules.builtin.bin", names);
    let aliases = match kernel.builtin_modinfo {
        None => Vec::new(),
        Some(bytes) => {
            let mut index = Index::new();
            for (alias, name) in module::builtin_modinfo(bytes).aliases {
                match normalized_alias(&alias) {
                    Some(key) if key.is_ascii() => index.insert(&key, &name, 0)?,
                    _ => made.left_out.push((alias, name)),
                }
            }
            index.write()?
        }
    };
    made.files.insert("modules.builtin.alias.bin", aliases);
    Ok(())
}

/// Returns an alias as the index has it: `-` as `_` except between brackets; nothing if brackets do not pair.
pub(super) fn normalized_alias(alias: &str) -> Option<String> {
    let mut out = String::with_capacity(alias.len());
    let mut in_brackets = false;
    for c in alias.chars() {
        match (c, in_brackets) {
            (']', false) => return None,
            (']', true) => in_brackets = false,
            ('[', false) => in_brackets = true,
            _ => {}
        }
        out.push(if c == '-' && !in_brackets { '_' } else { c });
    }
    (!in_brackets).then_some(out)
}

/// Returns a module's path without what compression added: as `modules.order` has it.
fn uncompressed(path: &str) -> &str {
    let file = path.rfind('/').map_or(0, |slash| slash + 1);
    path[file..].find(".ko").map_or(path, |dot| &path[..file + dot + 3])
}

/// Buckets of kmod's table of modules.
const MODULE_BUCKETS: u32 = 512;
/// Buckets of kmod's table of symbols.
const SYMBOL_BUCKETS: u32 = 2048;

/// Returns what sorts keys as a walk through kmod's hash table does: by bucket, then by name.
fn bucket_order(key: &str, buckets: u32) -> (u32, &str) {
    (superfast_hash(key.as_bytes()) & (buckets - 1), key)
}

/// Paul Hsieh's SuperFastHash with WebKit's final steps, reading little-endian pairs of bytes, as on every machine that Debian
/// builds initrds on; `char` is taken as signed.
fn superfast_hash(key: &[u8]) -> u32 {
    let pair = |bytes: &[u8]| u32::from(u16::from_le_bytes([bytes[0], bytes[1]]));
    let signed = |byte: u8| i32::from(byte as i8) as u32;
    let mut hash = key.len() as u32;
    let mut fours = key.chunks_exact(4);
    for four in &mut fours {
        hash = hash.wrapping_add(pair(four));
        let mixed = (pair(&four[2..]) << 11) ^ hash;
        hash = (hash << 16) ^ mixed;
        hash = hash.wrapping_add(hash >> 11);
    }
    match fours.remainder() {
        [a, b, c] => {
            hash = hash.wrapping_add(pair(&[*a, *b]));
            hash ^= hash << 16;
            hash ^= signed(*c) << 18;
            hash = hash.wrapping_add(hash >> 11);
        }
        [a, b] => {
            hash = hash.wrapping_add(pair(&[*a, *b]));
            hash ^= hash << 11;
            hash = hash.wrapping_add(hash >> 17);
        }
        [a] => {
            hash = hash.wrapping_add(signed(*a));
            hash ^= hash << 10;
            hash = hash.wrapping_add(hash >> 1);
        }
        _ => {}
    }
    hash ^= hash << 3;
    hash = hash.wrapping_add(hash >> 5);
    hash ^= hash << 4;
    hash = hash.wrapping_add(hash >> 17);
    hash ^= hash << 25;
    hash.wrapping_add(hash >> 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(exports: &[&str], needs: &[&str]) -> ModuleInfo {
        let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        ModuleInfo { exports: own(exports), needs: own(needs), ..ModuleInfo::default() }
    }

    #[test]
    fn e16_a_circle_is_named() {
        let (a, b, c) = (info(&["sa"], &["sb"]), info(&["sb"], &["sa"]), info(&[], &["sa"]));
        let inputs = [("a.ko", &a), ("b.ko", &b), ("c.ko", &c)].map(|(path, info)| Input { path, info });
        let Err(DepmodError::Circle(names)) = indexes(&inputs, &KernelFiles::default(), Shipped::All) else {
            panic!("the circle was not seen");
        };
        assert_eq!(names.len(), 3);
        assert_eq!(names.first(), names.last());
        assert!(!names.contains(&"c".to_owned()), "{names:?}");
    }

    #[test]
    fn what_is_needed_has_no_text_twins() {
        let made = indexes(&[], &KernelFiles::default(), Shipped::Needed).expect("nothing to index");
        let names: Vec<&str> = made.files.into_keys().collect();
        assert_eq!(
            names,
            [
                "modules.alias.bin",
                "modules.builtin.alias.bin",
                "modules.builtin.bin",
                "modules.dep.bin",
                "modules.devname",
                "modules.softdep",
                "modules.symbols.bin",
                "modules.weakdep"
            ]
        );
    }

    #[test]
    fn device_nodes_need_a_name_and_numbers() {
        for (aliases, expected) in [
            (&["devname:fuse", "char-major-10-229", "char-major-1-1"][..], Some("fuse c10:229")),
            (&["block-major-7-0x", "devname:loop-control"], Some("loop-control b7:0")),
            (&["devname:x", "char-major-10-*"], None),
            (&["char-major-10-1"], None),
        ] {
            let aliases: Vec<String> = aliases.iter().map(|alias| (*alias).to_owned()).collect();
            assert_eq!(device_node(&aliases).as_deref(), expected, "{aliases:?}");
        }
    }

    #[test]
    fn aliases_are_normalised_outside_brackets() {
        for (alias, expected) in
            [("a-b[0-9]-c", Some("a_b[0-9]_c")), ("a]b", None), ("a[b", None), ("x", Some("x")), ("[a-[b]-", Some("[a-[b]_"))]
        {
            assert_eq!(normalized_alias(alias).as_deref(), expected, "{alias}");
        }
    }
}
