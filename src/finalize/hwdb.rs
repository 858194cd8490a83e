//! hwdb: to come.

use super::{Context, Error, Notes};
use crate::tree::Tree;

pub(super) fn run(_: &mut Tree, _: &Context<'_>, _: &mut Notes) -> Result<(), Error> {
    Ok(())
}
