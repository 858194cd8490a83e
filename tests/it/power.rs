//! Power cuts: every write and flush that a disk gets while a guest delivers is recorded, and each moment between two of them is
//! looked at as the disk that a power cut would have left, with a write cache that kept all, nothing or some of what was not flushed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use crate::deliver::new_bytes;
use crate::guest::Guest;
use crate::kernels::run;
use crate::program::effort;
use mkinitrd_pkg::base::digest::Sha256;

const SECTOR: u64 = 512;
/// Behind the file system: where the guest writes what it is about to do, so that the record has it.
const MARKS: u64 = 1 << 20;

const OLD: usize = 700_001;
const NEW: usize = 2_500_003;
const NAIVE: usize = 1_100_005;
const IN_PLACE: usize = 1_900_007;
const NEXT: usize = 400_009;
/// What is delivered again and again where chance decides what the kernel does: the size grows by one each time.
const REPEATED: usize = 40_000;
const REPEATS: usize = 16;

/// A file system, and how it is made and used.
struct Kind {
    name: &'static str,
    modules: &'static [&'static str],
    size: u64,
    make: &'static [&'static str],
    package: &'static str,
    options: &'static str,
}

const VFAT: Kind = Kind {
    name: "vfat",
    modules: &["vfat", "nls_cp437", "nls_ascii"],
    size: 24 << 20,
    make: &["mkfs.vfat", "-F", "16"],
    package: "dosfstools",
    options: "iocharset=ascii",
};
const EXT4: Kind = Kind {
    name: "ext4",
    modules: &["ext4", "crc32c_generic"],
    size: 32 << 20,
    make: &["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"],
    package: "e2fsprogs",
    options: "relatime",
};
const XFS: Kind = Kind {
    name: "xfs",
    modules: &["xfs", "crc32c_generic"],
    size: 300 << 20,
    make: &["mkfs.xfs", "-q"],
    package: "xfsprogs",
    // Every moment is the same file system for the kernel, one after the other.
    options: "nouuid",
};
const BTRFS: Kind = Kind {
    name: "btrfs",
    modules: &["btrfs", "crc32c_generic"],
    size: 128 << 20,
    make: &["mkfs.btrfs", "-q"],
    package: "btrfs-progs",
    options: "relatime",
};
const F2FS: Kind = Kind {
    name: "f2fs",
    modules: &["f2fs", "crc32_generic", "crc32c_generic"],
    size: 64 << 20,
    make: &["mkfs.f2fs", "-q"],
    package: "f2fs-tools",
    options: "relatime",
};

/// Delivers three times and cuts the power: as we do it; with a rename and no sync; over the file itself.
///
/// The marks do not go by busybox' `dd`, which quietly gives up `direct` for a buffer that is not aligned: they would come late, or flush.
const CUT: &str = r#"
mark() { printf '%-512s' "MARK-$1" | /bin/dd of=/dev/vda bs=512 seek=@MARK@ oflag=direct conv=notrunc 2>/dev/null || say no mark; }
mount -t @FS@ -o "@OPTIONS@" /dev/vda /mnt || say no mount
if [ "@EAGER@" = yes ]; then
    echo 1 >/proc/sys/vm/dirty_writeback_centisecs; echo 1 >/proc/sys/vm/dirty_expire_centisecs
else
    echo 0 >/proc/sys/vm/dirty_writeback_centisecs
fi
deliver /mnt/initrd.img @OLD@ || say no old image
sync
mark begin-ours
deliver /mnt/initrd.img @NEW@; say ours $?
mark end-ours
i=0
while [ @EAGER@ = yes ] && [ $i -lt @REPEATS@ ]; do
    mark skip
    deliver /mnt/initrd.img $((@REPEATED@ + i)) >/dev/null || say no repeat
    mark end-repeat-$i
    i=$((i + 1))
done
[ @TWINS@ = no ] && { sleep 1; echo b >/proc/sysrq-trigger; sleep 60; }
sync
deliver /tmp/naive @NAIVE@ && deliver /tmp/in-place @IN_PLACE@ || say no twins
mark begin-naive
cp /tmp/naive /mnt/initrd.tmp && mv /mnt/initrd.tmp /mnt/initrd.img; say naive $?
mark end-naive
sync
mark begin-in-place
cat /tmp/in-place >/mnt/initrd.img; sync; say in-place $?
mark end-in-place
echo b >/proc/sysrq-trigger; sleep 60
"#;

/// Looks at each moment as firmware would, then as a machine does that starts again: check, mount, deliver once more.
///
/// vfat has no journal: a file that was being written may lead to blocks that nobody marked as taken. Linux makes the file system
/// read-only when such a file is removed, and the check at every boot (`fsck.vfat -a`) repairs it before that.
const LOOK: &str = r#"
i=0
while [ $i -lt @COUNT@ ]; do
    losetup -o $((i * @SIZE@)) /dev/loop0 /dev/vda || say $i no loop
    mount -t @FS@ -o "ro,@OPTIONS@" /dev/loop0 /mnt || say $i unmountable
    say $i found $(sha256sum /mnt/initrd.img 2>&1 | cut -d' ' -f1) $(ls -A /mnt | grep -c '[.]tmp$')
    umount /mnt || say $i no umount
    [ @FS@ = vfat ] && /sbin/fsck.vfat -a /dev/loop0 >/dev/null 2>&1
    mount -t @FS@ -o "@OPTIONS@" /dev/loop0 /mnt || say $i unmountable
    deliver /mnt/initrd.img @NEXT@ >/dev/null || say $i fails
    say $i again $(sha256sum /mnt/initrd.img 2>&1 | cut -d' ' -f1) $(ls -A /mnt | grep -c '[.]tmp$')
    umount /mnt || say $i no umount
    losetup -d /dev/loop0
    i=$((i + 1))
done
"#;

/// What a disk got: a write, or a flush.
enum Step {
    Write { sector: u64, data: Vec<u8> },
    Flush,
}

/// The disk at one moment.
struct Moment {
    /// What was going on: the mark before.
    mark: String,
    /// How many steps the disk had seen, and what became of those that were not flushed.
    name: String,
    disk: Written,
}

/// Reads a record in the format of Linux' dm-log-writes, as QEMU writes it.
fn read_record(path: &Path) -> Vec<Step> {
    let bytes = fs::read(path).expect("the record");
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    assert_eq!((word(0), word(8)), (0x006a_7366_7773_6872, 1), "a record of writes");
    assert_eq!(&bytes[24..28], 512_u32.to_le_bytes(), "its sectors");
    let (mut at, mut steps) = (512, Vec::new());
    while at + 512 <= bytes.len() {
        let (sector, sectors, flags) = (word(at), word(at + 8), word(at + 16));
        at += 512;
        match (flags, sectors) {
            (0, 0) => break,
            (1, 0) => steps.push(Step::Flush),
            // Discarded blocks keep what they had: the mildest of what a disk may do, and nothing of ours is discarded.
            (4, _) => {}
            (0, _) => {
                let length = usize::try_from(sectors * SECTOR).expect("a length");
                // The machine went off while this one was on its way.
                let Some(data) = bytes.get(at..at + length) else { break };
                steps.push(Step::Write { sector, data: data.to_vec() });
                at += length;
            }
            other => panic!("a step that nobody knows: {other:?}"),
        }
    }
    steps
}

/// A number that looks random and is the same every time.
fn mixed(mut seed: u64) -> u64 {
    for _ in 0..4 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    }
    seed >> 33
}

fn mark_of(step: &Step) -> Option<String> {
    let Step::Write { data, .. } = step else { return None };
    let text = data.strip_prefix(b"MARK-")?;
    Some(String::from_utf8_lossy(text).split(' ').next()?.to_owned())
}

/// What became of a disk since the record began: for each sector that was written, the step that did it last.
type Written = BTreeMap<u64, usize>;

fn apply(disk: &mut Written, steps: &[Step], step: usize) {
    if let Step::Write { sector, data } = &steps[step] {
        let sectors = data.len() as u64 / SECTOR;
        disk.extend((*sector..*sector + sectors).map(|sector| (sector, step)));
    }
}

/// Returns the disks that a power cut could leave, from the first mark on: after each step the one whose write cache was not lost,
/// the one whose cache was, and `seeds` others that kept some of it.
fn moments(steps: &[Step], seeds: u64) -> Vec<Moment> {
    let (mut seen, mut moments) = (BTreeSet::new(), Vec::new());
    let (mut flushed, mut unflushed, mut all) = (Written::new(), Vec::new(), Written::new());
    let mut mark: Option<String> = None;
    for (count, step) in steps.iter().enumerate() {
        if let Some(name) = mark_of(step) {
            mark = Some(name);
        } else if matches!(step, Step::Flush) {
            flushed.clone_from(&all);
            unflushed.clear();
        } else {
            apply(&mut all, steps, count);
            unflushed.push(count);
        }
        let Some(mark) = mark.as_ref().filter(|mark| *mark != "skip") else { continue };
        let mut variants = vec![(format!("{count}, all kept"), all.clone())];
        if !unflushed.is_empty() {
            variants.push((format!("{count}, nothing kept"), flushed.clone()));
        }
        for seed in 0..if unflushed.len() > 1 { seeds } else { 0 } {
            let mut some = flushed.clone();
            let lucky = unflushed.iter().filter(|step| mixed((count * 7919 + **step) as u64 * 31 + seed).is_multiple_of(2));
            lucky.for_each(|step| apply(&mut some, steps, *step));
            variants.push((format!("{count}, some kept ({seed})"), some));
        }
        for (name, disk) in variants {
            if seen.insert((mark.clone(), disk.clone())) {
                moments.push(Moment { mark: mark.clone(), name, disk });
            }
        }
    }
    moments
}

/// Writes the disk of one moment into `file` at `offset`, where everything is zero: what it was at first, then what was written.
fn write_moment(file: &mut File, offset: u64, base: &[u8], steps: &[Step], disk: &Written) {
    const CHUNK: usize = 64 << 10;
    for (i, chunk) in base.chunks(CHUNK).enumerate().filter(|(_, chunk)| chunk.iter().any(|byte| *byte != 0)) {
        file.write_all_at(chunk, offset + (i * CHUNK) as u64).expect("writing");
    }
    // Sectors of one write that follow each other go at once.
    let mut runs: Vec<(u64, u64, usize)> = Vec::new();
    for (&sector, &step) in disk {
        match runs.last_mut() {
            Some((start, count, last)) if *last == step && *start + *count == sector => *count += 1,
            _ => runs.push((sector, 1, step)),
        }
    }
    for (sector, count, step) in runs {
        let Step::Write { sector: start, data } = &steps[step] else { unreachable!("a flush writes nothing") };
        let from = ((sector - start) * SECTOR) as usize;
        file.write_all_at(&data[from..from + (count * SECTOR) as usize], offset + sector * SECTOR).expect("writing");
    }
}

/// What a guest found of one moment: digest and number of temporary files, before and after another delivery.
#[derive(Debug, Default, Clone)]
struct Found {
    before: (String, usize),
    after: (String, usize),
}

fn parse(console: &str, count: usize) -> Vec<Found> {
    let mut found = vec![Found::default(); count];
    for line in console.lines().filter_map(|line| line.strip_prefix("SAY ")) {
        let words: Vec<&str> = line.split(' ').collect();
        // Anything else that it says is about a moment of which it then says nothing good.
        let [number, what, digest, temporaries] = words[..] else { continue };
        let number: usize = number.parse().expect("a number");
        let said = (digest.to_owned(), temporaries.parse().expect("a number"));
        *(if what == "found" { &mut found[number].before } else { &mut found[number].after }) = said;
    }
    found
}

/// What came of the power cuts of one file system.
struct Tally {
    moments: usize,
    old: usize,
    new: usize,
    orphans: usize,
    /// Moments after a delivery that was repeated.
    repeated: usize,
}

/// Records a delivery, looks at each moment of it, and demands the promise: old or new, new once success was reported, and no
/// file left over after the next delivery. `twins` also records two ways that break it and demands that this is seen.
fn cut_power(kind: &Kind, eager: bool, twins: bool) -> Tally {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    let disk = at("disk");
    File::create(&disk).and_then(|file| file.set_len(kind.size)).expect("a disk");
    let words: Vec<&str> = kind.make.iter().copied().chain([disk.to_str().expect("text")]).collect();
    run(words[0], kind.package, &words[1..]);
    let base = fs::read(&disk).expect("the disk");
    File::options().write(true).open(&disk).and_then(|file| file.set_len(kind.size + MARKS)).expect("room for marks");

    let fill = |script: &str, numbers: &[(&str, u64)]| {
        let script = script.replace("@FS@", kind.name).replace("@OPTIONS@", kind.options);
        numbers.iter().fold(script, |script, (name, number)| script.replace(&format!("@{name}@"), &number.to_string()))
    };
    let yes = |yes: bool| if yes { "yes" } else { "no" };
    let sizes = [
        ("OLD", OLD),
        ("NEW", NEW),
        ("NAIVE", NAIVE),
        ("IN_PLACE", IN_PLACE),
        ("NEXT", NEXT),
        ("REPEATED", REPEATED),
        ("REPEATS", REPEATS),
    ]
    .map(|(n, size)| (n, size as u64));
    let script = fill(CUT, &sizes).replace("@MARK@", &(kind.size / SECTOR).to_string());
    let script = script.replace("@EAGER@", yes(eager)).replace("@TWINS@", yes(twins));
    let console = Guest::new(kind.modules).program("/bin/dd").recorded_disk(&disk, &at("record")).run(&script);
    assert!(console.contains("SAY ours 0") && !console.contains("SAY no "), "{console}");

    let mut steps = read_record(&at("record"));
    // Behind the file system only the marks are written.
    steps.retain(|step| !matches!(step, Step::Write { sector, .. } if sector * SECTOR >= kind.size) || mark_of(step).is_some());
    let moments = moments(&steps, if effort() == 1 { 1 } else { 3 });
    let disks = at("moments");
    let mut file = File::create(&disks).expect("a file");
    file.set_len(moments.len() as u64 * kind.size).expect("a size");
    for (i, moment) in moments.iter().enumerate() {
        write_moment(&mut file, i as u64 * kind.size, &base, &steps, &moment.disk);
    }
    let numbers = [("COUNT", moments.len() as u64), ("SIZE", kind.size), ("NEXT", NEXT as u64)];
    let console =
        Guest::new(&[kind.modules, &["loop"]].concat()).program("/sbin/fsck.vfat").disk(&disks).run(&fill(LOOK, &numbers));
    let found = parse(&console, moments.len());
    judge(kind, &moments, &found, twins)
}

fn digest(size: usize) -> String {
    Sha256::of(&new_bytes(size)).to_string()
}

fn judge(kind: &Kind, moments: &[Moment], found: &[Found], twins: bool) -> Tally {
    let [old, new, naive, in_place, next] = [OLD, NEW, NAIVE, IN_PLACE, NEXT].map(digest);
    let mut tally = Tally { moments: 0, old: 0, new: 0, orphans: 0, repeated: 0 };
    let (mut naive_lost, mut torn) = (0, 0);
    for (moment, found) in moments.iter().zip(found) {
        let (now, temporaries) = &found.before;
        let context = format!("{} at step {}: {found:?}", moment.mark, moment.name);
        assert_eq!(found.after, (next.clone(), 0), "the next run: {context}");
        match moment.mark.as_str() {
            "begin-ours" | "end-ours" => {
                tally.moments += 1;
                tally.orphans += temporaries;
                match (*now == old, *now == new) {
                    (true, _) if moment.mark == "begin-ours" => tally.old += 1,
                    (_, true) => tally.new += 1,
                    _ => panic!("{context}"),
                }
            }
            mark if let Some(number) = mark.strip_prefix("end-repeat-") => {
                tally.repeated += 1;
                let size = REPEATED + number.parse::<usize>().expect("a number");
                assert_eq!((now, temporaries), (&digest(size), &0), "{context}");
            }
            "end-naive" => naive_lost += usize::from(*now != naive),
            "begin-in-place" => torn += usize::from(*now != naive && *now != in_place),
            _ => {}
        }
    }
    assert!(
        tally.old > 3 && tally.new > 1 && tally.orphans > 0,
        "{} old, {} new, {} orphans",
        tally.old,
        tally.new,
        tally.orphans
    );
    // With a journal, one commit has all that writing over the file itself changes, on a disk that is otherwise idle.
    assert!(
        !twins || (naive_lost > 0 && (torn > 0 || kind.name != "vfat")),
        "what breaks the promise is not seen: {naive_lost} lost, {torn} torn"
    );
    tally
}

#[track_caller]
fn report(kind: &Kind, eager: bool, twins: bool) -> String {
    let start = Instant::now();
    let Tally { moments, old, new, orphans, repeated } = cut_power(kind, eager, twins);
    assert!(!eager || repeated >= REPEATS, "{repeated} repeated");
    let seconds = start.elapsed().as_secs_f64();
    let name = kind.name;
    format!(
        "{name}, eager {eager}: {moments} moments, {old} old, {new} new, {orphans} orphans, all removed, {repeated} repeated; {seconds:.0} s"
    )
}

#[test]
fn a09_power_cut_at_any_step_on_vfat() {
    println!("{}", report(&VFAT, false, true));
}

/// The kernel writes back as soon as it can: directory entries reach the disk at other moments, and an fsync may find that the kernel
/// has begun what it came for.
#[test]
fn a09_power_cut_while_the_kernel_writes_back_eagerly() {
    println!("{}", report(&VFAT, true, false));
}

/// In the second tier: each takes as long as vfat, and the steps are the same.
#[test]
fn a10_power_cut_at_any_step_on_other_file_systems() {
    if effort() == 1 {
        println!("NOT RUN: ext4, xfs, btrfs, f2fs: in the second tier (`cargo xtask test-slow`)");
        return;
    }
    for kind in [EXT4, XFS, BTRFS, F2FS] {
        println!("{}", report(&kind, false, true));
        println!("{}", report(&kind, true, false));
    }
}
