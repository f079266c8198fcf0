//! The product's images: built without a Dockerfile, made in memory, shipped without a registry.

pub mod archive;
mod build;
mod error;
mod product;
pub(crate) mod ship;

pub use archive::ImageArchive;
pub use build::{Program, build_static};
pub use error::ImageError;
pub(crate) use product::USER;
pub use product::product_image;
