//! Compiles `proto/**/*.proto` to Rust and to a descriptor set, with no tool that Cargo cannot fetch.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message;

const FILES: [&str; 8] = ["job", "enqueue", "lease", "work", "event", "broker", "admin", "testing"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut files: Vec<String> = Vec::new();
    for name in FILES {
        files.push(format!("lessor/v1/{name}.proto"));
    }
    files.push("externalscaler/externalscaler.proto".to_owned());
    // Comments stay in the set: reflection hands them to grpcurl.
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files(files)?;
    let set = compiler.file_descriptor_set();
    // For reflection alone: with it a tool shows the details of an error, which tonic-types encodes.
    compiler.open_file("google/rpc/error_details.proto")?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), compiler.file_descriptor_set().encode_to_vec())?;
    tonic_prost_build::configure()
        .build_client(env::var_os("CARGO_FEATURE_CLIENT").is_some())
        .build_server(env::var_os("CARGO_FEATURE_SERVER").is_some())
        .bytes(".lessor.v1.Payload.data")
        // A job is a kilobyte before it holds anything, and these are moved from hand to hand.
        .boxed(".lessor.v1.EnqueueResponse.job")
        .boxed(".lessor.v1.LeasedJob.job")
        .boxed(".lessor.v1.AckResponse.job")
        .boxed(".lessor.v1.NackResponse.job")
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        .compile_fds(set)?;
    Ok(())
}
