//! Would it boot? To come.
