//! Rebuilds the embedded library when one of its files changes.

fn main() {
    println!("cargo:rerun-if-changed=../../graphs");
    println!("cargo:rerun-if-changed=../../presets");
}
