"""The protocol: its messages and stubs, generated from the .proto files."""
