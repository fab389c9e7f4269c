//! Links the C library: QWEN3EDGE_LIB is the folder that libqwen3edge.so lies in, unless the linker finds it by itself.

fn main() {
    println!("cargo:rerun-if-env-changed=QWEN3EDGE_LIB");
    if let Ok(folder) = std::env::var("QWEN3EDGE_LIB") {
        println!("cargo:rustc-link-search=native={folder}");
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
    }
    println!("cargo:rustc-link-lib=dylib=qwen3edge");
}
