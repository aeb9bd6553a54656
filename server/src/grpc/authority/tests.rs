mod client;
mod fuzz;
mod server;
