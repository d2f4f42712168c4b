//! Metrics: counted where things happen, read by whoever scrapes or by an exporter.

pub mod table;
