//! Compiles `proto/**/*.proto` to Rust and to a descriptor set, with no tool that Cargo cannot fetch.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message;
use prost_build::{Config, Service, ServiceGenerator};

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
    Config::new()
        .bytes([".lessor.v1.Payload.data"])
        // A job is a kilobyte before it holds anything, and these are moved from hand to hand.
        .boxed(".lessor.v1.EnqueueResponse.job")
        .boxed(".lessor.v1.LeasedJob.job")
        .boxed(".lessor.v1.AckResponse.job")
        .boxed(".lessor.v1.NackResponse.job")
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        .service_generator(Box::new(Stubs::wanted()))
        .compile_fds(set)?;
    Ok(())
}

/// Makes stubs of both sides. The two differ in what the hot calls answer: there the server writes its
/// answers by itself.
struct Stubs(Vec<(Side, Box<dyn ServiceGenerator>)>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

/// The calls whose answers the server writes by itself.
const WRITTEN: [&str; 4] = ["Enqueue", "BatchEnqueue", "Lease", "Work"];

impl Stubs {
    fn wanted() -> Self {
        let sides =
            [(Side::Client, "CARGO_FEATURE_CLIENT"), (Side::Server, "CARGO_FEATURE_SERVER")];
        let wanted = sides.into_iter().filter(|(_, feature)| env::var_os(feature).is_some());
        let stubs = wanted.map(|(side, _)| {
            let stubs = tonic_prost_build::configure()
                .build_client(side == Side::Client)
                .build_server(side == Side::Server)
                .codec_path("crate::codec::Codec");
            (side, stubs.service_generator())
        });
        Self(stubs.collect())
    }
}

impl ServiceGenerator for Stubs {
    fn generate(&mut self, service: Service, buffer: &mut String) {
        for (side, stubs) in &mut self.0 {
            let mut service = service.clone();
            for method in &mut service.methods {
                if *side == Side::Server && WRITTEN.contains(&method.proto_name.as_str()) {
                    let answer = &method.output_type;
                    method.output_type = format!("crate::codec::Written<crate::v1::{answer}>");
                }
            }
            stubs.generate(service, buffer);
        }
    }
}
