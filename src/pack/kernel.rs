//! What the kernel that is to unpack an image can do, by its configuration.

use super::Error;
use crate::format::compress::Format;

/// Without it a kernel unpacks nothing at all.
pub(super) const INITRD_OPTION: &str = "CONFIG_BLK_DEV_INITRD";

/// Refuses a compression that the target's kernel lacks, going by the text of its configuration (`/boot/config-VERSION`); without one
/// nothing is known and nothing refused.
pub fn check_kernel(config: Option<&str>, compression: Format) -> Result<(), Error> {
    const OPTIONS: [(Format, &str); 6] = [
        (Format::Zstd, "CONFIG_RD_ZSTD"),
        (Format::Xz, "CONFIG_RD_XZ"),
        (Format::Gzip, "CONFIG_RD_GZIP"),
        (Format::Lz4, "CONFIG_RD_LZ4"),
        (Format::Lzma, "CONFIG_RD_LZMA"),
        (Format::Bzip2, "CONFIG_RD_BZIP2"),
    ];
    let Some(config) = config else { return Ok(()) };
    let has = |option: &str| config.lines().any(|line| line.trim_end().strip_prefix(option) == Some("=y"));
    if !has(INITRD_OPTION) {
        return Err(Error::KernelLacks { format: compression, option: INITRD_OPTION, has: Vec::new() });
    }
    match OPTIONS.iter().find(|(format, _)| *format == compression) {
        Some((_, option)) if !has(option) => {
            let offered = OPTIONS[..4].iter().filter(|(_, option)| has(option));
            Err(Error::KernelLacks { format: compression, option, has: offered.map(|(format, _)| format.name()).collect() })
        }
        _ => Ok(()),
    }
}
