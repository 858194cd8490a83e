//! The deb family: Debian, Ubuntu and their kin.
