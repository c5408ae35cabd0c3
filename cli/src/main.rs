//! `davit`: the command line of the Davit container engine.

fn main() -> ! {
    std::process::exit(davit_cli::main(std::env::args_os().collect()))
}
