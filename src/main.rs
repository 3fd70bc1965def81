//! The command line's entry: everything is in the library.

/// Every call makes and drops some dozens of small things, which the C library's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    leqi_gateway::cli::run()
}
