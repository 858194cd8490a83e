#!/usr/bin/env python3
"""Checks that an initrd holds what a machine needs to reach its root, without any code of ours.

    check-machine.py IMAGE FACTS.json KERNEL_ROOT [--firmware DIR]

The image is taken apart by zstd, xz, gzip and cpio. KERNEL_ROOT is a directory with the *whole* kernel of the image below
lib/modules, indexed by depmod: what it answers to an alias, by the real modprobe, the image must answer, too. Prints one line for each
thing that is missing, and ends with 1 if there is one. Needs: python3, kmod, cpio, zstd.
"""

import glob
import json
import lzma
import os
import re
import subprocess
import sys
import tempfile
import zlib


def zstd_frame_end(data, at):
    """Where the Zstandard frame that begins at `at` ends (RFC 8878, 3.1.1)."""
    descriptor = data[at + 4]
    single, checksum = descriptor >> 5 & 1, descriptor >> 2 & 1
    dictionary_bytes = (0, 1, 2, 4)[descriptor & 3]
    content_bytes = (single, 2, 4, 8)[descriptor >> 6]
    at += 5 + (not single) + dictionary_bytes + content_bytes
    while True:
        header = int.from_bytes(data[at:at + 3], "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        at += 3 + (1 if kind == 1 else size)
        if last:
            return at + 4 * checksum


def cpio_end(data, at):
    """Where the newc archive that begins at `at` ends."""
    while True:
        fields = [int(data[at + 6 + 8 * i:at + 14 + 8 * i], 16) for i in range(13)]
        size, name_bytes = fields[6], fields[11]
        name = data[at + 110:at + 110 + name_bytes - 1]
        at = (at + 110 + name_bytes + 3) // 4 * 4
        at = (at + size + 3) // 4 * 4
        if name == b"TRAILER!!!":
            return at


def archives(data):
    """The cpio archives of an image, decompressed."""
    at = 0
    while at < len(data):
        if data[at] == 0:
            at += 1
        elif data[at:at + 5] == b"07070":
            end = cpio_end(data, at)
            yield data[at:end]
            at = end
        elif data[at:at + 4] == b"\x28\xb5\x2f\xfd":
            end = zstd_frame_end(data, at)
            yield subprocess.run(["zstd", "-dcq"], input=data[at:end], stdout=subprocess.PIPE, check=True).stdout
            at = end
        elif data[at:at + 2] == b"\x1f\x8b" or data[at:at + 6] == b"\xfd7zXZ\0":
            unpacker = zlib.decompressobj(31) if data[at] == 0x1F else lzma.LZMADecompressor()
            yield unpacker.decompress(data[at:])
            at = len(data) - len(unpacker.unused_data)
        else:
            sys.exit(f"at {at} of the image there is neither an archive nor a compression that is known")


def unpack(image, root):
    with open(image, "rb") as file:
        data = file.read()
    for archive in archives(data):
        subprocess.run(["cpio", "-idu", "--quiet", "--no-absolute-filenames"], input=archive, cwd=root, check=True)


class Kernel:
    """A root directory with modules, asked by the real modprobe."""

    def __init__(self, root, version):
        self.root, self.version = root, version

    def depends(self, request):
        """The `insmod` and `builtin` lines for a name or an alias; nothing if there is no answer."""
        command = ["modprobe", "-S", self.version, "-d", self.root, "--show-depends", "--ignore-install", request]
        ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return ran.stdout.split("\n")[:-1] if ran.returncode == 0 else []

    def names(self, request):
        """The modules that an answer loads, those that it depends on included; built-ins as they are called."""
        lines = [line.split() for line in self.depends(request)]
        return {re.sub(r"\.ko.*", "", os.path.basename(words[1])).replace("-", "_") for words in lines if len(words) > 1}

    def files(self, request):
        return [line.split()[1] for line in self.depends(request) if line.startswith("insmod ")]


KEYBOARDS = [
    r"serio:ty06",  # AT keyboards behind i8042 or a hypervisor's port
    r"acpi:.*PNP0303:",
    r"usb:.*ic03isc01ip01",  # boot keyboards
    r"hid:b0003g0001",
    r"hid:b0018",  # on I2C
    r"acpi:.*PNP0C50:",
    r"vmbus:6dad12f9172bea48bd65f927a61c7684",
    r"virtio:d00000012",
    r"pci:.*bc0Csc03",  # the USB controllers in front of them
]

# dm-crypt: what a template needs beside its name.
IMPLIED = {"xts": ["ecb"], "adiantum": ["nhpoly1305"], "essiv": []}


def algorithms(cipher):
    words = re.split(r"[-:,()]", cipher.removeprefix("capi:"))
    names = [word for word in words if word and not re.fullmatch(r"plain(64)?(be)?|random|null|benbi|\d+", word)]
    return names + [more for name in names for more in IMPLIED.get(name, [])]


class Check:
    def __init__(self, image, facts, kernel_root, firmware):
        self.facts, self.firmware, self.missing, self.checked = facts, firmware, [], 0
        self.root = tempfile.mkdtemp(prefix="machine-")
        unpack(image, self.root)
        versions = os.listdir(f"{self.root}/usr/lib/modules")
        if len(versions) != 1:
            sys.exit(f"the image has modules of {len(versions)} kernels")
        self.image, self.full = Kernel(self.root, versions[0]), Kernel(kernel_root, versions[0])
        if not os.path.exists(f"{kernel_root}/lib/modules/{versions[0]}/modules.dep.bin"):
            sys.exit(f"`{kernel_root}` has no indexed modules of {versions[0]}")
        self.blocks = {block["name"]: block for block in facts["blocks"]}

    def lack(self, what):
        if what not in self.missing:
            self.missing.append(what)

    def answers(self, request, why, must=True):
        """The image answers as the whole kernel does."""
        self.checked += 1
        wanted, found = self.full.names(request), self.image.names(request)
        if not wanted:
            if must:
                self.lack(f"`{request}` ({why}): not even the whole kernel has it")
            return
        for name in sorted(wanted - found):
            self.lack(f"module `{name}` for `{request}` ({why})")
        for path in self.image.files(request):
            if not os.path.exists(path):
                self.lack(f"file {path} for `{request}` ({why})")

    def either(self, requests, why):
        """One of several requests, the first that the whole kernel knows."""
        known = [request for request in requests if self.full.names(request)]
        self.answers(known[0] if known else requests[0], why)

    def file(self, patterns, why):
        self.checked += 1
        if not any(glob.glob(self.root + "/" + pattern, recursive=True) for pattern in patterns):
            self.lack(f"file {' or '.join(patterns)} ({why})")

    def stack(self, volume):
        names, found = [volume.get("block"), *volume.get("members", [])], []
        while names:
            name = names.pop()
            if name and name not in found:
                found.append(name)
                names += self.blocks[name].get("parents", [])
        return [self.blocks[name] for name in found]

    def volume(self, volume):
        title = volume.get("target") or volume["source"]
        kind = volume["fstype"]
        if kind != "swap":
            self.either([f"fs-{kind}", kind], f"file system of {title}")
            self.file(["usr/bin/mount"], f"mounting {title}")
        if kind == "ext4":
            self.file(["usr/sbin/fsck.ext4"], f"checking {title}")
        if kind == "vfat":
            for charset in ("nls_cp437", "nls_ascii", "nls_iso8859_1"):
                self.answers(charset, f"mounting {title}")
        if kind == "btrfs" and volume.get("members"):
            self.file(["usr/bin/btrfs"], f"devices of {title}")
            self.file(["usr/lib/udev/rules.d/64-btrfs*.rules"], f"devices of {title}")
        if kind.startswith("nfs"):
            self.answers("nfsv4", title)
            self.file(["usr/sbin/mount.nfs"], title)
        drivers = set()
        for block in self.stack(volume):
            self.block(block, title)
            drivers |= set(block.get("drivers", []))
            if block.get("transport") == "iscsi":
                self.file(["usr/sbin/iscsistart", "usr/sbin/iscsid"], f"logging in for {title}")
                self.network(title)
        for driver in sorted(drivers):
            self.answers(driver, f"a disk under {title}")
        # Every device on the way to the disks: bridges, controllers, the disk itself.
        ways = [device["path"] for device in self.facts["devices"] if device.get("driver") in drivers]
        for device in self.facts["devices"]:
            if any(way == device["path"] or way.startswith(device["path"] + "/") for way in ways):
                self.answers(device["modalias"], f"device {device['path']} under {title}", must=False)

    def network(self, title):
        for device in self.facts["devices"]:
            if re.match(r"(pci:.*bc02sc00|virtio:d00000001v|vmbus:635161f83edf)", device["modalias"]):
                self.answers(device["modalias"], f"network card {device['path']} for {title}")
        self.file(["usr/lib/systemd/systemd-networkd", "usr/sbin/dhclient"], f"an address for {title}")

    def block(self, block, title):
        place = f"{block['name']} under {title}"
        kind = block["kind"]
        if kind in ("crypt", "lvm", "multipath", "mapping"):
            self.answers("dm_mod", place)
            for target in set(block.get("targets", [])) - {"linear", "striped", "error"}:
                self.answers({"thin": "dm-thin-pool"}.get(target, f"dm-{target}"), place)
            self.file(["usr/lib/udev/rules.d/55-dm.rules"], place)
        if kind == "crypt":
            self.file(["usr/bin/systemd-cryptsetup", "usr/lib/systemd/systemd-cryptsetup"], place)
            self.file(["usr/lib/**/libcryptsetup.so.12"], place)
            self.file(["usr/lib/systemd/system-generators/systemd-cryptsetup-generator"], place)
        if kind == "lvm":
            self.file(["usr/sbin/lvm"], place)
            self.file(["usr/lib/udev/rules.d/69-lvm.rules"], place)
        if kind == "raid":
            for level in block.get("targets", []):
                self.answers(f"md-{level}", place)
            self.file(["usr/sbin/mdadm"], place)
            self.file(["usr/lib/udev/rules.d/64-md-raid-assembly.rules"], place)
        if kind == "multipath":
            self.answers("dm-multipath", place)
            self.file(["usr/sbin/multipathd"], place)
        luks = block.get("luks")
        if luks:
            for cipher in luks["ciphers"]:
                for name in algorithms(cipher):
                    self.answers(f"crypto-{name}", f"{cipher} of {place}")
            if "systemd-tpm2" in luks.get("tokens", []):
                self.file(["usr/lib/**/libcryptsetup-token-systemd-tpm2.so"], place)
                self.file(["usr/lib/**/libtss2-esys.so.0"], place)
                self.file(["usr/lib/**/libtss2-tcti-device.so.0"], place)
                for device in self.facts["devices"]:
                    if re.search(r"MSFT0101|tpm", device["modalias"]):
                        self.answers(device["modalias"], "the TPM", must=False)

    def keyboards(self):
        count = 0
        for device in self.facts["devices"]:
            if any(re.match(pattern, device["modalias"]) for pattern in KEYBOARDS):
                count += 1
                self.answers(device["modalias"], f"keyboard {device['path']}", must=False)
        for name in ("hid_generic", "usbhid", "evdev", "atkbd", "xhci_pci", "usb_storage", "uas"):
            if self.full.names(name):
                self.answers(name, "another keyboard or stick")
        return count

    def modules(self):
        """What is there can be loaded, with its firmware."""
        directory = f"{self.root}/usr/lib/modules/{self.image.version}"
        files = [path for path in glob.glob(directory + "/**/*.ko*", recursive=True)]
        for path in files:
            name = re.sub(r"\.ko.*", "", os.path.basename(path)).replace("-", "_")
            self.checked += 1
            needs = self.full.names(name) - self.image.names(name)
            for need in sorted(needs):
                self.lack(f"module `{need}`, which `{name}` depends on")
        wanted = subprocess.run(["modinfo", "-F", "firmware", *files], stdout=subprocess.PIPE, check=True, text=True).stdout.split()
        for name in sorted(set(wanted)) if self.firmware else []:
            if name.startswith(("amd-ucode/", "intel-ucode/")) or not glob.glob(f"{self.firmware}/{glob.escape(name)}*"):
                continue
            self.file([f"usr/lib/firmware/{glob.escape(name)}*"], "firmware of a module that is there")
        return len(files)


def main():
    words = sys.argv[1:]
    firmware = words.pop(words.index("--firmware") + 1) if "--firmware" in words else None
    words = [word for word in words if word != "--firmware"]
    if len(words) != 3:
        sys.exit(__doc__)
    image, facts, kernel_root = words
    with open(facts, encoding="utf-8") as file:
        check = Check(image, json.load(file), kernel_root, firmware)
    check.file(["init"], "the kernel starts it")
    check.file(["usr/lib/systemd/systemd"], "init is a link to it")
    for volume in check.facts["volumes"]:
        check.volume(volume)
    keyboards = check.keyboards()
    modules = check.modules()
    subprocess.run(["rm", "-rf", check.root], check=True)
    for line in check.missing:
        print(f"missing: {line}")
    print(f"{check.checked} checks, {modules} modules, {keyboards} keyboard devices, {len(check.missing)} missing")
    sys.exit(1 if check.missing else 0)


main()
