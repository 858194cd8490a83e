//! A udev rule that starts an array without a disk, if that disk does not come: also an array of which the image does not know whose it is.
//!
//! mdadm's own rule has `mdadm-last-resort@.timer` wait half a minute for the disk, but only for arrays of this machine: those that carry
//! its name or stand in its `mdadm.conf`. An image for any machine has neither, and the root behind a mirror whose disk has died would not
//! be reached. As everywhere, an array that was shut down without the disk starts at once.

use super::{Context, Error, Notes};
use crate::tree::{Tree, TreePath};

const TIMER: &str = "usr/lib/systemd/system/mdadm-last-resort@.timer";
const RULES: &str = "usr/lib/udev/rules.d/65-mkinitrd-pkg-md-degraded.rules";
/// The variables are what `mdadm --incremental --export` said in the rule before.
const TEXT: &str = "# An array without a disk starts if the disk does not come, whichever machine's name it carries.
SUBSYSTEM==\"block\", ACTION!=\"remove\", ENV{MD_STARTED}==\"*unsafe*\", ENV{MD_FOREIGN}!=\"no\", \
ENV{SYSTEMD_WANTS}+=\"mdadm-last-resort@$env{MD_DEVICE}.timer\"
";

pub(super) fn run(tree: &mut Tree, _: &Context<'_>, notes: &mut Notes) -> Result<(), Error> {
    if tree.lookup(&TreePath::literal(TIMER)).is_none() {
        return Ok(());
    }
    notes.file(tree, RULES, TEXT)
}

#[cfg(test)]
mod tests {
    use super::super::{Options, run_step};
    use super::*;
    use crate::tree::{Entry, Origin};

    #[test]
    fn only_where_the_timer_is() {
        let mut tree = Tree::new();
        run_step("md-degraded", &mut tree, &Options::default());
        assert!(tree.is_empty());
        tree.insert(&TreePath::literal(TIMER), Entry::file("[Timer]\n", Origin::Made("test"))).expect("a file");
        run_step("md-degraded", &mut tree, &Options::default());
        let text = tree.read(&TreePath::literal(RULES)).expect("the rules").bytes().to_vec();
        assert_eq!(text, TEXT.as_bytes());
        assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 2, "a rule is one line");
    }
}
