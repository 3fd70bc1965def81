//! The command line's entry: everything is in the library.

fn main() -> std::process::ExitCode {
    leqi_gateway::cli::run()
}
