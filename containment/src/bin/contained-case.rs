//! Runs one case: the child of `containment::library::run`. A case on stdin, what was seen on stdout.

fn main() -> anyhow::Result<()> {
    containment::library::serve()
}
