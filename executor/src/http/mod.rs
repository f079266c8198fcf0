//! The HTTP face: connections (`server`), paths (`routes`), the run itself (`run`) and events (`event`), those that take long (`later`), and what operators ask
//! (`status`).

mod answer;
mod body;
mod event;
mod later;
mod names;
mod routes;
mod run;
pub(crate) mod server;
mod status;
