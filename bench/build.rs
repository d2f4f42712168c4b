//! Makes the stubs of the bare gRPC service that the limits are measured with; its messages are
//! plain Rust, in `src/echo.rs`.

use tonic_prost_build::manual::{Builder, Method, Service};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let method = |name: &str, route: &str, input: &str, output: &str| {
        Method::builder()
            .name(name)
            .route_name(route)
            .input_type(format!("crate::echo::{input}"))
            .output_type(format!("crate::echo::{output}"))
            .codec_path("tonic_prost::ProstCodec")
            .build()
    };
    let service = Service::builder()
        .name("Echo")
        .package("bench")
        .method(method("put", "Put", "Job", "Put"))
        .method(method("put_batch", "PutBatch", "Batch", "PutBatch"))
        .build();
    Builder::new().compile(&[service]);
}
