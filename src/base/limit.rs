//! Limits that every number read from outside meets before it sizes an allocation or a loop.
//!
//! They are generous for anything a distribution ships and small enough that a hostile file costs little.

/// A decompressed repository index. Debian sid's `Packages` is 60 MB; filelists of others reach 700 MB.
pub const INDEX_BYTES_MAX: u64 = 2 << 30;
/// Packages of one index (Debian sid has 70 000, Fedora with updates 100 000).
pub const INDEX_PACKAGES_MAX: usize = 4_000_000;
/// A signed release file (`InRelease` of Debian: 0.2 MB).
pub const RELEASE_BYTES_MAX: u64 = 16 << 20;
/// A package file. The largest that an initrd touches are firmware packages (0.4 GB).
pub const PACKAGE_BYTES_MAX: u64 = 4 << 30;
/// All content of one package, unpacked.
pub const PAYLOAD_BYTES_MAX: u64 = 8 << 30;
/// One file inside a package: what newc can hold.
pub const FILE_BYTES_MAX: u64 = u32::MAX as u64;
/// Entries of one package (a kernel has 6 000).
pub const ENTRIES_MAX: usize = 500_000;
/// A path inside an archive, as the kernel's `PATH_MAX` less its terminator.
pub const PATH_BYTES_MAX: usize = 4095;
/// One component of a path, the kernel's `NAME_MAX`.
pub const NAME_BYTES_MAX: usize = 255;
/// Symlinks followed for one path, as in the kernel.
pub const SYMLINKS_MAX: usize = 40;
/// The metadata of one archive member (PAX headers, GNU long names, a deb's control file).
pub const HEADER_BYTES_MAX: u64 = 1 << 20;
/// A configuration file, a unit, a udev rule.
pub const TEXT_BYTES_MAX: u64 = 16 << 20;
/// A file of microcode (Intel's largest: 1 MB).
pub const MICROCODE_BYTES_MAX: u64 = 64 << 20;
/// A keyring (Debian's archive keyring is 60 KB).
pub const KEYRING_BYTES_MAX: u64 = 8 << 20;
/// Packages in one plan.
pub const PACKAGES_MAX: usize = 20_000;
/// Devices of one machine. A server with thousands of virtual functions has 50 000 directories in `/sys/devices`.
pub const DEVICES_MAX: usize = 500_000;
/// Directories in one another below `/sys/devices`: a disk behind five USB hubs is 25 deep.
pub const DEVICE_DEPTH_MAX: usize = 64;
/// Block devices of one machine.
pub const BLOCKS_MAX: usize = 50_000;
/// An attribute in sysfs, which is at most a page.
pub const ATTRIBUTE_BYTES_MAX: u64 = 64 << 10;
/// A key file; systemd reads no more of one either.
pub const KEY_BYTES_MAX: u64 = 8 << 20;
/// A detached LUKS header: 16 MiB as cryptsetup makes it.
pub const LUKS_HEADER_BYTES_MAX: u64 = 32 << 20;
/// The facts of a machine as JSON, a detached header and key files among them.
pub const FACTS_BYTES_MAX: u64 = 256 << 20;
/// Files of one machine's configuration that an image may need.
pub const CONFIG_FILES_MAX: usize = 10_000;
