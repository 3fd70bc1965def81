//! The command line's entry: everything is in the library.

/// Buffers of some kB come and go with every call: with it a call that is captured takes a tenth less CPU than with the
/// allocator of the C library, in as much memory (docs/performance.md). Its settings are in `.cargo/config.toml`.
#[cfg(target_arch = "x86_64")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    leqi_gateway::cli::run()
}
