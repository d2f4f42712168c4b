# The broker and its command line, as one small image. `make image` builds it, `make test-image` tries it.
# Both images may be others, with Debian 12 and a Rust of rust-toolchain.toml, or with its libc.
ARG BUILD_IMAGE=docker.io/library/rust:1.95-slim-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
# A binary inside the context that was built already, such as dist/lessor; empty: it is compiled here.
ARG BINARY=""
WORKDIR /src
COPY . .
# SQLite and the cryptography are C.
RUN set -eu; \
    mkdir -p /out/data; \
    if [ -n "$BINARY" ]; then \
      install -D -m 0755 "$BINARY" /out/lessor; \
    else \
      apt-get update; \
      apt-get install --yes --no-install-recommends gcc g++ libc6-dev make; \
      scripts/build-release.sh --package lessor-cli; \
      install -D -m 0755 target/release/lessor /out/lessor; \
    fi

FROM ${RUNTIME_IMAGE}
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="Lessor" \
      org.opencontainers.image.description="A job broker over gRPC" \
      org.opencontainers.image.source="https://github.com/lessor/lessor" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=build /out/lessor /usr/local/bin/lessor
# Settings in a file, so that variables and flags win over them.
COPY scripts/image/lessor.toml /etc/lessor/lessor.toml
COPY --from=build --chown=65532:65532 /out/data /var/lib/lessor
USER 65532:65532
WORKDIR /var/lib/lessor
EXPOSE 7077 9464
ENTRYPOINT ["/usr/local/bin/lessor"]
CMD ["serve", "--config", "/etc/lessor/lessor.toml"]
