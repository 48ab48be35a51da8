//! Files and directories: by their path, by what they are, and by what is in them.

mod at;
mod data;
mod stat;

pub use at::*;
pub use data::*;
pub use stat::*;
