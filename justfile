# Shortcuts; each is one `cargo xtask` errand.

test:
    cargo xtask test

test-slow:
    cargo xtask test-slow

boot *scenarios:
    cargo xtask boot {{scenarios}}

bench:
    cargo xtask bench

install *vars:
    cargo xtask install {{vars}}

deb out="target":
    cargo xtask deb {{out}}
