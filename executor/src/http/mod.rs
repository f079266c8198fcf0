//! The HTTP face: connections (`server`), paths (`routes`), the run itself (`run`), and what operators ask
//! (`status`).

mod answer;
mod body;
mod names;
mod routes;
mod run;
pub(crate) mod server;
mod status;
